"""The system's clock: the one place that reads it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """The time of this machine; implements `rotator.ports.Clock`."""

    def now(self) -> datetime:
        """Return the wall clock's time (aware, UTC); it may step when somebody sets it."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds on a clock that never steps back and goes on while the machine sleeps.

        Linux's ``CLOCK_MONOTONIC`` stands still while a machine is suspended. A process that
        woke up would take a claim of yesterday for fresh, so ``CLOCK_BOOTTIME`` is read where
        there is one (clock_gettime(2)).
        """
        return time.clock_gettime(_UNSTOPPED)

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds; not at all where they are not positive."""
        if seconds > 0:
            time.sleep(seconds)


# Elsewhere than on Linux CLOCK_MONOTONIC counts the time asleep, or nothing better is there.
_UNSTOPPED: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
