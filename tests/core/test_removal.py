"""Grace, drain, disable, quarantine, delete: each old key by its own clock, and never a served one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rotator.core.edits import EnabledByHand, KeyDisabled, KeyRemoved, LookRecorded
from rotator.core.hand_edits import RetireByHand
from rotator.core.ledger import ClaimKind, PolicyDurations, RetiringKey
from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.retirement import Stage, Standing, standing
from rotator.core.snapshot import LedgerSeen, Snapshot
from rotator.core.steps import Delete, Disable, Finding, MakeClaim, NeedLook, Plan, RecordDisabled
from rotator.core.target import AfterDeadline, Blackout, Evidence, Window
from tests.core.builders import (
    DAY,
    DELETED,
    FAILURE,
    FOREIGN,
    HELD,
    HOUR,
    MINUTE,
    NOW,
    OTHER_PATH,
    PATH,
    A,
    B,
    C,
    D,
    after,
    h,
    issued,
    kinds,
    ledger,
    looks,
    policy,
    quarantined,
    retiring,
    seen,
    snapshot,
    target,
    the_edit,
)

POLICY = PolicyDurations.of(policy())
DISABLING = ["MakeClaim", "Disable", "RecordDisabled"]
DELETING = ["MakeClaim", "Delete", "Record"]
SECOND = timedelta(seconds=1)


def old(*entries: RetiringKey, **changes: Any) -> Snapshot:
    """A target with retiring keys; B was looked at, and is quiet, unless told otherwise."""
    base = snapshot(ledger(retiring=entries), looks=looks(issued(B)))
    return replace(base, **changes)


def used(minutes: int = 1, key_hash: str = B, **changes: Any) -> dict[str, Any]:
    """A look at a key that was used some minutes ago."""
    return {"looks": looks(issued(key_hash, last_used_at=NOW - minutes * MINUTE, **changes))}


# Grace.


def test_grace_counts_from_the_publish_and_gives_consumers_time() -> None:
    waiting = old(retiring(since=NOW - DAY + SECOND))
    chosen = plan(waiting, NOW)
    assert (chosen.steps, chosen.needs) == ((), ())
    assert chosen.wake_at == NOW + 2 * SECOND  # one later, for Vault's whole seconds
    assert kinds(plan(old(retiring(since=NOW - DAY)), NOW)) == DISABLING


def test_a_grace_is_judged_by_the_earlier_clock() -> None:
    for vault, local in ((NOW - MINUTE, NOW), (NOW, NOW - MINUTE)):
        chosen = plan(old(retiring(since=NOW - DAY), vault_now=vault), local)
        assert (chosen.steps, chosen.needs) == ((), ())
        assert chosen.wake_at == local + MINUTE + SECOND


def test_several_predecessors_have_each_its_own_clock() -> None:
    entries = (
        retiring(B, since=NOW),
        quarantined(C),
        retiring(D, since=NOW - DAY),
    )
    observed = old(*entries, looks=looks(issued(D)))
    chosen = plan(observed, NOW)
    assert chosen.steps[1] == Disable(D, PATH)
    assert plan(old(*entries[:2]), NOW).wake_at == NOW + DAY + SECOND  # the earliest


def test_one_plan_removes_at_most_one_key() -> None:
    observed = old(retiring(B), retiring(C), looks=looks(issued(B), issued(C)))
    assert kinds(plan(observed, NOW)) == DISABLING


def test_a_predecessor_that_waits_does_not_hold_up_the_next() -> None:
    blocked = retiring(B, since=NOW - 20 * DAY, looked_at=NOW - MINUTE, last_used_at=NOW - MINUTE)
    observed = old(blocked, retiring(C), looks=looks(issued(C)))
    chosen = plan(observed, NOW)
    assert chosen.steps[1] == Disable(C, PATH)
    assert Finding(Reason.BLOCKED, "", B, attention=True) in chosen.findings


# Drained?


def test_an_old_key_is_looked_at_once_its_grace_is_over() -> None:
    assert plan(old(retiring(), looks={}), NOW).needs == (NeedLook(B),)


def test_only_a_look_of_this_pass_counts_and_not_one_from_a_listing() -> None:
    from_listing = old(retiring(), looks={}, listing=None)
    assert plan(from_listing, NOW).needs == (NeedLook(B),)


def test_a_key_last_used_long_enough_ago_is_disabled_under_a_claim() -> None:
    chosen = plan(old(retiring()), NOW)
    make, disable, record = chosen.steps
    assert isinstance(make, MakeClaim)
    assert (make.claim.kind, make.claim.key, make.claim.base_version) == (ClaimKind.DISABLE, B, 3)
    assert (disable, record) == (Disable(B, PATH), RecordDisabled(B))
    assert chosen.reason is Reason.DRAINED


@pytest.mark.parametrize(("minutes", "quiet"), [(60, True), (59, False), (0, False), (-1, False)])
def test_quiet_is_a_last_use_older_than_quiet_for(minutes: int, quiet: bool) -> None:
    chosen = plan(old(retiring(), **used(minutes)), NOW)
    assert (kinds(chosen) == DISABLING) == quiet


def test_no_evidence_is_not_quiet() -> None:
    chosen = plan(old(retiring(), looks=looks(issued(B, last_used_at=None))), NOW)
    assert the_edit(chosen, LookRecorded).key == B


@pytest.mark.parametrize(("minutes", "quiet"), [(60, True), (59, False), (-60, False)])
def test_a_key_cannot_have_been_used_after_it_expired(minutes: int, quiet: bool) -> None:
    """So one that nobody ever used does not stay blocked for good."""
    ended = NOW - minutes * MINUTE
    for used_at in (None, ended - SECOND):
        key = issued(B, last_used_at=used_at, expires_at=ended)
        chosen = plan(old(retiring(), looks=looks(key)), NOW)
        assert (kinds(chosen) == DISABLING) == quiet


def test_a_look_that_proves_nothing_is_recorded_and_the_next_is_spaced() -> None:
    observed = old(retiring(), **used(10))
    chosen = plan(observed, NOW)
    book = after(observed, chosen)
    (entry,) = book.retiring
    assert (entry.looked_at, entry.last_used_at) == (NOW, NOW - 10 * MINUTE)
    again = plan(snapshot(book), NOW)
    assert (again.steps, again.needs) == ((), ())
    assert again.wake_at == NOW + 50 * MINUTE + SECOND  # when it can be quiet at the earliest
    later = NOW + 50 * MINUTE
    assert plan(snapshot(book, vault_now=later), later).needs == (NeedLook(B),)


def test_a_key_without_evidence_is_looked_at_no_more_often_than_half_of_quiet_for() -> None:
    observed = old(retiring(), looks=looks(issued(B, last_used_at=None)))
    book = after(observed, plan(observed, NOW))
    assert plan(snapshot(book), NOW).wake_at == NOW + 30 * MINUTE + SECOND


def test_counters_that_do_not_move_prove_nothing() -> None:
    entry = retiring(looked_at=NOW - 5 * HOUR, usage=1.0, quiet_since=NOW - 5 * HOUR)
    observed = old(entry, looks=looks(issued(B, last_used_at=None, usage=1.0)))
    assert kinds(plan(observed, NOW)) == ["Record"]


@pytest.mark.parametrize(
    ("usage", "quiet_since", "quiet"),
    [
        (1.0, NOW - HOUR, True),
        (1.0, NOW - HOUR + SECOND, False),
        (1.5, NOW - 5 * HOUR, False),
        (None, NOW - 5 * HOUR, False),
        (1.0, None, False),
    ],
    ids=["still", "too briefly", "moved", "unknown", "first look"],
)
def test_counters_that_do_not_move_prove_it_where_the_policy_accepts_them(
    usage: float | None, quiet_since: Any, quiet: bool
) -> None:
    accepts = target(policy=policy(evidence=Evidence.USAGE))
    entry = retiring(looked_at=NOW - 5 * HOUR, usage=1.0, quiet_since=quiet_since)
    found = looks(issued(B, last_used_at=None, usage=usage))
    chosen = plan(old(entry, target=accepts, looks=found), NOW)
    assert (kinds(chosen) == DISABLING) == quiet


def test_a_counter_that_moved_starts_the_wait_afresh() -> None:
    accepts = target(policy=policy(evidence=Evidence.USAGE))
    entry = retiring(looked_at=NOW - HOUR, usage=1.0, quiet_since=NOW - HOUR)
    observed = old(entry, target=accepts, looks=looks(issued(B, last_used_at=None, usage=2.0)))
    assert the_edit(plan(observed, NOW), LookRecorded) == LookRecorded(B, NOW, None, 2.0, NOW)


def test_a_counter_stands_still_since_the_later_of_two_clocks() -> None:
    accepts = target(policy=policy(evidence=Evidence.USAGE))
    entry = retiring(since=NOW - 2 * DAY, looked_at=NOW - 5 * HOUR, usage=1.0)
    look = looks(issued(B, last_used_at=None, usage=2.0))
    for vault_now, since in ((NOW + 4 * MINUTE, NOW + 4 * MINUTE), (NOW - 4 * MINUTE, NOW)):
        observed = old(entry, target=accepts, looks=look, vault_now=vault_now)
        assert the_edit(plan(observed, NOW), LookRecorded).quiet_since == since


# The deadline.


def late(**changes: Any) -> Snapshot:
    """A key in use although grace and deadline are over."""
    return old(retiring(since=NOW - 8 * DAY, **changes), **used())


def test_a_busy_key_is_waited_for_up_to_the_deadline() -> None:
    observed = old(retiring(since=NOW - 8 * DAY + SECOND), **used())
    chosen = plan(observed, NOW)
    assert (chosen.reason, chosen.findings) == (Reason.STILL_USED, ())


def test_after_the_deadline_keep_blocks_the_target_and_says_so() -> None:
    chosen = plan(late(), NOW)
    assert kinds(chosen) == ["Record"]
    assert chosen.findings == (Finding(Reason.BLOCKED, "", B, attention=True),)


def test_a_blocked_key_that_goes_quiet_is_disabled_after_all() -> None:
    observed = old(retiring(since=NOW - 80 * DAY, looked_at=NOW - HOUR))
    assert kinds(plan(observed, NOW)) == DISABLING


def test_a_blocked_key_is_reported_and_looked_at_again_between_its_looks() -> None:
    blocked = retiring(since=NOW - 80 * DAY, looked_at=NOW - MINUTE, last_used_at=NOW - 2 * MINUTE)
    chosen = plan(old(blocked, looks={}), NOW)
    assert (chosen.steps, chosen.wake_at) == ((), NOW + 58 * MINUTE + SECOND)
    assert chosen.findings == (Finding(Reason.BLOCKED, "", B, attention=True),)


THEN_DISABLE = target(policy=policy(then=AfterDeadline.DISABLE))


def test_after_the_deadline_disable_disables_a_key_in_use() -> None:
    chosen = plan(replace(late(), target=THEN_DISABLE), NOW)
    assert (chosen.reason, kinds(chosen)) == (Reason.DEADLINE, DISABLING)


def test_a_predecessor_that_we_did_not_mint_is_disabled_only_on_proof() -> None:
    chosen = plan(replace(late(minted_by_us=False), target=THEN_DISABLE), NOW)
    assert kinds(chosen) == ["Record"]
    assert chosen.findings == (Finding(Reason.BLOCKED, "", B, attention=True),)
    quiet = old(retiring(since=NOW - 8 * DAY, minted_by_us=False), target=THEN_DISABLE)
    assert kinds(plan(quiet, NOW)) == DISABLING


@pytest.mark.parametrize("why", [Reason.RETIRED, Reason.COMPROMISED])
def test_a_predecessor_that_we_did_not_mint_goes_by_retire_or_compromised(why: Reason) -> None:
    observed = old(retiring(minted_by_us=False, why=why, since=NOW), **used(0))
    assert kinds(plan(observed, NOW)) == DISABLING


def test_a_look_is_due_at_the_deadline_itself_where_the_policy_then_disables() -> None:
    entry = retiring(since=NOW - 8 * DAY + MINUTE, looked_at=NOW, last_used_at=NOW)
    policy_then = PolicyDurations.of(THEN_DISABLE.policy)
    assert standing(entry, policy_then, NOW).until == NOW + MINUTE
    assert standing(entry, policy_then, NOW + MINUTE).stage is Stage.LOOK
    assert standing(entry, policy_then, NOW + 2 * MINUTE).stage is Stage.LOOK


# What keeps a key from being removed.


def test_windows_gate_the_disable_of_an_old_key() -> None:
    closed = target(policy=policy(windows=(Window(frozenset({6}), 0, 60),)))
    chosen = plan(old(retiring(), target=closed, looks={}), NOW)
    assert (chosen.steps, chosen.needs) == ((), ())
    assert chosen.wake_at is not None
    assert chosen.wake_at - NOW == timedelta(days=3, hours=12, seconds=1)  # Sunday, midnight


def test_blackouts_gate_the_disable_and_windows_do_not_gate_the_delete() -> None:
    black = target(policy=policy(blackouts=(Blackout(NOW.date(), NOW.date()),)))
    assert plan(old(retiring(), target=black), NOW).steps == ()
    over = quarantined(since=NOW - 9 * DAY, disabled_at=NOW - 3 * DAY)
    observed = old(over, target=black, looks=looks(issued(B, disabled=True)))
    assert kinds(plan(observed, NOW)) == DELETING


@pytest.mark.parametrize("why", [Reason.NEVER_SERVED, Reason.RETIRED, Reason.COMPROMISED])
def test_what_goes_at_once_passes_windows(why: Reason) -> None:
    closed = target(policy=policy(windows=(Window(frozenset({6}), 0, 60),)))
    assert kinds(plan(old(retiring(why=why), target=closed), NOW)) == DISABLING


STOPS: list[tuple[str, dict[str, Any], dict[str, Any], Reason]] = [
    ("foreign value", {"served": None, "foreign": FOREIGN}, {}, Reason.FOREIGN_VALUE),
    ("clock ahead", {}, {"vault_now": NOW - 6 * MINUTE}, Reason.CLOCKS_DISAGREE),
    ("clock behind", {}, {"vault_now": NOW + 6 * MINUTE}, Reason.CLOCKS_DISAGREE),
    ("served by another", {}, {"served_by": {B: frozenset({"payroll"})}}, Reason.STILL_SERVED),
]


@pytest.mark.parametrize("why", [Reason.SUPERSEDED, Reason.COMPROMISED, Reason.RETIRED])
@pytest.mark.parametrize("stage", ["disable", "delete"])
@pytest.mark.parametrize(
    ("book", "world", "reason"), [each[1:] for each in STOPS], ids=[each[0] for each in STOPS]
)
def test_nothing_is_disabled_or_deleted_while_something_stops_it(
    book: dict[str, Any], world: dict[str, Any], reason: Reason, stage: str, why: Reason
) -> None:
    entry = retiring(why=why, since=NOW - 9 * DAY)
    if stage == "delete":
        entry = replace(entry, disabled_at=NOW - 8 * DAY)
    observed = snapshot(
        ledger(retiring=(entry,), **book), looks=looks(issued(B, disabled=stage == "delete"))
    )
    chosen = plan(replace(observed, **world), NOW)
    assert (chosen.steps, chosen.needs) == ((), ())
    assert reason in {each.reason for each in chosen.findings}


def test_what_stops_a_removal_is_said_with_its_particulars() -> None:
    twice = old(retiring(), served_by={B: frozenset({"payroll", "crm", "billing"})})
    assert plan(twice, NOW).findings == (
        Finding(Reason.STILL_SERVED, "By crm, payroll.", B, attention=True),
    )
    for minutes, difference in ((-6, "+360"), (6, "-360")):
        apart = old(retiring(since=NOW - 2 * DAY), vault_now=NOW + minutes * MINUTE)
        assert plan(apart, NOW).findings == (
            Finding(Reason.CLOCKS_DISAGREE, f"Local minus Vault: {difference} s.", attention=True),
        )


def test_nothing_is_disabled_while_there_is_no_live_version() -> None:
    """Here even the first key waits, for the target is held."""
    book = ledger(served=None, hold=HELD, retiring=(retiring(why=Reason.RETIRED),))
    chosen = plan(snapshot(book, secret=DELETED, looks=looks(issued(B))), NOW)
    assert chosen.steps == ()
    assert Reason.NO_LIVE_VERSION in {each.reason for each in chosen.findings}


def test_clocks_that_differ_by_five_minutes_are_believed() -> None:
    observed = old(retiring(since=NOW - 2 * DAY), vault_now=NOW - 5 * MINUTE)
    assert kinds(plan(observed, NOW)) == DISABLING


def test_a_hold_stops_disable_and_delete_but_not_what_an_operator_retired() -> None:
    for entry in (retiring(), quarantined(disabled_at=NOW - 9 * DAY)):
        held = ledger(retiring=(entry,), hold=HELD)
        key = issued(B, disabled=entry.disabled_at is not None)
        assert plan(snapshot(held, looks=looks(key)), NOW).steps == ()
    asked = ledger(retiring=(retiring(why=Reason.RETIRED),), hold=HELD, failure=FAILURE)
    assert kinds(plan(snapshot(asked, looks=looks(issued(B))), NOW)) == DISABLING


def test_a_failure_backs_off_the_removal_of_old_keys_too() -> None:
    failed = ledger(retiring=(retiring(),), failure=FAILURE)
    chosen = plan(snapshot(failed, looks=looks(issued(B))), NOW)
    assert (chosen.steps, chosen.wake_at) == ((), FAILURE.next_try)


def test_a_key_that_is_served_as_well_as_retiring_is_left_alone() -> None:
    observed = snapshot(ledger(retiring=(retiring(A), retiring(B))), looks=looks(issued(A)))
    assert plan(observed, NOW).needs == (NeedLook(B),)


# Disable found done, quarantine, delete.


def test_a_key_that_somebody_disabled_already_starts_its_quarantine_when_that_is_seen() -> None:
    observed = old(retiring(), looks=looks(issued(B, disabled=True)))
    assert the_edit(plan(observed, NOW), KeyDisabled) == KeyDisabled(B, NOW)


def test_quarantine_counts_from_the_actual_disable() -> None:
    entry = quarantined(since=NOW - 90 * DAY, disabled_at=NOW - 3 * DAY + SECOND)
    observed = old(entry, looks=looks(issued(B, disabled=True)))
    chosen = plan(observed, NOW)
    assert (chosen.steps, chosen.wake_at) == ((), NOW + 2 * SECOND)
    over = replace(entry, disabled_at=NOW - 3 * DAY)
    chosen = plan(old(over, looks=looks(issued(B, disabled=True))), NOW)
    make, delete, _ = chosen.steps
    assert isinstance(make, MakeClaim)
    assert (make.claim.kind, make.claim.key) == (ClaimKind.DELETE, B)
    assert delete == Delete(B, PATH)
    assert chosen.reason is Reason.QUARANTINE_OVER


def test_a_delete_waits_for_a_look_of_this_pass() -> None:
    over = quarantined(since=NOW - 9 * DAY, disabled_at=NOW - 3 * DAY)
    assert plan(old(over, looks={}), NOW).needs == (NeedLook(B),)


def test_a_key_that_a_person_enabled_again_in_quarantine_is_reported_not_deleted() -> None:
    observed = old(quarantined(since=NOW - 9 * DAY, disabled_at=NOW - 3 * DAY))
    chosen = plan(observed, NOW)
    assert the_edit(chosen, EnabledByHand).key == B
    book = after(observed, chosen)
    again = plan(snapshot(book, looks=looks(issued(B))), NOW + 900 * DAY)
    assert again.steps == ()
    assert Finding(Reason.ENABLED_BY_HAND, "", B, attention=True) in again.findings


def test_a_key_enabled_by_hand_can_be_retired_by_hand() -> None:
    back = quarantined(since=NOW - 9 * DAY, disabled_at=NOW - 3 * DAY, enabled_by_hand=True)
    book = RetireByHand(frozenset({B})).apply(ledger(retiring=(back, quarantined(C))))
    assert kinds(plan(snapshot(book, looks=looks(issued(B))), NOW)) == DISABLING
    untouched = book.entry(C)
    assert untouched == quarantined(C)


def test_a_key_retired_by_hand_in_its_quarantine_stays_in_it() -> None:
    book = RetireByHand(frozenset({B})).apply(ledger(retiring=(quarantined(),)))
    (entry,) = book.retiring
    assert standing(entry, POLICY, NOW).stage is Stage.QUARANTINE


# A key that is gone.


def test_a_key_that_is_gone_is_believed_so_while_another_known_key_answers() -> None:
    observed = old(retiring(), looks=looks(issued(A), gone=(B,)))
    assert the_edit(plan(observed, NOW), KeyRemoved).key == B


def test_another_known_key_is_asked_for_first_the_served_one() -> None:
    assert plan(old(retiring(), looks=looks(gone=(B,))), NOW).needs == (NeedLook(A),)


def test_where_no_known_key_answers_nothing_is_believed() -> None:
    observed = old(retiring(B), retiring(C), looks=looks(gone=(A, B, C)), served_works=False)
    observed = replace(observed, secret=seen(3, A))
    observed = replace(observed, ledger=LedgerSeen(7, NOW, replace(observed.book, served=None)))
    observed = replace(observed, secret=DELETED)
    chosen = plan(observed, NOW)
    assert chosen.reason is Reason.FIRST_KEY  # additions first; and nothing was removed
    held = replace(observed.book, hold=HELD)
    gone = plan(snapshot(held, looks=looks(gone=(A, B, C))), NOW)
    assert not any(isinstance(step, KeyRemoved) for step in gone.steps)


def gone_alone(**changes: Any) -> Plan:
    """B is gone, and nothing is served; its target is let go, so no first key comes."""
    book = ledger(served=None, retiring=(retiring(),))
    base = snapshot(book, target=target(configured=False), looks=looks(gone=(B,)))
    return plan(replace(base, **changes), NOW)


def test_a_key_of_another_target_answers_for_the_account() -> None:
    assert gone_alone(served_by={D: frozenset({"payroll"})}).needs == (NeedLook(D),)


def test_another_key_that_is_gone_too_answers_for_nothing() -> None:
    book = ledger(served=None, retiring=(retiring(B), retiring(C)))
    observed = snapshot(book, target=target(configured=False), looks=looks(gone=(B, C)))
    chosen = plan(observed, NOW)
    assert chosen.steps == ()
    assert {each.reason for each in chosen.findings} == {Reason.WRONG_ACCOUNT}


def test_without_any_other_key_the_account_may_be_another() -> None:
    chosen = gone_alone()
    assert chosen.steps == ()
    assert chosen.findings[-1] == Finding(Reason.WRONG_ACCOUNT, "", B, attention=True)


@pytest.mark.parametrize("others", [0, 1, 2, 3, 4])
def test_up_to_three_other_keys_are_asked_for_the_served_one_first(others: int) -> None:
    """More would be as many calls as there are old keys."""
    names = [h(f"old {number}") for number in range(others)]
    book = ledger(retiring=(retiring(B), *(retiring(each, since=NOW) for each in names)))
    base = snapshot(book, target=target(configured=False))
    asked: list[str] = []
    while needs := plan(replace(base, looks=looks(gone=(B, *asked))), NOW).needs:
        (need,) = needs
        assert isinstance(need, NeedLook)
        asked.append(need.key)
    assert asked == [A, *names][:3]
    chosen = plan(replace(base, looks=looks(gone=(B, *asked))), NOW)
    assert chosen.findings[1:] == (Finding(Reason.WRONG_ACCOUNT, "", B, attention=True),)


# Keys of another path.


def test_retiring_entries_of_an_old_path_are_finished_against_that_path() -> None:
    observed = old(retiring(secret=OTHER_PATH))
    assert plan(observed, NOW).steps[1] == Disable(B, OTHER_PATH)


def test_the_stages_of_a_life_come_in_order() -> None:
    """One key that is in use for an hour after its grace."""
    entry = retiring(since=NOW)
    stages = [standing(entry, POLICY, NOW + hours * HOUR).stage for hours in (0, 23, 24)]
    key = issued(B, last_used_at=NOW + 24 * HOUR)
    stages.append(standing(entry, POLICY, NOW + 24 * HOUR, key).stage)
    stages.append(standing(entry, POLICY, NOW + 25 * HOUR, key).stage)
    entry = replace(entry, disabled_at=NOW + 25 * HOUR)
    stages.append(standing(entry, POLICY, NOW + 26 * HOUR).stage)
    stages.append(standing(entry, POLICY, NOW + 97 * HOUR).stage)
    assert stages == [
        Stage.GRACE,
        Stage.GRACE,
        Stage.LOOK,
        Stage.DRAIN,
        Stage.DISABLE,
        Stage.QUARANTINE,
        Stage.DELETE,
    ]


MAY_DISABLE = PolicyDurations.of(policy(then=AfterDeadline.DISABLE))
LOOKED = retiring(since=NOW - DAY, looked_at=NOW, last_used_at=NOW - MINUTE)
"""In use at the look that came with the end of its grace; it can be quiet after 59 minutes."""
OVER = NOW + 7 * DAY
"""When its deadline is over."""


@pytest.mark.parametrize(
    ("entry", "given", "now", "place"),
    [
        (retiring(since=NOW, why=Reason.RETIRED), POLICY, NOW,
         Standing(Stage.DISABLE, NOW, Reason.RETIRED)),
        (retiring(since=NOW - DAY), POLICY, NOW, Standing(Stage.LOOK, NOW, Reason.SUPERSEDED)),
        (LOOKED, POLICY, NOW, Standing(Stage.DRAIN, NOW + 59 * MINUTE, Reason.STILL_USED)),
        (LOOKED, POLICY, NOW + 59 * MINUTE,
         Standing(Stage.LOOK, NOW + 59 * MINUTE, Reason.STILL_USED)),
        (replace(LOOKED, looked_at=OVER - MINUTE, last_used_at=OVER), POLICY, OVER - SECOND,
         Standing(Stage.DRAIN, OVER + 59 * MINUTE, Reason.STILL_USED)),
        (replace(LOOKED, looked_at=OVER - MINUTE, last_used_at=OVER), POLICY, OVER,
         Standing(Stage.BLOCKED, OVER + 59 * MINUTE, Reason.BLOCKED)),
        (replace(LOOKED, looked_at=OVER - MINUTE, last_used_at=OVER), MAY_DISABLE, OVER - SECOND,
         Standing(Stage.DRAIN, OVER, Reason.STILL_USED)),
        (replace(LOOKED, looked_at=OVER - MINUTE, last_used_at=OVER), MAY_DISABLE, OVER,
         Standing(Stage.LOOK, OVER, Reason.STILL_USED)),
        (replace(LOOKED, looked_at=OVER, last_used_at=OVER), MAY_DISABLE, OVER + MINUTE,
         Standing(Stage.LOOK, OVER + MINUTE, Reason.STILL_USED)),
        (replace(LOOKED, looked_at=OVER, last_used_at=OVER, minted_by_us=False), MAY_DISABLE,
         OVER + MINUTE, Standing(Stage.BLOCKED, OVER + HOUR, Reason.BLOCKED)),
        (replace(LOOKED, quiet_since=NOW - 9 * MINUTE), POLICY, NOW,
         Standing(Stage.DRAIN, NOW + 59 * MINUTE, Reason.STILL_USED)),
        (replace(LOOKED, quiet_since=NOW - 9 * MINUTE), replace(POLICY, evidence=Evidence.USAGE),
         NOW, Standing(Stage.DRAIN, NOW + 51 * MINUTE, Reason.STILL_USED)),
        (replace(LOOKED, disabled_at=NOW), POLICY, NOW + HOUR,
         Standing(Stage.QUARANTINE, NOW + 3 * DAY, Reason.SUPERSEDED)),
        (replace(LOOKED, disabled_at=NOW), POLICY, NOW + 3 * DAY,
         Standing(Stage.DELETE, NOW + 3 * DAY, Reason.QUARANTINE_OVER)),
    ],
    ids=[
        "at once", "first look", "between looks", "look again", "before the deadline", "blocked", "until the deadline",
        "at the deadline", "past the deadline", "not ours", "last use counts", "spending counts",
        "quarantine", "delete",
    ],
)  # fmt: skip
def test_where_a_key_is_that_nobody_asks_about_now(
    entry: RetiringKey, given: PolicyDurations, now: datetime, place: Standing
) -> None:
    assert standing(entry, given, now) == place


@pytest.mark.parametrize(
    ("given", "now", "minutes", "place"),
    [
        (POLICY, NOW, 60, Standing(Stage.DISABLE, NOW, Reason.DRAINED)),
        (POLICY, NOW, 59, Standing(Stage.DRAIN, OVER, Reason.STILL_USED)),
        (POLICY, OVER, 59, Standing(Stage.BLOCKED, None, Reason.BLOCKED)),
        (MAY_DISABLE, OVER, 59, Standing(Stage.DISABLE, OVER, Reason.DEADLINE)),
    ],
    ids=["quiet", "in use", "blocked", "deadline"],
)
def test_where_a_key_is_that_was_just_looked_at(
    given: PolicyDurations, now: datetime, minutes: int, place: Standing
) -> None:
    look = issued(B, last_used_at=now - minutes * MINUTE)
    assert standing(retiring(since=NOW - DAY), given, now, look) == place


def test_a_use_in_the_future_does_not_put_the_next_look_off_for_years() -> None:
    entry = retiring(B, since=NOW - 3 * DAY, looked_at=NOW, last_used_at=NOW + 3650 * DAY)
    place = standing(entry, POLICY, NOW + MINUTE)
    assert place.until is not None
    assert place.until <= NOW + POLICY.quiet_for
