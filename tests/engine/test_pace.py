"""How fast writes go: spaced, paused as a whole, urgent ones first, stopping at once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.engine.pace import LONGEST_WAIT, Pace
from rotator.errors import Stopping, Transient
from tests.fakes.clock import START, FakeClock


def test_writes_are_spaced_evenly_and_the_first_goes_at_once() -> None:
    clock = FakeClock()
    pace = Pace(clock, writes_per_minute=30)
    times = []
    for _ in range(4):
        pace.obtain()
        times.append(clock.monotonic())
    assert times == [0.0, 2.0, 4.0, 6.0]


def test_a_place_not_used_is_not_saved_up() -> None:
    clock = FakeClock()
    pace = Pace(clock, writes_per_minute=30)
    clock.advance(timedelta(minutes=10))
    pace.obtain()
    pace.obtain()
    assert clock.monotonic() == 602.0


def test_an_urgent_write_does_not_queue_but_takes_its_place_from_the_others() -> None:
    clock = FakeClock()
    pace = Pace(clock, writes_per_minute=30)
    pace.obtain()
    pace.obtain(urgent=True)
    assert clock.monotonic() == 0.0
    pace.obtain()
    assert clock.monotonic() == 4.0


def test_a_pause_holds_all_writes_urgent_ones_too() -> None:
    clock = FakeClock()
    pace = Pace(clock, writes_per_minute=60)
    pace.pause(7.0)
    assert pace.paused_until(clock.now()) == START + timedelta(seconds=7)
    pace.obtain(urgent=True)
    assert clock.monotonic() == 7.0
    assert pace.paused_until(clock.now()) is None


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    clock = FakeClock()
    pace = Pace(clock, writes_per_minute=60)
    pace.pause(15.0)
    pace.pause(1.0)
    pace.obtain()
    assert clock.monotonic() == 15.0


def test_a_wait_that_is_too_long_goes_back_to_the_scheduler_and_keeps_no_place() -> None:
    clock = FakeClock()
    pace = Pace(clock, writes_per_minute=60)
    pace.pause(300.0)
    with pytest.raises(Transient) as caught:
        pace.obtain()
    assert (caught.value.retry_after, clock.monotonic()) == (300.0, 0.0)
    place = "openrouter: wait for a place: writes are paused or queued for 300 s"
    assert str(caught.value) == place
    clock.advance(timedelta(seconds=300))
    pace.obtain()
    assert clock.monotonic() == 300.0


def test_a_queue_is_never_longer_than_the_longest_wait() -> None:
    clock = FakeClock()
    pace = Pace(clock, writes_per_minute=60, stopping=lambda: True)
    pace.obtain()
    for _ in range(round(LONGEST_WAIT)):
        with pytest.raises(Stopping):
            pace.obtain()
    with pytest.raises(Transient):
        pace.obtain()
    assert clock.monotonic() == 0.0


def test_a_stop_ends_the_wait_within_half_a_second() -> None:
    clock = FakeClock()
    pace = Pace(clock, writes_per_minute=6, stopping=lambda: clock.monotonic() >= 3.0)
    pace.obtain()
    with pytest.raises(Stopping):
        pace.obtain()
    assert 3.0 <= clock.monotonic() <= 3.5
