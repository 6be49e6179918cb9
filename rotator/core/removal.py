"""What to do next about the keys that are on their way out.

At most one key is disabled or deleted by one plan, under a claim of its own. A look
that proves nothing yet is recorded, so that the next one can be spaced.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rotator.core import edits
from rotator.core.checks import (
    backing_off,
    clocks_disagree,
    first_of,
    no_live_version,
    target_is_held,
    value_is_foreign,
)
from rotator.core.keys import IssuedKey
from rotator.core.ledger import ClaimKind, PolicyDurations, RetiringKey
from rotator.core.reasons import Reason
from rotator.core.retirement import AT_ONCE, Stage, Standing, quiet_since, standing
from rotator.core.rotation import claim_for
from rotator.core.schedule import disable_allowed_at
from rotator.core.snapshot import VAULT_SECOND, Snapshot
from rotator.core.steps import (
    Delete,
    Disable,
    Finding,
    MakeClaim,
    NeedLook,
    Plan,
    Record,
    RecordDisabled,
)


def durations(snapshot: Snapshot) -> PolicyDurations:
    """Return the durations in force: configured ones, else those last remembered."""
    if snapshot.target.configured:
        return PolicyDurations.of(snapshot.target.policy)
    return snapshot.book.policy


def plan_removal(snapshot: Snapshot, now: datetime, stop: Finding | None = None) -> Plan:
    """Plan the next look, disable or delete, or say when there will be one.

    Args:
        snapshot: what was observed.
        now: the local time.
        stop: what is wrong with the served key, so that old keys stay as they are unless
            an operator retired them or called them compromised; None where all is well.
    """
    findings: list[Finding] = []
    wakes: list[datetime] = []
    served = snapshot.book.served
    for entry in snapshot.book.retiring:
        if served is not None and served.hash == entry.hash:
            continue  # no edit leaves it so, yet a person's hand in the ledger might
        answer = _plan_entry(snapshot, entry, now, stop)
        if answer.steps or answer.needs:
            return replace(answer, findings=(*findings, *answer.findings))
        findings.extend(answer.findings)
        if answer.wake_at is not None:
            wakes.append(answer.wake_at)
    return Plan(Reason.NOT_DUE, findings=tuple(findings), wake_at=min(wakes, default=None))


def _plan_entry(
    snapshot: Snapshot, entry: RetiringKey, now: datetime, standstill: Finding | None
) -> Plan:
    """Plan the next thing for one retiring key."""
    safe = snapshot.safe_now(now)
    asked = snapshot.looks.get(entry.hash)
    key = asked.key if asked is not None else None
    place = standing(entry, durations(snapshot), safe, key)
    if place.stage in (Stage.LOOK, Stage.DISABLE, Stage.DELETE):
        if stop := _stopped(snapshot, entry, place, now, standstill):
            failure = snapshot.book.failure
            retry = failure.next_try if failure and stop.reason is Reason.BACKING_OFF else None
            return Plan(stop.reason, findings=(stop,), wake_at=retry)
        opens = _opens_at(snapshot, entry, place, safe)
        if opens > safe:
            return Plan(Reason.NOT_DUE, wake_at=_local(opens, safe, now))
        if asked is None:
            return Plan(place.why, needs=(NeedLook(entry.hash),))
        if asked.key is None:
            return _plan_gone(snapshot, entry)
        return _act(snapshot, entry, place, asked.key, now)
    findings = _findings(entry, place)
    if key is not None and place.stage in (Stage.DRAIN, Stage.BLOCKED):
        return _record_look(snapshot, entry, place, key, now)
    wake = _local(place.until, safe, now) if place.until is not None else None
    return Plan(place.why, findings=findings, wake_at=wake)


def _local(until: datetime, safe: datetime, now: datetime) -> datetime:
    """Return the local time at which a wait that the earlier clock judges will be over."""
    return now + (until - safe) + VAULT_SECOND


def _stopped(
    snapshot: Snapshot,
    entry: RetiringKey,
    place: Standing,
    now: datetime,
    standstill: Finding | None,
) -> Finding | None:
    """Return what keeps a key from being looked at, disabled or deleted, or None."""
    others = snapshot.served_elsewhere(entry.hash)
    if others and place.stage is not Stage.LOOK:
        return Finding(
            Reason.STILL_SERVED, f"By {', '.join(sorted(others))}.", entry.hash, attention=True
        )
    if stop := first_of((value_is_foreign, no_live_version, clocks_disagree), snapshot, now):
        return stop
    if entry.why in (Reason.COMPROMISED, Reason.RETIRED) and place.stage is Stage.DISABLE:
        return None
    if entry.why is Reason.NEVER_SERVED:
        # Cleaning up after a failed rotation must not wait until the next one fails too.
        return target_is_held(snapshot, now)
    return standstill or first_of((target_is_held, backing_off), snapshot, now)


def _opens_at(snapshot: Snapshot, entry: RetiringKey, place: Standing, safe: datetime) -> datetime:
    """Return when windows and blackouts allow a key to be disabled (or looked at for that)."""
    if place.stage is Stage.DELETE or entry.why in AT_ONCE or not snapshot.target.configured:
        return safe
    return disable_allowed_at(snapshot.target.policy, safe)


def _plan_gone(snapshot: Snapshot, entry: RetiringKey) -> Plan:
    """Plan for a key that OpenRouter does not know, once another key proves the account right."""
    served = snapshot.book.served
    others = [each.hash for each in snapshot.book.retiring if each.hash != entry.hash]
    if served is not None:
        others.insert(0, served.hash)
    others += [each for each in snapshot.served_by if each not in others]
    for other in others[:3]:
        known = snapshot.looks.get(other)
        if known is None:
            return Plan(Reason.GONE, needs=(NeedLook(other),))
        if known.key is not None:
            return Plan(Reason.GONE, (Record(edits.KeyRemoved(entry.hash)),))
    finding = Finding(Reason.WRONG_ACCOUNT, "", entry.hash, attention=True)
    return Plan(Reason.WRONG_ACCOUNT, findings=(finding,))


def _act(
    snapshot: Snapshot, entry: RetiringKey, place: Standing, key: IssuedKey, now: datetime
) -> Plan:
    """Plan the disable or the delete that a fresh look allows."""
    if place.stage is Stage.DELETE:
        if not key.disabled:
            edit = edits.EnabledByHand(entry.hash)
            return Plan(Reason.ENABLED_BY_HAND, (Record(edit),))
        claim = claim_for(snapshot, ClaimKind.DELETE, place.why, now)
        steps = (
            MakeClaim(replace(claim, key=entry.hash)),
            Delete(entry.hash, entry.secret),
            Record(edits.KeyRemoved(entry.hash)),
        )
        return Plan(place.why, steps)
    if key.disabled:
        # Somebody disabled it already; its quarantine counts from when that was seen.
        return Plan(place.why, (Record(edits.KeyDisabled(entry.hash, snapshot.late_now(now))),))
    claim = claim_for(snapshot, ClaimKind.DISABLE, place.why, now)
    disable = (
        MakeClaim(replace(claim, key=entry.hash)),
        Disable(entry.hash, entry.secret),
        RecordDisabled(entry.hash),
    )
    return Plan(place.why, disable, urgent=entry.why is Reason.COMPROMISED)


def _record_look(
    snapshot: Snapshot,
    entry: RetiringKey,
    place: Standing,
    key: IssuedKey,
    now: datetime,
) -> Plan:
    """Plan the record of a look that proved nothing yet, so that the next one is spaced."""
    since = quiet_since(entry, key, snapshot.late_now(now))
    edit = edits.LookRecorded(entry.hash, now, key.last_used_at, key.usage, since)
    return Plan(place.why, (Record(edit),), findings=_findings(entry, place))


def _findings(entry: RetiringKey, place: Standing) -> tuple[Finding, ...]:
    """Return what a person should see of a retiring key."""
    if place.stage in (Stage.BLOCKED, Stage.ENABLED_BY_HAND, Stage.LEFT_BEHIND):
        return (Finding(place.why, "", entry.hash, attention=True),)
    return ()
