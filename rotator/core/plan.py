"""The planner: one snapshot and the time in, the next steps of one target out.

`plan` asks its questions in a fixed order, healing before adding and adding before
removing, and takes the first that has an answer:

1. can the ledger be used at all, and is there one;
2. was a served key disabled by us (it is enabled at once, claim or no claim);
3. does somebody hold a claim, or did one expire;
4. was the secret moved or changed by another hand;
5. are there keys of ours that no ledger knows;
6. does an operator want an older key back, or this one kept (then nothing further is asked);
7. is the served key dead, or due;
8. may a retiring key be looked at, disabled or deleted.

A plan makes at most one change; the next pass plans the next one. The invariants
are asserted after every step of every plan (`rotator.core.invariants`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rotator.core import edits
from rotator.core.adoption import plan_adoption
from rotator.core.checks import (
    ROTATION_STOPS,
    claimed_by_another,
    first_of,
    key_is_compromised,
    key_served_twice,
    ledger_cannot_be_used,
    target_is_held,
    value_is_foreign,
)
from rotator.core.invariants import assert_safe
from rotator.core.keys import IssuedKey
from rotator.core.ledger import ClaimKind
from rotator.core.reasons import Reason
from rotator.core.recovery import needed_value, recover, retiring_from
from rotator.core.removal import plan_removal
from rotator.core.rollback import plan_rollback
from rotator.core.rotation import claim_for, due, new_key, predecessor, rotation_steps
from rotator.core.served import dead_key, first_ledger, follow_path, follow_value, heal_disabled
from rotator.core.snapshot import VAULT_SECOND, Snapshot
from rotator.core.steps import Fence, Finding, MakeClaim, NeedListing, NeedLook, Plan, Record

_DEMANDED = frozenset({Reason.REQUESTED, Reason.COMPROMISED, Reason.OVERWRITE_FOREIGN})

_STANDSTILL = frozenset({Reason.DISABLED_BY_HAND, Reason.WRONG_ACCOUNT, Reason.TOO_MANY_DEAD})
# With one of these about the served key, no old key goes either, unless an operator says so.


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    """Return what to do about one target now.

    Raises:
        InvariantViolation: the plan would break a promise; a defect of this program.
    """
    chosen = _plan(snapshot, now)
    assert_safe(snapshot, chosen.steps, now)
    return replace(chosen, findings=(*chosen.findings, *_unknown_workspaces(snapshot)))


def _unknown_workspaces(snapshot: Snapshot) -> tuple[Finding, ...]:
    """Tell of workspaces that the target names and that the account lacks.

    It stops nothing, so an operator's command, which would end with it, is not told.
    """
    unknown = snapshot.unlisted & snapshot.workspaces()
    if not unknown or snapshot.demand is not None:
        return ()
    detail = f"It is {', '.join(sorted(unknown))}."
    return (Finding(Reason.WORKSPACE_UNKNOWN, detail, attention=True),)


def _plan(snapshot: Snapshot, now: datetime) -> Plan:
    """Ask the questions in order and take the first answer."""
    if trouble := ledger_cannot_be_used(snapshot, now):
        return Plan(trouble.reason, findings=(trouble,))
    if healing := heal_disabled(snapshot, now):
        return healing
    if claimed := claimed_by_another(snapshot, now):
        left = snapshot.claim_expires_at() - snapshot.vault_now
        return Plan(Reason.CLAIMED, findings=(claimed,), wake_at=now + left + VAULT_SECOND)
    if snapshot.ledger.ledger is None and not snapshot.target.configured:
        return Plan(Reason.NOT_DUE)
    if first := first_ledger(snapshot, now):
        return first
    if snapshot.claim is not None:
        return _settle_claim(snapshot, now)
    for ask in (follow_path, follow_value, _adopt_orphans):
        if answer := ask(snapshot, now):
            return answer
    if snapshot.demand is not None and snapshot.demand.rollback is not None:
        return plan_rollback(snapshot, snapshot.demand.rollback, now)
    if snapshot.demand is not None and snapshot.demand.adopt:
        return plan_adoption(snapshot, now)
    return _rotate_or_remove(snapshot, now)


def _settle_claim(snapshot: Snapshot, now: datetime) -> Plan:
    """Plan the end of an expired claim, or only tell of it where no value may be read."""
    if not snapshot.may_read_values:
        claim = snapshot.claim
        assert claim is not None
        finding = Finding(Reason.CLAIM_EXPIRED, f"{claim.kind} by {claim.holder}.", claim.key)
        return Plan(Reason.CLAIM_EXPIRED, findings=(finding,))
    return recover(snapshot, now)


def _adopt_orphans(snapshot: Snapshot, now: datetime) -> Plan | None:
    """Plan entries for keys that are marked as ours, yet neither served nor in the ledger."""
    if snapshot.listing is None or not snapshot.may_read_values or not snapshot.target.configured:
        return None
    book = snapshot.book
    born_late: list[IssuedKey] = []
    orphaned: list[IssuedKey] = []
    for key in snapshot.listing.keys.values():
        marker = snapshot.marker_of(key)
        if marker is None or book.knows(key.hash) or snapshot.served_elsewhere(key.hash):
            continue
        (born_late if marker.nonce in book.abandoned else orphaned).append(key)
    if not born_late and not orphaned:
        return None
    if not snapshot.listing.fresh:
        return Plan(Reason.ORPHANED, needs=(NeedListing(frozenset()),))
    if needs := needed_value(snapshot):
        return Plan(Reason.ORPHANED, needs=needs)
    if born_late:
        why, keys = Reason.NEVER_SERVED, born_late
    else:
        why, keys = Reason.ORPHANED, orphaned
    since = snapshot.late_now(now)
    entries = tuple(
        retiring_from(key, book.secret, since=since, why=why, value_sha256=None) for key in keys
    )
    record = Record(edits.RetireKeys(entries))
    if why is Reason.NEVER_SERVED or not snapshot.secret.live:
        return Plan(why, (record,))
    claim = claim_for(snapshot, ClaimKind.FENCE, why, now)
    return Plan(why, (MakeClaim(claim), Fence(snapshot.target.secret), record))


def _rotate_or_remove(snapshot: Snapshot, now: datetime) -> Plan:
    """Plan a rotation, or else the next thing for a retiring key."""
    rotation = _plan_rotation(snapshot, now) if snapshot.target.configured else None
    if rotation is not None and (rotation.steps or rotation.needs):
        return rotation
    stop = rotation.findings[0] if rotation is not None and rotation.reason in _STANDSTILL else None
    removal = plan_removal(snapshot, now, stop)
    if rotation is None:
        served = snapshot.book.served
        left = (Finding(Reason.LEFT_BEHIND, "", served.hash),) if served is not None else ()
        return replace(removal, findings=_merged(left, removal.findings))
    wakes = tuple(each for each in (rotation.wake_at, removal.wake_at) if each is not None)
    both = replace(
        removal,
        reason=removal.reason if removal.steps or removal.needs else rotation.reason,
        findings=_merged(rotation.findings, removal.findings),
        wake_at=min(wakes, default=None),
    )
    return _failure_over(snapshot, both, now)


def _failure_over(snapshot: Snapshot, chosen: Plan, now: datetime) -> Plan:
    """Forget a failure once its time to retry has come and there is nothing left to retry.

    A failed look, for instance, succeeds the next time and leaves nothing to record.
    """
    failure = snapshot.book.failure
    idle = chosen.reason is Reason.NOT_DUE  # no step or need bears this reason
    if failure is None or not idle or failure.next_try > now or not snapshot.may_read_values:
        return chosen
    return replace(chosen, reason=Reason.FAILURE_OVER, steps=(Record(edits.FailureOver()),))


def _merged(one: tuple[Finding, ...], two: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return both, each finding once."""
    return tuple(dict.fromkeys((*one, *two)))


