"""How fast this process may change things at OpenRouter.

One pace is shared by all worker threads. Writes are spaced evenly; a 429 pauses all
of them for as long as it says. A place is obtained before a target is claimed, so
that no claim waits in a queue.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from rotator.errors import Stopping, Transient
from rotator.ports import Clock

LONGEST_WAIT = 20.0
"""Seconds that a worker waits for its place; a longer wait goes back to the scheduler."""

_NAP = 0.5


class Pace:
    """Spaces the writes of a process, and pauses them when OpenRouter says so."""

    def __init__(
        self, clock: Clock, writes_per_minute: int, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """Start with a free place.

        Args:
            clock: to wait by.
            writes_per_minute: how many writes are sent in a minute at most.
            stopping: tells whether the process was asked to stop.
        """
        self._clock = clock
        self._gap = 60.0 / writes_per_minute
        self._stopping = stopping
        self._lock = threading.Lock()
        self._next = clock.monotonic()
        self._paused_until = clock.monotonic()

    def obtain(self, *, urgent: bool = False) -> None:
        """Wait for a place for one write.

        Urgent work (a dead or compromised key) does not queue behind the rest, but
        keeps to a pause all the same.

        Raises:
            Transient: the wait would be too long; try again after `retry_after`.
            Stopping: the process was asked to stop.
        """
        with self._lock:
            now = self._clock.monotonic()
            place = max(now, self._paused_until, now if urgent else self._next)
            if place - now > LONGEST_WAIT:
                raise Transient(
                    "openrouter",
                    "wait for a place",
                    f"writes are paused or queued for {place - now:.0f} s",
                    retry_after=place - now,
                )
            self._next = max(self._next, place) + self._gap
        while (left := place - self._clock.monotonic()) > 0:
            if self._stopping():
                raise Stopping("asked to stop")
            self._clock.sleep(min(left, _NAP))

    def pause(self, seconds: float) -> None:
        """Send no write for a while (a 429 said so)."""
        with self._lock:
            until = self._clock.monotonic() + seconds
            self._paused_until = max(self._paused_until, until)

    def paused_until(self, now: datetime) -> datetime | None:
        """Return until when writes are paused by the local clock, or None."""
        with self._lock:
            left = self._paused_until - self._clock.monotonic()
        return now + timedelta(seconds=left) if left > 0 else None
