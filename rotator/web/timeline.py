"""The life of a target's keys as bars on one line of time: geometry only, no markup.

Positions are percentages of the width, from the earliest to the latest instant that is
known of the target, so that each target uses the whole width whatever its policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rotator.core.retirement import Stage
from rotator.core.view import RetiringView, ServedView, TargetView
from rotator.core.words import in_future, span

LANES = 3
"""How many old keys are drawn; more are counted."""

_MARGIN = 0.03
_SHORTEST = 1.0
# Seconds.
_THINNEST = 0.4
_PARTED = 0.6
# Percent between two bars of one key.


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of a key's life.

    Attributes:
        kind: what it is: ``served``, ``ahead``, ``late``, ``before``, ``grace``, ``drain``,
            ``quarantine`` or ``stuck``.
        x: where it begins, in percent.
        width: in percent.
    """

    kind: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Lane:
    """One key: its bars from left to right."""

    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """All of a target's keys that are drawn.

    Attributes:
        lanes: the served key, then the old ones, the youngest first.
        now: where the present is, in percent.
        due: where the next rotation is, or None.
        more: how many old keys are not drawn.
        text: the same in one sentence.
    """

    lanes: tuple[Lane, ...]
    now: float
    due: float | None
    more: int
    text: str


def timeline(seen: TargetView, now: datetime) -> Timeline | None:
    """Return the time line of a target, or None where nothing of its keys is known.

    Args:
        seen: the target.
        now: the local time.
    """
    served = seen.served
    if served is None and not seen.retiring:
        return None
    old = sorted(seen.retiring, key=lambda each: each.since, reverse=True)
    drawn = old[:LANES]
    scale = _Scale(_instants(seen, drawn, now))
    lanes = [_old(each, now, scale) for each in drawn]
    if served is not None:
        lanes.insert(0, _served(served, seen.next_due, now, scale))
    return Timeline(
        lanes=tuple(lanes),
        now=scale.at(now),
        due=scale.at(seen.next_due) if seen.next_due is not None else None,
        more=len(old) - len(drawn),
        text=_sentence(seen, old, now),
    )


class _Scale:
    """Where an instant is in the picture; all arithmetic is in seconds of the epoch."""

    __slots__ = ("_left", "_percent", "begin")

    def __init__(self, instants: list[datetime]) -> None:
        begin, end = min(instants), max(instants)
        length = max((end - begin).total_seconds(), _SHORTEST)
        self._left = begin.timestamp() - length * _MARGIN
        self._percent = 100 / (length * (1 + 2 * _MARGIN))
        self.begin = begin - timedelta(seconds=length * _MARGIN)

    def at(self, instant: datetime) -> float:
        place = (instant.timestamp() - self._left) * self._percent
        return 0.0 if place < 0 else min(place, 100.0)

    def bars(self, marks: list[tuple[datetime, str]]) -> tuple[Bar, ...]:
        """Return bars between consecutive instants; the kind stands with the one that ends it."""
        made = []
        x = self.at(marks[0][0])
        for instant, kind in marks[1:]:
            end = self.at(instant)
            if end > x:
                made.append(Bar(kind, x, max(_THINNEST, end - x - _PARTED)))
                x = end
        return tuple(made)


def _instants(seen: TargetView, drawn: list[RetiringView], now: datetime) -> list[datetime]:
    """Return what must lie within the picture."""
    found = [now]
    if seen.served is not None:
        found.append(seen.served.minted_at)
    if seen.next_due is not None:
        found.append(seen.next_due)
    for each in drawn:
        found += [each.since, each.grace_ends if each.disabled_at is None else each.disabled_at]
        if each.until is not None:
            found.append(each.until)
    return found


def _served(served: ServedView, due: datetime | None, now: datetime, scale: _Scale) -> Lane:
    """Draw the served key: what it has behind it, what lies ahead, and by how much it is late."""
    marks = [(served.minted_at, "")]
    if due is None or due >= now:
        marks.append((now, "served"))
        if due is not None:
            marks.append((due, "ahead"))
    else:
        marks += [(max(due, served.minted_at), "served"), (now, "late")]
    return Lane(scale.bars(marks))


def _old(entry: RetiringView, now: datetime, scale: _Scale) -> Lane:
    """Draw an old key: served before, in grace, draining, and in quarantine."""
    marks = [(scale.begin, "")]
    if entry.minted_at is not None:
        marks = [(max(entry.minted_at, scale.begin), "")]
    marks.append((entry.since, "before"))
    if entry.disabled_at is not None:
        marks.append((min(entry.grace_ends, entry.disabled_at), "grace"))
        marks.append((entry.disabled_at, "drain"))
        stuck = entry.stage is Stage.ENABLED_BY_HAND
        marks.append((entry.until or now, "stuck" if stuck else "quarantine"))
    else:
        marks.append((entry.grace_ends, "grace"))
        stuck = entry.stage in (Stage.BLOCKED, Stage.LEFT_BEHIND)
        ends = max(now, entry.until or now)
        if ends > entry.grace_ends:
            marks.append((ends, "stuck" if stuck else "drain"))
    return Lane(scale.bars(marks))


def _sentence(seen: TargetView, old: list[RetiringView], now: datetime) -> str:
    """Say in words what the picture shows."""
    parts = []
    if seen.served is not None:
        parts.append(f"served for {span((now - seen.served.minted_at).total_seconds())}")
    if seen.next_due is not None:
        late = (now - seen.next_due).total_seconds()
        parts.append(
            f"rotation {span(late)} late" if late > 1 else f"next {in_future(seen.next_due, now)}"
        )
    for each in old:
        until = f" until {in_future(each.until, now)}" if each.until is not None else ""
        parts.append(f"old key {each.hash[:8]} {each.stage}{until}".replace("until in", "for"))
    return ", ".join(parts)
