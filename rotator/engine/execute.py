"""Carry out one plan: its steps in order, stopping at the first that fails.

There is no compensation and no resume pointer. A failure is remembered in the
ledger where that can be done, and the next pass observes and plans anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rotator.core import edits
from rotator.core.failures import Cause, failure_after
from rotator.core.ledger import ClaimKind, Failure
from rotator.core.reasons import Reason
from rotator.core.snapshot import LedgerSeen, SecretSeen
from rotator.core.steps import (
    CreateLedger,
    Delete,
    Disable,
    Enable,
    Fence,
    MakeClaim,
    Mint,
    Plan,
    PromoteMinted,
    PromoteRecalled,
    Publish,
    Recall,
    Record,
    RecordDisabled,
    Settle,
    Step,
    TakeOverClaim,
    Verify,
)
from rotator.engine.acting import append
from rotator.engine.hand import Hand, StepFailed, change_ledger, create_ledger
from rotator.engine.observe import Observation
from rotator.engine.remove import delete, disable, enable, fence, look_again_if_stale
from rotator.engine.rollback import enable_again, promote_again, recall
from rotator.engine.rotate import mint, promote, publish, verify
from rotator.engine.world import World, log
from rotator.errors import (
    AuditUnavailable,
    OutcomeUnknown,
    RotatorError,
    ServiceError,
    Stopping,
    Transient,
    Unauthorised,
)
from rotator.events import Phase, Result, StepSettled

_REMOVALS = frozenset({ClaimKind.DISABLE, ClaimKind.DELETE})
_WRITES_TO_PROVIDER = _REMOVALS | {ClaimKind.ROTATE}

_LOOK_AGAIN = timedelta(seconds=15)
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Execution:
    """How carrying out a plan went.

    Attributes:
        ledger: the ledger as it now stands, as far as we know.
        secret: the secret as we left it, or None where we did not write it.
        done: names of the steps that succeeded.
        touched: hashes of keys that were changed at OpenRouter.
        failed: why the plan stopped, or None.
        failure: what the ledger remembers of it, or None.
    """

    ledger: LedgerSeen
    secret: SecretSeen | None
    done: tuple[str, ...]
    touched: tuple[str, ...]
    failed: StepFailed | None = None
    failure: Failure | None = None


def execute(world: World, observation: Observation, plan: Plan) -> Execution:
    """Carry out a plan's steps in order, and stop at the first failure.

    Never raises a `ServiceError`: how it went is in the answer.
    """
    snapshot = observation.snapshot
    claim = snapshot.claim
    hand = Hand(
        world=world,
        observation=observation,
        ledger=snapshot.ledger,
        op=claim.op if claim is not None else snapshot.draft.op,
        reason=plan.reason,
    )
    done: list[str] = []
    try:
        for step in plan.steps:
            _carry_out(hand, step, plan)
            done.append(type(step).__name__)
    except (StepFailed, AuditUnavailable, Stopping, ServiceError) as error:
        failed = _translated(error, step)
        failure = _remember(hand, failed)
        return Execution(hand.ledger, hand.secret, tuple(done), hand.touched, failed, failure)
    return Execution(hand.ledger, hand.secret, tuple(done), hand.touched)


def _carry_out(hand: Hand, step: Step, plan: Plan) -> None:
    """Carry out one step."""
    match step:
        case CreateLedger(ledger):
            create_ledger(hand, ledger)
        case Record(edit):
            change_ledger(hand, edit)
        case MakeClaim():
            _make_claim(hand, step, plan)
        case TakeOverClaim(at):
            started = hand.world.clock.monotonic()
            change_ledger(hand, edits.TakeOver(hand.snapshot.identity.holder, at))
            assert hand.ledger.ledger is not None  # just written
            hand.claim, hand.claimed_at = hand.ledger.ledger.pending, started
        case Mint() | Recall() | Verify() | Publish() | PromoteMinted() | PromoteRecalled():
            _serve(hand, step)
        case Fence():
            fence(hand, step)
        case Enable(key) if hand.claim is not None:
            enable_again(hand, key)
        case Enable(key):
            _obtain_place(hand, urgent=True)
            enable(hand, key)
        case Disable():
            disable(hand, step)
        case RecordDisabled(key):
            change_ledger(hand, edits.KeyDisabled(key, _disabled_at(hand)))
        case Delete():
            delete(hand, step)
        case _:
            _settle(hand, step)


def _serve(
    hand: Hand, step: Mint | Recall | Verify | Publish | PromoteMinted | PromoteRecalled
) -> None:
    """Carry out one of the steps that bring another key to the consumers."""
    match step:
        case Mint():
            mint(hand, step)
        case Recall():
            recall(hand, step)
        case Verify():
            verify(hand)
        case Publish():
            publish(hand, step)
        case PromoteMinted():
            promote(hand, step)
        case _:
            promote_again(hand, step)


def _disabled_at(hand: Hand) -> datetime:
    """Return from when the quarantine counts: no earlier than the key was disabled.

    Where the local clock is behind, what the snapshot knows of Vault's is as old as the
    pass; the read after the disable tells better.
    """
    at = hand.snapshot.late_now(hand.world.clock.now())
    return at if hand.disabled_by is None else max(at, hand.disabled_by)


def _make_claim(hand: Hand, step: MakeClaim, plan: Plan) -> None:
    """Obtain a place for the write, make sure the look is still fresh, and claim."""
    world = hand.world
    if refused := world.fleet.refused():
        raise StepFailed(Reason.UNAUTHORISED, refused)
    if world.stopping():
        raise StepFailed(Reason.STOPPING, quiet=True)
    if not world.leads():
        raise StepFailed(Reason.STANDING_BY, quiet=True)
    if step.claim.kind in _REMOVALS:
        _assert_others_known(hand)
    enables = any(isinstance(each, Enable) for each in plan.steps)
    if step.claim.kind in _WRITES_TO_PROVIDER or enables:
        _obtain_place(hand, urgent=plan.urgent)
    for removal in plan.steps:
        if isinstance(removal, Disable | Delete):
            look_again_if_stale(hand, removal)
    started = world.clock.monotonic()
    claim = replace(step.claim, started_at=world.clock.now())
    change_ledger(hand, edits.TakeClaim(claim))
    hand.claim, hand.claimed_at = claim, started


def _assert_others_known(hand: Hand) -> None:
    """Refuse to remove a key while another target may serve it unknown to this process.

    Raises:
        StepFailed: nothing failed here; the target's turn comes later.
    """
    unseen = hand.world.fleet.unseen(but=hand.snapshot.target.name)
    if unseen == frozenset():
        return
    detail = ""
    if unseen:
        detail = f"{len(unseen)} of them, such as {', '.join(sorted(unseen)[:_NAMED])}"
    after = min(_LOOK_AGAIN, hand.world.limits.claim_timeout / 4).total_seconds()
    raise StepFailed(Reason.INDEX_EMPTY, detail, retry_after=after, quiet=True)


def _obtain_place(hand: Hand, *, urgent: bool) -> None:
    """Wait for a place for one write to OpenRouter.

    Raises:
        StepFailed: the wait would be long; nothing failed, the target's turn comes later.
        Stopping: the process was asked to stop.
    """
    try:
        hand.world.pace.obtain(urgent=urgent)
    except Transient as error:
        after = error.retry_after
        raise StepFailed(Reason.PAUSED, error.detail, retry_after=after, quiet=True) from None


def _settle(hand: Hand, step: Settle) -> None:
    """Write the outcomes that a dead process left open, under its own ``op``."""
    for name, found in step.found:
        event = StepSettled(
            phase=Phase.OUTCOME,
            op=f"{step.claim.op}/{name}",
            target=hand.snapshot.target.name,
            reason=step.claim.reason,
            key_hash=step.key,
            result=Result.FOUND if found else Result.NOT_FOUND,
        )
        append(hand.world, event)


def _translated(
    error: StepFailed | AuditUnavailable | Stopping | ServiceError, step: Step
) -> StepFailed:
    """Turn what a step raised into the reason that the ledger and the operator see."""
    match error:
        case StepFailed():
            return error
        case AuditUnavailable():
            return StepFailed(Reason.AUDIT_UNAVAILABLE, str(error))
        case Stopping():
            return StepFailed(Reason.STOPPING, str(error), quiet=True)
        case OutcomeUnknown():
            return StepFailed(Reason.UNKNOWN_OUTCOME, str(error))
        case Unauthorised():
            ending = edits.DropClaim() if isinstance(step, Mint | Disable | Delete) else None
            return StepFailed(Reason.UNAUTHORISED, str(error), ending=ending)
        case Transient():
            return StepFailed(Reason.UNAVAILABLE, str(error), retry_after=error.retry_after)
        case _:
            return StepFailed(Reason.REFUSED, str(error))


def _remember(hand: Hand, failed: StepFailed) -> Failure | None:
    """Write the failure into the ledger, ending our claim where that is the truth.

    Best effort: where Vault is what failed, the failure is kept by the caller alone.
    """
    snapshot, world = hand.snapshot, hand.world
    failure = None
    if not failed.quiet:
        after = timedelta(seconds=failed.retry_after) if failed.retry_after else None
        now = world.clock.now()
        failure = failure_after(snapshot, Cause(failed.reason, failed.detail, after), now)
    edit = _ending(hand, failed, failure)
    if edit is None or hand.ledger.ledger is None:
        return failure
    try:
        change_ledger(hand, edit)
    except (RotatorError, ServiceError) as error:
        log.warning("the failure could not be noted in the ledger: %s", error)
    return failure


def note_failure(world: World, observation: Observation, failure: Failure) -> None:
    """Keep a failure to observe in the ledger, so that `status` shows it and a restart knows it.

    Best effort, and not while a claim stands: a newer version of the ledger would
    prolong it.
    """
    book = observation.snapshot.ledger.ledger
    if book is None or book.pending is not None:
        return
    snapshot = observation.snapshot
    hand = Hand(world, observation, snapshot.ledger, snapshot.draft.op, failure.reason)
    try:
        change_ledger(hand, edits.NoteFailure(failure))
    except (RotatorError, ServiceError) as error:
        log.warning("the failure could not be noted in the ledger: %s", error)


def _ending(hand: Hand, failed: StepFailed, failure: Failure | None) -> edits.Edit | None:
    """Return the edit to write after a failure, or None."""
    if failed.reason in (Reason.CONFLICT, Reason.AUDIT_UNAVAILABLE) and failed.ending is None:
        return None
    ending = failed.ending if hand.claim is not None else None
    if isinstance(ending, edits.DropClaim | edits.Abandon | edits.RetireKeys | edits.GraceAfresh):
        return replace(ending, failure=failure)
    if ending is not None:
        return ending
    return edits.NoteFailure(failure) if failure is not None else None
