"""Which key a target serves: a fact that is read from the secret, not remembered.

`first_ledger` rebuilds a missing ledger from the two other sources; `follow_value`
brings the ledger up to date when the secret was changed by another hand; `dead_key`
decides what a served key that OpenRouter no longer accepts means.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rotator.core import hand_edits
from rotator.core.checks import put_back_compromised, too_many_dead
from rotator.core.keys import IssuedKey
from rotator.core.ledger import (
    ForeignValue,
    Hold,
    Ledger,
    PolicyDurations,
    PutBack,
    ServedKey,
)
from rotator.core.reasons import Reason
from rotator.core.recovery import needed_value, served_again, served_from, versions_since
from rotator.core.schedule import period
from rotator.core.snapshot import Snapshot
from rotator.core.steps import (
    CreateLedger,
    Enable,
    Finding,
    NeedLook,
    NeedProbe,
    NeedValue,
    NeedVersions,
    Plan,
    Record,
)
from rotator.core.target import OnDisabled


def first_ledger(snapshot: Snapshot, now: datetime) -> Plan | None:
    """Plan the first ledger of a target, or a new one where it was lost.

    Nothing is remembered then, so every grace starts afresh; predecessors that are
    marked as ours are found by the next listing.
    """
    if snapshot.ledger.ledger is not None:
        return None
    if not snapshot.may_read_values:
        return Plan(Reason.FIRST_SEEN)
    if needs := needed_value(snapshot):
        return Plan(Reason.FIRST_SEEN, needs=needs)
    ledger = Ledger(
        secret=snapshot.target.secret,
        policy=PolicyDurations.of(snapshot.target.policy),
        first_seen=now,
    )
    value = snapshot.secret.value
    if value is None or value.absent:
        return Plan(Reason.FIRST_SEEN, (CreateLedger(ledger),))
    if value.sha256 is not None:
        look = snapshot.look(value.sha256)
        if look is None:
            return Plan(Reason.FIRST_SEEN, needs=(NeedLook(value.sha256),))
        if look.key is not None:
            served = served_from(snapshot, look.key, now)
            return Plan(Reason.FIRST_SEEN, (CreateLedger(replace(ledger, served=served)),))
    foreign = ForeignValue(snapshot.secret.version, snapshot.secret.created_time, now)
    return Plan(Reason.FOREIGN_VALUE, (CreateLedger(replace(ledger, foreign=foreign)),))


def follow_path(snapshot: Snapshot, now: datetime) -> Plan | None:
    """Plan the change of path or field: the new path starts as a first key."""
    if not snapshot.target.configured or snapshot.book.secret == snapshot.target.secret:
        return None
    return Plan(
        Reason.MOVED, (Record(hand_edits.Moved(snapshot.target.secret, snapshot.late_now(now))),)
    )


def follow_value(snapshot: Snapshot, now: datetime) -> Plan | None:
    """Plan what follows where the secret has another version than the ledger last saw."""
    book = snapshot.book
    explained = _explained_foreign(snapshot)
    if not snapshot.target.configured or not (has_moved(snapshot) or explained):
        return None
    if not snapshot.may_read_values:
        finding = Finding(Reason.CHANGED_NOT_READ, f"Version {snapshot.secret.version}.")
        return Plan(Reason.CHANGED_NOT_READ, findings=(finding,))
    if needs := needed_value(snapshot):
        return Plan(Reason.VALUE_MOVED, needs=needs)
    between = _unread_between(snapshot)
    if between:
        return Plan(Reason.VALUE_MOVED, needs=(NeedVersions(between),))
    value = snapshot.secret.value
    if value is None or value.absent:
        return _seen(snapshot, now, None, Reason.WITHDRAWN)
    if value.sha256 is None:
        return _foreign(snapshot, now)
    if book.served is not None and value.sha256 == book.served.value_sha256:
        same = replace(
            book.served,
            secret_version=snapshot.secret.version,
            secret_created_time=snapshot.secret.created_time,
        )
        return _seen(snapshot, now, same, Reason.VALUE_MOVED)
    for entry in book.retiring:
        if entry.value_sha256 == value.sha256:
            return _put_back(snapshot, now, served_again(snapshot, entry, now))
    look = snapshot.look(value.sha256)
    if look is None:
        return Plan(Reason.VALUE_MOVED, needs=(NeedLook(value.sha256),))
    if look.key is not None:
        return _adopt(snapshot, now, look.key)
    for entry in book.deleted:
        if entry.value_sha256 == value.sha256:
            # Put back while it was being deleted, or later from an old version: a dead key.
            return _put_back(snapshot, now, served_again(snapshot, entry, now))
    return _foreign(snapshot, now)


def has_moved(snapshot: Snapshot) -> bool:
    """Tell whether the secret moved, or vanished under a value that was served.

    Only for a target that has a ledger.
    """
    book = snapshot.book
    if not snapshot.secret.live:
        return book.served is not None or book.foreign is not None
    if book.served is None and book.foreign is None:
        # Nothing is served as far as the ledger knows: only a value in the field is news.
        value = snapshot.secret.value
        return value is None or not value.absent
    return snapshot.version_moved()


def _explained_foreign(snapshot: Snapshot) -> bool:
    """Tell whether a foreign value shall be compared with the account's keys once more."""
    asked = snapshot.demand is not None and snapshot.demand.adopt
    return snapshot.book.foreign is not None and (snapshot.listing is not None or asked)


