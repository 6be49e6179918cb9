"""Whose the lease is, until when, and when to look again: by Vault's clock alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.core.asked import is_rotated
from rotator.core.lease import (
    Lease,
    LeaseSeen,
    Open,
    PublicState,
    Pulse,
    Standing,
    expires_at,
    is_live,
    look_again_after,
    standing,
)
from rotator.core.ledger import Ledger
from rotator.core.request import Arguments, Request, Verb
from tests.core.builders import HOUR, MINUTE, NOW, A, B, claim, ledger, served

SECOND = timedelta(seconds=1)
TERM = timedelta(minutes=1)


def lease(age: timedelta, *, released: bool = False, term: timedelta = TERM) -> LeaseSeen:
    held = Lease("one", NOW - HOUR, term, released, PublicState("1", "ab" * 32))
    return LeaseSeen(7, NOW - age, held, NOW)


@pytest.mark.parametrize(
    ("age", "whose"),
    [
        (timedelta(), Standing.ANOTHERS),
        (TERM - SECOND, Standing.ANOTHERS),
        (TERM, Standing.FREE),
        (HOUR, Standing.FREE),
    ],
)
def test_a_lease_is_anothers_until_it_is_one_term_old(age: timedelta, whose: Standing) -> None:
    assert standing(lease(age), "two", TERM) is whose
    assert standing(lease(age), "one", TERM) is Standing.OURS


@pytest.mark.parametrize(
    ("ahead", "whose"),
    [
        (TERM, Standing.ANOTHERS),
        (TERM + SECOND, Standing.ANOTHERS),
        (TERM + 2 * SECOND, Standing.FREE),
        (HOUR, Standing.FREE),
        (1000 * HOUR, Standing.FREE),
    ],
)
def test_one_that_was_written_in_vaults_future_is_believed_for_a_term_only(
    ahead: timedelta, whose: Standing
) -> None:
    assert standing(lease(-ahead), "two", TERM) is whose
    odd = LeaseSeen(9, NOW + ahead, None, NOW, unreadable=True)
    assert standing(odd, "two", TERM) is whose


def test_one_that_was_given_up_is_nobodys_not_even_its_last_holders() -> None:
    for holder in ("one", "two"):
        assert standing(lease(SECOND, released=True), holder, TERM) is Standing.FREE


def test_where_there_never_was_one_or_it_was_deleted_it_is_free() -> None:
    assert standing(LeaseSeen(0, None, None, NOW), "two", TERM) is Standing.FREE
    assert standing(LeaseSeen(9, NOW, None, NOW), "two", TERM) is Standing.FREE


def test_one_that_is_not_understood_counts_for_our_own_term() -> None:
    odd = LeaseSeen(9, NOW - MINUTE + SECOND, None, NOW, unreadable=True)
    assert is_live(odd, TERM)
    assert not is_live(odd, timedelta(seconds=59))


def test_the_term_that_counts_is_the_holders_and_no_longer_than_an_hour() -> None:
    assert expires_at(lease(SECOND, term=5 * MINUTE), TERM) == NOW - SECOND + 5 * MINUTE
    assert expires_at(lease(SECOND, term=24 * HOUR), TERM) == NOW - SECOND + HOUR


def test_who_stands_by_looks_again_when_it_ends_and_each_third_before() -> None:
    assert look_again_after(lease(SECOND), TERM) == timedelta(seconds=20)
    assert look_again_after(lease(timedelta(seconds=50)), TERM) == timedelta(seconds=11)
    assert look_again_after(lease(SECOND, released=True), TERM) == timedelta()


def test_a_target_is_named_once_in_the_pulse_and_only_what_is_done_is_struck() -> None:
    pulse = Pulse().naming((Open("a", "1"), Open("b", "2"))).naming((Open("a", "3"),))
    assert set(pulse.requests) == {Open("b", "2"), Open("a", "3")}
    assert pulse.without(frozenset({Open("a", "1")})) == pulse
    assert pulse.without(frozenset({Open("a", "3")})).requests == (Open("b", "2"),)


def request(book: Ledger) -> Request:
    key = book.served.hash if book.served is not None else None
    claimed = book.pending.started_at if book.pending is not None else None
    return Request("4711", Verb.ROTATE, Arguments(), "me@here", NOW, NOW + HOUR, key, claimed)


@pytest.mark.parametrize("skew", [-HOUR, timedelta(), HOUR])
def test_a_request_is_fulfilled_by_the_next_key_whatever_the_clocks_say(skew: timedelta) -> None:
    book = ledger(served=served(claimed_at=NOW + skew))
    asked = request(book)
    assert not is_rotated(book, asked.before)
    assert is_rotated(ledger(served=served(B, claimed_at=NOW + skew - MINUTE)), asked.before)


def test_the_key_of_a_rotation_that_was_under_way_does_not_count() -> None:
    under_way = claim()
    book = ledger(pending=under_way)
    asked = request(book)
    its_key = ledger(served=served(B, claimed_at=under_way.started_at))
    assert not is_rotated(its_key, asked.before)
    assert is_rotated(ledger(served=served(B, claimed_at=NOW)), asked.before)


def test_a_key_that_a_person_put_there_is_no_rotation() -> None:
    asked = request(ledger())
    assert not is_rotated(ledger(served=served(B, claimed_at=None)), asked.before)
    assert not is_rotated(ledger(served=served(A)), asked.before)
    assert not is_rotated(ledger(served=None), asked.before)
