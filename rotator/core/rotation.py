"""When a target's key is replaced, and by which steps.

`due` answers both "when" and "is it due"; the steps are always the same: claim, mint,
verify, publish, promote. The old key is left alone by all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rotator.core.asked import is_rotated
from rotator.core.keys import IssuedKey, NewKey
from rotator.core.ledger import Claim, ClaimKind, KeyTerms, RetiringKey, ServedKey
from rotator.core.marker import Marker
from rotator.core.reasons import Reason
from rotator.core.schedule import DueReason, rotation_due_at
from rotator.core.snapshot import Snapshot
from rotator.core.steps import (
    MakeClaim,
    Mint,
    PromoteMinted,
    Publish,
    Step,
    Verify,
)

_REASON = {
    DueReason.EVERY: Reason.EVERY,
    DueReason.CRON: Reason.CRON,
    DueReason.MAX_AGE: Reason.MAX_AGE,
    DueReason.ADOPTED: Reason.ADOPTED,
}

_NO_SUCCESSOR = frozenset({Reason.WITHDRAWN, Reason.FOREIGN_REPLACED, Reason.LEFT_BEHIND})
# Why a key retires that has no successor.


@dataclass(frozen=True, slots=True)
class Due:
    """When a target's key is replaced next.

    Attributes:
        at: from when it may start.
        reason: why.
    """

    at: datetime
    reason: Reason


def due(snapshot: Snapshot, now: datetime) -> Due | None:
    """Return when the target is due; its `at` is not after `now` exactly where it is due now.

    None where no time can be told: the field holds a foreign value. Judged by the
    earlier of the two clocks, so that a clock that leapt ahead starts no storm; an expiry,
    which does not wait for a clock that is behind, by Vault's. A key that OpenRouter no
    longer accepts is not this function's matter.
    """
    book = snapshot.book
    safe = snapshot.safe_now(now)
    if asked := _asked_for(snapshot):
        return Due(now, asked)
    if book.foreign is not None:
        return None
    served = book.served
    if served is None:
        return Due(now, Reason.FIRST_KEY)
    if served.compromised:
        return Due(now, Reason.PUT_BACK_COMPROMISED)
    policy = snapshot.target.policy
    scheduled = rotation_due_at(
        policy,
        snapshot.target.name,
        safe,
        due_from=served.due_from,
        # What was rotated here was not adopted, even if a wrong clock has it made before that.
        first_seen=book.first_seen if served.claimed_at is None else None,
        adopt_over=snapshot.limits.adopt_over,
    )
    wait, reason = scheduled.at - safe, _REASON[scheduled.why]
    if served.expires_at is not None:
        ends = served.expires_at - policy.grace - policy.drain.deadline
        if ends - snapshot.vault_now < wait:
            wait, reason = ends - snapshot.vault_now, Reason.EXPIRING
    return Due(now + max(wait, timedelta()), reason)


def _asked_for(snapshot: Snapshot) -> Reason | None:
    """Return why an operator's request makes the target due, or None."""
    demand, book = snapshot.demand, snapshot.book
    if demand is None or demand.adopt:
        return None
    if book.foreign is not None and not demand.overwrite_foreign:
        return None
    if book.foreign is not None and not demand.compromised:
        return Reason.OVERWRITE_FOREIGN
    if is_rotated(book, demand.before):
        return None
    return Reason.COMPROMISED if demand.compromised else Reason.REQUESTED


def predecessor(snapshot: Snapshot) -> ServedKey | RetiringKey | None:
    """Return the key whose terms the next one inherits, or None for a truly first key.

    That is the served key. Where the field or the live version was taken away, holds a
    foreign value, or the configuration names another path by now, it is the key that was
    served last: else deleting a version by accident, or a move, would lift a spending cap.
    """
    if snapshot.book.served is not None:
        return snapshot.book.served
    former = (each for each in snapshot.book.retiring if each.why in _NO_SUCCESSOR)
    return max(former, key=lambda each: each.since, default=None)


def new_key(snapshot: Snapshot, old: IssuedKey | None, now: datetime) -> NewKey | None:
    """Return what the replacement is asked for, or None where its limit cannot be told.

    What the configuration leaves out is inherited from the predecessor. With no reset
    period the limit is what the old key has left, and no more than the configuration
    allows, since a cap that refills at every rotation is no cap; nothing left is 0. Of an
    old key that is gone it is what is remembered, where that is less than is configured.
    """
    settings, before = snapshot.target.key, predecessor(snapshot)
    terms = before.terms if before is not None else None
    if old is not None and not old.limits_known:
        return None
    if old is not None:
        terms = KeyTerms(old.limit, old.limit_reset, old.include_byok_in_limit, old.creator_user_id)
    elif before is not None and terms is None and settings.limit is None:
        return None
    terms = terms or KeyTerms(None, None, False, None)
    reset = settings.limit_reset or terms.limit_reset
    limit = terms.limit if settings.limit is None else settings.limit
    if reset is None and before is not None and limit is not None:
        limit = _lifetime_cap(limit, old, terms, configured=settings.limit is not None)
        if limit is None:
            return None
    workspace = settings.workspace_id
    if workspace is None and old is not None:
        workspace = old.workspace_id
    if workspace is None and before is not None:
        workspace = before.workspace
    byok = settings.include_byok_in_limit
    identity = snapshot.identity
    marker = Marker(
        identity.instance, identity.installation, snapshot.target.name, snapshot.draft.nonce
    )
    return NewKey(
        name=str(marker),
        limit=limit,
        limit_reset=reset,
        include_byok_in_limit=terms.include_byok_in_limit if byok is None else byok,
        expires_at=_expiry(snapshot, now),
        workspace_id=workspace,
        creator_user_id=terms.creator_user_id,
    )


def _lifetime_cap(
    limit: float, old: IssuedKey | None, terms: KeyTerms, *, configured: bool
) -> float | None:
    """Return a cap that is no more than the old key's leaves, or None where that is unknown.

    What a key had left that is gone nobody can tell: where a cap is configured it is taken
    for all that is remembered of it, else no cap is handed on.
    """
    if terms.limit is None:
        return limit
    if old is None:
        return min(limit, terms.limit) if configured else None
    return None if old.limit_remaining is None else min(limit, max(0.0, old.limit_remaining))


def _expiry(snapshot: Snapshot, now: datetime) -> datetime | None:
    """Return the new key's expiry, computed afresh, in whole seconds.

    By the later of the two clocks: by one that is a day behind, a key could expire before
    its successor is due.
    """
    life = snapshot.target.key.expires_in
    if life is None:
        return None
    return (snapshot.late_now(now) + life).replace(microsecond=0)


def claim_for(snapshot: Snapshot, kind: ClaimKind, reason: Reason, now: datetime) -> Claim:
    """Return a claim on the target, based on the secret as it was observed."""
    return Claim(
        kind=kind,
        op=snapshot.draft.op,
        holder=snapshot.identity.holder,
        started_at=now,
        reason=reason,
        base_version=snapshot.secret.version,
        base_created_time=snapshot.secret.created_time,
    )


def rotation_steps(
    snapshot: Snapshot, new: NewKey, reason: Reason, now: datetime
) -> tuple[Step, ...]:
    """Return the steps that replace the served key, or make a first one."""
    claim = replace(
        claim_for(snapshot, ClaimKind.ROTATE, reason, now),
        nonce=snapshot.draft.nonce,
        workspace=new.workspace_id,
    )
    return (
        MakeClaim(claim),
        Mint(new),
        Verify(),
        Publish(snapshot.target.secret),
        PromoteMinted(compromised=reason is Reason.COMPROMISED),
    )
