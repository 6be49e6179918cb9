"""How a target is, in one word and in one sentence, as every command shows it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.ledger import ClaimKind, PolicyDurations
from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.request import Arguments, Request, Verb
from rotator.core.retirement import Stage
from rotator.core.snapshot import LedgerSeen, Snapshot
from rotator.core.target import AfterDeadline
from rotator.core.view import ClaimView, RetiringView, ServedView, State, TargetView, view
from rotator.core.words import moment
from tests.core.builders import (
    DAY,
    FAILURE,
    FOREIGN,
    HELD,
    HOUR,
    LIMITS,
    NOW,
    PATH,
    WRITTEN,
    A,
    B,
    claim,
    issued,
    ledger,
    looks,
    policy,
    quarantined,
    retiring,
    served,
    snapshot,
    target,
    without_ledger,
)

SECOND = timedelta(seconds=1)


def shown(seen: Snapshot) -> TargetView:
    """The view that a command has now."""
    return view(seen, plan(seen, NOW), NOW)


def test_a_target_that_has_nothing_to_do_is_ok_and_its_next_rotation_is_told() -> None:
    seen = shown(snapshot())
    assert (seen.state, seen.served is not None) == (State.OK, True)
    assert seen.due_why is Reason.EVERY
    assert seen.next_due is not None
    assert seen.next_due > NOW
    assert seen.safe == "The served key goes on working."


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (without_ledger(), State.NEW),
        (
            replace(snapshot(), ledger=LedgerSeen(7, NOW, None, Reason.LEDGER_UNREADABLE)),
            State.UNREADABLE,
        ),
        (snapshot(ledger(failure=FAILURE)), State.FAILING),
        (snapshot(ledger(hold=HELD)), State.HELD),
        (snapshot(served_by={A: frozenset({"billing", "payroll"})}), State.ATTENTION),
        (snapshot(ledger(retiring=(quarantined(),))), State.OK),
        (snapshot(ledger(foreign=FOREIGN, served=None)), State.FOREIGN),
        (snapshot(ledger(served=served(due_from=NOW - 40 * DAY))), State.DUE),
    ],
)
def test_the_gravest_of_what_applies_is_its_state(seen: Snapshot, state: State) -> None:
    assert shown(seen).state is state


def test_a_key_is_overdue_once_it_is_older_than_the_policy_allows_and_not_before() -> None:
    oldest = NOW - WRITTEN
    strict = replace(snapshot(), target=target(policy=policy(max_age=oldest)))
    assert (shown(strict).state, shown(strict).max_age_at) == (State.DUE, NOW)
    strict = replace(snapshot(), target=target(policy=policy(max_age=oldest - SECOND)))
    assert (shown(strict).state, shown(strict).max_age_at) == (State.OVERDUE, NOW - SECOND)


def test_a_key_that_is_still_used_after_the_deadline_blocks_where_it_is_not_to_be_disabled() -> (
    None
):
    strict = PolicyDurations.of(policy(then=AfterDeadline.KEEP))
    old = retiring(since=NOW - 20 * DAY, looked_at=NOW, last_used_at=NOW)
    seen = shown(snapshot(ledger(retiring=(old,), policy=strict)))
    assert seen.state is State.BLOCKED
    (entry,) = seen.retiring
    assert (entry.stage, entry.why) == (Stage.BLOCKED, Reason.BLOCKED)


def test_an_old_key_is_shown_with_its_stage_and_its_times() -> None:
    (entry,) = shown(snapshot(ledger(retiring=(quarantined(),)))).retiring
    assert (entry.hash, entry.stage, entry.disabled_at) == (B, Stage.QUARANTINE, NOW - HOUR)
    assert entry.grace_ends == NOW - DAY
    assert entry.until is not None
    assert entry.until > NOW


def test_all_that_is_remembered_of_a_target_is_shown() -> None:
    ends = NOW + 300 * DAY
    asked = Request("4711", Verb.ROTATE, Arguments(), "me@here", NOW, NOW + HOUR, A)
    old = quarantined(minted_at=NOW - 60 * DAY, since=NOW - 5 * DAY)
    book = ledger(
        served=served(expires_at=ends, minted_by_us=False, minted_at=NOW - 30 * DAY),
        retiring=(old,),
        hold=HELD,
        pending=claim(),
        request=asked,
        failure=FAILURE,
    )
    seen = snapshot(book, target=target(policy=policy(max_age=90 * DAY)), vault_now=NOW - HOUR)
    assert shown(seen) == TargetView(
        name="billing",
        secret=str(PATH),
        state=State.FAILING,
        served=ServedView(A, NOW - 30 * DAY, 3, minted_by_us=False, expires_at=ends),
        next_due=NOW + 10 * DAY + HOUR,  # by the clock that is behind
        due_why=Reason.EVERY,
        max_age_at=WRITTEN + 90 * DAY,
        retiring=(
            RetiringView(
                B,
                Stage.QUARANTINE,
                until=NOW - HOUR + 3 * DAY,
                why=Reason.SUPERSEDED,
                since=NOW - 5 * DAY,
                minted_at=NOW - 60 * DAY,
                grace_ends=NOW - 4 * DAY,
                disabled_at=NOW - HOUR,
            ),
        ),
        hold=HELD,
        claim=ClaimView(
            ClaimKind.ROTATE, "replica-2", NOW - HOUR, NOW - HOUR + LIMITS.claim_timeout
        ),
        request=asked,
        failure=FAILURE,
        safe=f"The served key goes on working until {moment(ends)}, when it expires.",
        findings=plan(seen, NOW).findings,
    )


def test_a_change_in_progress_is_shown_with_its_end() -> None:
    seen = shown(snapshot(ledger(pending=claim()), vault_now=NOW - HOUR))
    assert seen.state is State.CHANGING
    assert seen.claim is not None
    assert seen.claim.until == NOW - HOUR + LIMITS.claim_timeout


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (without_ledger(), "What is served stays as it is."),
        (snapshot(ledger(foreign=FOREIGN, served=None)), "The foreign value stays as it is."),
        (
            snapshot(ledger(served=None)),
            "No key is served yet, so consumers wait for the first one.",
        ),
        (
            snapshot(ledger(served=served(compromised=True)), looks=looks(issued())),
            "The served key was called compromised: it is not enabled, but replaced.",
        ),
        (
            snapshot(ledger(served=served(expires_at=NOW))),
            f"The served key expired at {moment(NOW)}: consumers are refused until it is replaced.",
        ),
        (
            snapshot(ledger(), looks=looks(gone=(A,))),
            "OpenRouter does not accept the served key: consumers are refused meanwhile.",
        ),
        (
            snapshot(ledger(), looks=looks(issued(disabled=True))),
            "OpenRouter does not accept the served key: consumers are refused meanwhile.",
        ),
        (snapshot(ledger(), looks=looks(issued())), "The served key goes on working."),
        (
            snapshot(ledger(failure=replace(FAILURE, reason=Reason.OUTAGE))),
            "The served key stays; OpenRouter did not accept it either when it was asked.",
        ),
        (
            snapshot(ledger(served=served(expires_at=NOW + HOUR))),
            f"The served key goes on working until {moment(NOW + HOUR)}, when it expires.",
        ),
    ],
)
def test_what_consumers_are_served_is_said_in_one_sentence(seen: Snapshot, says: str) -> None:
    assert shown(seen).safe == says
