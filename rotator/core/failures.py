"""The last failure of a target, and when it is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rotator.core.ledger import Failure
from rotator.core.reasons import Reason
from rotator.core.schedule import backoff
from rotator.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Cause:
    """What went wrong.

    Attributes:
        reason: a stable code.
        detail: one line, without secrets.
        retry_after: how long to wait at least, where a service said so.
    """

    reason: Reason
    detail: str
    retry_after: timedelta | None = None


def next_failure(
    name: str,
    before: Failure | None,
    cause: Cause,
    now: datetime,
    expires_at: datetime | None = None,
) -> Failure:
    """Return the failure to remember: one more in the row, with its time of retry.

    The wait grows with the count and is capped. It is at least what the service asked
    for, and otherwise never longer than half of what the served key has left; once it
    has expired, consumers are refused, and the wait no longer grows. A claim that expired
    has been waited for already, so a first one is followed up at once.

    Args:
        name: the target's name, from whose hash the wait's jitter comes.
        before: the failure remembered so far, or None.
        cause: what went wrong.
        now: the current time.
        expires_at: when the served key stops working by itself, or None.
    """
    count = before.count + 1 if before is not None else 1
    waited = cause.reason is Reason.CLAIM_EXPIRED
    wait = backoff(count - 1 if waited else count, name)
    if expires_at is not None:
        left = expires_at - now
        wait = min(wait, left / 2 if left > timedelta() else backoff(1, name))
    return Failure(
        reason=cause.reason,
        detail=cause.detail,
        since=before.since if before is not None else now,
        count=count,
        next_try=now + max(wait, cause.retry_after or timedelta()),
    )


def failure_after(snapshot: Snapshot, cause: Cause, now: datetime) -> Failure:
    """Return the failure to remember in the ledger of an observed target."""
    book = snapshot.ledger.ledger
    before = book.failure if book is not None else None
    served = book.served if book is not None else None
    expires_at = served.expires_at if served is not None else None
    return next_failure(snapshot.target.name, before, cause, now, expires_at)
