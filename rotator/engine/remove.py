"""The steps that enable, disable and delete a key, and the fence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from rotator.core import edits
from rotator.core.reasons import Reason
from rotator.core.removal import durations
from rotator.core.retirement import Stage, standing
from rotator.core.snapshot import VAULT_SECOND
from rotator.core.steps import Delete, Disable, Fence
from rotator.engine.acting import act
from rotator.engine.hand import Hand, StepFailed, change_ledger
from rotator.engine.observe import look, secret_of
from rotator.errors import CheckAndSetConflict, OutcomeUnknown, Refused, Transient
from rotator.events import KeyDelete, KeyDisable, KeyEnable, SecretFence
from rotator.ports import SecretVersion
from rotator.secret import Secret

_LONGEST_FRESH = timedelta(seconds=10)
_SHORTEST_FRESH = timedelta(seconds=1)


def freshness(hand: Hand) -> float:
    """Return for how many seconds a read or look allows a disable or delete.

    At most ten seconds, half of the grace period and half of the quarantine, and not
    under one second.
    """
    policy = durations(hand.snapshot)
    longest = min(_LONGEST_FRESH, policy.grace / 2, policy.quarantine / 2)
    return max(_SHORTEST_FRESH, longest).total_seconds()


def look_again_if_stale(hand: Hand, step: Disable | Delete) -> None:
    """Repeat the look that allowed a removal, if waiting for a place made it stale.

    Raises:
        StepFailed: the look no longer allows it; the next pass plans anew.
    """
    looked = hand.observation.looked_at.get(step.key)
    if looked is not None and hand.world.clock.monotonic() - looked <= freshness(hand):
        return
    look(hand.world, hand.observation, step.key)
    seen = hand.snapshot.looks[step.key].key
    entry = hand.snapshot.book.entry(step.key)
    if seen is None or entry is None:
        raise StepFailed(Reason.GONE, quiet=True)
    safe = hand.snapshot.safe_now(hand.world.clock.now())
    place = standing(entry, durations(hand.snapshot), safe, seen)
    if isinstance(step, Delete) and not seen.disabled:
        raise StepFailed(Reason.ENABLED_BY_HAND, quiet=True)
    if place.stage not in (Stage.DISABLE, Stage.DELETE):
        raise StepFailed(Reason.STILL_USED, quiet=True)


def disable(hand: Hand, step: Disable) -> None:
    """Disable a key that a fresh read shows unserved; if it is served after all, enable it.

    One that was called compromised stays off: it is replaced, wherever its value went.

    Raises:
        StepFailed: the secret changed, or serves the key, or OpenRouter refused (the
            claim ends); or the answer was lost (the claim stands until it expires).
    """
    read_at = _assert_unserved(hand, step)
    event = hand.intent(
        KeyDisable,
        "disable",
        key_hash=step.key,
    )
    hand.touched = (*hand.touched, step.key)
    _definite(
        lambda: act(
            hand.world,
            event,
            lambda: hand.world.issuer.set_disabled(step.key, disabled=True),
            guard=lambda: _assert_still_fresh(hand, read_at),
        )
    )
    read = hand.world.secrets.read(step.secret.path)
    # A quarantine that began with Vault's whole second would be cut short by a part of one.
    hand.disabled_by = read.vault_time + VAULT_SECOND
    if _serves(hand, step, read) or _served_where_configured(hand, step, read):
        if not _is_compromised(hand, step.key):
            enable(hand, step.key)
        raise StepFailed(Reason.STILL_SERVED, ending=edits.DropClaim(), quiet=True)


def delete(hand: Hand, step: Delete) -> None:
    """Delete a disabled key that a fresh read shows unserved.

    Raises:
        StepFailed: as `disable`.
    """
    read_at = _assert_unserved(hand, step)
    event = hand.intent(
        KeyDelete,
        "delete",
        key_hash=step.key,
    )
    hand.touched = (*hand.touched, step.key)
    _definite(
        lambda: act(
            hand.world,
            event,
            lambda: hand.world.issuer.delete(step.key),
            guard=lambda: _assert_still_fresh(hand, read_at),
        )
    )


def enable(hand: Hand, key: str) -> None:
    """Enable a served key; this needs no claim.

    Raises:
        ServiceError: as the call raised it.
    """
    event = hand.intent(
        KeyEnable,
        "enable",
        reason=Reason.DISABLED_BY_US,
        key_hash=key,
    )
    hand.touched = (*hand.touched, key)
    act(hand.world, event, lambda: hand.world.issuer.set_disabled(key, disabled=False))


def _definite(call: Callable[[], object]) -> None:
    """Carry out a removal; a definite no ends the claim, a lost answer lets it expire."""
    try:
        call()
    except OutcomeUnknown as error:
        raise StepFailed(Reason.UNKNOWN_OUTCOME, str(error)) from None
    except Transient as error:
        raise StepFailed(
            Reason.UNAVAILABLE, str(error), retry_after=error.retry_after, ending=edits.DropClaim()
        ) from None
    except Refused as error:
        gone = error.status == 404
        raise StepFailed(
            Reason.GONE if gone else Reason.REFUSED,
            str(error),
            ending=edits.DropClaim(),
            quiet=gone,
        ) from None


def _assert_unserved(hand: Hand, step: Disable | Delete) -> float:
    """Read the secret, and refuse where it serves the key or is not as it was planned for.

    Returns the monotonic time before the read.
    """
    hand.assert_time_left()
    started = hand.world.clock.monotonic()
    read = hand.world.secrets.read(step.secret.path)
    if hand.world.clock.monotonic() - started > freshness(hand):
        started = hand.world.clock.monotonic()
        read = hand.world.secrets.read(step.secret.path)
    dropped = edits.DropClaim()
    if _serves(hand, step, read):
        elsewhere = step.secret != hand.snapshot.target.secret
        ending = edits.ServedThere(step.key) if elsewhere else dropped
        raise StepFailed(Reason.STILL_SERVED, ending=ending, quiet=True)
    if _served_where_configured(hand, step, read):
        raise StepFailed(Reason.STILL_SERVED, ending=dropped, quiet=True)
    if read.fields is None:
        raise StepFailed(Reason.NO_LIVE_VERSION, ending=dropped, quiet=True)
    if hand.world.fleet.others_serving(step.key) - {hand.snapshot.target.name}:
        raise StepFailed(Reason.STILL_SERVED, ending=dropped, quiet=True)
    own = step.secret.path == hand.snapshot.target.secret.path
    if own and not hand.our_claim.is_based_on(read.version, read.created_time):
        raise StepFailed(Reason.READ_STALE, ending=dropped, quiet=True)
    _assert_still_fresh(hand, started)
    return started


def _assert_still_fresh(hand: Hand, read_at: float) -> None:
    """Refuse to act on a read that grew too old, or in the last quarter of our claim."""
    hand.assert_time_left()
    if hand.world.clock.monotonic() - read_at > freshness(hand):
        raise StepFailed(Reason.READ_STALE, ending=edits.DropClaim(), quiet=True)


def _serves(hand: Hand, step: Disable | Delete, read: SecretVersion) -> bool:
    """Tell whether a read of the key's secret shows that it is served there."""
    return _is_value_of(hand, step, secret_of(read.fields, step.secret))


