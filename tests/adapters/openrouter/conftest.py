"""The adapter against a server that says what the test wants."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rotator.adapters.openrouter import OpenRouterIssuer, OpenRouterSettings
from rotator.secret import Secret
from tests.adapters.openrouter.raw_server import RawServer

NOW = datetime(2026, 3, 4, 22, 0, tzinfo=UTC)
MANAGEMENT = "sk-or-mgmt-CANARYmanagementCANARY"
PLAINTEXT = "sk-or-v1-CANARYplaintextCANARY"
HASH = hashlib.sha256(PLAINTEXT.encode()).hexdigest()


@dataclass(slots=True)
class StillClock:
    """A clock that stands still unless a test sets it; `ticks` are monotonic times to come."""

    time: datetime = NOW
    ticks: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.ticks.pop(0) if self.ticks else 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("the adapter does not wait by the clock")


def shown(key_hash: str = HASH, **other: Any) -> dict[str, Any]:
    """A key as the API shows it."""
    return {
        "hash": key_hash,
        "name": "a key",
        "label": "sk-or-v1-0e6...c96",
        "disabled": False,
        "limit": 50.0,
        "limit_remaining": 12.5,
        "limit_reset": "monthly",
        "include_byok_in_limit": False,
        "usage": 37.5,
        "byok_usage": 1.5,
        "created_at": "2026-03-01T10:00:00.000000+00:00",
        "updated_at": None,
        "last_used_at": "2026-03-04T20:00:00Z",
        "expires_at": None,
        "creator_user_id": None,
        "workspace_id": "0d4c4f4e-0000-4000-8000-000000000001",
        **other,
    }


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as running:
        yield running


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


IssuerFor = Callable[..., OpenRouterIssuer]


@pytest.fixture
def issuer_for(clock: StillClock) -> Iterator[IssuerFor]:
    """Make adapters that wait for nothing, and close them."""
    made: list[OpenRouterIssuer] = []

    def make(url: str, *, transport: Any = None, **settings: Any) -> OpenRouterIssuer:
        settings = {"timeout": timedelta(seconds=10), "retry_wait": timedelta(0), **settings}
        made.append(
            OpenRouterIssuer(
                OpenRouterSettings(base_url=url, **settings),
                lambda: Secret(MANAGEMENT),
                clock,
                transport=transport,
            )
        )
        return made[-1]

    yield make
    for issuer in made:
        issuer.close()


@pytest.fixture
def issuer(server: RawServer, issuer_for: IssuerFor) -> OpenRouterIssuer:
    return issuer_for(server.url)


@pytest.fixture
def impatient(server: RawServer, issuer_for: IssuerFor) -> OpenRouterIssuer:
    """The adapter with a time-out of half a second."""
    return issuer_for(server.url, timeout=timedelta(seconds=0.5))
