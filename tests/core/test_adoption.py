"""`adopt`: a key that people made is taken as it is, or it is said what the target waits for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rotator.core.hand_edits import Adopt, ValueSeen
from rotator.core.ledger import Ledger
from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.rotation import due
from rotator.core.snapshot import Demand, Snapshot
from rotator.core.steps import Finding, NeedLook, NeedValue, Plan
from tests.core.builders import (
    ABSENT,
    DAY,
    FOREIGN,
    HOUR,
    NOW,
    A,
    B,
    issued,
    kinds,
    ledger,
    looks,
    policy,
    seen,
    served,
    snapshot,
    target,
    the_edit,
)

ADOPT = Demand(adopt=True)
BY_HAND = served(minted_by_us=False, claimed_at=None)


def adopting(book: Ledger, **changes: Any) -> Snapshot:
    return snapshot(book, demand=ADOPT, **changes)


def of(snapshot: Snapshot) -> Plan:
    return plan(snapshot, NOW)


def test_an_overdue_key_that_people_made_ages_from_now_and_is_not_rotated() -> None:
    old = replace(BY_HAND, due_from=NOW - 300 * DAY)
    chosen = of(adopting(ledger(served=old)))
    assert the_edit(chosen, Adopt) == Adopt(A, NOW)
    after = the_edit(chosen, Adopt).apply(ledger(served=old))
    again = of(adopting(after))
    assert (again.reason, again.steps) == (Reason.NOT_DUE, ())


def test_one_that_waits_for_its_turn_since_it_was_first_seen_is_taken_as_well() -> None:
    old = replace(BY_HAND, due_from=NOW - 300 * DAY)
    book = ledger(served=old, first_seen=NOW - HOUR)
    assert the_edit(of(adopting(book)), Adopt) == Adopt(A, NOW)


def test_one_that_became_due_after_it_was_first_seen_is_taken_as_well() -> None:
    old = replace(BY_HAND, due_from=NOW - 40 * DAY)
    book = ledger(served=old)
    when = due(snapshot(book), NOW)
    assert when is not None
    assert (when.at, when.reason) == (NOW, Reason.EVERY)
    assert the_edit(of(adopting(book)), Adopt) == Adopt(A, NOW)


def test_a_key_that_is_not_overdue_keeps_its_schedule() -> None:
    assert of(adopting(ledger(served=BY_HAND))).steps == ()


def test_a_key_of_ours_is_left_to_its_schedule_however_old_it_is() -> None:
    old = served(due_from=NOW - 300 * DAY)
    assert of(adopting(ledger(served=old))).steps == ()


@pytest.mark.parametrize("days", [1, 10, 400])
def test_an_adoption_never_rotates_and_never_removes(days: int) -> None:
    strict = target(policy=policy(every=timedelta(hours=1)))
    old = replace(BY_HAND, due_from=NOW - days * DAY)
    chosen = of(replace(adopting(ledger(served=old)), target=strict))
    assert set(kinds(chosen)) <= {"Record"}


def test_a_foreign_value_is_compared_with_the_account_once_more() -> None:
    book = ledger(served=None, foreign=FOREIGN)
    unread = adopting(book, secret=seen(FOREIGN.secret_version))
    assert of(unread).needs == (NeedValue(),)
    read = replace(unread, secret=seen(FOREIGN.secret_version, B))
    assert of(read).needs == (NeedLook(B),)
    explained = the_edit(of(replace(read, looks=looks(issued(B, name="made by hand")))), ValueSeen)
    assert explained.served is not None
    assert (explained.served.hash, explained.served.minted_by_us) == (B, False)


def test_what_no_key_explains_waits_for_one_of_two_things_and_both_are_named() -> None:
    book = ledger(served=None, foreign=FOREIGN)
    created = FOREIGN.secret_created_time
    secret = replace(seen(FOREIGN.secret_version, B), created_time=created)
    chosen = of(adopting(book, secret=secret, looks=looks(gone=(B,))))
    (finding,) = chosen.findings
    assert (finding.reason, finding.attention) == (Reason.FOREIGN_VALUE, True)
    assert "a key of the account" in finding.sentence
    assert "`rotator rotate billing --overwrite-foreign`" in finding.sentence
    assert chosen.steps == ()


def test_two_targets_that_serve_one_key_are_told_of() -> None:
    book = ledger(served=BY_HAND)
    twice = adopting(book, served_by={A: frozenset({"billing", "search"})})
    assert [each.reason for each in of(twice).findings] == [Reason.SERVED_TWICE]


def test_where_nothing_is_served_there_is_nothing_to_adopt() -> None:
    chosen = of(adopting(ledger(served=None), secret=seen(3, value=ABSENT)))
    assert (chosen.reason, chosen.steps) == (Reason.NOTHING_TO_ADOPT, ())
    assert chosen.findings == (Finding(Reason.NOTHING_TO_ADOPT),)