def _plan_rotation(snapshot: Snapshot, now: datetime) -> Plan:
    """Plan a rotation if the served key is dead or due, and nothing stops it."""
    dead, left_alone = dead_key(snapshot, now)
    when = due(snapshot, now)
    due_now = when.reason if when is not None and when.at <= now else None
    asked = due_now in _DEMANDED
    if left_alone is not None and not (asked and _overridden(snapshot, left_alone)):
        return left_alone
    # What an operator asked for weighs more than a death: it passes holds and back-off.
    reason = due_now if asked else dead or due_now
    if reason is None:
        findings = _standing_findings(snapshot, now)
        wake = when.at + VAULT_SECOND if when is not None else None
        return Plan(Reason.NOT_DUE, findings=findings, wake_at=wake)
    if stop := _stopped(snapshot, reason, now):
        findings = _merged((stop,), _standing_findings(snapshot, now))
        return Plan(stop.reason, findings=findings, wake_at=_retry_at(snapshot, stop))
    before = predecessor(snapshot)
    look = snapshot.looks.get(before.hash) if before is not None else None
    if before is not None and look is None:
        return Plan(reason, needs=(NeedLook(before.hash),))
    new = new_key(snapshot, look.key if look is not None else None, now)
    if new is None:
        finding = Finding(Reason.LIMIT_UNKNOWN, attention=True)
        return Plan(Reason.LIMIT_UNKNOWN, findings=(finding,))
    urgent = dead is not None or reason is Reason.COMPROMISED
    return Plan(reason, rotation_steps(snapshot, new, reason, now), urgent=urgent)


def _overridden(snapshot: Snapshot, left_alone: Plan) -> bool:
    """Tell whether an operator who asks wants a dead key replaced that is left alone otherwise.

    He must have named the target, or called its key compromised.

    Not where the management key seems to belong to another account: a key made there
    would be charged to somebody else.
    """
    demand = snapshot.demand
    meant = demand is not None and (demand.named or demand.compromised)
    overridable = (Reason.DISABLED_BY_HAND, Reason.TOO_MANY_DEAD)
    return meant and not left_alone.needs and left_alone.reason in overridable


def _standing_findings(snapshot: Snapshot, now: datetime) -> tuple[Finding, ...]:
    """Return what a person should see of a target that is not due."""
    checks = (value_is_foreign, key_served_twice, key_is_compromised, target_is_held)
    found = (check(snapshot, now) for check in checks)
    return tuple(each for each in found if each is not None)


def _stopped(snapshot: Snapshot, reason: Reason, now: datetime) -> Finding | None:
    """Return what keeps a due rotation from starting, or None.

    A key that two targets serve is never rotated. A hold gives way only to a request
    that names the target; a back-off to any request.
    """
    if twice := key_served_twice(snapshot, now):
        return twice
    if reason is Reason.COMPROMISED:
        return None
    if reason not in _DEMANDED:
        return first_of(ROTATION_STOPS, snapshot, now)
    held = target_is_held(snapshot, now)
    return held if held and snapshot.demand and not snapshot.demand.named else None


def _retry_at(snapshot: Snapshot, stop: Finding) -> datetime | None:
    """Return when a stop ends by itself, or None."""
    failure = snapshot.book.failure
    if stop.reason is Reason.BACKING_OFF and failure is not None:
        return failure.next_try
    return None
