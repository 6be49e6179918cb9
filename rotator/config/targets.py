"""The tables of policies and targets, and the values that the rest of the program takes."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, PlainValidator, StrictBool

from rotator.config import text
from rotator.config.schema import (
    Duration,
    Name,
    Positive,
    Table,
    Text,
    VaultPath,
    money,
    one_line_cron,
    reads,
)
from rotator.core.target import (
    AfterDeadline,
    Blackout,
    Drain,
    Evidence,
    KeySettings,
    OnDisabled,
    Policy,
    SecretRef,
    Target,
    Window,
)

STANDARD = "standard"
"""The policy of a target that names none; it is there even where it is not configured."""


MOST_SPANS = 366
"""Windows, and blackouts, that a policy may have; the time to check them grows with the square."""


class DrainTable(Table):
    """``drain`` of a policy: when an old key counts as no longer used."""

    quiet_for: Positive = timedelta(hours=1)
    deadline: Positive = timedelta(days=7)
    then: Literal["keep", "disable"] = "keep"
    evidence: Literal["last_used", "usage"] = "last_used"


class PolicyTable(Table):
    """``[policy.NAME]``: how often keys are replaced and how old ones are retired."""

    every: Positive = timedelta(days=30)
    cron: Annotated[str, reads(one_line_cron, "0 3 1 * *")] | None = None
    timezone: Annotated[ZoneInfo, reads(text.time_zone, "Europe/Berlin")] = ZoneInfo("UTC")
    jitter: Duration = timedelta()
    min_age: Duration = timedelta(hours=1)
    max_age: Positive | None = None
    grace: Positive = timedelta(hours=24)
    drain: DrainTable = DrainTable()
    quarantine: Positive = timedelta(days=3)
    on_disabled: Literal["hold", "rotate"] = "hold"
    windows: Annotated[
        tuple[Annotated[Window, reads(text.window, "mon-fri 09:00-17:00")], ...],
        Field(max_length=MOST_SPANS),
    ] = ()
    blackouts: Annotated[
        tuple[Annotated[Blackout, reads(text.blackout, "2026-12-20/2027-01-05")], ...],
        Field(max_length=MOST_SPANS),
    ] = ()

    def policy(self) -> Policy:
        """Return the policy as the program's own value."""
        return Policy(
            every=self.every if self.cron is None else None,
            cron=self.cron,
            timezone=self.timezone,
            jitter=self.jitter,
            min_age=self.min_age,
            max_age=self.max_age,
            grace=self.grace,
            drain=Drain(
                quiet_for=self.drain.quiet_for,
                deadline=self.drain.deadline,
                then=AfterDeadline(self.drain.then),
                evidence=Evidence(self.drain.evidence),
            ),
            quarantine=self.quarantine,
            on_disabled=OnDisabled(self.on_disabled),
            windows=self.windows,
            blackouts=self.blackouts,
        )


class KeyTable(Table):
    """``key`` of a target: what a new key is made with; the rest is as the served key has it."""

    limit: Annotated[float, PlainValidator(money)] | None = None
    limit_reset: Literal["daily", "weekly", "monthly"] | None = None
    include_byok_in_limit: StrictBool | None = None
    expires_in: Positive | None = None
    workspace_id: (
        Annotated[str, reads(text.workspace, "7b3b1c9e-4c2f-4a5e-9a53-0d7d5a1f9f10")] | None
    ) = None


class TargetTable(Table):
    """``[[target]]``: one Vault secret and field that is served by one key at a time."""

    name: Name
    secret: VaultPath
    field: Text = "OPENROUTER_API_KEY"
    policy: Name = STANDARD
    key: KeyTable = Field(default_factory=KeyTable)

    def target(self, policy: Policy) -> Target:
        """Return the target as the program's own value."""
        settings = KeySettings(
            limit=self.key.limit,
            limit_reset=self.key.limit_reset,
            include_byok_in_limit=self.key.include_byok_in_limit,
            expires_in=self.key.expires_in,
            workspace_id=self.key.workspace_id,
        )
        return Target(self.name, SecretRef(self.secret, self.field), policy, settings)
