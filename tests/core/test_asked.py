"""What a request for a rotation means for the planner, and when it is fulfilled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.core.asked import is_rotated, rotation_claimed_at, rotation_demand
from rotator.core.ledger import ClaimKind, ServedKey
from rotator.core.request import Arguments, Request, Verb
from rotator.core.snapshot import Demand
from tests.core.builders import HOUR, NOW, WRITTEN, A, B, claim, ledger, served


def asked_for(
    *, compromised: bool = False, overwrite: bool = False, replaces: str | None = A
) -> Request:
    """A request for a rotation, made an hour ago."""
    arguments = Arguments(compromised=compromised, overwrite_foreign=overwrite, named=False)
    at = NOW - HOUR
    return Request("0" * 16, Verb.ROTATE, arguments, "ops", at, at + 2 * HOUR, replaces)


@pytest.mark.parametrize(
    "key", [None, served(minted_by_us=False, claimed_at=None)], ids=["none", "made by hand"]
)
def test_a_target_without_a_key_of_ours_is_asked_for_one_from_now_on(key: ServedKey | None) -> None:
    book, request = ledger(served=key), asked_for(compromised=True, overwrite=True)
    assert not is_rotated(book, request)
    demand = rotation_demand(book, request, NOW)
    assert demand == Demand(NOW, named=False, compromised=True, overwrite_foreign=True)
    assert not rotation_demand(book, asked_for(), NOW).overwrite_foreign


def test_a_key_that_took_the_place_of_the_one_that_was_served_fulfils_the_request() -> None:
    book, request = ledger(served=served(B, claimed_at=NOW)), asked_for()
    assert is_rotated(book, request)
    assert rotation_demand(book, request, NOW + HOUR).at == NOW, "the served key is not older"


def test_a_key_that_was_claimed_by_a_clock_ahead_of_ours_is_to_be_replaced_all_the_same() -> None:
    ahead = NOW + HOUR
    book = ledger(served=served(claimed_at=ahead))
    assert rotation_demand(book, asked_for(), NOW).at == ahead + timedelta(microseconds=1)
    assert rotation_demand(ledger(), asked_for(), NOW).at == NOW


def test_the_rotation_that_was_under_way_does_not_count_and_no_other_change_is_one() -> None:
    under_way = claim(started_at=WRITTEN)
    assert rotation_claimed_at(ledger(pending=under_way)) == WRITTEN
    assert rotation_claimed_at(ledger(pending=claim(ClaimKind.DISABLE))) is None
    assert rotation_claimed_at(ledger()) is None
