"""One key of a simulated OpenRouter account: its fields, its counters, and how the API shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Reset = Literal["daily", "weekly", "monthly"]
"""When a limit starts afresh: at midnight UTC of each day, Monday, or first of a month."""


def day_start(now: datetime) -> datetime:
    """Return the midnight UTC that began the day of `now`."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def window_starts(now: datetime) -> tuple[datetime, datetime, datetime]:
    """Return when the UTC day, the week (from Monday) and the month of `now` began."""
    day = day_start(now)
    return day, day - timedelta(days=day.weekday()), day.replace(day=1)


def render_time(moment: datetime) -> str:
    """Return `moment` as the API writes the times that it keeps itself.

    The documentation's sample answers read `2025-02-19T20:52:27.363244+00:00`
    (https://openrouter.ai/docs/features/provisioning-api-keys), the OpenAPI document's end in `Z`:
    both are ISO 8601.
    """
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def render_expiry(moment: datetime) -> str:
    """Return an expiry in the form in which the API demands it: UTC, `Z`, with seconds."""
    moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if moment.microsecond else "%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class Meter:
    """What was spent, in USD: ever, and in the current UTC day, week and month."""

    total: float = 0.0
    windows: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    starts: tuple[datetime, datetime, datetime] | None = None

    def add(self, amount: float, now: datetime) -> None:
        """Count `amount` USD at `now`."""
        self.windows = [value + amount for value in self.at(now)]
        self.starts = window_starts(now)
        self.total += amount

    def at(self, now: datetime) -> list[float]:
        """Return what was spent in the day, week and month of `now`."""
        if self.starts is None:
            return [0.0, 0.0, 0.0]
        return [
            value if then == start else 0.0
            for value, then, start in zip(
                self.windows, self.starts, window_starts(now), strict=True
            )
        ]

    def in_window(self, reset: Reset | None, now: datetime) -> float:
        """Return what was spent in the window that `reset` names; without one, ever."""
        if reset is None:
            return self.total
        return self.at(now)[("daily", "weekly", "monthly").index(reset)]

    def fields(self, prefix: str, now: datetime) -> dict[str, float]:
        """Return the four counters as the API names them."""
        day, week, month = self.at(now)
        return {
            prefix: self.total,
            f"{prefix}_daily": day,
            f"{prefix}_weekly": week,
            f"{prefix}_monthly": month,
        }


@dataclass(slots=True)
class KeyRecord:
    """A key as the account keeps it: by its hash, never with its plaintext."""

    hash: str
    """SHA-256 of the plaintext, 64 lowercase hexadecimal digits."""
    label: str
    """The masked plaintext, such as `sk-or-v1-0e6...c96`."""
    name: str
    workspace_id: str
    created_at: datetime
    sequence: int
    """Its place in the order of creation, for keys made in the same instant."""
    limit: float | None = None
    """Spending limit in USD; None is unlimited."""
    limit_reset: Reset | None = None
    include_byok_in_limit: bool = False
    expires_at: datetime | None = None
    creator_user_id: str | None = None
    external_user: str | None = None
    disabled: bool = False
    management: bool = False
    updated_at: datetime | None = None
    last_used_at: datetime | None = None
    deleted_at: datetime | None = None
    usage: Meter = field(default_factory=Meter)
    byok_usage: Meter = field(default_factory=Meter)

    def expired(self, now: datetime) -> bool:
        """Say whether the key's life is over at `now`."""
        return self.expires_at is not None and self.expires_at <= now

    def works(self, now: datetime) -> bool:
        """Say whether a call with this key is let in at `now` (its spending limit aside)."""
        return self.deleted_at is None and not self.disabled and not self.expired(now)

    def remaining(self, now: datetime) -> float | None:
        """Return what is left of the limit in its window, in USD; None where there is none.

        It may be negative, after the limit was lowered or the last call cost more than was left:
        nothing says that the provider clamps it.
        """
        if self.limit is None:
            return None
        spent = self.usage.in_window(self.limit_reset, now)
        if self.include_byok_in_limit:
            spent += self.byok_usage.in_window(self.limit_reset, now)
        return self.limit - spent

    def _shared(self, now: datetime) -> dict[str, Any]:
        return {
            "label": self.label,
            "limit": self.limit,
            "limit_remaining": self.remaining(now),
            "limit_reset": self.limit_reset,
            "include_byok_in_limit": self.include_byok_in_limit,
            **self.usage.fields("usage", now),
            **self.byok_usage.fields("byok_usage", now),
            "creator_user_id": self.creator_user_id,
            "expires_at": None if self.expires_at is None else render_expiry(self.expires_at),
        }

    def as_listed(self, now: datetime) -> dict[str, Any]:
        """Return the object that the calls under `/keys` answer with."""
        updated, used = self.updated_at, self.last_used_at
        return {
            "hash": self.hash,
            "name": self.name,
            "disabled": self.disabled,
            "workspace_id": self.workspace_id,
            "created_at": render_time(self.created_at),
            "updated_at": None if updated is None else render_time(updated),
            "last_used_at": None if used is None else render_time(used),
            "external_user": self.external_user,
            **self._shared(now),
        }

    def as_own(self, now: datetime) -> dict[str, Any]:
        """Return the object that `GET /key` answers its caller with: no hash, no name, no state."""
        return {
            **self._shared(now),
            "workspace_id": None if self.management else self.workspace_id,
            "organization_id": None,
            "is_free_tier": False,
            "is_management_key": self.management,
            "is_provisioning_key": self.management,
            "budgets": [],
            "effective_budget": None,
            "allowed_data_regions": ["global"],
            "free_model_daily_requests": {"limit": 1000, "remaining": 1000, "used": 0},
            "rate_limit": {
                "requests": -1,
                "interval": "10s",
                "note": "This field is deprecated and safe to ignore.",
            },
        }

    def as_seen_by_tests(self) -> dict[str, Any]:
        """Return what `/_sandbox/keys` shows: deleted and management keys too."""
        return {
            "hash": self.hash,
            "name": self.name,
            "disabled": self.disabled,
            "deleted": self.deleted_at is not None,
            "management": self.management,
            "workspace_id": self.workspace_id,
            "created_at": render_time(self.created_at),
            "expires_at": None if self.expires_at is None else render_expiry(self.expires_at),
            "last_used_at": None if self.last_used_at is None else render_time(self.last_used_at),
        }
