"""The steps that only a rollback has: recall an old key's plaintext, enable it, promote it.

Between them the key is proven and published by the same steps as a new one
(`rotator.engine.rotate`).
"""

from __future__ import annotations

from dataclasses import replace

from rotator.core import edits
from rotator.core.reasons import Reason
from rotator.core.recovery import as_of, served_again, terms_of
from rotator.core.steps import PromoteRecalled, Recall
from rotator.engine.acting import act
from rotator.engine.hand import Hand, StepFailed
from rotator.engine.observe import secret_of
from rotator.engine.rotate import record_promotion
from rotator.errors import Refused, Transient, Unauthorised
from rotator.events import KeyEnable
from rotator.ports import MintedKey


def recall(hand: Hand, step: Recall) -> None:
    """Take an old key's plaintext from the version that was seen to hold it.

    Raises:
        StepFailed: it is not there any more; nothing was changed.
        ServiceError: as the read raised it; nothing was changed.
    """
    read = hand.world.secrets.read(step.secret.path, step.version)
    secret = secret_of(read.fields, step.secret)
    entry, seen = hand.snapshot.book.entry(step.key), hand.snapshot.looks[step.key].key
    assert entry is not None  # the plan names a retiring key that a look found
    assert seen is not None
    if secret is None or secret.sha256() != entry.value_sha256:
        raise StepFailed(Reason.VALUE_GONE, quiet=True)
    hand.minted = MintedKey(seen, secret)


def enable_again(hand: Hand, key: str) -> None:
    """Enable the old key, under the claim that goes back to it.

    Raises:
        StepFailed: it was not enabled, and the claim ends; or the answer was lost, and
            the claim stands until it expires.
    """
    event = hand.intent(
        KeyEnable,
        "enable",
        key_hash=key,
    )
    dropped = edits.DropClaim()
    hand.touched = (*hand.touched, key)
    try:
        act(
            hand.world,
            event,
            lambda: hand.world.issuer.set_disabled(key, disabled=False),
            guard=hand.assert_time_left,
        )
    except Transient as error:
        after = error.retry_after
        raise StepFailed(
            Reason.UNAVAILABLE, str(error), retry_after=after, ending=dropped
        ) from None
    except Unauthorised as error:
        raise StepFailed(Reason.UNAUTHORISED, str(error), ending=dropped) from None
    except Refused as error:
        reason = Reason.OLD_KEY_GONE if error.status == 404 else Reason.REFUSED
        raise StepFailed(reason, str(error), ending=dropped) from None


def promote_again(hand: Hand, step: PromoteRecalled) -> None:
    """Record that the old key is the served one again, and the newer one retires.

    That a disable was claimed for it stays with it: one that lands late is healed.

    Raises:
        StepFailed: as `rotator.engine.rotate.record_promotion`.
    """
    key, written = hand.in_hand.key, hand.published
    entry = hand.snapshot.book.entry(step.key)
    assert entry is not None  # the plan names a retiring key, and publishes first
    assert written is not None
    again = served_again(hand.snapshot, entry, hand.world.clock.now())
    served = replace(
        again,
        workspace=key.workspace_id or entry.workspace,
        published_at=written.created_time,
        secret_version=written.version,
        secret_created_time=written.created_time,
        expires_at=key.expires_at or entry.expires_at,
        terms=terms_of(key) or entry.terms,
        compromised=False,  # an operator named it, and meant it
    )
    served = as_of(hand.snapshot.book, served)
    record_promotion(hand, edits.Promote(served, Reason.PUT_ASIDE))
