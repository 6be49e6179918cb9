"""Which older key is served again, by which steps, and what refuses it before anything changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rotator.core.edits import GraceAfresh, Promote
from rotator.core.ledger import ClaimKind, Ledger, RetiringKey
from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.recovery import served_again
from rotator.core.rollback import OLDEST, choose
from rotator.core.snapshot import Demand, LedgerSeen, Rollback, Snapshot
from rotator.core.steps import (
    Enable,
    Finding,
    MakeClaim,
    NeedListing,
    NeedLook,
    NeedValue,
    NeedVersions,
    Plan,
    PromoteRecalled,
    Publish,
    Recall,
    Verify,
)
from tests.core.builders import (
    ABSENT,
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
    claim,
    issued,
    kinds,
    ledger,
    looks,
    quarantined,
    retiring,
    seen,
    served,
    snapshot,
    the_edit,
)

BACK_TO_B = Demand(rollback=Rollback(B))
SETTLE = Demand(rollback=Rollback())


def wanted(*entries: RetiringKey, book: dict[str, Any] | None = None, **changes: Any) -> Snapshot:
    """B is asked for, OpenRouter shows it enabled, and version 2 holds its value."""
    entries = entries or (retiring(),)
    base: dict[str, Any] = {
        "demand": BACK_TO_B,
        "looks": looks(issued(B)),
        "versions": {2: B, 1: None},
    }
    return snapshot(ledger(retiring=entries, **(book or {})), **{**base, **changes})


def refused(chosen: Plan) -> Finding:
    """The one finding of a plan that changes nothing."""
    assert chosen.steps == ()
    assert chosen.needs == ()
    (finding,) = chosen.findings
    assert finding.reason is chosen.reason
    return finding


# Which key.


def choice(*entries: RetiringKey, **changes: Any) -> str | Reason:
    """The chosen key's hash, or why there is none."""
    chosen = choose(ledger(retiring=entries, **changes))
    return chosen.reason if isinstance(chosen, Finding) else chosen.hash


def test_the_key_that_was_served_last_is_chosen() -> None:
    older = retiring(C, since=NOW - 3 * DAY)
    assert choice(retiring(B), older) == choice(older, retiring(B)) == B


@pytest.mark.parametrize(
    "entry",
    [
        retiring(since=NOW - HOUR),
        retiring(looked_at=NOW - MINUTE, last_used_at=NOW - MINUTE),
        retiring(since=NOW - 30 * DAY, looked_at=NOW - MINUTE, last_used_at=NOW - MINUTE),
        quarantined(),
        quarantined(enabled_by_hand=True),
        retiring(why=Reason.RETIRED),
        retiring(why=Reason.PUT_ASIDE),
        retiring(why=Reason.ORPHANED),
        retiring(why=Reason.MAYBE_SERVED),
    ],
    ids=[
        "grace",
        "drain",
        "blocked",
        "quarantine",
        "enabled by hand",
        "retired",
        "put aside",
        "orphan",
        "maybe served",
    ],
)
def test_it_may_be_in_any_stage(entry: RetiringKey) -> None:
    assert choice(entry) == B


@pytest.mark.parametrize("why", [Reason.ORPHANED, Reason.MAYBE_SERVED])
def test_a_key_of_which_nobody_knows_whether_it_was_served_comes_last(why: Reason) -> None:
    assert choice(retiring(C, since=NOW - 9 * DAY), retiring(B, since=NOW, why=why)) == C


@pytest.mark.parametrize("why", [Reason.NEVER_SERVED, Reason.COMPROMISED, Reason.LEFT_BEHIND])
def test_nobody_means_a_key_that_was_never_served_or_is_compromised_or_left_behind(
    why: Reason,
) -> None:
    assert choice(retiring(why=why)) is Reason.NO_OLDER_KEY
    assert choice(retiring(C, since=NOW - 9 * DAY), retiring(B, why=why)) == C


def test_the_refusal_says_that_a_compromised_key_must_be_named() -> None:
    chosen = choose(ledger(retiring=(retiring(why=Reason.COMPROMISED),)))
    assert isinstance(chosen, Finding)
    assert "must be named" in chosen.sentence


def test_a_key_of_another_path_is_not_chosen() -> None:
    assert choice(retiring(secret=OTHER_PATH)) is Reason.NO_OLDER_KEY


def test_without_any_older_key_there_is_none() -> None:
    assert choice() is Reason.NO_OLDER_KEY


