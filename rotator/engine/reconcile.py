"""Observe, plan, act, again and again, for one target at a time.

Every job does this same thing: the heartbeat, the resync, an early wake-up, and a
command given by hand. One target's failure is its own: `reconcile` never raises for
what a service or another process did, and says in its report how it went.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rotator.core import edits
from rotator.core.failures import Cause, failure_after, next_failure
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
from rotator.errors import AuditUnavailable, ServiceError, Transient, Unauthorised
from rotator.events import Phase, Result, TargetAttention

_ROUNDS = 40
"""How many plans one call carries out at most; a target with many predecessors needs several."""

_LOOKS = 12
"""How often one plan may ask for more to be observed."""

_REOBSERVATIONS = 3


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
    changed: list[str] = []
    reobserved = 0
    chosen: Plan | None = None
    try:
        for _ in range(_ROUNDS):
            if observation is None:
                observation = observe(world, target, demand=demand)
            chosen = settled_plan(world, observation)
            _report_findings(world, observation.snapshot, chosen)
            if not chosen.steps:
                return _report(world, observation, chosen, changed)
            execution = execute(world, observation, chosen)
            changed += execution.done
            if execution.failed is not None:
                if _passing(execution.failed) and reobserved < _REOBSERVATIONS:
                    reobserved += 1
                    observation = None
                    continue
                if not isinstance(execution.failed.ending, edits.Abandon):
                    return _failed(world, observation, chosen, changed, execution)
                _log_failure(target.name, execution.failed)  # its key is cleaned up at once
            observation = _after(world, observation, execution)
    except (ServiceError, AuditUnavailable) as error:
        if isinstance(error, Unauthorised) and error.service == "openrouter":
            world.fleet.refuse(str(error))
        failure = next_failure(target.name, earlier, cause_of(error), world.clock.now())
        log.error("target %s: %s", target.name, error, extra={"reason": str(failure.reason)})
        if observation is not None and _is_openrouters(error):
            note_failure(world, observation, failure)
        return Report(
            target=target.name,
            at=world.clock.now(),
            plan=chosen,
            snapshot=observation.snapshot if observation is not None else None,
            changed=tuple(changed),
            failure=failure,
            wake_at=failure.next_try,
        )
    assert observation is not None  # the loop has observed
    log.warning("target %s needs more than %d plans at once", target.name, _ROUNDS)
    return replace(
        _report(world, observation, chosen, changed),
        wake_at=world.clock.now() + timedelta(seconds=1),
    )


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


def _is_openrouters(error: Exception) -> bool:
    """Tell whether OpenRouter failed, so that Vault may still take a note of it."""
    return isinstance(error, ServiceError) and error.service == "openrouter"


def _passing(failed: StepFailed) -> bool:
    """Tell whether a failure only means that the world moved on: observe anew at once."""
    return failed.quiet and failed.reason is not Reason.STOPPING


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


def _report(
    world: World, observation: Observation, chosen: Plan | None, changed: list[str]
) -> Report:
    """Report a target for which nothing more is to be done now."""
    book = observation.snapshot.ledger.ledger
    return Report(
        target=observation.snapshot.target.name,
        at=world.clock.now(),
        plan=chosen,
        snapshot=observation.snapshot,
        changed=tuple(changed),
        failure=book.failure if book is not None else None,
        wake_at=chosen.wake_at if chosen is not None else None,
    )


def _failed(
    world: World,
    observation: Observation,
    chosen: Plan,
    changed: list[str],
    execution: Execution,
) -> Report:
    """Report a plan that stopped half-way."""
    now = world.clock.now()
    snapshot = replace(observation.snapshot, ledger=execution.ledger)
    failed, failure = execution.failed, execution.failure
    assert failed is not None  # the caller checked
    name = snapshot.target.name
    if failure is None:
        failure = failure_after(snapshot, Cause(failed.reason, failed.detail), now)
    _log_failure(name, failed)
    return Report(name, now, chosen, snapshot, tuple(changed), failure, failure.next_try)


def _log_failure(name: str, failed: StepFailed) -> None:
    """Say what failed."""
    log.error("target %s: %s", name, failed, extra={"reason": str(failed.reason)})


def cause_of(error: ServiceError | AuditUnavailable) -> Cause:
    """Return an error as the cause of a failure."""
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
