"""A pass that stood still for long looks again before it goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.target import Window
from tests.engine.lab import PATH, POLICY, Lab, target
from tests.fakes.faults import Kind, nth

HOUR = timedelta(hours=1)
DAYS = frozenset(range(7))


def minute(lab: Lab, hours: float) -> int:
    """Return the minute of the day so many hours from now."""
    at = lab.clock.now() + hours * HOUR
    return at.hour * 60 + at.minute


@pytest.mark.parametrize("stall", [timedelta(), 5 * HOUR])
def test_no_rotation_begins_in_a_window_that_closed_while_the_process_stood_still(
    stall: timedelta,
) -> None:
    lab = Lab()
    window = Window(DAYS, minute(lab, 12.5), minute(lab, 14.5))
    lab.targets = (target(policy=replace(POLICY, windows=(window,))),)
    lab.run()
    first = lab.served_hash()
    lab.clock.advance(13 * HOUR)
    lab.vault.put(PATH, lab.vault.current(PATH) or {})
    lab.faults.slow_by = stall
    lab.faults.choose = nth("vault.write_ledger", 1, Kind.SLOW_AFTER)
    lab.run()
    assert (lab.served_hash() != first) is (not stall)
