"""Each check is named for what it finds, looks at one snapshot, and returns a finding or None.

`ROTATION_STOPS` and `REMOVAL_STOPS` list, in order of weight, what keeps a rotation
from starting and an old key from being removed. Each check is total on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from rotator.core.reasons import Reason
from rotator.core.snapshot import Snapshot
from rotator.core.steps import Finding

Check = Callable[[Snapshot, datetime], Finding | None]


def ledger_cannot_be_used(snapshot: Snapshot, now: datetime) -> Finding | None:
    """The ledger is unreadable, or a newer version of this program wrote it."""
    del now
    trouble = snapshot.ledger.trouble
    if trouble is None:
        return None
    return Finding(trouble, snapshot.ledger.detail, attention=True)


def claimed_by_another(snapshot: Snapshot, now: datetime) -> Finding | None:
    """A claim stands that has not expired by Vault's clock, whoever holds it."""
    del now
    claim = snapshot.claim
    if claim is None or snapshot.vault_now >= snapshot.claim_expires_at():
        return None
    return Finding(Reason.CLAIMED, f"{claim.kind} claimed by {claim.holder}", claim.key)


def value_is_foreign(snapshot: Snapshot, now: datetime) -> Finding | None:
    """The field holds a value that no key of the account explains."""
    del now
    book = snapshot.ledger.ledger
    if book is None or book.foreign is None:
        return None
    return Finding(Reason.FOREIGN_VALUE, f"At {snapshot.target.secret}.", attention=True)


def key_served_twice(snapshot: Snapshot, now: datetime) -> Finding | None:
    """Another configured target serves the same key."""
    del now
    book = snapshot.ledger.ledger
    if book is None or book.served is None:
        return None
    others = snapshot.served_elsewhere(book.served.hash)
    if not others:
        return None
    names = ", ".join(sorted(others))
    return Finding(Reason.SERVED_TWICE, f"Also: {names}.", book.served.hash, attention=True)


def put_back_compromised(key: str) -> Finding:
    """Return what a person should see of a key that was called compromised and put back."""
    return Finding(Reason.PUT_BACK_COMPROMISED, "", key, attention=True)


def key_is_compromised(snapshot: Snapshot, now: datetime) -> Finding | None:
    """The served key had been called compromised before somebody put it back."""
    del now
    book = snapshot.ledger.ledger
    if book is None or book.served is None or not book.served.compromised:
        return None
    return put_back_compromised(book.served.hash)


def target_is_held(snapshot: Snapshot, now: datetime) -> Finding | None:
    """An operator holds the target, or something keeps writing its field."""
    del now
    book = snapshot.ledger.ledger
    if book is None or book.hold is None:
        return None
    hold = book.hold
    contested = hold.reason is Reason.CONTESTED
    return Finding(hold.reason, f"By {hold.by}: {hold.why}", attention=contested)


def clocks_disagree(snapshot: Snapshot, now: datetime) -> Finding | None:
    """This machine's clock and Vault's differ by more than five minutes."""
    if not snapshot.clocks_disagree(now):
        return None
    seconds = (now - snapshot.vault_now).total_seconds()
    return Finding(Reason.CLOCKS_DISAGREE, f"Local minus Vault: {seconds:+.0f} s.", attention=True)


def no_live_version(snapshot: Snapshot, now: datetime) -> Finding | None:
    """The secret has no version that can be read."""
    del now
    return None if snapshot.secret.live else Finding(Reason.NO_LIVE_VERSION)


def backing_off(snapshot: Snapshot, now: datetime) -> Finding | None:
    """The last attempt failed, and the next one waits its time."""
    book = snapshot.ledger.ledger
    if book is None or book.failure is None or book.failure.next_try <= now:
        return None
    return Finding(Reason.BACKING_OFF, book.failure.detail)


def too_many_dead(snapshot: Snapshot, now: datetime) -> Finding | None:
    """With this target's served key, more are dead than is believable."""
    del now
    dead = snapshot.dead | {snapshot.target.name}
    if len(dead) <= snapshot.limits.max_dead:
        return None
    detail = f"{len(dead)} dead, {snapshot.limits.max_dead} are believed."
    return Finding(Reason.TOO_MANY_DEAD, detail, attention=True)


ROTATION_STOPS: tuple[Check, ...] = (
    value_is_foreign,
    key_served_twice,
    target_is_held,
    backing_off,
)
"""What keeps a scheduled rotation from starting, the weightiest first."""

REMOVAL_STOPS: tuple[Check, ...] = (
    value_is_foreign,
    no_live_version,
    clocks_disagree,
    target_is_held,
    backing_off,
)
"""What keeps an old key from being disabled or deleted, the weightiest first."""


def first_of(checks: tuple[Check, ...], snapshot: Snapshot, now: datetime) -> Finding | None:
    """Return the first finding of some checks, or None."""
    for check in checks:
        finding = check(snapshot, now)
        if finding is not None:
            return finding
    return None
