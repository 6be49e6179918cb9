"""What to do about a claim whose holder died or stalled: the recovery table.

An expired claim is settled by looking at the two other sources of truth, in a
listing begun after the expiry and a read of the secret after that:

===========================================  ===================================================
found                                        plan
===========================================  ===================================================
no key with the nonce                        take over, fence, abandon the nonce
such a key, and it is served                 promote it
such a key, not served, secret unmoved       take over, fence, abandon nonce and key
such a key, not served, secret moved         it may have been served: retire it with full grace
a rollback                                   the secret decides which of the two keys is served
a disable or delete                          the look decides
a fence                                      drop the claim
===========================================  ===================================================

Where the secret has no live version there is nothing to fence: the key is retired with
a full grace, a nonce without a key is forgotten, and the next publish is the fence. The
same holds where the configuration names another path by now: a fence there stops nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rotator.core import edits
from rotator.core.failures import Cause, failure_after
from rotator.core.keys import IssuedKey
from rotator.core.ledger import (
    Claim,
    ClaimKind,
    Failure,
    KeyTerms,
    Ledger,
    RetiringKey,
    ServedKey,
)
from rotator.core.marker import parse_marker
from rotator.core.reasons import MEANING, Reason
from rotator.core.snapshot import Snapshot
from rotator.core.steps import (
    Enable,
    Fence,
    Finding,
    Need,
    NeedListing,
    NeedLook,
    NeedProbe,
    NeedValue,
    NeedVersions,
    Plan,
    Record,
    Settle,
    Step,
    TakeOverClaim,
)
from rotator.core.target import SecretRef

VERSIONS_READ = 20
"""How many older versions of a secret are read at most; more count as unreadable."""


def recover(snapshot: Snapshot, now: datetime) -> Plan:
    """Plan the end of the expired claim that the snapshot's ledger holds."""
    claim = snapshot.book.pending
    assert claim is not None
    if claim.kind is ClaimKind.ROTATE:
        return _recover_rotation(snapshot, claim, now)
    if claim.kind is ClaimKind.ROLLBACK:
        return _recover_rollback(snapshot, claim, now)
    if claim.kind is ClaimKind.FENCE:
        settle = Settle(claim, (("claim", True), ("fence", False)), None)
        return _settled(settle, Record(edits.DropClaim()))
    return _recover_removal(snapshot, claim, now)


def needed_value(snapshot: Snapshot) -> tuple[Need, ...]:
    """Return the need to read the value, where there is one and it was not read."""
    if snapshot.secret.live and snapshot.secret.value is None:
        return (NeedValue(),)
    return ()


def versions_since(snapshot: Snapshot, version: int) -> tuple[int, ...] | None:
    """Return the versions between one and the current, or None where they cannot all be read.

    A current version that is not newer means that the secret was deleted and made again.
    """
    gap = range(version + 1, snapshot.secret.version)
    if snapshot.secret.version <= version or len(gap) > VERSIONS_READ:
        return None
    return tuple(gap)


def terms_of(key: IssuedKey) -> KeyTerms | None:
    """Return what a key was made with, as far as OpenRouter tells."""
    if not key.limits_known:
        return None
    return KeyTerms(key.limit, key.limit_reset, key.include_byok_in_limit, key.creator_user_id)


def served_from(
    snapshot: Snapshot,
    key: IssuedKey,
    now: datetime,
    *,
    value_sha256: str | None = None,
    due_from: datetime | None = None,
    claimed_at: datetime | None = None,
) -> ServedKey:
    """Return the record of a key that the secret's current version serves.

    Ours by its marker, whatever target or path that names: a renamed target changes
    nothing for a key that it serves.
    """
    minted_at = min(key.created_at or now, now)  # made in the future, it would never be due
    marker = parse_marker(key.name)
    ours = marker is not None and marker.installation == snapshot.identity.installation
    return ServedKey(
        hash=key.hash,
        value_sha256=value_sha256 or key.hash,
        minted_by_us=ours,
        workspace=key.workspace_id,
        minted_at=minted_at,
        claimed_at=claimed_at,
        published_at=snapshot.secret.created_time or now,
        due_from=due_from or minted_at,
        secret_version=snapshot.secret.version,
        secret_created_time=snapshot.secret.created_time,
        expires_at=key.expires_at,
        terms=terms_of(key),
    )


def as_of(book: Ledger, served: ServedKey) -> ServedKey:
    """Return the record as of the version that the ledger last saw, where others came between.

    The next plan then reads those, in which an old key may have been served. Not the claim's
    version counts: that follows what strangers write, and what it passed nobody has read.
    """
    seen = book.served or book.foreign
    if seen is None or served.secret_version == seen.secret_version + 1:
        return served
    return replace(
        served, secret_version=seen.secret_version, secret_created_time=seen.secret_created_time
    )


