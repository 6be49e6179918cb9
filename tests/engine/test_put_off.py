"""What is put off is no failure: a queue for writes, a 429 pause, a stop."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

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
