"""What a request in a ledger means for the planner, and when it is fulfilled."""

from __future__ import annotations

from datetime import datetime, timedelta

from rotator.core.ledger import ClaimKind, Ledger
from rotator.core.request import Request
from rotator.core.snapshot import Demand

_TICK = timedelta(microseconds=1)


def rotation_claimed_at(ledger: Ledger) -> datetime | None:
    """Return when the rotation was claimed that is under way, or None."""
    claim = ledger.pending
    return claim.started_at if claim is not None and claim.kind is ClaimKind.ROTATE else None


def is_rotated(ledger: Ledger, request: Request) -> bool:
    """Tell whether another key of ours is served than when a rotation was asked for.

    No clocks are compared. A rotation that was under way when the request was written
    does not count: whoever asks may know that its key is known to others, too.
    """
    served = ledger.served
    if served is None or served.hash == request.served or served.claimed_at is None:
        return False
    return served.claimed_at != request.claimed


def rotation_demand(ledger: Ledger, request: Request, now: datetime) -> Demand:
    """Return what the planner is asked for, where a rotation is requested.

    Made once for a request by each process that acts on it, with a time by which the
    key that is to be replaced is older, and one that has replaced it is not.
    """
    served, arguments = ledger.served, request.arguments
    at = now
    if served is not None and served.claimed_at is not None:
        rotated = is_rotated(ledger, request)
        at = served.claimed_at if rotated else max(now, served.claimed_at + _TICK)
    return Demand(at, arguments.named, arguments.compromised, arguments.overwrite_foreign)
