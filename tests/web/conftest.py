"""The time by which a sample fleet is judged."""

from __future__ import annotations

import pytest

from tests.core.builders import NOW
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)
