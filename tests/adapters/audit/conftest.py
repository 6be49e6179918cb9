"""A trail in a temporary file, with a clock that moves by one second at each look."""

from __future__ import annotations

from pathlib import Path

import pytest

from rotator.adapters.audit import FileAuditTrail
from tests.adapters.audit.samples import TickingClock


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def trail(path: Path, clock: TickingClock) -> FileAuditTrail:
    return FileAuditTrail(path, instance="prod", clock=clock)
