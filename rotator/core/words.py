"""Instants, lengths of time and numbers of targets as people and programs read them, in every output alike."""

from __future__ import annotations

from datetime import datetime, timedelta


def moment(at: datetime | None) -> str | None:
    """Return an instant as JSON shows it: RFC 3339 in UTC, milliseconds, closing ``Z``."""
    if at is None:
        return None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span(seconds: float) -> str:
    """Return a length of time in the one unit that says most, such as ``29d`` or ``5m``."""
    for name, unit in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * unit or (unit <= seconds and name == "d"):
            return f"{seconds / unit:.0f}{name}"
    return f"{max(0, seconds):.0f}s"


def targets(count: int) -> str:
    """Return a number of targets in words, such as ``one target`` or ``1,000 targets``."""
    return "one target" if count == 1 else f"{count:,} targets"


def in_past(at: datetime | None, now: datetime) -> str:
    """Return a past instant as people read it: ``5m ago``, or ``not yet`` for none."""
    return "not yet" if at is None else f"{span((now - at).total_seconds())} ago"


def in_future(at: datetime | None, now: datetime) -> str:
    """Return a future instant as people read it: ``in 5d``, ``now``, or ``-`` for none."""
    if at is None:
        return "-"
    left = at - now
    return "now" if left <= timedelta(seconds=1) else f"in {span(left.total_seconds())}"
