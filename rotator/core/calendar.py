"""When work may start: weekly windows and blackouts, in the wall time of one zone.

A window opens the first time that the wall clock reaches its start and closes the
first time that it reaches its end. So on the day on which summer time ends, a window
that reaches across the repeated hour is an hour longer, and one within that hour is
open once; on the day on which it begins, a window loses what of it falls into the
missing hour, perhaps all. A blackout reaches from the first midnight of its first day
to that of the day after its last. A blackout always beats a window.

All instants are aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from rotator.core.target import Blackout, Policy, Window

HORIZON = timedelta(days=5 * 366)
"""How far ahead an opening is searched."""

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_MINUTES_OF_A_DAY = 24 * 60


def instant(zone: ZoneInfo, day: date, minutes: int = 0) -> datetime:
    """Return the first instant at which the zone's wall clock shows that time or a later one.

    Args:
        zone: the time zone.
        day: the calendar day.
        minutes: minutes after its midnight by the wall clock, 1440 being the next midnight.
    """
    days, minutes = divmod(minutes, _MINUTES_OF_A_DAY)
    wall = datetime.combine(day + days * _DAY, time(*divmod(minutes, 60)))
    found = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    # Only a time that the wall clock skips is earlier in its second reading. The two lie on either
    # side of the moment at which the clock is put forward then, which is the instant to be found.
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    while found - before > _SECOND:
        middle = before + (found - before) // 2 // _SECOND * _SECOND
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            before = middle
        else:
            found = middle
    return found


def opens_at(policy: Policy, at: datetime) -> datetime:
    """Return the first instant, `at` or later, inside a window and outside all blackouts.

    Raises:
        ValueError: there is none within five years.
    """
    limit = at + HORIZON
    while at <= limit:
        start = max(at, _next_window(policy, at))
        at = after_blackouts(policy, start)
        if at == start:
            return at
    raise ValueError("windows and blackouts leave no opening within five years")


def is_open(policy: Policy, at: datetime) -> bool:
    """Tell whether an instant lies inside a window and outside all blackouts."""
    return opens_at(policy, at) == at


def after_blackouts(policy: Policy, at: datetime) -> datetime:
    """Return the first instant, `at` or later, outside all blackouts, whatever the windows."""
    for _ in policy.blackouts:  # each pass leaves at least one behind for good
        later = max(
            (
                end
                for start, end in (blackout_span(policy, each) for each in policy.blackouts)
                if start <= at < end
            ),
            default=at,
        )
        if later == at:
            break
        at = later
    return at


def blackout_span(policy: Policy, blackout: Blackout) -> tuple[datetime, datetime]:
    """Return the instants at which a blackout begins and ends; the end is not included."""
    zone = policy.timezone
    return instant(zone, blackout.first), instant(zone, blackout.last + _DAY)


def window_spans(policy: Policy, day: date) -> Iterator[tuple[datetime, datetime]]:
    """Yield begin and end (not included) of each window that opens on a calendar day.

    A window that the missing hour swallows whole is left out.
    """
    for window in policy.windows:
        if day.weekday() in window.days:
            start = instant(policy.timezone, day, window.start)
            end = instant(policy.timezone, day, _end_after_start(window))
            if start < end:
                yield start, end


def longest_closed(policy: Policy) -> timedelta:
    """Return the longest time for which windows and blackouts stay closed in one piece.

    Windows are followed through a year and through the weeks around each blackout.
    Blackouts that touch, or have no window between them, are one piece: it is measured
    from the first of them.

    Raises:
        ValueError: there is no opening within five years of the closing.
    """
    longest = timedelta()
    if policy.windows:
        longest = _longest_between_windows(policy)
    for blackout in policy.blackouts:
        start, _ = blackout_span(policy, blackout)
        closing = _last_window_end(policy, start) if policy.windows else start
        longest = max(longest, opens_at(policy, start) - closing)
    return longest


def _end_after_start(window: Window) -> int:
    """Return the end in minutes after the midnight of the day on which the window opens."""
    return window.end if window.end > window.start else window.end + _MINUTES_OF_A_DAY


def _next_window(policy: Policy, at: datetime) -> datetime:
    """Return the first instant, `at` or later, inside a window, whatever the blackouts."""
    if not policy.windows:
        return at
    today = at.astimezone(policy.timezone).date()
    # From yesterday, whose window may run past midnight, through a week in which a window may
    # fall into the missing hour, to the end of the week after it.
    for ahead in range(-1, 16):
        spans = window_spans(policy, today + ahead * _DAY)
        openings = [max(at, start) for start, end in spans if at < end]
        if openings:
            return min(openings)
    raise ValueError("windows leave no opening within two weeks")


def _longest_between_windows(policy: Policy) -> timedelta:
    """Return the longest time between the end of a window and the next opening, in 2024."""
    longest = timedelta()
    day = date(2024, 1, 1)
    closed_since: datetime | None = None
    for _ in range(54 * 7):
        for start, end in sorted(window_spans(policy, day)):
            if closed_since is not None:
                longest = max(longest, start - closed_since)
            closed_since = end if closed_since is None else max(end, closed_since)
        day += _DAY
    return longest


def _last_window_end(policy: Policy, midnight: datetime) -> datetime:
    """Return up to when a window was open last before a midnight; that itself at most."""
    day = midnight.astimezone(policy.timezone).date()
    for back in range(1, 17):
        spans = window_spans(policy, day - back * _DAY)
        ends = [min(midnight, end) for _, end in spans]  # a window may run past midnight
        if ends:
            return max(ends)
    raise ValueError("windows leave no opening within two weeks")