def _served_where_configured(hand: Hand, step: Disable | Delete, read: SecretVersion) -> bool:
    """Tell whether the key is served where the configuration says, if its entry says elsewhere.

    The entry comes from the ledger, and whoever may write there shall not be able to point
    away from the secret that counts.
    """
    target = hand.snapshot.target
    if not target.configured or target.secret == step.secret:
        return False
    if target.secret.path != step.secret.path:
        read = hand.world.secrets.read(target.secret.path)
    return _is_value_of(hand, step, secret_of(read.fields, target.secret))


def _is_value_of(hand: Hand, step: Disable | Delete, text: Secret | None) -> bool:
    """Tell whether a text is the key's, by its hash or by what the ledger says of it."""
    entry = hand.snapshot.book.entry(step.key)
    if entry is None or text is None:
        return False
    return text.sha256() in {step.key, entry.value_sha256}


def _is_compromised(hand: Hand, key: str) -> bool:
    """Tell whether an operator called a retiring key compromised."""
    entry = hand.snapshot.book.entry(key)
    return entry is not None and entry.why is Reason.COMPROMISED


def fence(hand: Hand, step: Fence) -> None:
    """Write the secret again unchanged, so that a late publish on the old version fails.

    Raises:
        StepFailed: it changed meanwhile; then the next pass sees that it moved.
    """
    read = hand.world.secrets.read(step.secret.path)
    seen = hand.snapshot.secret
    if read.fields is None or not seen.same_version(read.version, read.created_time):
        raise StepFailed(Reason.READ_STALE, quiet=True)
    fields = read.fields
    event = hand.intent(
        SecretFence,
        "fence",
        path=step.secret.path,
        base_version=read.version,
    )
    hand.assert_time_left()
    try:
        written = act(
            hand.world,
            event,
            lambda: hand.world.secrets.write(step.secret.path, fields, read.version),
            guard=hand.assert_time_left,
            tell=lambda done: {"version": done.version},
        )
    except CheckAndSetConflict:
        raise StepFailed(Reason.READ_STALE, quiet=True) from None
    hand.secret = replace(
        seen, version=written.version, created_time=written.created_time, live=True
    )
    change_ledger(hand, edits.RenewClaim(written.version, written.created_time))