def test_a_key_whose_delete_was_claimed_is_chosen_so_that_the_refusal_names_it() -> None:
    older = retiring(C, since=NOW - 3 * DAY)
    assert choice(quarantined(B, delete_claimed=True, since=NOW), older) == B


# By which steps.


def test_its_value_is_in_hand_before_anything_changes_and_proven_before_it_is_published() -> None:
    chosen = plan(wanted(), NOW)
    assert chosen.reason is Reason.ROLLED_BACK
    assert chosen.urgent
    recall, make, verify, publish, promote = chosen.steps
    assert recall == Recall(B, 2, PATH)
    assert isinstance(make, MakeClaim)
    assert (make.claim.kind, make.claim.key) == (ClaimKind.ROLLBACK, B)
    assert (make.claim.reason, make.claim.base_version) == (Reason.ROLLED_BACK, 3)
    assert make.claim.nonce is None
    assert (verify, publish, promote) == (Verify(), Publish(PATH), PromoteRecalled(B))


def test_a_disabled_key_is_enabled_under_the_claim() -> None:
    chosen = plan(wanted(quarantined(), looks=looks(issued(B, disabled=True))), NOW)
    steps = ["Recall", "MakeClaim", "Enable", "Verify", "Publish", "PromoteRecalled"]
    assert kinds(chosen) == steps
    assert Enable(B) in chosen.steps


def test_the_key_is_looked_at_before_any_version_is_read() -> None:
    assert plan(wanted(looks={}, versions={}), NOW).needs == (NeedLook(B),)
    assert plan(wanted(versions={}), NOW).needs == (NeedVersions((2, 1)),)


def test_the_newest_version_that_holds_the_value_is_taken() -> None:
    secret = seen(9)
    book = {"served": served(secret_version=9, secret_created_time=secret.created_time)}
    versions = {8: A, 7: None, 6: B, 5: B}
    chosen = plan(wanted(secret=secret, versions=versions, book=book), NOW)
    assert chosen.steps[0] == Recall(B, 6, PATH)


def test_versions_are_read_in_small_steps_and_not_without_end() -> None:
    secret = seen(500)
    book = {"served": served(secret_version=500, secret_created_time=secret.created_time)}
    base = wanted(secret=secret, versions={}, book=book)
    read: dict[int, str | None] = {}
    rounds = 0
    while needs := plan(replace(base, versions=dict(read)), NOW).needs:
        (need,) = needs
        assert isinstance(need, NeedVersions)
        read |= dict.fromkeys(need.versions)
        rounds += 1
    assert (min(read), max(read), len(read)) == (500 - OLDEST, 499, OLDEST)
    assert rounds <= 10, "the engine observes no more than a dozen times for one plan"
    assert refused(plan(replace(base, versions=read), NOW)).reason is Reason.VALUE_GONE


def test_an_odd_key_is_found_by_its_plaintext_s_digest() -> None:
    entry = retiring(value_sha256=D)
    assert plan(wanted(entry, versions={2: D, 1: B}), NOW).steps[0] == Recall(B, 2, PATH)


def test_where_the_field_was_emptied_an_older_key_can_fill_it() -> None:
    entry = retiring(why=Reason.WITHDRAWN)
    assert plan(wanted(entry, book={"served": None}), NOW).needs == (NeedValue(),)
    emptied = replace(seen(3), value=ABSENT)
    chosen = plan(wanted(entry, book={"served": None}, secret=emptied), NOW)
    assert kinds(chosen)[-1] == "PromoteRecalled"


@pytest.mark.parametrize("book", [{"hold": HELD}, {"failure": FAILURE}])
def test_neither_a_hold_nor_a_back_off_stops_it(book: dict[str, Any]) -> None:
    assert plan(wanted(book=book), NOW).reason is Reason.ROLLED_BACK


def test_it_goes_before_a_rotation_that_is_due_and_before_any_removal() -> None:
    overdue = served(due_from=NOW - 90 * DAY)
    chosen = plan(
        wanted(retiring(), retiring(C, why=Reason.RETIRED), book={"served": overdue}), NOW
    )
    assert kinds(chosen)[-1] == "PromoteRecalled"


def test_where_it_is_served_already_nothing_is_left_to_do() -> None:
    there = snapshot(
        ledger(served=served(B), retiring=(retiring(A),)), demand=BACK_TO_B, looks=looks(issued(B))
    )
    chosen = plan(there, NOW)
    assert (chosen.reason, chosen.steps, chosen.findings) == (Reason.ROLLED_BACK, (), ())


