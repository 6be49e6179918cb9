"""When a target is due, computed from stored facts and the policy alone.

Nothing here depends on when the process started, so a restart neither resets nor
repeats anything, and nothing is drawn at random: a target's offset comes from a hash
of its name. One function answers both "when" and "is it due" (`rotation_due_at`).

All instants are aware and in UTC; `now` is always an argument.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache, partial
from itertools import pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from rotator.core.calendar import after_blackouts, instant, longest_closed, opens_at
from rotator.core.target import Policy

BACKOFF_BASE = timedelta(seconds=30)
"""The wait after a first failure, before its jitter is taken off."""

BACKOFF_CAP = timedelta(hours=1)
"""The longest wait after a failure."""

_TICK = timedelta(microseconds=1)

# Questions about a cron expression as a whole are answered from a fixed stretch of time, so that
# the answer does not change from day to day. It begins with a leap year, and its size is more
# than the minutes of a day, so that all times of at least one day are in it.
_SAMPLE_START = datetime(2024, 1, 1, tzinfo=UTC)
_SAMPLE_END = datetime(2032, 1, 1, tzinfo=UTC)
_SAMPLE_SIZE = 1500
_SAMPLE_MIDNIGHTS = 400


class DueReason(StrEnum):
    """What makes a rotation due."""

    EVERY = "every"
    """The served key has reached the age that the policy names."""
    CRON = "cron"
    """A time of the policy's cron expression has come."""
    MAX_AGE = "max_age"
    """The served key has reached its greatest age, for which windows are passed over."""
    ADOPTED = "adopted"
    """The served key was overdue when the target was first seen; such targets are spread out."""


@dataclass(frozen=True, slots=True)
class Due:
    """From when a rotation may start.

    Attributes:
        at: the earliest instant at which it may start; it is due where this is not
            after now.
        why: what makes it due.
        since: the instant that the schedule itself names, before windows and
            blackouts put it off.
        window_free: whether windows are passed over (`max_age`), which deserves an
            alert. Blackouts never are.
    """

    at: datetime
    why: DueReason
    since: datetime
    window_free: bool = False


def rotation_due_at(
    policy: Policy,
    name: str,
    now: datetime,
    *,
    due_from: datetime,
    first_seen: datetime | None,
    adopt_over: timedelta,
) -> Due:
    """Return from when the served key of a target may be replaced by schedule.

    The answer's `at` is not after `now` exactly where the rotation may start now. Where
    an opening was missed, it names the next one, so it never invites a start outside a
    window. It says nothing of keys that are dead, expiring or compromised, which
    override every schedule.

    Args:
        policy: the target's policy.
        name: the target's name, from whose hash its offset comes.
        now: the current time.
        due_from: when the served key was made, or a later rollback or paste-back.
        first_seen: when the target was first observed; None where its key was rotated since,
            and was not adopted.
        adopt_over: the time over which targets first seen overdue are spread.

    Raises:
        ValueError: the policy leaves no opening, or its cron expression no time; the
            configuration's check refuses both.
    """
    since, why = _scheduled(policy, name, due_from)
    oldest = None if policy.max_age is None else due_from + policy.max_age
    ripe = since if oldest is None else min(since, oldest)
    # What was ripe by then was made before: jitter is shorter than the period.
    if first_seen is not None and ripe <= first_seen:
        since, why = first_seen + offset(name, adopt_over), DueReason.ADOPTED
        if oldest is not None:
            # Even a key past its greatest age waits for its turn, and for the first window
            # after it. Only when that was missed are windows passed over.
            oldest = max(oldest, opens_at(policy, since))
    due = Due(_standing(partial(opens_at, policy), since, now), why, since)
    if oldest is None:
        return due
    last_resort = _standing(partial(after_blackouts, policy), oldest, now)
    if last_resort < due.at:
        return Due(last_resort, DueReason.MAX_AGE, oldest, window_free=True)
    return due


def disable_allowed_at(policy: Policy, at: datetime) -> datetime:
    """Return the first instant, `at` or later, at which an old key may be disabled.

    Raises:
        ValueError: there is none within five years.
    """
    return opens_at(policy, at)


