"""Answers over a sample fleet, a served one, and a stand for the whole daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rotator.sandbox.server import Sandbox
from tests.core.builders import NOW
from tests.fakes.clock import FakeClock
from tests.wiring.stand import Stand, Times


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    times = Times()
    with Sandbox(now=times, seed=7) as sandbox:
        made = Stand(tmp_path, sandbox, times)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made
        made.close()