def retiring_from(
    key: IssuedKey, secret: SecretRef, *, since: datetime, why: Reason, value_sha256: str | None
) -> RetiringKey:
    """Return the retiring entry of a key that no ledger entry knew."""
    return RetiringKey(
        hash=key.hash,
        value_sha256=value_sha256 or key.hash,
        minted_by_us=True,
        workspace=key.workspace_id,
        minted_at=key.created_at,
        secret=secret,
        since=since,
        why=why,
        disabled_at=since if key.disabled else None,
        terms=terms_of(key),
        expires_at=key.expires_at,
    )


def _settled(settle: Settle, *steps: Step) -> Plan:
    """Return a plan that first writes what a dead process left open."""
    return Plan(Reason.CLAIM_EXPIRED, (settle, *steps))


def _recover_rotation(snapshot: Snapshot, claim: Claim, now: datetime) -> Plan:
    """Settle a claimed rotation by the nonce in a complete listing."""
    if not snapshot.lists_all():
        workspaces = frozenset({claim.workspace} if claim.workspace else ())
        return Plan(Reason.CLAIM_EXPIRED, needs=(NeedListing(workspaces),))
    if needs := needed_value(snapshot):
        return Plan(Reason.CLAIM_EXPIRED, needs=needs)
    key = _key_of(snapshot, claim)
    if key is None and (doubt := _of_another_account(snapshot)):
        return doubt
    value = snapshot.secret.value
    digest = claim.value_sha256 or (key.hash if key is not None else None)
    served = digest is not None and value is not None and value.sha256 == digest
    settle = Settle(
        claim,
        (("claim", True), ("mint", key is not None), ("publish", served), ("promote", False)),
        key.hash if key is not None else None,
    )
    if key is not None and served:
        record = served_from(snapshot, key, now, value_sha256=digest, claimed_at=claim.started_at)
        record = as_of(snapshot.book, replace(record, minted_by_us=True))
        promote = edits.Promote(record, compromised=claim.reason is Reason.COMPROMISED)
        return _settled(settle, Record(promote))
    if key is None:
        return _settled(settle, *_give_up_nonce(snapshot, claim, now))
    return _retire_unserved(snapshot, key, settle, now)


def _of_another_account(snapshot: Snapshot) -> Plan | None:
    """Doubt a listing that lacks what is served as well: is it our account's at all?

    It is not where OpenRouter does not know the served key, while what the secret holds
    works. Then nothing is settled until the management key is ours again.
    """
    served, listing, value = snapshot.book.served, snapshot.listing, snapshot.secret.value
    assert listing is not None  # the caller asked for it
    known = value is not None and value.sha256 in listing.keys
    if served is None or served.hash in listing.keys or known:
        return None
    look = snapshot.looks.get(served.hash)
    if look is None:
        return Plan(Reason.CLAIM_EXPIRED, needs=(NeedLook(served.hash),))
    if look.key is not None or value is None or value.sha256 is None:
        return None
    if snapshot.served_works is None:
        return Plan(Reason.CLAIM_EXPIRED, needs=(NeedProbe(),))
    if not snapshot.served_works:
        return None
    finding = Finding(Reason.WRONG_ACCOUNT, "", served.hash, attention=True)
    return Plan(Reason.WRONG_ACCOUNT, findings=(finding,))


def _key_of(snapshot: Snapshot, claim: Claim) -> IssuedKey | None:
    """Return the key that the claim's nonce made, from the listing."""
    assert snapshot.listing is not None
    for key in snapshot.listing.keys.values():
        marker = snapshot.marker_of(key)
        if marker is not None and marker.nonce == claim.nonce:
            return key
    return snapshot.listing.keys.get(claim.key) if claim.key else None


def _can_fence(snapshot: Snapshot) -> bool:
    """Tell whether there is a live version to write again, at the path that the claim is about."""
    return snapshot.secret.live and snapshot.book.secret.path == snapshot.target.secret.path


def _lost(snapshot: Snapshot, claim: Claim, now: datetime) -> Failure:
    """Return the failure to remember for an expired claim."""
    detail = f"{MEANING[Reason.CLAIM_EXPIRED]} ({claim.kind} by {claim.holder})"
    return failure_after(snapshot, Cause(Reason.CLAIM_EXPIRED, detail), now)


def _give_up_nonce(snapshot: Snapshot, claim: Claim, now: datetime) -> tuple[Step, ...]:
    """Nothing was minted, or will be born late."""
    failure = _lost(snapshot, claim, now)
    if not _can_fence(snapshot):
        return (Record(edits.DropClaim(failure)),)
    assert claim.nonce is not None
    return (
        TakeOverClaim(now),
        Fence(snapshot.target.secret),
        Record(edits.Abandon(claim.nonce, failure=failure)),
    )


