"""A slice of all pairs of troubles in one rotation; ``make pairs`` runs all of them."""

from __future__ import annotations

import pytest

from tests.engine.pairs import KINDS, Moment, broken, firsts, run, seconds

ONE_IN = 40
"""How many pairs there are for each that the suite runs, chosen by a hash of their names."""


def test_the_pairs_are_all_that_can_go_wrong_at_two_calls_of_a_rotation() -> None:
    """The numbers are told in tests/README.md; where the engine's calls change, so do they."""
    everything = firsts()
    assert {each.kind for each in everything} == set(range(len(KINDS)))
    assert len(everything) > 400
    assert sum(1 for first in everything for _ in seconds(first)) > 100_000


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=[each.name for each in KINDS])
def test_two_troubles_in_one_rotation_break_no_promise(kind: int) -> None:
    count = 0
    found: list[str] = []
    for first in firsts():
        if first.kind == kind:
            more, wrong = run(first, ONE_IN)
            count, found = count + more, found + wrong
    assert not found, "\n".join(found)
    assert count


def test_a_pair_is_told_by_the_number_of_its_calls() -> None:
    first = Moment(9, 0)
    assert str(first) == "die_before at call 9"
    assert broken(first, Moment(10, 0)) is None
