"""What is put off is no failure: a queue for writes, a 429 pause, a stop."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.engine import reconcile
from rotator.engine.pace import Pace
from tests.engine.lab import Lab


def test_a_target_that_waits_for_a_pause_to_end_has_not_failed() -> None:
    lab = Lab()
    lab.run()
    first = lab.served_hash()
    lab.clock.advance(timedelta(hours=13))
    lab.world.pace.pause(3600)
    report = lab.run()
    assert report.failure is None
    assert lab.served_hash() == first
    book = lab.ledger()
    assert book is not None
    assert book.failure is None
    assert book.pending is None
    assert report.wake_at is not None
    lab.clock.advance(report.wake_at - lab.clock.now())
    lab.run()
    assert lab.served_hash() != first


def test_a_stop_before_the_claim_is_no_failure() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=13))
    first = lab.served_hash()
    lab.process.world = replace(lab.world, stopping=lambda: True)
    report = lab.run()
    assert report.failure is None
    assert lab.served_hash() == first
    assert not lab.trail.unsettled()


def test_a_stop_while_a_place_for_a_write_is_waited_for_is_no_failure() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=13))
    first, stops_at = lab.served_hash(), lab.clock.now() + timedelta(seconds=2)
    pace = Pace(lab.clock, 6000, stopping=lambda: lab.clock.now() >= stops_at)
    pace.pause(10)
    lab.process.world = replace(lab.world, pace=pace)
    report = lab.run()
    assert report.failure is None
    assert lab.clock.now() < stops_at + timedelta(seconds=1), "it stops at once"
    assert lab.served_hash() == first
    book = lab.ledger()
    assert book is not None
    assert (book.pending, book.failure) == (None, None)


def test_a_target_that_needs_more_plans_than_one_pass_makes_goes_on_a_second_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=13))
    first = lab.served_hash()
    monkeypatch.setattr(reconcile, "_ROUNDS", 1)
    report = lab.run()
    assert lab.served_hash() != first
    assert report.failure is None
    assert report.wake_at == lab.clock.now() + timedelta(seconds=1)
