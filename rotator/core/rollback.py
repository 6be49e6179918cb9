"""The way back: an older key of a target is served again, because an operator says so.

Only its value makes a key of use, and only Vault has that: it is looked for in the
older versions of the secret. Everything that could refuse a rollback is asked before
anything is changed; what is changed stands under a claim that names the old key, so
that whoever settles it later reads in the secret which of the two keys is served.

An operator's rollback is not counted as a paste-back. That rule holds a target whose
field something unknown keeps writing; who gave this command is known.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rotator.core.checks import key_served_twice, value_is_foreign
from rotator.core.keys import IssuedKey
from rotator.core.ledger import ClaimKind, Ledger, RetiringKey
from rotator.core.reasons import Reason
from rotator.core.rotation import claim_for
from rotator.core.snapshot import Rollback, Snapshot
from rotator.core.steps import (
    Enable,
    Finding,
    MakeClaim,
    NeedLook,
    NeedVersions,
    Plan,
    PromoteRecalled,
    Publish,
    Recall,
    Step,
    Verify,
)

OLDEST = 100
"""How many versions back an old key's value is looked for."""

_AT_ONCE = 10
# Versions read between two looks at what they hold: most often the first few suffice.

_NOT_CHOSEN = frozenset({Reason.NEVER_SERVED, Reason.COMPROMISED, Reason.LEFT_BEHIND})
# Nobody means these who does not name them.

_DOUBTFUL = frozenset({Reason.ORPHANED, Reason.MAYBE_SERVED})
# Whether these were the ones served last is not known: chosen where there is no other.


def choose(book: Ledger) -> RetiringKey | Finding:
    """Return the key to go back to where none is named: the one that was served last.

    Or a finding where there is none. A key that was called compromised must be named.
    """
    old = [
        entry
        for entry in book.retiring
        if entry.why not in _NOT_CHOSEN and entry.secret == book.secret
    ]
    if old:
        return max(old, key=lambda entry: (entry.why not in _DOUBTFUL, entry.since))
    if any(entry.why is Reason.COMPROMISED for entry in book.retiring):
        return Finding(Reason.NO_OLDER_KEY, "Those called compromised must be named by their hash.")
    return Finding(Reason.NO_OLDER_KEY, "`rotator rotate` makes a new one.")


def plan_rollback(snapshot: Snapshot, rollback: Rollback, now: datetime) -> Plan:
    """Plan to serve an older key again, or say in one finding why that is not done.

    Called where nothing else is to be settled first. Without a key it plans nothing: all
    is settled, and one can be chosen, unless a finding says that none would be served.
    Where the key is served already there is nothing left to do; the plan's reason says so.
    """
    served = snapshot.book.served
    if served is not None and served.hash == rollback.key:
        return Plan(Reason.ROLLED_BACK)
    if stop := _target_refuses(snapshot, now):
        return _refuse(stop)
    if rollback.key is None or not snapshot.may_read_values:
        return Plan(Reason.NOT_DUE)
    if refused := _key_refuses(snapshot, rollback.key):
        return _refuse(refused)
    entry = snapshot.book.entry(rollback.key)
    assert entry is not None  # it would have been refused
    look = snapshot.looks.get(entry.hash)
    if look is None:
        return Plan(Reason.ROLLED_BACK, needs=(NeedLook(entry.hash),))
    if look.key is None or _expired(snapshot, look.key, now):
        return _refuse(Finding(Reason.OLD_KEY_GONE, _ROTATE, entry.hash))
    version, unread = _version_of(snapshot, entry)
    if unread:
        return Plan(Reason.ROLLED_BACK, needs=(NeedVersions(unread),))
    if version is None:
        return _refuse(Finding(Reason.VALUE_GONE, _ROTATE, entry.hash))
    return Plan(Reason.ROLLED_BACK, _steps(snapshot, look.key, version, now), urgent=True)


_ROTATE = "`rotator rotate` makes a new one."


def _refuse(finding: Finding) -> Plan:
    """Return a plan that changes nothing and says why."""
    return Plan(finding.reason, findings=(finding,))


def _target_refuses(snapshot: Snapshot, now: datetime) -> Finding | None:
    """Return what speaks against a rollback to whatever key, or None.

    A hold is no reason: whoever gives this command knows better.
    """
    if foreign := value_is_foreign(snapshot, now):
        return foreign
    if not snapshot.secret.live:
        return Finding(Reason.NO_LIVE_VERSION, f"Nor is one served again. {_ROTATE}")
    return key_served_twice(snapshot, now)


def _key_refuses(snapshot: Snapshot, key: str) -> Finding | None:
    """Return what the ledger alone has against serving one key again, or None."""
    entry = snapshot.book.entry(key)
    if entry is None:
        return Finding(Reason.NO_OLDER_KEY, "It is not retiring any more.", key)
    if entry.why is Reason.LEFT_BEHIND or entry.secret != snapshot.target.secret:
        return Finding(Reason.NO_OLDER_KEY, f"This one was served at {entry.secret}.", key)
    if others := snapshot.served_elsewhere(key):
        return Finding(Reason.SERVED_TWICE, f"By {', '.join(sorted(others))}.", key, attention=True)
    if entry.delete_claimed:
        return Finding(Reason.DELETE_CLAIMED, _ROTATE, key)
    return None


def _expired(snapshot: Snapshot, key: IssuedKey, now: datetime) -> bool:
    """Tell whether a key stopped working by itself."""
    return key.expires_at is not None and key.expires_at <= snapshot.late_now(now)


def _version_of(snapshot: Snapshot, entry: RetiringKey) -> tuple[int | None, tuple[int, ...]]:
    """Return the newest version that holds a key's value, and what must be read to find it."""
    newest = snapshot.secret.version - 1
    older = range(newest, max(0, newest - OLDEST), -1)
    for version in older:
        if snapshot.versions.get(version) == entry.value_sha256:
            return version, ()
    return None, tuple(each for each in older if each not in snapshot.versions)[:_AT_ONCE]


def _steps(snapshot: Snapshot, key: IssuedKey, version: int, now: datetime) -> tuple[Step, ...]:
    """Return the steps that serve an old key again.

    Its value is in hand before anything is changed, and proven before it is published.
    """
    secret = snapshot.target.secret
    claim = replace(claim_for(snapshot, ClaimKind.ROLLBACK, Reason.ROLLED_BACK, now), key=key.hash)
    return (
        Recall(key.hash, version, secret),
        MakeClaim(claim),
        *((Enable(key.hash),) if key.disabled else ()),
        Verify(),
        Publish(secret),
        PromoteRecalled(key.hash),
    )
