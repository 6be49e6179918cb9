"""Snapshots and their parts with sane defaults, so that a test says only what it is about.

The default world: ``billing`` is served the key A at version 3 of its secret, twenty days
old under a policy of thirty, by a working installation whose two clocks agree.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from rotator.core.edits import Edit
from rotator.core.keys import IssuedKey
from rotator.core.ledger import (
    Claim,
    ClaimKind,
    Failure,
    ForeignValue,
    Hold,
    KeyTerms,
    Ledger,
    PolicyDurations,
    RetiringKey,
    ServedKey,
)
from rotator.core.marker import Marker
from rotator.core.reasons import Reason
from rotator.core.snapshot import (
    Draft,
    Identity,
    LedgerSeen,
    Limits,
    Listing,
    Look,
    SecretSeen,
    Snapshot,
    ValueSeen,
)
from rotator.core.steps import Plan, Record, Step
from rotator.core.target import Drain, Policy, SecretRef, Target

NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)  # a Wednesday
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
WRITTEN = NOW - 20 * DAY
"""When the secret's version 3, which serves A, was written."""

PATH = SecretRef("secret/apps/billing", "OPENROUTER_API_KEY")
OTHER_PATH = SecretRef("secret/apps/elsewhere", "OPENROUTER_API_KEY")
INSTALLATION = "0123456789abcdef"
NONCE = "00000000000000a1"
OTHER_NONCE = "00000000000000b2"
DRAWN_NONCE = "00000000000000f9"
IDENTITY = Identity("prod", INSTALLATION, "replica-1")
LIMITS = Limits(claim_timeout=5 * MINUTE, adopt_over=7 * DAY, max_dead=3)


def h(name: str) -> str:
    """The hash of the key of that name."""
    return hashlib.sha256(name.encode()).hexdigest()


A, B, C, D = h("A"), h("B"), h("C"), h("D")


def marked(nonce: str = NONCE, *, target: str = "billing", installation: str = INSTALLATION) -> str:
    """The name of a key that this program made."""
    return str(Marker("prod", installation, target, nonce))


def policy(**changes: Any) -> Policy:
    """A policy: thirty days, grace of a day, quiet for an hour, a week's deadline, quarantine of 3 days.

    ``quiet_for``, ``deadline``, ``then`` and ``evidence`` may be given flat.
    """
    inner = {
        name: changes.pop(name)
        for name in ("quiet_for", "deadline", "then", "evidence")
        if name in changes
    }
    return Policy(**{"drain": Drain(**inner), **changes})


def target(**changes: Any) -> Target:
    """The target ``billing``."""
    return replace(Target("billing", PATH, policy()), **changes)


def issued(key_hash: str = A, **changes: Any) -> IssuedKey:
    """A key as OpenRouter shows it: made by us, enabled, unlimited, last used long ago."""
    base = IssuedKey(
        hash=key_hash,
        name=marked(),
        disabled=False,
        created_at=WRITTEN,
        last_used_at=NOW - 2 * HOUR,
        usage=1.0,
    )
    return replace(base, **changes)


TERMS = KeyTerms(None, None, include_byok_in_limit=False, creator_user_id=None)


def served(key_hash: str = A, **changes: Any) -> ServedKey:
    """The served key, as the ledger remembers it."""
    base = ServedKey(
        hash=key_hash,
        value_sha256=key_hash,
        minted_by_us=True,
        workspace=None,
        minted_at=WRITTEN,
        claimed_at=WRITTEN,
        published_at=WRITTEN,
        due_from=WRITTEN,
        secret_version=3,
        secret_created_time=WRITTEN,
        terms=TERMS,
    )
    return replace(base, **changes)


def retiring(key_hash: str = B, **changes: Any) -> RetiringKey:
    """A predecessor whose grace is just over."""
    base = RetiringKey(
        hash=key_hash,
        value_sha256=key_hash,
        minted_by_us=True,
        workspace=None,
        minted_at=NOW - 50 * DAY,
        secret=PATH,
        since=NOW - DAY,
        why=Reason.SUPERSEDED,
    )
    return replace(base, **changes)


