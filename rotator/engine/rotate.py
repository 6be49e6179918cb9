"""The steps that make, prove and publish a new key, and record that it is served.

A rollback proves and publishes its old key by the same steps (`rotator.engine.rollback`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from rotator.core import edits
from rotator.core.keys import IssuedKey, NewKey, completed, differences
from rotator.core.ledger import ClaimKind, RetiringKey, ServedKey
from rotator.core.reasons import Reason
from rotator.core.recovery import as_of, retiring_from, terms_of
from rotator.core.snapshot import SecretSeen, ValueSeen
from rotator.core.steps import Mint, PromoteMinted, Publish
from rotator.core.target import SecretRef
from rotator.engine.acting import act
from rotator.engine.hand import Hand, StepFailed, change_ledger
from rotator.engine.observe import read_value, secret_of
from rotator.errors import (
    CheckAndSetConflict,
    OutcomeUnknown,
    Refused,
    ServiceError,
    Transient,
)
from rotator.events import KeyCreate, KeyVerify, SecretPublish
from rotator.ports import SecretVersion, Written
from rotator.secret import Secret, SecretFields

_PUBLISH_TRIES = 4
_PAUSES = (1.0, 2.0, 4.0, 8.0)
# Seconds between the tries of a call whose key is in hand; the last one repeats.


def mint(hand: Hand, step: Mint) -> None:
    """Create the key, once.

    Raises:
        StepFailed: it was refused (the claim ends), is unknown (the claim stands until
            it expires), or is not what was asked for (the key is given up).
    """
    hand.assert_time_left()
    new, world = step.new, hand.world
    event = hand.intent(
        KeyCreate,
        "mint",
        key_name=new.name,
        limit=new.limit,
        limit_reset=new.limit_reset,
        expires_at=new.expires_at,
        workspace_id=new.workspace_id,
    )

    def create() -> IssuedKey:
        hand.minted = world.issuer.create(new)
        return hand.minted.key

    try:
        act(
            world,
            event,
            create,
            guard=hand.assert_time_left,
            patience=hand.time_left(),
            tell=lambda key: {"key_hash": key.hash},
        )
    except OutcomeUnknown as error:
        raise StepFailed(Reason.MINT_UNKNOWN, str(error)) from None
    except Transient as error:
        dropped = edits.DropClaim()
        raise StepFailed(
            Reason.UNAVAILABLE, str(error), retry_after=error.retry_after, ending=dropped
        ) from None
    except Refused as error:
        raise StepFailed(Reason.MINT_REFUSED, str(error), ending=edits.DropClaim()) from None
    _check_order(hand, new)
    minted, claim = hand.in_hand, hand.our_claim
    digest = minted.secret.sha256()
    if digest != minted.key.hash:
        base = (claim.base_version, claim.base_created_time)
        change_ledger(hand, edits.RenewClaim(*base, key=minted.key.hash, value_sha256=digest))


def _check_order(hand: Hand, new: NewKey) -> None:
    """Give the key up where it is not what was asked for; what its answer leaves out, it is."""
    minted = hand.in_hand
    if detail := differences(new, minted.key):
        raise StepFailed(Reason.NOT_AS_ORDERED, detail, ending=_give_up(hand))
    hand.minted = replace(minted, key=completed(new, minted.key))


def _rolls_back(hand: Hand) -> bool:
    """Tell whether the key in hand is an old one."""
    return hand.our_claim.kind is ClaimKind.ROLLBACK


def _grace_afresh(hand: Hand) -> edits.GraceAfresh:
    """Return the edit that lets the old key in hand retire anew: somebody may have got it."""
    at = hand.snapshot.late_now(hand.world.clock.now())
    return edits.GraceAfresh(hand.in_hand.key.hash, at)


def _give_up(hand: Hand) -> edits.Abandon | edits.GraceAfresh:
    """Return the edit that abandons the key in hand: never sent to Vault, or refused there."""
    if _rolls_back(hand):
        return _grace_afresh(hand)
    nonce = hand.our_claim.nonce
    assert nonce is not None  # a claimed rotation has one
    return edits.Abandon(nonce, _entry_in_hand(hand, Reason.NEVER_SERVED))


def _entry_in_hand(hand: Hand, why: Reason) -> RetiringKey:
    """Return the retiring entry of the key in hand."""
    return retiring_from(
        hand.in_hand.key,
        hand.snapshot.target.secret,
        since=hand.snapshot.late_now(hand.world.clock.now()),
        why=why,
        value_sha256=hand.in_hand.secret.sha256(),
    )


def verify(hand: Hand) -> None:
    """Prove that the key in hand works; it is asked again until half of the claim is gone.

    Raises:
        StepFailed: it is refused. Where the served key is refused as well, that is an
            outage and says nothing about the key.
    """
    minted, world = hand.in_hand, hand.world
    event = hand.intent(
        KeyVerify,
        "verify",
        key_hash=minted.key.hash,
    )

    def prove() -> None:
        pauses = _pauses()
        while (trouble := _trouble_with(hand, minted.secret)) is not None:
            pause = next(pauses)
            if hand.time_left(0.5) < pause or world.stopping():
                raise trouble
            world.clock.sleep(pause)

    try:
        act(world, event, prove, patience=hand.patience())
    except ServiceError as error:
        refused = Reason.OLD_KEY_REFUSED if _rolls_back(hand) else Reason.NEW_KEY_REFUSED
        reason = refused if _served_works(hand) else Reason.OUTAGE
        raise StepFailed(reason, str(error), ending=_give_up(hand)) from None


def _trouble_with(hand: Hand, secret: Secret) -> ServiceError | None:
    """Ask a key about itself; return what is wrong, or None where it works."""
    try:
        caller = hand.world.issuer.whoami(secret)
    except ServiceError as error:
        return error
    if caller is None:
        return Refused("openrouter", "verify the key", "it is not accepted")
    return None


def _served_works(hand: Hand) -> bool:
    """Tell whether the key that is served now is accepted; a first key has nothing to compare."""
    if hand.snapshot.book.served is None:
        return True
    try:
        read_value(hand.world, hand.observation)
        value = hand.observation.value
        return value is not None and hand.world.issuer.whoami(value) is not None
    except ServiceError:
        return False


def publish(hand: Hand, step: Publish) -> None:
    """Write the plaintext in hand to the target's field, and read it back.

    Raises:
        StepFailed: somebody changed the field meanwhile or Vault refused (the key is given
            up), the answer was lost (recovery decides), or Vault stayed away.
    """
    pauses = _pauses()
    conflicts = 0
    while hand.published is None:
        hand.assert_time_left()
        try:
            _publish_once(hand, step.secret)
        except CheckAndSetConflict as error:
            conflicts += 1
            if conflicts >= _PUBLISH_TRIES:
                raise StepFailed(Reason.CONFLICT, str(error), ending=_give_up(hand)) from None
        except Refused as error:
            raise StepFailed(Reason.REFUSED, str(error), ending=_give_up(hand)) from None
        except OutcomeUnknown as error:
            _settle_publish(hand, step.secret, str(error))
        except Transient as error:
            _wait_for_vault(hand, next(pauses), error)
    _note_published(hand, step.secret)


def _publish_once(hand: Hand, secret: SecretRef) -> None:
    """Read the secret, make sure that our field is as it was, and write it on that version."""
    read = hand.world.secrets.read(secret.path)
    if _holds_ours(hand, secret, read):
        # A proxy that repeats requests turns our own success into a conflict.
        now = hand.world.clock.now()
        hand.published = Written(read.version, read.created_time or now, read.vault_time)
        return
    _check_base(hand, secret, read)
    fields = (read.fields or SecretFields({})).with_text(secret.field, hand.in_hand.secret)
    event = hand.intent(
        SecretPublish,
        "publish",
        key_hash=hand.in_hand.key.hash,
        path=secret.path,
        field=secret.field,
        base_version=read.version,
    )
    hand.assert_time_left()
    hand.published = act(
        hand.world,
        event,
        lambda: hand.world.secrets.write(secret.path, fields, read.version),
        guard=hand.assert_time_left,
        patience=hand.patience(),
        tell=lambda done: {"version": done.version},
    )


def _check_base(hand: Hand, secret: SecretRef, read: SecretVersion) -> None:
    """Where the secret moved, renew the claim if only other fields changed, else give up."""
    claim = hand.our_claim
    if claim.is_based_on(read.version, read.created_time):
        return
    text = secret_of(read.fields, secret)
    digest = text.sha256() if text is not None else None
    served = hand.snapshot.book.served
    odd = text is None and read.fields is not None and read.fields.has(secret.field)
    foreign = hand.snapshot.book.foreign is not None
    if odd or foreign or digest != (served.value_sha256 if served is not None else None):
        detail = f"{secret} was changed while its key was being replaced"
        raise StepFailed(Reason.FIELD_CHANGED, detail, ending=_give_up(hand))
    change_ledger(hand, edits.RenewClaim(read.version, read.created_time))


def _holds_ours(hand: Hand, secret: SecretRef, read: SecretVersion) -> bool:
    """Tell whether a read of the secret shows the key in hand."""
    text = secret_of(read.fields, secret)
    return text is not None and text.sha256() == hand.in_hand.secret.sha256()


def _settle_publish(hand: Hand, secret: SecretRef, detail: str) -> None:
    """Find out what a publish did whose answer was lost.

    A read that shows our value is success. One that still shows the base leaves the
    claim to its expiry, since the write may land late. Anything else means that our key
    may have been served for a while: it retires with a full grace.
    """
    failed = StepFailed(Reason.PUBLISH_UNKNOWN, detail)
    try:
        read = hand.world.secrets.read(secret.path)
    except ServiceError:
        raise failed from None
    if _holds_ours(hand, secret, read):
        now = hand.world.clock.now()
        hand.published = Written(read.version, read.created_time or now, read.vault_time)
        return
    if not hand.our_claim.is_based_on(read.version, read.created_time):
        maybe = edits.RetireKeys((_entry_in_hand(hand, Reason.MAYBE_SERVED),))
        failed.ending = _grace_afresh(hand) if _rolls_back(hand) else maybe
    raise failed


def _note_published(hand: Hand, secret: SecretRef) -> None:
    """Read the secret back; an older version than the one just written is a stale read."""
    written, minted = hand.published, hand.in_hand
    assert written is not None  # the caller has just published
    hand.secret = SecretSeen(
        written.version, written.created_time, live=True, value=ValueSeen(minted.secret.sha256())
    )
    try:
        read = hand.world.secrets.read(secret.path)
    except ServiceError:
        return  # The write was acknowledged; the next pass reads again.
    if read.version == written.version and not _holds_ours(hand, secret, read):
        detail = f"{secret} version {read.version} does not read back as it was written"
        raise StepFailed(Reason.PUBLISH_UNKNOWN, detail)


def promote(hand: Hand, step: PromoteMinted) -> None:
    """Record that the published key is the served one.

    Raises:
        StepFailed: as `record_promotion`.
    """
    key, claim, written = hand.in_hand.key, hand.our_claim, hand.published
    assert written is not None  # the plan publishes first
    # Made in the future it would never be due.
    minted_at = min(key.created_at or claim.started_at, hand.world.clock.now())
    served = ServedKey(
        hash=key.hash,
        value_sha256=hand.in_hand.secret.sha256(),
        minted_by_us=True,
        workspace=key.workspace_id,
        minted_at=minted_at,
        claimed_at=claim.started_at,
        published_at=written.created_time,
        due_from=minted_at,
        secret_version=written.version,
        secret_created_time=written.created_time,
        expires_at=key.expires_at,
        terms=terms_of(key),
    )
    served = as_of(hand.snapshot.book, served)
    record_promotion(hand, edits.Promote(served, compromised=step.compromised))


def record_promotion(hand: Hand, edit: edits.Promote) -> None:
    """Write who is served now; tried again while the claim lasts.

    Raises:
        StepFailed: Vault stayed away; the claim's recovery promotes the key.
    """
    pauses = _pauses()
    while True:
        try:
            change_ledger(hand, edit)
            return
        except Transient as error:
            _wait_for_vault(hand, next(pauses), error)


def _pauses() -> Iterator[float]:
    """Return the waits between tries, without an end."""
    return itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1]))


def _wait_for_vault(hand: Hand, pause: float, error: Transient) -> None:
    """Wait before the next try, or give up where the claim would run out."""
    if hand.time_left() < pause:
        raise StepFailed(Reason.UNAVAILABLE, str(error)) from None
    hand.world.clock.sleep(pause)
