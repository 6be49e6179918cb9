"""Observe, plan, act, again and again, for one target at a time.

Every job does this same thing: the heartbeat, the resync, an early wake-up, and a
command given by hand. One target's failure is its own: `reconcile` never raises for
what a service or another process did, and says in its report how it went.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rotator.core import edits
from rotator.core.failures import Cause, next_failure
from rotator.core.ledger import Failure
from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.snapshot import Demand, Snapshot
from rotator.core.steps import Finding, NeedProbe, Plan
from rotator.core.target import Target
from rotator.engine.acting import append
from rotator.engine.execute import Execution, execute, note_failure
from rotator.engine.hand import StepFailed
from rotator.engine.observe import Observation, observe, renewed, satisfy
from rotator.engine.world import World, log
from rotator.errors import (
    AuditUnavailable,
    InvariantViolation,
    ServiceError,
    Transient,
    Unauthorised,
)
from rotator.events import Phase, Result, TargetAttention

_ROUNDS = 40
"""How many plans one call carries out at most; a target with many predecessors needs several."""

_LOOKS = 12
"""How often one plan may ask for more to be observed."""

_REOBSERVATIONS = 3

_STALLED = 60.0
"""Seconds after which what was observed before a plan is not planned from again.

Windows, due times and Vault's clock are as they were then; the process may have been paused.
"""

_PUT_OFF = frozenset({Reason.STOPPING, Reason.STANDING_BY, Reason.PAUSED, Reason.INDEX_EMPTY})
"""Why a plan is left for later without anything having failed."""


@dataclass(frozen=True, slots=True)
class Report:
    """How one reconciliation of one target went.

    Attributes:
        target: the target's name.
        at: when it ended, by the local clock.
        plan: the last plan made, or None where even observing failed.
        snapshot: what it was made from, or None.
        changed: names of the steps carried out.
        failure: what failed, or None.
        wake_at: when to look again at the latest, or None where only a change calls for it.
    """

    target: str
    at: datetime
    plan: Plan | None
    snapshot: Snapshot | None
    changed: tuple[str, ...] = ()
    failure: Failure | None = None
    wake_at: datetime | None = None


def reconcile(
    world: World,
    target: Target,
    *,
    demand: Demand | None = None,
    observation: Observation | None = None,
    earlier: Failure | None = None,
) -> Report:
    """Bring one target as far as it can be brought now.

    Args:
        world: the ports.
        target: what is configured.
        demand: an operator's request for a rotation.
        observation: where the target was observed just now, e.g. with a listing.
        earlier: the failure of the last call, where the ledger could not keep it.

    Returns:
        The report; failures are in it, not raised.
    """
    current = _Pass(world, target, demand, observation, earlier)
    try:
        for _ in range(_ROUNDS):
            report = current.one_plan()
            if report is not None:
                return report
    except (ServiceError, AuditUnavailable, InvariantViolation) as error:
        return current.broken_off(error)
    log.warning("target %s needs more than %d plans at once", target.name, _ROUNDS)
    return replace(current.report(), wake_at=world.clock.now() + timedelta(seconds=1))


@dataclass(slots=True)
class _Pass:
    """One call of `reconcile` in progress."""

    world: World
    target: Target
    demand: Demand | None
    observation: Observation | None
    earlier: Failure | None
    chosen: Plan | None = None
    changed: tuple[str, ...] = ()
    reobserved: int = 0

    def one_plan(self) -> Report | None:
        """Observe if needed, plan, and act; return the report once the pass is over."""
        if self.observation is None:
            self.observation = observe(self.world, self.target, demand=self.demand)
        self.demand = self.observation.snapshot.demand
        self.chosen = settled_plan(self.world, self.observation)
        _report_findings(self.world, self.observation.snapshot, self.chosen)
        if not self.chosen.steps:
            return self.report()
        began = self.world.clock.monotonic()
        execution = execute(self.world, self.observation, self.chosen)
        self.changed += execution.done
        failed = execution.failed
        if failed is None:
            stalled = self.world.clock.monotonic() - began > _STALLED
            after = None if stalled else _after(self.world, self.observation, execution)
            self.observation = after
            return None
        if failed.reason in _PUT_OFF:
            return self._put_off(failed)
        if _passing(failed) and self.reobserved < _REOBSERVATIONS:
            self.reobserved += 1
            self.observation = None
            return None
        _log_failure(self.target.name, failed)
        if isinstance(failed.ending, edits.Abandon):
            # The key that was given up is cleaned up at once, while the rotation backs off. A
            # request passes a back-off, and would have the next key made and given up.
            self.demand = None
            if self.world.clock.monotonic() - began > _STALLED:
                self.observation = None
                return None
            self.observation = _after(self.world, self.observation, execution)
            self.observation.snapshot = replace(self.observation.snapshot, demand=None)
            return None
        return self._failed(execution)

    def report(self) -> Report:
        """Report a target for which nothing more is to be done now."""
        assert self.observation is not None  # a pass ends after it has observed
        book = self.observation.snapshot.ledger.ledger
        return Report(
            target=self.target.name,
            at=self.world.clock.now(),
            plan=self.chosen,
            snapshot=self.observation.snapshot,
            changed=self.changed,
            failure=book.failure if book is not None else None,
            wake_at=self.chosen.wake_at if self.chosen is not None else None,
        )

    def _put_off(self, failed: StepFailed) -> Report:
        """Report a target whose turn comes later; nothing failed."""
        log.info("target %s: %s", self.target.name, failed, extra={"reason": failed.reason})
        report = self.report()
        later = timedelta(seconds=failed.retry_after or 0.0)
        return replace(report, wake_at=report.at + later)

    def _failed(self, execution: Execution) -> Report:
        """Report a plan that stopped half-way."""
        failed, failure = execution.failed, execution.failure
        assert failed is not None  # the caller checked
        report = self.report()
        assert report.snapshot is not None  # the pass has observed
        snapshot = replace(report.snapshot, ledger=execution.ledger)
        book = execution.ledger.ledger
        if failure is None or book is None or book.failure != failure:  # the ledger has no count
            wait = timedelta(seconds=failed.retry_after) if failed.retry_after else None
            failure = self._next_failure(Cause(failed.reason, failed.detail, wait))
        return replace(report, snapshot=snapshot, failure=failure, wake_at=failure.next_try)

    def broken_off(self, error: ServiceError | AuditUnavailable | InvariantViolation) -> Report:
        """Report that something could not be observed; where Vault works it takes a note."""
        world = self.world
        service = error.service if isinstance(error, ServiceError) else None
        if isinstance(error, Unauthorised) and service == "openrouter":
            world.fleet.refuse(str(error))
        failure = self._next_failure(cause_of(error))
        log.error("target %s: %s", self.target.name, error, extra={"reason": failure.reason})
        if self.observation is not None and service == "openrouter":
            note_failure(world, self.observation, failure)
        return Report(
            target=self.target.name,
            at=world.clock.now(),
            plan=self.chosen,
            snapshot=self.observation.snapshot if self.observation is not None else None,
            changed=self.changed,
            failure=failure,
            wake_at=failure.next_try,
        )

    def _next_failure(self, cause: Cause) -> Failure:
        """Return one more failure in the row, as far as the row and the served key are known."""
        seen = self.observation.snapshot.ledger if self.observation is not None else None
        book = seen.ledger if seen is not None else None
        kept = book.failure if book is not None else None
        known = [each for each in (self.earlier, kept) if each is not None]
        before = max(known, key=lambda each: each.count, default=None)
        served = book.served if book is not None else None
        expires_at = served.expires_at if served is not None else None
        return next_failure(self.target.name, before, cause, self.world.clock.now(), expires_at)


def settled_plan(world: World, observation: Observation) -> Plan:
    """Plan, observing what the plan asks for, until it asks for no more.

    Raises:
        ServiceError: something could not be observed.
    """
    for _ in range(_LOOKS):
        chosen = plan(observation.snapshot, world.clock.now())
        if not chosen.needs:
            return chosen
        if any(isinstance(need, NeedProbe) for need in chosen.needs):
            world.fleet.died(observation.snapshot.target.name)
        satisfy(world, observation, chosen.needs)
        if observation.snapshot.served_works:
            world.fleet.lives(observation.snapshot.target.name)
    raise Transient("rotator", "plan", f"still asks for more after {_LOOKS} observations")


def _passing(failed: StepFailed) -> bool:
    """Tell whether a failure only means that the world moved on: observe anew at once."""
    return failed.quiet


def _after(world: World, observation: Observation, execution: Execution) -> Observation:
    """Return what to plan from next, without reading again what we wrote ourselves."""
    fresh = renewed(world, observation, execution.ledger)
    snapshot = fresh.snapshot
    if execution.secret is not None:
        snapshot = replace(snapshot, secret=execution.secret)
    if snapshot.listing is not None and execution.touched:
        kept = {
            key_hash: key
            for key_hash, key in snapshot.listing.keys.items()
            if key_hash not in execution.touched
        }
        snapshot = replace(snapshot, listing=replace(snapshot.listing, keys=kept))
    return Observation(snapshot)


def _log_failure(name: str, failed: StepFailed) -> None:
    """Say what failed."""
    log.error("target %s: %s", name, failed, extra={"reason": str(failed.reason)})


def cause_of(error: ServiceError | AuditUnavailable | InvariantViolation) -> Cause:
    """Return an error as the cause of a failure."""
    if isinstance(error, InvariantViolation):
        return Cause(Reason.DEFECT, str(error))
    if isinstance(error, AuditUnavailable):
        return Cause(Reason.AUDIT_UNAVAILABLE, str(error))
    if isinstance(error, Unauthorised):
        return Cause(Reason.UNAUTHORISED, str(error))
    if isinstance(error, Transient):
        wait = timedelta(seconds=error.retry_after) if error.retry_after is not None else None
        return Cause(Reason.UNAVAILABLE, str(error), wait)
    return Cause(Reason.REFUSED, str(error))


def _report_findings(world: World, snapshot: Snapshot, chosen: Plan) -> None:
    """Write into the audit trail what needs a person, once for each time that it begins.

    Raises:
        AuditUnavailable: it could not be written.
    """
    name = snapshot.target.name
    urgent = [finding for finding in chosen.findings if finding.attention]
    still = frozenset((str(each.reason), each.key) for each in urgent)
    world.fleet.report_over(name, still)
    for finding in urgent:
        if world.fleet.first_report(name, str(finding.reason), finding.key):
            _report_one(world, name, finding)


def _report_one(world: World, name: str, finding: Finding) -> None:
    """Write one finding to the audit trail and the log."""
    log.warning("target %s: %s", name, finding.sentence, extra={"reason": str(finding.reason)})
    event = TargetAttention(
        phase=Phase.OUTCOME,
        op=f"{world.draw()}/attention",
        target=name,
        reason=str(finding.reason),
        key_hash=finding.key,
        result=Result.FOUND,
        detail=finding.sentence,
    )
    append(world, event)