def quarantined(key_hash: str = B, **changes: Any) -> RetiringKey:
    """A predecessor that was disabled an hour ago, by us."""
    base = retiring(key_hash, since=NOW - 2 * DAY, disabled_at=NOW - HOUR, disable_claimed=True)
    return replace(base, **changes)


def claim(kind: ClaimKind = ClaimKind.ROTATE, **changes: Any) -> Claim:
    """A claim of another process, on version 3 of the secret."""
    base = Claim(
        kind=kind,
        op="feed",
        holder="replica-2",
        started_at=NOW - HOUR,
        reason=Reason.EVERY,
        base_version=3,
        base_created_time=WRITTEN,
        nonce=NONCE if kind is ClaimKind.ROTATE else None,
        key=B if kind in (ClaimKind.ROLLBACK, ClaimKind.DISABLE, ClaimKind.DELETE) else None,
    )
    return replace(base, **changes)


def ledger(**changes: Any) -> Ledger:
    """The ledger of a target that serves A and has nothing else to do."""
    base = Ledger(
        secret=PATH,
        policy=PolicyDurations.of(policy()),
        first_seen=NOW - 100 * DAY,
        served=served(),
    )
    return replace(base, **changes)


def seen(version: int = 3, digest: str | None = None, **changes: Any) -> SecretSeen:
    """The secret at a version; its value was read only where a digest is given."""
    created = WRITTEN if version == 3 else NOW - MINUTE
    value = ValueSeen(digest) if digest is not None else None
    return replace(SecretSeen(version, created, live=True, value=value), **changes)


ABSENT = ValueSeen(None)
ODD = ValueSeen(None, odd=True)
NO_SECRET = SecretSeen(0, None, live=False)
DELETED = SecretSeen(3, WRITTEN, live=False)


def looks(*keys: IssuedKey, gone: tuple[str, ...] = ()) -> dict[str, Look]:
    """What GETs of keys said; those of ``gone`` are unknown to OpenRouter."""
    return {**{key.hash: Look(key) for key in keys}, **{key_hash: Look(None) for key_hash in gone}}


def listing(*keys: IssuedKey, fresh: bool = True, workspaces: tuple[str, ...] = ()) -> Listing:
    """A listing of the default workspace and the given ones."""
    return Listing({key.hash: key for key in keys}, fresh, frozenset(workspaces))


def snapshot(book: Ledger | None = None, **changes: Any) -> Snapshot:
    """Everything observed of ``billing``; the ledger was written an hour ago."""
    base = Snapshot(
        target=target(),
        identity=IDENTITY,
        limits=LIMITS,
        draft=Draft("beef", DRAWN_NONCE),
        vault_now=NOW,
        ledger=LedgerSeen(7, NOW - HOUR, book if book is not None else ledger()),
        secret=seen(),
    )
    return replace(base, **changes)


def without_ledger(**changes: Any) -> Snapshot:
    """A target of which nothing is remembered."""
    return replace(snapshot(), ledger=LedgerSeen(0, None, None), **changes)


FAILURE = Failure(Reason.UNAVAILABLE, "no answer", NOW - HOUR, 3, NOW + HOUR)
HELD = Hold(Reason.HELD, "audit week", "ops", NOW - DAY)
FOREIGN = ForeignValue(3, WRITTEN, NOW - DAY)


def kinds(plan: Plan) -> list[str]:
    """The names of a plan's steps."""
    return [type(step).__name__ for step in plan.steps]


def edits_of(steps: tuple[Step, ...]) -> list[Edit]:
    """The edits that a plan records, in order."""
    return [step.edit for step in steps if isinstance(step, Record)]


E = TypeVar("E")


def the_edit(plan: Plan, kind: type[E]) -> E:
    """The one edit that a plan records, which must be of that kind."""
    (edit,) = edits_of(plan.steps)
    assert isinstance(edit, kind)
    return edit


def after(snapshot: Snapshot, plan: Plan) -> Ledger:
    """The ledger once the plan's records were applied to it."""
    book = snapshot.book
    for edit in edits_of(plan.steps):
        book = edit.apply(book)
    return book
