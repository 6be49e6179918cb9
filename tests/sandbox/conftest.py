"""What the tests of the sandbox share: a clock that stands still, and a running sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from rotator.sandbox.server import Sandbox
from tests.sandbox.published import DOCUMENT, HOW_TO_GET_IT, Published


class StillClock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday

    def __call__(self) -> datetime:
        return self.time

    def advance(self, **span: float) -> None:
        self.time += timedelta(**span)


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def sandbox(clock: StillClock) -> Iterator[Sandbox]:
    """Both APIs on free ports, over the still clock."""
    with Sandbox(now=clock, seed=1) as running:
        yield running


@pytest.fixture
def published(sandbox: Sandbox) -> Published:
    """Every answer of the sandbox, judged by the published document."""
    if not DOCUMENT.is_file():
        pytest.skip(HOW_TO_GET_IT)
    return Published(sandbox)
