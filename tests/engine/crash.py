"""The undisturbed life, each of whose calls is disturbed in turn."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from functools import cache

from tests.engine.lab import Lab
from tests.engine.troubles import rest

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


def history(lab: Lab) -> list[object]:
    """Return all that a life left behind by which it can be told from another."""
    return [*lab.faults.calls, *((at, event.name) for at, event in lab.trail.lines)]


@cache
def undisturbed(span: timedelta) -> list[object]:
    """Return the history of a life in which nothing goes wrong."""
    lab = Lab()
    lab.live(LIFE)
    lab.live(span - LIFE)
    lab.come_to_rest()
    return history(lab)


def broken_by(lab: Lab, spans: Iterable[timedelta]) -> str | None:
    """Live through some spans and come to rest; return the promise that was broken, or None."""
    try:
        for span in spans:
            lab.live(span)
        rest(lab)
    except Exception as error:  # noqa: BLE001 - whatever comes out of the engine is told
        return f"{type(error).__name__}: {error}"
    return None
