"""A clock that stands still until it is told to go on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class FakeClock:
    """Implements `rotator.ports.Clock`; sleeping moves it on at once.

    `on_advance` is called after each move, so that what happens "meanwhile" can happen;
    a move stops on its way wherever `next_stop` says that something happens.
    """

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = 0.0
        self.on_advance: Callable[[], None] = lambda: None
        self.next_stop: Callable[[], datetime | None] = lambda: None

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        """Move on, by a microsecond at least: who waits for less would else wait for ever."""
        self.advance(max(timedelta(seconds=seconds), timedelta(microseconds=1)))

    def advance(self, by: timedelta) -> None:
        """Move on by a duration."""
        until = self._elapsed + max(0.0, by.total_seconds())
        while (stop := self.next_stop()) is not None:
            elapsed = (stop - self._start).total_seconds()
            if elapsed >= until:
                break
            self._elapsed = max(self._elapsed, elapsed)
            self.on_advance()
        self._elapsed = until
        self.on_advance()
