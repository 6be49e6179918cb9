"""A machine whose clock is behind cuts no wait short."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from tests.engine.lab import POLICY, Lab
from tests.fakes.clock import FakeClock
from tests.fakes.faults import Kind, nth


class BehindClock:
    """Implements `rotator.ports.Clock`: a fake clock whose wall time is four minutes behind."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.monotonic = clock.monotonic
        self.sleep = clock.sleep

    def now(self) -> datetime:
        return self._clock.now() - timedelta(minutes=4)


def test_a_quarantine_does_not_begin_before_the_disable_where_the_clock_is_behind() -> None:
    lab = Lab()
    lab.process.world = replace(lab.world, clock=BehindClock(lab.clock))
    disabled_at: list[datetime] = []
    lab.faults.slow_by = timedelta(seconds=100)
    lab.faults.choose = nth("openrouter.disable", 1, Kind.SLOW)
    judge = lab.account.on_disable

    def disabled(key_hash: str) -> None:
        judge(key_hash)
        disabled_at.append(lab.clock.now())

    lab.account.on_disable = disabled
    while not disabled_at:
        lab.live(timedelta(minutes=5))
    book = lab.ledger()
    assert book is not None
    recorded = book.retiring[0].disabled_at
    assert recorded is not None
    assert recorded >= disabled_at[0]
    lab.live(POLICY.quarantine * 2)
    assert lab.account.deleted
