"""The undisturbed life, each of whose calls is disturbed in turn."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from tests.engine.lab import Lab

LIFE = timedelta(hours=19)
"""Long enough for a first key and one rotation, its predecessor deleted, and a fault's delay."""

LONGER = timedelta(hours=9)
"""After that, long enough for one more rotation and its predecessor's end."""


@cache
def calls() -> tuple[str, ...]:
    """Return the names of all port calls of an undisturbed life."""
    lab = Lab()
    lab.live(LIFE)
    lab.check_at_rest()
    return tuple(lab.faults.calls)
