"""The system's clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from rotator.adapters.clock import SystemClock
from rotator.ports import Clock


def test_now_is_aware_and_in_utc() -> None:
    clock: Clock = SystemClock()
    before = datetime.now(UTC)
    assert before <= clock.now() <= datetime.now(UTC)
    assert clock.now().tzinfo is UTC


def test_the_monotonic_clock_counts_the_time_that_the_machine_slept() -> None:
    """On Linux that is the time since boot, not the time awake."""
    clock = SystemClock()
    source = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    before = time.clock_gettime(source)
    assert before <= clock.monotonic() <= time.clock_gettime(source)


def test_sleeping_waits_on_that_clock_and_not_at_all_for_nothing() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01
    clock.sleep(-1)
    clock.sleep(0)
