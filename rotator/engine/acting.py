"""The one wrapper around everything that acts: intent on disk, act, outcome on disk.

No step can forget its audit events, because no step reaches an acting port but
through `act`. Failures of our own credential stop all changes from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from rotator.engine.world import World, log
from rotator.errors import (
    AuditUnavailable,
    OutcomeUnknown,
    Refused,
    RotatorError,
    ServiceError,
    Transient,
    Unauthorised,
)
from rotator.events import Event, Phase, Result

T = TypeVar("T")

_RETRY_AUDIT_EVERY = 1.0


def act(
    world: World,
    intent: Event,
    call: Callable[[], T],
    *,
    guard: Callable[[], None] = lambda: None,
    patience: float = 0.0,
    tell: Callable[[T], dict[str, Any]] | None = None,
) -> T:
    """Write the intent, act, write the outcome, and return what the call returned.

    Args:
        world: the ports.
        intent: the event, in its intent phase.
        call: does the one thing.
        guard: what allows the call, asked after the intent is on disk, since writing it
            may have taken long; it raises where the call must not be sent any more.
        patience: for how many seconds an audit trail that cannot be written is tried
            again, because a key in hand would be lost otherwise.
        tell: returns the outcome's further fields.

    Raises:
        AuditUnavailable: the intent could not be written, and nothing was done; or the
            outcome could not be written.
        RotatorError: as the guard raised it; nothing was sent.
        ServiceError: as the call raised it.
    """
    append(world, intent, patience)
    outcome = replace(intent, phase=Phase.OUTCOME, result=Result.DONE)
    try:
        guard()
    except RotatorError as error:
        append(world, replace(outcome, result=Result.FAILED, error=str(error)), patience)
        raise
    try:
        done = call()
    except ServiceError as error:
        _heed(world, error)
        failed = replace(outcome, result=_result_of(error), error=str(error))
        append(world, failed, patience)
        raise
    if tell is not None:
        outcome = replace(outcome, **tell(done))
    append(world, outcome, patience)
    return done


def append(world: World, event: Event, patience: float = 0.0) -> None:
    """Write one event, trying again for a while where there is something to lose.

    Raises:
        AuditUnavailable: it could not be written.
    """
    give_up = world.clock.monotonic() + patience
    while True:
        try:
            world.audit.append(event)
            return
        except AuditUnavailable as error:
            log.error("the audit trail cannot be written: %s", error)
            if world.clock.monotonic() + _RETRY_AUDIT_EVERY > give_up:
                raise
            world.clock.sleep(_RETRY_AUDIT_EVERY)


def _result_of(error: ServiceError) -> Result:
    """Return how an outcome names a failure."""
    if isinstance(error, OutcomeUnknown):
        return Result.UNKNOWN
    return Result.FAILED if isinstance(error, Transient) else Result.REFUSED


def _heed(world: World, error: ServiceError) -> None:
    """Pause all writes on a 429, and stop all changes where our own credential is refused."""
    if error.service != "openrouter":
        return
    if isinstance(error, Transient) and error.pauses_writes:
        world.pace.pause(error.retry_after or 1.0)
    if isinstance(error, Refused) and error.status == 403:
        try:
            world.issuer.whoami_management()
        except Unauthorised as refusal:
            world.fleet.refuse(str(refusal))
        except ServiceError:
            log.warning("a 403 could not be confirmed by asking about the management key")
    elif isinstance(error, Unauthorised):
        world.fleet.refuse(str(error))