def _unread_between(snapshot: Snapshot) -> tuple[int, ...]:
    """Return the versions in between that still have to be read."""
    version = _last_seen(snapshot)
    if not snapshot.book.retiring or version is None:
        return ()
    between = versions_since(snapshot, version) or ()
    return tuple(each for each in between if each not in snapshot.versions)


def _last_seen(snapshot: Snapshot) -> int | None:
    """Return the version that the ledger last saw, or None where it does not say."""
    known = snapshot.book.served or snapshot.book.foreign
    return known.secret_version if known is not None else None


def _fresh_grace(snapshot: Snapshot) -> frozenset[str]:
    """Return the retiring keys that were, or may have been, served in between."""
    book, version = snapshot.book, _last_seen(snapshot)
    between = versions_since(snapshot, version) if version is not None else None
    digests = [snapshot.versions.get(each) for each in between or ()]
    if between is None or None in digests:
        return frozenset(each.hash for each in book.retiring)
    return frozenset(each.hash for each in book.retiring if each.value_sha256 in digests)


def _seen(
    snapshot: Snapshot,
    now: datetime,
    served: ServedKey | None,
    why: Reason,
    nonce: str | None = None,
) -> Plan:
    """Plan the record of what the secret now holds."""
    edit = hand_edits.ValueSeen(
        served, None, why, snapshot.late_now(now), _fresh_grace(snapshot), nonce=nonce
    )
    return Plan(why, (Record(edit),))


def _foreign(snapshot: Snapshot, now: datetime) -> Plan | None:
    """Plan the record of a value that no key of the account explains."""
    known = snapshot.book.foreign
    version = (snapshot.secret.version, snapshot.secret.created_time)
    if known is not None and (known.secret_version, known.secret_created_time) == version:
        return None
    foreign = ForeignValue(*version, since=known.since if known is not None else now)
    why = Reason.FOREIGN_REPLACED
    at = snapshot.late_now(now)
    edit = hand_edits.ValueSeen(None, foreign, why, at, _fresh_grace(snapshot))
    return Plan(Reason.FOREIGN_VALUE, (Record(edit),))