def test_without_a_key_everything_is_settled_and_nothing_else_is_done() -> None:
    overdue = served(due_from=NOW - 90 * DAY)
    chosen = plan(wanted(demand=SETTLE, book={"served": overdue}), NOW)
    assert (chosen.reason, chosen.steps, chosen.needs) == (Reason.NOT_DUE, (), ())


def test_what_another_hand_did_is_followed_first() -> None:
    assert plan(wanted(secret=seen(4)), NOW).needs == (NeedValue(),)


# What refuses it.


def test_what_speaks_against_any_key_is_said_before_one_is_chosen() -> None:
    foreign = wanted(demand=SETTLE, book={"served": None, "foreign": FOREIGN})
    assert refused(plan(foreign, NOW)).reason is Reason.FOREIGN_VALUE
    twice = wanted(demand=SETTLE, served_by={A: frozenset({"payroll"})})
    assert refused(plan(twice, NOW)).reason is Reason.SERVED_TWICE


def test_a_claim_of_another_process_is_waited_for() -> None:
    busy = replace(
        wanted(), ledger=LedgerSeen(7, NOW, ledger(retiring=(retiring(),), pending=claim()))
    )
    chosen = plan(busy, NOW)
    assert chosen.reason is Reason.CLAIMED
    assert chosen.wake_at is not None


def test_an_expired_claim_is_settled_first() -> None:
    chosen = plan(wanted(book={"pending": claim()}), NOW)
    assert chosen.reason is Reason.CLAIM_EXPIRED
    assert isinstance(chosen.needs[0], NeedListing)


def test_a_key_for_which_a_delete_was_ever_claimed_is_refused() -> None:
    finding = refused(plan(wanted(quarantined(delete_claimed=True)), NOW))
    assert finding.reason is Reason.DELETE_CLAIMED
    assert "rotator rotate" in finding.sentence


def test_a_key_for_which_a_disable_was_claimed_is_not() -> None:
    assert plan(wanted(quarantined()), NOW).reason is Reason.ROLLED_BACK


def test_a_value_that_is_gone_from_all_versions_is_refused() -> None:
    finding = refused(plan(wanted(versions={2: C, 1: None}), NOW))
    assert finding.reason is Reason.VALUE_GONE
    assert "rotator rotate" in finding.sentence


@pytest.mark.parametrize(
    "gone",
    [looks(gone=(B,)), looks(issued(B, expires_at=NOW))],
    ids=["deleted", "expired"],
)
def test_a_key_that_no_longer_works_at_openrouter_is_refused(gone: dict[str, Any]) -> None:
    finding = refused(plan(wanted(looks=gone, versions={}), NOW))
    assert finding.reason is Reason.OLD_KEY_GONE


def test_a_key_that_expires_by_the_later_clock_is_refused() -> None:
    late = wanted(looks=looks(issued(B, expires_at=NOW + MINUTE)), vault_now=NOW + MINUTE)
    assert refused(plan(late, NOW)).reason is Reason.OLD_KEY_GONE


def test_a_foreign_value_is_not_overwritten() -> None:
    foreign = wanted(book={"served": None, "foreign": FOREIGN})
    finding = refused(plan(foreign, NOW))
    assert finding.reason is Reason.FOREIGN_VALUE
    assert finding.attention


def test_without_a_live_version_there_is_nothing_to_base_it_on() -> None:
    emptied = wanted(retiring(why=Reason.WITHDRAWN), book={"served": None}, secret=DELETED)
    assert refused(plan(emptied, NOW)).reason is Reason.NO_LIVE_VERSION


def test_a_key_that_is_not_retiring_any_more_is_refused() -> None:
    assert refused(plan(wanted(retiring(C)), NOW)).reason is Reason.NO_OLDER_KEY


@pytest.mark.parametrize(
    "entry", [retiring(secret=OTHER_PATH), retiring(why=Reason.LEFT_BEHIND)], ids=["path", "why"]
)
def test_a_key_of_another_path_is_refused(entry: RetiringKey) -> None:
    assert refused(plan(wanted(entry), NOW)).reason is Reason.NO_OLDER_KEY


@pytest.mark.parametrize("key", [A, B], ids=["the served key", "the old key"])
def test_where_another_target_serves_either_key_it_is_refused(key: str) -> None:
    finding = refused(plan(wanted(served_by={key: frozenset({"payroll"})}), NOW))
    assert finding.reason is Reason.SERVED_TWICE
    assert "payroll" in finding.sentence
    assert finding.attention