def _retire_unserved(snapshot: Snapshot, key: IssuedKey, settle: Settle, now: datetime) -> Plan:
    """A key was made and is not served: lost before, or replaced after, it was published."""
    claim = settle.claim
    failure = _lost(snapshot, claim, now)
    unmoved = claim.is_based_on(snapshot.secret.version, snapshot.secret.created_time)
    entry = retiring_from(
        key,
        snapshot.book.secret,
        since=snapshot.late_now(now),
        why=Reason.MAYBE_SERVED,
        value_sha256=claim.value_sha256,
    )
    if _can_fence(snapshot) and unmoved:
        assert claim.nonce is not None
        lost = replace(entry, why=Reason.NEVER_SERVED)
        return _settled(
            settle,
            TakeOverClaim(now),
            Fence(snapshot.target.secret),
            Record(edits.Abandon(claim.nonce, lost, failure)),
        )
    restart: datetime | None = None
    between = versions_since(snapshot, claim.base_version) if _can_fence(snapshot) else None
    if between:
        unread = tuple(each for each in between if each not in snapshot.versions)
        if unread:
            return Plan(Reason.CLAIM_EXPIRED, needs=(NeedVersions(unread),))
        if entry.value_sha256 in {snapshot.versions[each] for each in between}:
            # It was served for a while, so a person rolled it back.
            restart = now
    return _settled(settle, Record(edits.RetireKeys((entry,), restart, failure)))


def _recover_rollback(snapshot: Snapshot, claim: Claim, now: datetime) -> Plan:
    """Settle a claimed rollback: the secret decides which key is served."""
    if needs := needed_value(snapshot):
        return Plan(Reason.CLAIM_EXPIRED, needs=needs)
    book = snapshot.book
    entry = book.entry(claim.key) if claim.key else None
    value = snapshot.secret.value
    back = entry is not None and value is not None and value.sha256 == entry.value_sha256
    settle = Settle(claim, (("claim", True), ("publish", back), ("promote", False)), claim.key)
    if entry is not None and back:
        served = as_of(snapshot.book, served_again(snapshot, entry, now))
        served = replace(served, compromised=False)  # an operator named it, and meant it
        return _settled(settle, Record(edits.Promote(served, Reason.PUT_ASIDE)))
    steps: tuple[Step, ...] = (Record(edits.DropClaim()),)
    if entry is not None:
        steps = (Record(edits.GraceAfresh(entry.hash, snapshot.late_now(now))),)
    if _can_fence(snapshot):
        steps = (TakeOverClaim(now), Fence(snapshot.target.secret), *steps)
    return _settled(settle, *steps)


def served_again(snapshot: Snapshot, entry: RetiringKey, now: datetime) -> ServedKey:
    """Return the record of a retiring key that the current version serves once more.

    Its schedule starts afresh, else the next heartbeat would rotate it away. That a
    disable or delete was claimed for it stays with it, and that it was called compromised.
    """
    return ServedKey(
        hash=entry.hash,
        value_sha256=entry.value_sha256,
        minted_by_us=entry.minted_by_us,
        workspace=entry.workspace,
        minted_at=entry.minted_at or entry.since,
        claimed_at=None,
        published_at=snapshot.secret.created_time or now,
        due_from=now,
        secret_version=snapshot.secret.version,
        secret_created_time=snapshot.secret.created_time,
        expires_at=entry.expires_at,
        terms=entry.terms,
        disable_claimed=entry.disable_claimed,
        delete_claimed=entry.delete_claimed,
        compromised=entry.why is Reason.COMPROMISED,
    )


def _recover_removal(snapshot: Snapshot, claim: Claim, now: datetime) -> Plan:
    """Settle a claimed disable or delete: the look at the key decides."""
    assert claim.key is not None
    entry = snapshot.book.entry(claim.key)
    look = snapshot.look(claim.key)
    needs: tuple[Need, ...] = needed_value(snapshot)
    if look is None:
        needs = (*needs, NeedLook(claim.key))
    if needs:
        return Plan(Reason.CLAIM_EXPIRED, needs=needs)
    assert look is not None
    disabling = claim.kind is ClaimKind.DISABLE
    step, record = ("disable", "disabled") if disabling else ("delete", "removed")
    gone = look.key is None
    found = gone or (disabling and look.key is not None and look.key.disabled)
    settle = Settle(claim, (("claim", True), (step, found), (record, False)), claim.key)
    value = snapshot.secret.value
    served = (
        entry is not None
        and entry.secret == snapshot.target.secret
        and value is not None
        and value.sha256 == entry.value_sha256
    )
    if entry is not None and served:
        again = as_of(snapshot.book, served_again(snapshot, entry, now))
        promote = Record(edits.Promote(again, Reason.PUT_ASIDE))
        off = look.key is not None and look.key.disabled
        heal = (Enable(claim.key),) if off and not again.compromised else ()
        return Plan(Reason.DISABLED_BY_US, (settle, *heal, promote), urgent=bool(heal))
    if disabling and look.key is not None and look.key.disabled:
        return _settled(settle, Record(edits.KeyDisabled(claim.key, snapshot.late_now(now))))
    # A key that is gone is planned for anew, once another key proves the account right.
    return _settled(settle, Record(edits.DropClaim()))
