"""Virtual time, and processes as greenlets: one runs at a time, and the seed says which is next."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from datetime import datetime, timedelta

from greenlet import GreenletExit, getcurrent, greenlet

from tests.fakes.faults import Late

NEVER = float("inf")


class Hub:
    """Lets time pass, wakes greenlets and lands late effects in the order of their times.

    Attributes:
        start: the true time at which the simulation began.
        elapsed: seconds since then.
        late: effects under way.
    """

    def __init__(self, start: datetime, rng: random.Random) -> None:
        self.start = start
        self.elapsed = 0.0
        self.late = Late()
        self._rng = rng
        self._numbers = itertools.count()
        self._queue: list[tuple[float, float, int, greenlet | Callable[[], None]]] = []
        self._ends = 0.0
        self._loop: greenlet | None = None
        self._greenlets: list[greenlet] = []
        self._now = start

    def now(self) -> datetime:
        """Return the true time."""
        return self._now

    def process(self, run: Callable[[], None]) -> greenlet:
        """Return a greenlet that waits to be woken, and that `end` ends."""
        new = greenlet(run)
        self._greenlets.append(new)
        return new

    def end(self) -> None:
        """End every greenlet: one that still waits would keep its simulation in memory for ever."""
        for each in self._greenlets:
            if not each.dead:
                each.throw(GreenletExit)
        self._greenlets.clear()
        self._queue.clear()

    def at(self, seconds: float, what: greenlet | Callable[[], None]) -> None:
        """Wake a greenlet, or call a function, after some seconds."""
        entry = (self.elapsed + seconds, self._rng.random(), next(self._numbers), what)
        heapq.heappush(self._queue, entry)

    def wait(self, seconds: float) -> None:
        """Let the calling greenlet sleep, and others go on meanwhile."""
        until = self.elapsed + seconds
        first = self._queue[0][0] if self._queue else NEVER
        if until < min(first, self._ends, self._late_at()):
            self._set(until)
            return
        self.at(seconds, getcurrent())
        self.leave()

    def leave(self) -> None:
        """Let others go on until somebody switches back."""
        assert self._loop is not None
        self._loop.switch()

    def run(self, seconds: float) -> None:
        """Let everything go on for some seconds."""
        self._loop = getcurrent()
        self._ends = self.elapsed + seconds
        while True:
            first = self._queue[0][0] if self._queue else NEVER
            late = self._late_at()
            if min(first, late) >= self._ends:
                break
            if late <= first:
                self._set(max(late, self.elapsed))
                self.late.land(self._now)
                continue
            at, _, _, what = heapq.heappop(self._queue)
            self._set(max(at, self.elapsed))
            if isinstance(what, greenlet):
                what.switch()
            else:
                what()
        self._set(self._ends)

    def _late_at(self) -> float:
        if not self.late.effects:
            return NEVER
        at = self.late.next_at()
        return (at - self.start).total_seconds() if at is not None else NEVER

    def _set(self, elapsed: float) -> None:
        self.elapsed = elapsed
        self._now = self.start + timedelta(seconds=elapsed)


class SkewedClock:
    """Implements `rotator.ports.Clock` for one machine, whose wall clock may be wrong."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.skew = timedelta()

    def now(self) -> datetime:
        return self._hub.now() + self.skew

    def monotonic(self) -> float:
        return self._hub.elapsed

    def sleep(self, seconds: float) -> None:
        self._hub.wait(max(seconds, 0.0))
