"""What a request for a rotation means for the planner, and when it is fulfilled.

No clocks are compared for that. One that is set back between the request and the claim
would have the key rotated again and again, until it has caught up.
"""

from __future__ import annotations

from dataclasses import replace

from rotator.core.ledger import ClaimKind, Ledger
from rotator.core.request import Arguments, Before
from rotator.core.snapshot import Demand


def before_of(ledger: Ledger | None) -> Before:
    """Return what a ledger says as a rotation is asked for; None is a ledger yet to be made."""
    if ledger is None:
        return Before()
    claim = ledger.pending
    rotates = claim is not None and claim.kind is ClaimKind.ROTATE
    return Before(
        served=ledger.served.hash if ledger.served is not None else None,
        claimed=claim.started_at if claim is not None and rotates else None,
    )


def is_rotated(ledger: Ledger, since: Before | None) -> bool:
    """Tell whether another key of ours is served than when a rotation was asked for.

    A rotation that was under way then does not count: whoever asks may know that its key
    is known to others, too.
    """
    served = ledger.served
    if since is None or served is None or served.claimed_at is None:
        return False
    return served.hash != since.served and served.claimed_at != since.claimed


def anchored(demand: Demand | None, ledger: Ledger | None) -> Demand | None:
    """Return a demand with what the ledger says, which is read for it for the first time."""
    if demand is None or demand.before is not None:
        return demand
    return replace(demand, before=before_of(ledger))


def rotation_demand(arguments: Arguments, since: Before | None = None) -> Demand:
    """Return what the planner is asked for, where a rotation is requested."""
    return Demand(
        named=arguments.named,
        compromised=arguments.compromised,
        overwrite_foreign=arguments.overwrite_foreign,
        before=since,
    )
