"""How a pass tells what went wrong, and what it hands on to the next one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.core.failures import Cause
from rotator.core.ledger import Failure
from rotator.core.reasons import Reason
from rotator.engine.observe import ledger_seen
from rotator.engine.reconcile import cause_of, reconcile
from rotator.errors import (
    AuditUnavailable,
    InvariantViolation,
    OutcomeUnknown,
    Refused,
    ServiceError,
    Transient,
    Unauthorised,
)
from tests.engine.lab import Lab
from tests.fakes.faults import Kind, nth

SEVEN = timedelta(seconds=7)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (InvariantViolation("broken"), Cause(Reason.DEFECT, "broken")),
        (AuditUnavailable("disk full"), Cause(Reason.AUDIT_UNAVAILABLE, "disk full")),
        (Unauthorised("vault", "read", "no"), Cause(Reason.UNAUTHORISED, "vault: read: no")),
        (Transient("vault", "read", "no"), Cause(Reason.UNAVAILABLE, "vault: read: no")),
        (
            Transient("vault", "read", "no", retry_after=7.0),
            Cause(Reason.UNAVAILABLE, "vault: read: no", SEVEN),
        ),
        (Refused("vault", "read", "no"), Cause(Reason.REFUSED, "vault: read: no")),
        (OutcomeUnknown("vault", "write", "no"), Cause(Reason.REFUSED, "vault: write: no")),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_error_is_told_by_its_code_its_words_and_the_wait_that_it_asks_for(
    error: ServiceError | AuditUnavailable | InvariantViolation, cause: Cause
) -> None:
    assert cause_of(error) == cause


def due_lab() -> Lab:
    """A target that serves a key, which is due."""
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=13))
    return lab


@pytest.mark.parametrize(
    ("call", "refused"), [("openrouter.get", True), ("vault.read_ledger", False)]
)
def test_only_where_openrouter_refuses_our_credential_all_changes_stop(
    call: str, refused: bool
) -> None:
    lab = due_lab()
    lab.faults.choose = nth(call, 1, Kind.UNAUTHORISED)
    report = reconcile(lab.world, lab.targets[0])
    assert report.failure is not None
    assert report.failure.reason is Reason.UNAUTHORISED
    what = f"{call.replace('.', ': ')}: refused"
    assert lab.world.fleet.refused() == (what if refused else None)


@pytest.mark.parametrize(("call", "noted"), [("openrouter.get", True), ("vault.read", False)])
def test_a_failure_to_look_at_openrouter_is_noted_in_the_ledger(call: str, noted: bool) -> None:
    lab = due_lab()
    if call == "vault.read":
        lab.vault.put("secret/app", lab.vault.current("secret/app") or {})
    lab.faults.choose = nth(call, 1, Kind.ERROR)
    report = reconcile(lab.world, lab.targets[0])
    book = lab.ledger()
    assert book is not None
    assert lab.faults.hit == [(call, Kind.ERROR)]
    assert report.failure is not None
    assert report.failure.detail == f"{call.replace('.', ': ')}: not now"
    assert book.failure == (report.failure if noted else None)
    assert (report.target, report.at) == ("app", lab.clock.now())
    assert report.snapshot is not None
    assert report.wake_at == report.failure.next_try
    assert lab.world.fleet.refused() is None


def test_a_plan_that_stopped_half_way_is_reported_with_the_ledger_as_it_stands_then() -> None:
    lab = due_lab()
    lab.faults.choose = nth("openrouter.create", 1, Kind.REFUSED)
    report = reconcile(lab.world, lab.targets[0])
    assert report.failure is not None
    assert report.wake_at == report.failure.next_try
    assert report.snapshot is not None
    assert report.snapshot.ledger == ledger_seen(lab.world.ledgers.read("targets/app"))


def test_a_ledger_that_others_change_again_and_again_is_observed_anew_three_times() -> None:
    lab = due_lab()
    before_each, calls = lab.faults.before_each, len(lab.faults.calls)

    def before(service: str, name: str, acts: bool) -> None:
        if name == "write_ledger":
            lab.vault.put("state/targets/app", lab.vault.current("state/targets/app") or {})
        before_each(service, name, acts)

    lab.faults.before_each = before
    report = reconcile(lab.world, lab.targets[0])
    assert report.failure is not None
    assert report.failure.reason is Reason.CONFLICT
    assert report.failure.detail == "another process changed the ledger"
    assert lab.faults.calls[calls:].count("vault.metadata") == 1 + 3


def test_a_pass_that_could_not_even_begin_knows_nothing_and_counts_from_the_last_one() -> None:
    lab = due_lab()
    now = lab.clock.now()
    earlier = Failure(Reason.UNAVAILABLE, "vault was away", now, 3, now)
    lab.faults.choose = lambda service, *_: Kind.ERROR if service == "vault" else None
    report = reconcile(lab.world, lab.targets[0], earlier=earlier)
    assert (report.plan, report.snapshot, report.changed) == (None, None, ())
    assert report.failure is not None
    assert report.failure.count == 4


@pytest.mark.parametrize(("earlier", "kept", "count"), [(3, 5, 6), (5, 3, 6), (None, 3, 4)])
def test_of_two_failures_in_a_row_the_longer_one_counts(
    earlier: int | None, kept: int, count: int
) -> None:
    lab = due_lab()
    lab.faults.choose = lambda _service, name, _acts: Kind.ERROR if name == "get" else None
    for _ in range(kept):
        report = reconcile(lab.world, lab.targets[0])
        assert report.failure is not None
        lab.clock.advance(report.failure.next_try - lab.clock.now())
    now = lab.clock.now()
    before = Failure(Reason.UNAVAILABLE, "", now, earlier, now) if earlier is not None else None
    report = reconcile(lab.world, lab.targets[0], earlier=before)
    assert report.failure is not None
    assert report.failure.count == count


def test_what_was_done_before_a_pass_broke_off_stands_in_its_report() -> None:
    lab = Lab()
    lab.faults.choose = nth("openrouter.get", 1, Kind.ERROR)
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.UNAVAILABLE
    assert (report.changed[0], report.changed[-1]) == ("CreateLedger", "PromoteMinted")
    assert report.plan is not None
    assert report.snapshot is not None
    assert report.snapshot.book.served is not None


def test_a_target_whose_key_is_asked_about_counts_as_dead_until_it_answers() -> None:
    lab = Lab()
    lab.run()
    served = lab.served_hash()
    assert served is not None
    lab.excused.add(served)
    del lab.account.keys[served]
    lab.faults.choose = lambda _service, name, _acts: Kind.ERROR if name == "whoami" else None
    lab.run(full=True)
    assert lab.world.fleet.dead() == {"app"}