def offset(name: str, within: timedelta) -> timedelta:
    """Return a target's own share of a duration: at least zero, less than `within`.

    It comes from the SHA-256 of the name, so it is the same in every process and for
    ever, and the offsets of many targets are spread evenly.
    """
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return (within // _TICK * share >> 64) * _TICK


def backoff(
    count: int, name: str, *, base: timedelta = BACKOFF_BASE, cap: timedelta = BACKOFF_CAP
) -> timedelta:
    """Return how long to wait after the `count`-th failure in a row.

    It doubles with each failure up to `cap`; up to half of it is taken off again by a
    hash of name and count, so that targets that failed together do not return
    together. A count below 1 waits not at all.
    """
    if count < 1:
        return timedelta()
    full = min(cap, base * (1 << min(count - 1, 20)))
    return full - offset(f"{name} {count}", full / 2)


def is_expiring(expires_at: datetime | None, policy: Policy, now: datetime) -> bool:
    """Tell whether a key has less left than an old key is given: grace and drain deadline.

    A key without an expiry never is.
    """
    return expires_at is not None and expires_at - now < policy.grace + policy.drain.deadline


def period(policy: Policy) -> timedelta:
    """Return the nominal time from one rotation to the next: `every`, or the shortest cron gap.

    Raises:
        ValueError: the cron expression is none, or names no time.
    """
    if policy.every is not None:
        return policy.every
    return min(later - earlier for earlier, later in pairwise(cron_sample(policy)))


@lru_cache(maxsize=256)
def longest_gap(policy: Policy) -> timedelta:
    """Return the longest time for which a key stays served while all goes well.

    Counted from the making of a key to the rotation that replaces it, with jitter,
    cron times skipped for `min_age`, windows and blackouts; `max_age` shortens it.
    Cron times are followed through a sample of years, blackouts as they stand.

    Raises:
        ValueError: the cron expression names no time, or there is no opening.
    """
    closed = longest_closed(policy)
    if policy.every is not None:
        longest = policy.every + closed
    else:
        longest = _longest_cron_gap(policy) + policy.min_age
    if policy.max_age is None:
        return longest
    unwindowed = longest_closed(replace(policy, windows=()))
    return min(longest, policy.max_age + unwindowed)


def next_cron(policy: Policy, after: datetime) -> datetime:
    """Return the first time after an instant that the policy's cron expression names.

    The semantics are Debian cron's. Where both day fields are restricted, either may
    match. A time in the hour that the clock skips comes when the clock is put
    forward, and one in the hour that is repeated comes once; with a star in the
    minute or hour field the wall clock is followed as it is.

    Raises:
        ValueError: the expression is none, or names no time in fifty years.
    """
    for found in _cron_times(policy.cron or "", policy.timezone, after):
        return found
    raise ValueError(f"cron {policy.cron!r} never comes")


def cron_sample(policy: Policy) -> tuple[datetime, ...]:
    """Return cron times of a fixed stretch of years, at least two and in order.

    Raises:
        ValueError: the expression is none, or does not come twice in fifty years.
    """
    return _sampled(policy.cron or "", policy.timezone)


def _scheduled(policy: Policy, name: str, due_from: datetime) -> tuple[datetime, DueReason]:
    """Return the instant that the schedule names, before windows, blackouts and adoption."""
    shift = offset(name, policy.jitter)
    if policy.every is not None:
        return due_from + policy.every - shift, DueReason.EVERY
    young_until = due_from + max(policy.min_age, _TICK)
    return next_cron(policy, young_until - _TICK) + shift, DueReason.CRON


def _longest_cron_gap(policy: Policy) -> timedelta:
    """Return the longest time between rotations of a cron policy, but for `min_age`."""
    gaps = list(pairwise(cron_sample(policy)))
    longest = max(opens_at(policy, later + policy.jitter) - earlier for earlier, later in gaps)
    dense = _midnight_gaps(policy.cron or "", policy.timezone)
    if policy.blackouts or dense:
        plain = max(later - earlier for earlier, later in (*gaps, *dense))
        longest = max(longest, plain + policy.jitter + longest_closed(policy))
    return longest


@lru_cache(maxsize=256)
def _midnight_gaps(expression: str, zone: ZoneInfo) -> tuple[tuple[datetime, datetime], ...]:
    """Return the gaps over each midnight of a year, where the sample is too short to have them."""
    sample = _sampled(expression, zone)
    if len(sample) < _SAMPLE_SIZE or sample[-1] - sample[0] > timedelta(days=_SAMPLE_MIDNIGHTS):
        return ()
    gaps = []
    for day in range(_SAMPLE_MIDNIGHTS):
        midnight = instant(zone, _SAMPLE_START.date() + timedelta(days=day))
        before = next(CronSim(expression, midnight.astimezone(zone), reverse=True))
        after = next(_cron_times(expression, zone, midnight - _TICK))
        gaps.append((before.astimezone(UTC), after))
    return tuple(gaps)


def _standing(opens: Callable[[datetime], datetime], since: datetime, now: datetime) -> datetime:
    """Return the opening for something due since an instant, or the next one if it was missed."""
    opening = opens(since)
    if opening <= now:
        current = opens(now)
        if current > now:
            return current
    return opening


def _cron_times(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the times of a cron expression after an instant, ascending and each once.

    Raises:
        ValueError: the expression is none.
    """
    if len(expression.split()) != 5:
        raise ValueError("a cron expression has five fields: minute hour day month weekday")
    start = after.astimezone(UTC if zone.key == "UTC" else zone)
    try:
        times = CronSim(expression, start)
    except (CronSimError, ValueError) as error:
        raise ValueError(f"{error} in cron {expression!r}") from None
    last = after
    for found in times:
        moment = found.astimezone(UTC)
        if moment > last:  # in the repeated hour the library's first answer may lie before `after`
            last = moment
            yield moment


@lru_cache(maxsize=256)
def _sampled(expression: str, zone: ZoneInfo) -> tuple[datetime, ...]:
    found: list[datetime] = []
    for moment in _cron_times(expression, zone, _SAMPLE_START - _TICK):
        if len(found) >= 2 and (moment > _SAMPLE_END or len(found) == _SAMPLE_SIZE):
            break
        found.append(moment)
    if len(found) < 2:
        raise ValueError(f"cron {expression!r} does not come twice in fifty years")
    return tuple(found)
