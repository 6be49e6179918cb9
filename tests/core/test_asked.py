"""What a request for a rotation means for the planner, and when it is fulfilled."""

from __future__ import annotations

import pytest

from rotator.core.asked import anchored, before_of, is_rotated, rotation_demand
from rotator.core.ledger import ClaimKind, ServedKey
from rotator.core.request import Arguments, Before, Request, Verb
from rotator.core.snapshot import Demand
from tests.core.builders import HOUR, NOW, WRITTEN, A, B, claim, ledger, served


def test_what_is_asked_for_and_what_the_ledger_said_then_is_told_to_the_planner() -> None:
    arguments = Arguments(compromised=True, overwrite_foreign=True, named=False)
    asked = Request("4711", Verb.ROTATE, arguments, "ops", NOW, NOW + HOUR, A, WRITTEN)
    assert rotation_demand(asked.arguments, asked.before) == Demand(
        named=False, compromised=True, overwrite_foreign=True, before=Before(A, WRITTEN)
    )
    assert rotation_demand(Arguments()) == Demand()


@pytest.mark.parametrize(
    "key", [None, served(B, minted_by_us=False, claimed_at=None)], ids=["none", "made by hand"]
)
def test_a_target_without_a_key_of_ours_is_not_rotated(key: ServedKey | None) -> None:
    assert not is_rotated(ledger(served=key), Before(A))


def test_a_key_that_took_the_place_of_the_one_that_was_served_fulfils_the_request() -> None:
    assert is_rotated(ledger(served=served(B, claimed_at=NOW)), Before(A))
    assert is_rotated(ledger(served=served(B, claimed_at=NOW)), Before())
    assert not is_rotated(ledger(), Before(A))


def test_nothing_fulfils_a_demand_for_which_the_ledger_was_not_read() -> None:
    assert not is_rotated(ledger(), None)


def test_a_demand_keeps_what_the_ledger_said_when_it_was_first_read_for_it() -> None:
    first = anchored(Demand(named=False), ledger())
    assert first == Demand(named=False, before=Before(A))
    assert anchored(first, ledger(served=served(B))) is first
    assert anchored(Demand(), None) == Demand(before=Before())
    assert anchored(None, ledger()) is None


def test_the_rotation_that_was_under_way_does_not_count_and_no_other_change_is_one() -> None:
    under_way = claim(started_at=WRITTEN)
    asked = before_of(ledger(pending=under_way))
    assert asked == Before(A, WRITTEN)
    assert not is_rotated(ledger(served=served(B, claimed_at=WRITTEN)), asked)
    assert is_rotated(ledger(served=served(B, claimed_at=NOW)), asked)
    assert before_of(ledger(pending=claim(ClaimKind.DISABLE))) == Before(A)
    assert before_of(ledger(served=None)) == Before()
    assert before_of(None) == Before()
