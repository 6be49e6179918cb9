"""The index of served hashes, whose two directions must never contradict each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rotator.engine.world import Fleet

MOVES = st.lists(
    st.tuples(st.sampled_from("abcde"), st.one_of(st.none(), st.sampled_from(["h1", "h2", "h3"])))
)


@given(MOVES)
def test_each_hash_names_exactly_the_targets_that_serve_it_now(
    moves: list[tuple[str, str | None]],
) -> None:
    fleet = Fleet()
    serving: dict[str, str | None] = {}
    for target, key_hash in moves:
        fleet.serves(target, key_hash)
        serving[target] = key_hash
    expected: dict[str, set[str]] = {}
    for target, key_hash in serving.items():
        if key_hash is not None:
            expected.setdefault(key_hash, set()).add(target)
    assert fleet.served_by() == expected
    for key_hash in ("h1", "h2", "h3"):
        assert fleet.others_serving(key_hash) == expected.get(key_hash, set())


def test_what_was_handed_out_does_not_change_afterwards() -> None:
    fleet = Fleet()
    fleet.serves("a", "h1")
    before = fleet.served_by()
    fleet.serves("b", "h1")
    fleet.forget("a")
    assert before == {"h1": {"a"}}
