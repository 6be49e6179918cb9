"""What the operator configured: targets and their policies, as frozen values.

All durations are `datetime.timedelta`; all instants are aware and in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Literal
from zoneinfo import ZoneInfo

LimitReset = Literal["daily", "weekly", "monthly"]


class AfterDeadline(StrEnum):
    """What becomes of an old key that is still in use when the drain deadline has passed."""

    KEEP = "keep"
    DISABLE = "disable"


class Evidence(StrEnum):
    """What counts as proof that an old key went quiet."""

    LAST_USED = "last_used"
    USAGE = "usage"


class OnDisabled(StrEnum):
    """What to do when a person disabled the served key."""

    HOLD = "hold"
    ROTATE = "rotate"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a consumer reads its key: a KV v2 secret and one of its fields.

    Attributes:
        path: normalised ``mount/path``, without leading, trailing or double slashes.
        field: the name of the field.
    """

    path: str
    field: str

    def __str__(self) -> str:
        """Return ``path#field``."""
        return f"{self.path}#{self.field}"


@dataclass(frozen=True, slots=True)
class Window:
    """A weekly span in which a rotation may start and an old key may be disabled.

    Attributes:
        days: the weekdays on which it begins, Monday is 0 and Sunday is 6.
        start: minutes after midnight at which it begins.
        end: minutes after midnight at which it ends, not included; where it is not
            after `start`, the window runs into the next day.
    """

    days: frozenset[int]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Blackout:
    """A span of days, both ends included, in which nothing starts and nothing is disabled."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Drain:
    """When an old key counts as no longer used.

    Attributes:
        quiet_for: how long ago its last use must be at a fresh look.
        deadline: how long after the grace period to wait for that at most.
        then: what happens when the deadline has passed and the key is still in use.
        evidence: what counts as proof.
    """

    quiet_for: timedelta = timedelta(hours=1)
    deadline: timedelta = timedelta(days=7)
    then: AfterDeadline = AfterDeadline.KEEP
    evidence: Evidence = Evidence.LAST_USED


@dataclass(frozen=True, slots=True)
class Policy:
    """How often keys of a target are replaced and how an old one is retired.

    Exactly one of `every` and `cron` is set.

    Attributes:
        every: the age at which a served key is replaced.
        cron: a five-field Debian cron expression instead, in `timezone`.
        timezone: the zone of cron, windows and blackouts.
        jitter: the offset of each target lies in [0, jitter).
        min_age: a cron time is skipped while the served key is younger.
        max_age: the age past which windows no longer hold a rotation back, or None.
        grace: how long after the publish consumers may still use the old key.
        drain: when the old key counts as no longer used.
        quarantine: how long a disabled key is kept before it is deleted.
        on_disabled: what to do when a person disabled the served key.
        windows: spans in which a rotation may start; empty means always.
        blackouts: days on which nothing starts.
    """

    every: timedelta | None = timedelta(days=30)
    cron: str | None = None
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    jitter: timedelta = timedelta()
    min_age: timedelta = timedelta(hours=1)
    max_age: timedelta | None = None
    grace: timedelta = timedelta(hours=24)
    drain: Drain = Drain()
    quarantine: timedelta = timedelta(days=3)
    on_disabled: OnDisabled = OnDisabled.HOLD
    windows: tuple[Window, ...] = ()
    blackouts: tuple[Blackout, ...] = ()


@dataclass(frozen=True, slots=True)
class KeySettings:
    """What the configuration says of a new key; None means "as the served key has it".

    Attributes:
        limit: spending cap in US dollars.
        limit_reset: when the cap starts afresh.
        include_byok_in_limit: whether spending on one's own provider keys counts.
        expires_in: life time of each new key, or None for no expiry.
        workspace_id: the workspace (a UUID) in which the key is made.
    """

    limit: float | None = None
    limit_reset: LimitReset | None = None
    include_byok_in_limit: bool | None = None
    expires_in: timedelta | None = None
    workspace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One Vault secret and field that is served by one OpenRouter key at a time.

    Attributes:
        name: unique in the configuration; it names the ledger and stands in key names.
        secret: where consumers read the key.
        policy: when and how its keys are replaced.
        key: what a new key is made with.
        configured: False where only the ledger of a target that was taken out of
            the configuration is left; then its retiring keys are finished and no more.
    """

    name: str
    secret: SecretRef
    policy: Policy
    key: KeySettings = KeySettings()
    configured: bool = True
