"""What OpenRouter says of a key, and what a new key is asked for.

Source of the fields: OpenRouter's API reference, ``/api/v1/keys`` and ``/api/v1/key``.
Money is in US dollars, instants are aware and in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from rotator.core.target import LimitReset

_CENT = 0.01


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """One key as the management API shows it. It never holds the plaintext.

    Attributes:
        hash: 64 lower-case hex digits, the SHA-256 of the plaintext: the key's identity.
        name: the free text given at creation (ours carry a marker) or in the console.
        disabled: whether calls with it are refused.
        created_at: when it was made, or None where the answer did not say.
        expires_at: when it stops working by itself, or None for never.
        last_used_at: last recorded use; None is no evidence, not proof of quiet.
        usage: total spending including spending on own provider keys, or None where unknown.
        limit: spending cap; None is unlimited (only meaningful if `limits_known`).
        limit_remaining: what is left of the cap in its current window.
        limit_reset: when the cap starts afresh; None is never.
        include_byok_in_limit: whether spending on own provider keys counts.
        limits_known: whether the answer held all of the limit fields, well-formed.
        workspace_id: the workspace it belongs to, or None where unknown.
        creator_user_id: the member it belongs to, or None.
    """

    hash: str
    name: str
    disabled: bool
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    usage: float | None = None
    limit: float | None = None
    limit_remaining: float | None = None
    limit_reset: LimitReset | None = None
    include_byok_in_limit: bool = False
    limits_known: bool = True
    workspace_id: str | None = None
    creator_user_id: str | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """What the one POST that creates a key asks for; every field is sent as it stands.

    Attributes:
        name: carries the marker with the nonce by which a lost key is found again.
        limit: spending cap in US dollars; None is unlimited, 0.0 is "nothing left".
        limit_reset: when the cap starts afresh; None is never.
        include_byok_in_limit: whether spending on own provider keys counts.
        expires_at: when it stops working by itself (aware, UTC), or None for never.
        workspace_id: the workspace; None is the account's default workspace.
        creator_user_id: the member it shall belong to, or None.
    """

    name: str
    limit: float | None = None
    limit_reset: LimitReset | None = None
    include_byok_in_limit: bool = False
    expires_at: datetime | None = None
    workspace_id: str | None = None
    creator_user_id: str | None = None


def differences(new: NewKey, key: IssuedKey) -> str:
    """Return how a created key differs from what was asked for, or "" where it is as asked.

    Only what the answer tells is compared: a workspace or a creator of which nothing was
    asked may be any. A limit may be rounded down by up to a cent, since what an old key has
    left is a long number; a higher one would lift a cap.
    """
    told: list[tuple[str, object, object]] = []
    if key.limits_known:
        limit = new.limit if _is_rounded_down(new.limit, key.limit) else key.limit
        told.append(("limit", f"{new.limit} {new.limit_reset}", f"{limit} {key.limit_reset}"))
        told.append(("include_byok_in_limit", new.include_byok_in_limit, key.include_byok_in_limit))
    if key.expires_at is not None:
        told.append(("expires_at", new.expires_at, key.expires_at.replace(microsecond=0)))
    if key.workspace_id is not None and new.workspace_id is not None:
        told.append(("workspace_id", new.workspace_id, key.workspace_id))
    if key.creator_user_id is not None and new.creator_user_id is not None:
        told.append(("creator_user_id", new.creator_user_id, key.creator_user_id))
    return "; ".join(
        f"asked for {name} {asked}, got {got}" for name, asked, got in told if asked != got
    )


def _is_rounded_down(asked: float | None, got: float | None) -> bool:
    """Tell whether a limit is the one that was asked for, or up to a cent less."""
    return asked is not None and got is not None and asked - _CENT <= got <= asked


def completed(new: NewKey, key: IssuedKey) -> IssuedKey:
    """Return a created key with what its answer leaves out as it was asked for."""
    return replace(
        key,
        expires_at=key.expires_at or new.expires_at,
        workspace_id=key.workspace_id or new.workspace_id,
        creator_user_id=key.creator_user_id or new.creator_user_id,
    )


@dataclass(frozen=True, slots=True)
class CallerKey:
    """What ``GET /key`` says to a key about itself.

    Attributes:
        is_management_key: whether it may manage keys (and then cannot do inference).
        expires_at: when it stops working by itself, or None for never or unknown.
        label: the masked form that OpenRouter shows, without secret content.
    """

    is_management_key: bool
    expires_at: datetime | None = None
    label: str = ""