def test_a_ledger_that_cannot_be_used_is_left_alone() -> None:
    newer = replace(wanted(), ledger=LedgerSeen(7, NOW, None, Reason.LEDGER_NEWER, ""))
    assert refused(plan(newer, NOW)).reason is Reason.LEDGER_NEWER


ROTATE = "`rotator rotate` makes a new one."


@pytest.mark.parametrize(
    ("observed", "finding"),
    [
        (wanted(demand=SETTLE, secret=DELETED, book={"served": None}),
         Finding(Reason.NO_LIVE_VERSION, f"Nor is one served again. {ROTATE}")),
        (wanted(retiring(C)), Finding(Reason.NO_OLDER_KEY, "It is not retiring any more.", B)),
        (wanted(retiring(secret=OTHER_PATH)),
         Finding(Reason.NO_OLDER_KEY, f"This one was served at {OTHER_PATH}.", B)),
        (wanted(served_by={B: frozenset({"payroll", "crm"})}),
         Finding(Reason.SERVED_TWICE, "By crm, payroll.", B, attention=True)),
        (wanted(quarantined(delete_claimed=True)), Finding(Reason.DELETE_CLAIMED, ROTATE, B)),
        (wanted(looks=looks(gone=(B,))), Finding(Reason.OLD_KEY_GONE, ROTATE, B)),
        (wanted(versions={2: C, 1: None}), Finding(Reason.VALUE_GONE, ROTATE, B)),
    ],
    ids=["no version", "not retiring", "path", "twice", "delete claimed", "gone", "value gone"],
)  # fmt: skip
def test_a_refusal_says_which_key_and_what_can_be_done(
    observed: Snapshot, finding: Finding
) -> None:
    assert refused(plan(observed, NOW)) == finding


def test_where_no_key_can_be_chosen_the_refusal_says_what_can_be_done() -> None:
    assert choose(ledger()) == Finding(Reason.NO_OLDER_KEY, ROTATE)


# What it leaves behind.


def promoted(book: Ledger) -> Ledger:
    """The ledger once B is served again at version 4."""
    base = wanted(*book.retiring)
    entry = book.entry(B)
    assert entry is not None
    again = replace(served_again(base, entry, NOW), secret_version=4, published_at=NOW - MINUTE)
    return Promote(again, Reason.PUT_ASIDE).apply(book)


def test_the_schedule_starts_afresh_and_the_newer_key_gets_a_full_grace() -> None:
    pending = claim(ClaimKind.ROLLBACK)
    book = promoted(ledger(retiring=(quarantined(), retiring(C)), pending=pending))
    assert book.served is not None
    assert (book.served.hash, book.served.due_from) == (B, NOW)
    assert book.served.disable_claimed
    newer = book.entry(A)
    assert newer is not None
    assert (newer.why, newer.since, newer.disabled_at) == (
        Reason.PUT_ASIDE,
        NOW - MINUTE,
        None,
    )
    assert [entry.hash for entry in book.retiring] == [C, A]
    assert (book.pending, book.put_back, book.hold) == (None, None, None)


def test_one_that_was_interrupted_leaves_its_key_retiring_with_nothing_of_the_past() -> None:
    was = quarantined(enabled_by_hand=True, quiet_since=NOW - DAY)
    book = ledger(retiring=(was,), pending=claim(ClaimKind.ROLLBACK))
    chosen = plan(snapshot(book, secret=seen(3, A)), NOW)
    assert kinds(chosen) == ["Settle", "TakeOverClaim", "Fence", "Record"]
    edit = the_edit(chosen, GraceAfresh)
    entry = replace(edit, failure=FAILURE).apply(book).entry(B)
    assert entry is not None
    assert (entry.since, entry.disabled_at) == (NOW, None)
    assert (entry.enabled_by_hand, entry.quiet_since) == (False, None)
    assert entry.disable_claimed
    assert replace(edit, failure=FAILURE).apply(book).failure == FAILURE
    assert edit.apply(replace(book, failure=FAILURE)).failure == FAILURE, "none is forgotten"


def test_its_claim_is_based_on_the_version_that_was_observed() -> None:
    make = plan(wanted(vault_now=NOW + timedelta(seconds=1)), NOW).steps[1]
    assert isinstance(make, MakeClaim)
    assert make.claim.base_created_time == seen().created_time
