"""When a key is replaced, what keeps that from starting, and what the new key is asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rotator.core.keys import IssuedKey, NewKey, completed, differences
from rotator.core.ledger import ClaimKind, KeyTerms
from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.request import Before
from rotator.core.rotation import new_key
from rotator.core.snapshot import Demand, LedgerSeen, Snapshot
from rotator.core.steps import Finding, MakeClaim, Mint, NeedLook, PromoteMinted
from rotator.core.target import Blackout, KeySettings, Window
from tests.core.builders import (
    DAY,
    DELETED,
    DRAWN_NONCE,
    FAILURE,
    FOREIGN,
    HELD,
    HOUR,
    MINUTE,
    NO_SECRET,
    NOW,
    OTHER_PATH,
    PATH,
    WRITTEN,
    A,
    B,
    after,
    issued,
    kinds,
    ledger,
    looks,
    marked,
    policy,
    quarantined,
    retiring,
    seen,
    served,
    snapshot,
    target,
)

DUE = ledger(served=served(due_from=NOW - 30 * DAY))
"""The ledger of a target whose key is thirty days old to the second."""
STEPS = ["MakeClaim", "Mint", "Verify", "Publish", "PromoteMinted"]


def due(**changes: Any) -> Snapshot:
    """A target that is due, and whose key was looked at."""
    return replace(snapshot(DUE, looks=looks(issued(A))), **changes)


# When.


def test_a_key_that_reached_its_age_is_replaced_additions_first() -> None:
    chosen = plan(due(), NOW)
    assert (chosen.reason, chosen.urgent) == (Reason.EVERY, False)
    assert kinds(chosen) == STEPS
    make = chosen.steps[0]
    assert isinstance(make, MakeClaim)
    assert (make.claim.kind, make.claim.nonce) == (ClaimKind.ROTATE, DRAWN_NONCE)
    assert (make.claim.base_version, make.claim.base_created_time) == (3, WRITTEN)


def test_a_due_key_is_looked_at_by_its_hash_and_not_by_listing() -> None:
    assert plan(due(looks={}), NOW).needs == (NeedLook(A),)


def test_a_key_that_is_not_due_costs_nothing_and_says_when_it_will_be() -> None:
    chosen = plan(snapshot(), NOW)
    assert (chosen.reason, chosen.steps, chosen.needs) == (Reason.NOT_DUE, (), ())
    # One second later than due, for Vault's whole seconds.
    assert chosen.wake_at == WRITTEN + 30 * DAY + timedelta(seconds=1)


def test_a_local_clock_that_leapt_ahead_starts_no_storm() -> None:
    ahead = NOW + 300 * DAY
    assert plan(snapshot(), ahead).steps == ()


def test_targets_first_seen_overdue_are_spread_over_adopt_over() -> None:
    adopted = ledger(served=served(due_from=NOW - 300 * DAY, claimed_at=None), first_seen=NOW)
    chosen = plan(snapshot(adopted), NOW)
    assert (chosen.reason, chosen.steps) == (Reason.NOT_DUE, ())
    assert chosen.wake_at is not None
    assert NOW < chosen.wake_at < NOW + 7 * DAY
    later = NOW + 7 * DAY
    observed = snapshot(adopted, vault_now=later, looks=looks(issued(A)))
    assert plan(observed, later).reason is Reason.ADOPTED


def test_a_key_that_was_rotated_here_is_no_adopted_one_whatever_the_clock_said_at_first() -> None:
    # The clock was a day ahead when the target was first seen, or a day behind ever since.
    made = NOW - 30 * DAY
    own = served(due_from=made, claimed_at=made)
    observed = snapshot(ledger(served=own, first_seen=NOW + DAY), looks=looks(issued(A)))
    assert plan(observed, NOW).reason is Reason.EVERY


def test_a_key_expires_by_vaults_clock_where_this_machines_is_behind() -> None:
    book = ledger(served=served(expires_at=NOW + 8 * DAY))
    observed = snapshot(book, looks=looks(issued(A)))
    assert plan(observed, NOW - 2 * DAY).reason is Reason.EXPIRING


def test_a_local_clock_that_leapt_ahead_makes_no_key_expire() -> None:
    book = ledger(served=served(expires_at=NOW + 9 * DAY))
    observed = snapshot(book, looks=looks(issued(A)))
    chosen = plan(observed, NOW + 2 * DAY)
    assert (chosen.reason, chosen.steps) == (Reason.NOT_DUE, ())
    assert chosen.wake_at == NOW + 3 * DAY + timedelta(seconds=1)


def test_an_expiring_key_overrides_windows_and_blackouts() -> None:
    today = Blackout(NOW.date(), NOW.date())
    closed = policy(blackouts=(today,), windows=(Window(frozenset({6}), 0, 60),))
    ends = NOW + 8 * DAY - timedelta(seconds=1)
    book = ledger(served=served(expires_at=ends))
    observed = snapshot(book, target=target(policy=closed), looks=looks(issued(A)))
    chosen = plan(observed, NOW)
    assert chosen.reason is Reason.EXPIRING
    assert chosen.steps


def test_a_key_with_just_grace_and_deadline_left_is_about_to_be_due_for_it() -> None:
    book = ledger(served=served(expires_at=NOW + 8 * DAY + HOUR))
    chosen = plan(snapshot(book), NOW)
    assert (chosen.steps, chosen.wake_at) == ((), NOW + HOUR + timedelta(seconds=1))


def test_an_expiry_far_off_changes_nothing() -> None:
    book = ledger(served=served(expires_at=NOW + 300 * DAY))
    assert plan(snapshot(book), NOW) == plan(snapshot(), NOW)


def test_an_expiry_counts_where_the_schedule_is_later() -> None:
    book = ledger(served=served(expires_at=NOW + 8 * DAY))
    observed = snapshot(book, looks=looks(issued(A)))
    assert plan(observed, NOW).reason is Reason.EXPIRING


def test_an_expiry_that_asks_for_it_no_sooner_than_the_schedule_is_not_the_reason() -> None:
    due_now = served(due_from=NOW - 30 * DAY, expires_at=NOW + 8 * DAY)
    assert (
        plan(snapshot(ledger(served=due_now), looks=looks(issued(A))), NOW).reason is Reason.EVERY
    )


@pytest.mark.parametrize("gate", ["window", "blackout"])
def test_windows_and_blackouts_gate_the_start_of_a_rotation(gate: str) -> None:
    closed = (
        policy(windows=(Window(frozenset({6}), 0, 60),))
        if gate == "window"
        else policy(blackouts=(Blackout(NOW.date(), NOW.date()),))
    )
    chosen = plan(due(target=target(policy=closed)), NOW)
    assert (chosen.steps, chosen.needs) == ((), ())
    assert chosen.wake_at is not None
    assert chosen.wake_at > NOW


def test_max_age_overrides_windows_and_not_blackouts() -> None:
    windows = (Window(frozenset({6}), 0, 60),)
    aged = policy(windows=windows, max_age=30 * DAY)
    assert plan(due(target=target(policy=aged)), NOW).reason is Reason.MAX_AGE
    black = replace(aged, blackouts=(Blackout(NOW.date(), NOW.date()),))
    assert plan(due(target=target(policy=black)), NOW).steps == ()


@pytest.mark.parametrize("secret", [NO_SECRET, DELETED], ids=["never one", "deleted"])
def test_a_first_key_is_made_at_once_whatever_the_windows_say(secret: Any) -> None:
    closed = policy(windows=(Window(frozenset({6}), 0, 60),))
    observed = snapshot(ledger(served=None), target=target(policy=closed), secret=secret)
    chosen = plan(observed, NOW)
    assert (chosen.reason, kinds(chosen)) == (Reason.FIRST_KEY, STEPS)
    make = chosen.steps[0]
    assert isinstance(make, MakeClaim)
    assert make.claim.base_version == secret.version


def test_a_target_let_go_is_not_rotated() -> None:
    assert plan(due(target=target(configured=False), demand=Demand()), NOW).steps == ()


# Demands.


def test_a_demand_rotates_whatever_the_schedule() -> None:
    chosen = plan(snapshot(demand=Demand(), looks=looks(issued(A))), NOW)
    assert (chosen.reason, kinds(chosen)) == (Reason.REQUESTED, STEPS)


@pytest.mark.parametrize("before", [Before(), Before(B), Before(B, NOW)])
def test_a_demand_is_fulfilled_once(before: Before) -> None:
    assert plan(snapshot(demand=Demand(before=before)), NOW).reason is Reason.NOT_DUE


@pytest.mark.parametrize("before", [Before(A), Before(B, WRITTEN)], ids=["it", "under way"])
def test_a_demand_is_fulfilled_by_no_key_that_was_there_or_under_way(before: Before) -> None:
    observed = snapshot(demand=Demand(before=before), looks=looks(issued(A)))
    assert plan(observed, NOW - 400 * DAY).reason is Reason.REQUESTED, "nor by what a clock says"


def test_a_demand_replaces_an_adopted_key_whose_claim_nobody_knows() -> None:
    book = ledger(served=served(claimed_at=None))
    observed = snapshot(book, demand=Demand(before=Before(B)), looks=looks(issued(A)))
    assert plan(observed, NOW).reason is Reason.REQUESTED


def test_compromised_skips_windows_blackouts_and_hold_and_dooms_all_predecessors() -> None:
    closed = policy(
        windows=(Window(frozenset({6}), 0, 60),), blackouts=(Blackout(NOW.date(), NOW.date()),)
    )
    book = ledger(hold=HELD, failure=FAILURE, retiring=(retiring(B),))
    demand = Demand(named=False, compromised=True)
    observed = snapshot(
        book, target=target(policy=closed), demand=demand, looks=looks(issued(A), issued(B))
    )
    chosen = plan(observed, NOW)
    assert (chosen.reason, chosen.urgent, kinds(chosen)) == (Reason.COMPROMISED, True, STEPS)
    assert chosen.steps[-1] == PromoteMinted(compromised=True)


def test_none_is_disabled_before_the_new_key_is_served_then_all_at_once() -> None:
    """The plan that replaces a compromised key disables nothing; the next ones do."""
    doomed = tuple(
        retiring(each, why=Reason.COMPROMISED, since=NOW, minted_by_us=each != B) for each in (A, B)
    )
    book = ledger(served=served("f" * 64), retiring=doomed, hold=HELD, failure=FAILURE)
    closed = policy(windows=(Window(frozenset({6}), 0, 60),))
    observed = snapshot(book, target=target(policy=closed), looks=looks(issued(A), issued(B)))
    chosen = plan(observed, NOW)
    assert kinds(chosen) == ["MakeClaim", "Disable", "RecordDisabled"]
    assert chosen.urgent


# What keeps a due rotation from starting.


def test_a_hold_stops_scheduled_rotation_and_max_age_too() -> None:
    held = replace(DUE, hold=HELD)
    aged = target(policy=policy(max_age=30 * DAY))
    chosen = plan(due(ledger=LedgerSeen(7, NOW, held), target=aged), NOW)
    assert (chosen.reason, chosen.steps) == (Reason.HELD, ())
    assert chosen.findings == (Finding(Reason.HELD, "By ops: audit week"),)


@pytest.mark.parametrize(("named", "passes"), [(True, True), (False, False)])
def test_only_a_rotate_that_names_it_passes_a_hold(named: bool, passes: bool) -> None:
    held = snapshot(ledger(hold=HELD), demand=Demand(named=named), looks=looks(issued(A)))
    assert bool(plan(held, NOW).steps) == passes


def test_a_failure_with_nothing_left_to_retry_is_forgotten_when_its_time_has_come() -> None:
    failed = replace(ledger(), failure=replace(FAILURE, next_try=NOW))
    observed = snapshot(failed)
    chosen = plan(observed, NOW)
    assert chosen.reason is Reason.FAILURE_OVER
    assert after(observed, chosen).failure is None
    waiting = replace(ledger(), failure=FAILURE)
    assert plan(snapshot(waiting), NOW).steps == ()
    assert plan(snapshot(failed, may_read_values=False), NOW).steps == ()


def test_a_failure_backs_off_and_says_when_it_is_tried_again() -> None:
    failed = replace(DUE, failure=FAILURE)
    chosen = plan(due(ledger=LedgerSeen(7, NOW, failed)), NOW)
    assert (chosen.reason, chosen.steps) == (Reason.BACKING_OFF, ())
    assert chosen.wake_at == FAILURE.next_try
    assert chosen.findings == (Finding(Reason.BACKING_OFF, "no answer"),)
    asked = due(ledger=LedgerSeen(7, NOW, failed), demand=Demand())
    assert plan(asked, NOW).steps
    assert plan(
        due(ledger=LedgerSeen(7, NOW, failed), vault_now=FAILURE.next_try), FAILURE.next_try
    ).steps


def test_a_failure_stays_while_something_else_keeps_it_from_being_tried_again() -> None:
    """And that stop, unlike a back-off, ends at no time of its own."""
    overdue = served(due_from=NOW - 40 * DAY)
    for failure in (FAILURE, replace(FAILURE, next_try=NOW - HOUR)):
        chosen = plan(snapshot(ledger(served=overdue, failure=failure, hold=HELD)), NOW)
        assert (chosen.reason, chosen.steps, chosen.wake_at) == (Reason.HELD, (), None)


@pytest.mark.parametrize(
    "demand",
    [None, Demand(), Demand(compromised=True)],
    ids=["due", "named", "compromised"],
)
def test_two_targets_that_serve_the_same_key_are_reported_and_not_rotated(demand: Any) -> None:
    chosen = plan(due(served_by={A: frozenset({"billing", "payroll"})}, demand=demand), NOW)
    assert (chosen.reason, chosen.steps) == (Reason.SERVED_TWICE, ())
    assert chosen.findings[0] == Finding(Reason.SERVED_TWICE, "Also: payroll.", A, attention=True)


def test_two_targets_that_serve_the_same_key_are_reported_before_they_are_due() -> None:
    chosen = plan(snapshot(served_by={A: frozenset({"payroll"})}), NOW)
    assert [each.reason for each in chosen.findings] == [Reason.SERVED_TWICE]


def test_a_blocked_target_goes_on_rotating() -> None:
    blocked = retiring(B, since=NOW - 20 * DAY, looked_at=NOW - MINUTE, last_used_at=NOW - MINUTE)
    observed = due(ledger=LedgerSeen(7, NOW, replace(DUE, retiring=(blocked,))))
    assert kinds(plan(observed, NOW)) == STEPS


def test_several_predecessors_do_not_keep_the_next_rotation_from_starting() -> None:
    old = (retiring(B), quarantined("c" * 64), retiring("d" * 64, since=NOW))
    observed = due(ledger=LedgerSeen(7, NOW, replace(DUE, retiring=old)))
    assert kinds(plan(observed, NOW)) == STEPS


def test_foreign_findings_are_shown_while_nothing_is_due() -> None:
    book = ledger(served=None, foreign=FOREIGN)
    assert plan(snapshot(book), NOW).findings == (
        Finding(Reason.FOREIGN_VALUE, f"At {PATH}.", attention=True),
    )


# What the new key is asked for.


def asked(settings: KeySettings, old: Any, **changes: Any) -> NewKey | None:
    """The order for a replacement of A, which was looked at."""
    book = ledger(served=served(**changes))
    return new_key(snapshot(book, target=target(key=settings)), old, NOW)


def order(settings: KeySettings, old: Any, **changes: Any) -> NewKey:
    """The order, which must be one."""
    new = asked(settings, old, **changes)
    assert new is not None
    return new


NOTHING = KeySettings()


def test_the_name_carries_instance_installation_target_and_nonce() -> None:
    assert order(NOTHING, issued(A)).name == marked(DRAWN_NONCE)


def test_what_the_configuration_leaves_out_is_inherited() -> None:
    old = issued(
        A,
        limit=50.0,
        limit_remaining=1.0,
        limit_reset="monthly",
        include_byok_in_limit=True,
        workspace_id="work-1",
        creator_user_id="user-1",
    )
    new = order(NOTHING, old)
    assert (new.limit, new.limit_reset) == (50.0, "monthly")
    assert (new.include_byok_in_limit, new.workspace_id) == (True, "work-1")
    assert (new.creator_user_id, new.expires_at) == ("user-1", None)


def test_what_the_configuration_says_wins() -> None:
    old = issued(A, limit=50.0, limit_reset="monthly", include_byok_in_limit=True)
    settings = KeySettings(7.0, "daily", include_byok_in_limit=False, workspace_id="work-2")
    new = order(settings, old)
    assert (new.limit, new.limit_reset) == (7.0, "daily")
    assert (new.include_byok_in_limit, new.workspace_id) == (False, "work-2")


@pytest.mark.parametrize(
    ("remaining", "limit"), [(12.5, 12.5), (0.0, 0.0), (-3.0, 0.0), (50.0, 50.0)]
)
def test_without_a_reset_the_limit_is_what_is_left_and_nothing_left_is_0_never_null(
    remaining: float, limit: float
) -> None:
    assert order(NOTHING, issued(A, limit=50.0, limit_remaining=remaining)).limit == limit


def test_a_configured_cap_without_a_reset_does_not_refill_by_rotation() -> None:
    settings = KeySettings(limit=50.0)
    assert order(settings, issued(A, limit=50.0, limit_remaining=2.0)).limit == 2.0
    assert order(settings, issued(A, limit=90.0, limit_remaining=80.0)).limit == 50.0
    assert order(settings, issued(A)).limit == 50.0  # the old one was unlimited


def test_an_unlimited_key_stays_unlimited() -> None:
    assert order(NOTHING, issued(A)).limit is None


@pytest.mark.parametrize("settings", [NOTHING, KeySettings(limit=50.0)])
def test_unknown_limits_make_no_key(settings: KeySettings) -> None:
    assert asked(settings, issued(A, limits_known=False)) is None
    assert asked(settings, issued(A, limit=50.0, limit_remaining=None)) is None


def test_a_key_that_is_gone_is_replaced_by_what_is_remembered_of_it() -> None:
    monthly = KeyTerms(5.0, "monthly", include_byok_in_limit=True, creator_user_id="user-1")
    new = order(NOTHING, None, terms=monthly, workspace="work-1")
    assert (new.limit, new.limit_reset, new.include_byok_in_limit) == (5.0, "monthly", True)
    assert (new.workspace_id, new.creator_user_id) == ("work-1", "user-1")


def test_a_key_that_is_gone_with_a_lifetime_cap_makes_no_key_unless_one_is_configured() -> None:
    lifetime = KeyTerms(5.0, None, include_byok_in_limit=False, creator_user_id=None)
    assert asked(NOTHING, None, terms=lifetime) is None
    assert asked(NOTHING, None, terms=None) is None
    assert order(KeySettings(limit=9.0), None, terms=None).limit == 9.0


def test_a_lifetime_cap_does_not_grow_when_the_key_that_had_it_is_gone() -> None:
    lifetime = KeyTerms(5.0, None, include_byok_in_limit=False, creator_user_id=None)
    assert order(KeySettings(limit=50.0), None, terms=lifetime).limit == 5.0
    assert order(KeySettings(limit=3.0), None, terms=lifetime).limit == 3.0
    assert order(KeySettings(limit=50.0), None, terms=replace(lifetime, limit=None)).limit == 50.0
    assert order(KeySettings(50.0, "daily"), None, terms=lifetime).limit == 50.0


def test_the_workspace_that_the_ledger_knows_stands_in_where_the_answer_does_not_say() -> None:
    assert order(NOTHING, issued(A), workspace="work-1").workspace_id == "work-1"


def test_the_expiry_is_computed_afresh_in_whole_seconds() -> None:
    settings = KeySettings(expires_in=60 * DAY)
    observed = snapshot(target=target(key=settings))
    later = NOW + timedelta(microseconds=123456)
    new = new_key(observed, issued(A, expires_at=NOW), later)
    assert new is not None
    assert new.expires_at == NOW + 60 * DAY


@pytest.mark.parametrize("wrong", [-DAY, DAY])
def test_a_wrong_clock_makes_no_key_with_less_to_live_than_configured(wrong: timedelta) -> None:
    observed = snapshot(target=target(key=KeySettings(expires_in=60 * DAY)))
    new = new_key(observed, issued(A), NOW + wrong)
    assert new is not None
    assert new.expires_at == max(NOW, NOW + wrong) + 60 * DAY


def test_a_first_key_takes_what_the_configuration_says_alone() -> None:
    observed = snapshot(ledger(served=None), target=target(key=KeySettings(limit=5.0)))
    new = new_key(observed, None, NOW)
    assert new == NewKey(marked(DRAWN_NONCE), limit=5.0)


def test_no_key_is_made_where_the_limit_cannot_be_told_and_a_person_is_told() -> None:
    chosen = plan(due(looks=looks(issued(A, limits_known=False))), NOW)
    assert (chosen.reason, chosen.steps) == (Reason.LIMIT_UNKNOWN, ())
    assert chosen.findings == (Finding(Reason.LIMIT_UNKNOWN, attention=True),)


def test_the_claim_names_the_workspace_in_which_the_key_will_be_found() -> None:
    chosen = plan(due(looks=looks(issued(A, workspace_id="work-1"))), NOW)
    make, mint = chosen.steps[:2]
    assert isinstance(make, MakeClaim)
    assert isinstance(mint, Mint)
    assert (make.claim.workspace, mint.new.workspace_id) == ("work-1", "work-1")


def test_a_moved_target_is_published_at_its_new_path() -> None:
    moved = ledger(secret=OTHER_PATH, served=None)
    observed = snapshot(moved, target=target(secret=OTHER_PATH), secret=seen(0, live=False))
    assert kinds(plan(observed, NOW)) == STEPS


# What the answer to the create says.


ORDER = NewKey(
    "name",
    limit=454.542594979,
    limit_reset="daily",
    include_byok_in_limit=True,
    expires_at=NOW + 60 * DAY,
    workspace_id="work-1",
    creator_user_id="user-1",
)


def answer(**changes: Any) -> IssuedKey:
    """What OpenRouter says of a key that was made as ordered, but for the changes."""
    made = issued(
        A,
        limit=ORDER.limit,
        limit_reset="daily",
        include_byok_in_limit=True,
        expires_at=ORDER.expires_at,
        workspace_id="work-1",
        creator_user_id="user-1",
    )
    return replace(made, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"limit": 454.54},
        {"expires_at": NOW + 60 * DAY + timedelta(milliseconds=7)},
        {"expires_at": None, "workspace_id": None, "creator_user_id": None},
        {"limits_known": False, "limit": None, "limit_reset": None, "include_byok_in_limit": False},
    ],
    ids=["as asked", "rounded", "with a fraction of a second", "told less", "limits unknown"],
)
def test_a_key_is_as_it_was_ordered_by_all_that_the_answer_tells(changes: dict[str, Any]) -> None:
    assert differences(ORDER, answer(**changes)) == ""


@pytest.mark.parametrize(("got", "as_ordered"), [(49.99, True), (49.98, False), (50.01, False)])
def test_a_limit_may_be_up_to_a_cent_less_than_was_asked_for(got: float, as_ordered: bool) -> None:
    order = NewKey("rotator/b/i/app/n", limit=50.0)
    assert (differences(order, issued(A, limit=got, limit_remaining=got)) == "") is as_ordered


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"limit": 454.55}, "asked for limit 454.542594979 daily, got 454.55 daily"),
        ({"limit": 454.53}, "asked for limit 454.542594979 daily, got 454.53 daily"),
        ({"limit": None}, "asked for limit 454.542594979 daily, got None daily"),
        (
            {"limit_reset": None},
            "asked for limit 454.542594979 daily, got 454.542594979 None",
        ),
        ({"include_byok_in_limit": False}, "asked for include_byok_in_limit True, got False"),
        (
            {"expires_at": NOW + 59 * DAY},
            f"asked for expires_at {NOW + 60 * DAY}, got {NOW + 59 * DAY}",
        ),
        ({"workspace_id": "work-2"}, "asked for workspace_id work-1, got work-2"),
        (
            {"workspace_id": "work-2", "creator_user_id": "user-2"},
            "asked for workspace_id work-1, got work-2; asked for creator_user_id user-1, got user-2",
        ),
    ],
)
def test_a_key_that_is_not_as_it_was_ordered_is_told_by_what_differs(
    changes: dict[str, Any], said: str
) -> None:
    assert differences(ORDER, answer(**changes)) == said


def test_what_was_not_ordered_may_be_anything_but_a_cap_or_an_end() -> None:
    plain = NewKey("name")
    assert differences(plain, issued(A, workspace_id="work-1", creator_user_id="user-1")) == ""
    assert "got 5.0 None" in differences(plain, issued(A, limit=5.0, limit_remaining=5.0))
    assert "asked for expires_at None" in differences(plain, issued(A, expires_at=NOW))


def test_what_the_answer_leaves_out_is_taken_as_it_was_ordered() -> None:
    silent = answer(expires_at=None, workspace_id=None, creator_user_id=None)
    assert completed(ORDER, silent) == answer()
    other = answer(expires_at=NOW, workspace_id="work-2", creator_user_id="user-2")
    assert completed(ORDER, other) == other