def _put_back(snapshot: Snapshot, now: datetime, served: ServedKey) -> Plan:
    """Plan the record of a known key put back by hand; a second time in a period is contested."""
    before = snapshot.book.put_back
    hold = None
    if before is not None and now - before.at < period(snapshot.target.policy):
        hold = Hold(
            Reason.CONTESTED,
            "known keys were put back twice within one period",
            "rotator",
            now,
        )
    edit = hand_edits.ValueSeen(
        served,
        None,
        Reason.PUT_ASIDE,
        snapshot.late_now(now),
        _fresh_grace(snapshot) - {served.hash},
        PutBack(served.hash, now),
        hold,
    )
    found = (put_back_compromised(served.hash),) if served.compromised else ()
    return Plan(Reason.PUT_BACK, (Record(edit),), findings=found)


def _adopt(snapshot: Snapshot, now: datetime, key: IssuedKey) -> Plan:
    """Plan the record of a key of the account that no ledger entry knew.

    Where it replaces a served key its age counts from now, else from its making.
    """
    due_from = now if snapshot.book.served is not None else None
    served = served_from(snapshot, key, now, due_from=due_from)
    marker = snapshot.marker_of(key)
    nonce = marker.nonce if marker is not None else None
    return _seen(snapshot, now, served, Reason.SUPERSEDED, nonce)


def heal_disabled(snapshot: Snapshot, now: datetime) -> Plan | None:
    """Plan to enable a served key that this program had disabled; this needs no claim.

    Not one that was called compromised: it is replaced, and works no more until then.
    """
    del now
    book = snapshot.ledger.ledger
    if book is None or book.served is None or not snapshot.target.configured:
        return None
    look = snapshot.look(book.served.hash)
    disabled = look is not None and look.key is not None and look.key.disabled
    unmoved = snapshot.secret.live and not snapshot.version_moved()
    if not disabled or not book.served.disable_claimed or not unmoved or book.served.compromised:
        return None
    return Plan(Reason.DISABLED_BY_US, (Enable(book.served.hash),), urgent=True)


def dead_key(snapshot: Snapshot, now: datetime) -> tuple[Reason | None, Plan | None]:
    """Tell whether the served key is dead, or as good as that: called compromised, and put back.

    Returns:
        The reason for which it must be replaced at once, or None; and a plan where
        more must be observed first, or where a dead key is left as it is.
    """
    served = snapshot.book.served
    if served is None:
        return None, None
    look = snapshot.look(served.hash)
    if look is None:
        # A key that a listing leaves out may be in a workspace that nobody named: ask for it.
        # So is one that was put back after a disable or delete was claimed: it may be off.
        threatened = served.disable_claimed or served.delete_claimed
        asks = (NeedLook(served.hash),) if threatened or snapshot.listing is not None else ()
        return None, Plan(Reason.GONE, needs=asks) if asks else None
    if served.compromised and look.key is not None:
        return Reason.PUT_BACK_COMPROMISED, None
    reason = _cause_of_death(look.key, snapshot.safe_now(now))
    if reason is None:
        return None, None
    if not snapshot.may_read_values:
        return reason, None
    if snapshot.secret.value is None:
        return None, Plan(reason, needs=(NeedValue(),))
    if snapshot.served_works is None:
        return None, Plan(reason, needs=(NeedProbe(),))
    if snapshot.served_works:
        finding = Finding(Reason.WRONG_ACCOUNT, "", served.hash, attention=True)
        return None, Plan(Reason.WRONG_ACCOUNT, findings=(finding,))
    if crowd := too_many_dead(snapshot, now):
        return None, Plan(Reason.TOO_MANY_DEAD, findings=(crowd,))
    if reason is Reason.DISABLED and snapshot.target.policy.on_disabled is OnDisabled.HOLD:
        finding = Finding(Reason.DISABLED_BY_HAND, "", served.hash, attention=True)
        return None, Plan(Reason.DISABLED_BY_HAND, findings=(finding,))
    return reason, None


def _cause_of_death(key: IssuedKey | None, now: datetime) -> Reason | None:
    """Return why OpenRouter would no longer accept a key, or None."""
    if key is None:
        return Reason.GONE
    if key.expires_at is not None and key.expires_at <= now:
        return Reason.EXPIRED
    return Reason.DISABLED if key.disabled else None
