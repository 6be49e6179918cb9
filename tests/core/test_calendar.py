"""Windows and blackouts: openings on plain days and on the days on which the clock changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.core.calendar import HORIZON, instant, is_open, longest_closed, opens_at
from rotator.core.target import Blackout, Policy, Window

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # half an hour of summer time, in the south
ZONES = [BERLIN, NEW_YORK, LORD_HOWE, ZoneInfo("UTC"), ZoneInfo("Asia/Kathmandu")]

DAILY = frozenset(range(7))
WORKDAYS = frozenset(range(5))
OFFICE = Window(WORKDAYS, 9 * 60, 17 * 60)
NIGHT = Window(DAILY, 22 * 60, 4 * 60)
CHRISTMAS = Blackout(date(2026, 12, 20), date(2027, 1, 5))


def policy(
    *windows: Window, zone: ZoneInfo = BERLIN, blackouts: tuple[Blackout, ...] = ()
) -> Policy:
    return Policy(timezone=zone, windows=windows, blackouts=blackouts)


def wall(zone: ZoneInfo, text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


def open_minutes(given_policy: Policy, start: str, end: str) -> int:
    """How many minutes of a stretch of wall time are open."""
    at, until = wall(given_policy.timezone, start), wall(given_policy.timezone, end)
    count = 0
    while at < until:
        count += is_open(given_policy, at)
        at += timedelta(minutes=1)
    return count


@pytest.fixture(params=["Pacific/Honolulu", "UTC", "Pacific/Kiritimati"])
def _machine_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine has a zone of its own: the last one of a day, or the first one."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


def test_without_windows_and_blackouts_it_is_always_open() -> None:
    at = datetime(2026, 7, 1, 12, 34, 56, 789, tzinfo=UTC)
    assert opens_at(policy(), at) == at


@pytest.mark.parametrize(
    ("at", "opening"),
    [
        ("2026-07-01T08:59:59", "2026-07-01T09:00"),
        ("2026-07-01T09:00", "2026-07-01T09:00"),
        ("2026-07-01T16:59:59.999999", "2026-07-01T16:59:59.999999"),
        ("2026-07-01T17:00", "2026-07-02T09:00"),
        ("2026-07-03T17:00", "2026-07-06T09:00"),  # Friday evening
    ],
)
def test_a_window_includes_its_start_and_not_its_end(at: str, opening: str) -> None:
    assert opens_at(policy(OFFICE), wall(BERLIN, at)) == wall(BERLIN, opening)


@pytest.mark.parametrize(
    ("at", "opening"),
    [
        ("2026-07-04T03:59", "2026-07-04T03:59"),  # Friday's window, past its midnight
        ("2026-07-04T04:00", "2026-07-10T22:00"),
        ("2026-07-03T21:59", "2026-07-03T22:00"),
    ],
)
def test_a_window_past_midnight_belongs_to_the_day_on_which_it_opens(at: str, opening: str) -> None:
    friday = policy(Window(frozenset({4}), 22 * 60, 4 * 60))
    assert opens_at(friday, wall(BERLIN, at)) == wall(BERLIN, opening)


def test_a_whole_day_and_the_next_are_one_opening() -> None:
    weekend = policy(Window(frozenset({5, 6}), 0, 24 * 60))
    assert opens_at(weekend, wall(BERLIN, "2026-07-03T12:00")) == wall(BERLIN, "2026-07-04T00:00")
    assert open_minutes(weekend, "2026-07-03T00:00", "2026-07-07T00:00") == 2 * 24 * 60


def test_the_earliest_of_several_windows_counts() -> None:
    both = policy(OFFICE, Window(frozenset({5}), 6 * 60, 7 * 60))
    assert opens_at(both, wall(BERLIN, "2026-07-03T18:00")) == wall(BERLIN, "2026-07-04T06:00")


def test_a_blackout_includes_both_its_days_and_beats_a_window() -> None:
    blocked = policy(NIGHT, blackouts=(CHRISTMAS,))
    before = wall(BERLIN, "2026-12-19T23:59")
    assert opens_at(blocked, before) == before
    # The night of 19 December is cut off at midnight, that of 5 January begins with the 6th.
    after = wall(BERLIN, "2027-01-06T00:00")
    assert opens_at(blocked, wall(BERLIN, "2026-12-20T00:00")) == after
    assert opens_at(policy(OFFICE, blackouts=(CHRISTMAS,)), before) == wall(
        BERLIN, "2027-01-06T09:00"
    )


def test_blackouts_that_touch_or_overlap_are_one() -> None:
    blocked = policy(
        blackouts=(
            Blackout(date(2026, 8, 3), date(2026, 8, 4)),
            Blackout(date(2026, 8, 1), date(2026, 8, 2)),
            Blackout(date(2026, 8, 1), date(2026, 8, 1)),
        )
    )
    assert opens_at(blocked, wall(BERLIN, "2026-08-01T12:00")) == wall(BERLIN, "2026-08-05T00:00")
    assert longest_closed(blocked) == timedelta(days=4)


def test_a_leap_day_is_a_day_like_others() -> None:
    leap = policy(blackouts=(Blackout(date(2028, 2, 29), date(2028, 2, 29)),))
    assert opens_at(leap, wall(BERLIN, "2028-02-29T10:00")) == wall(BERLIN, "2028-03-01T00:00")
    assert is_open(leap, wall(BERLIN, "2028-02-28T23:59"))


def test_a_calendar_without_an_opening_is_an_error() -> None:
    never = policy(blackouts=(Blackout(date(2026, 1, 1), date(2036, 1, 1)),))
    with pytest.raises(ValueError, match="no opening within five years"):
        opens_at(never, datetime(2026, 6, 1, tzinfo=UTC))


def test_an_opening_at_the_very_end_of_the_five_years_is_found_and_a_later_one_is_not() -> None:
    at = datetime(2026, 6, 1, tzinfo=UTC)
    end = (at + HORIZON).date()
    blocked = Blackout(at.date(), end - timedelta(days=1))
    assert opens_at(policy(zone=ZoneInfo("UTC"), blackouts=(blocked,)), at) == at + HORIZON
    with pytest.raises(ValueError, match="no opening within five years"):
        opens_at(policy(zone=ZoneInfo("UTC"), blackouts=(Blackout(at.date(), end),)), at)


@pytest.mark.parametrize("days", [frozenset(), frozenset({7})], ids=["none", "no weekday"])
def test_windows_that_no_day_has_are_an_error(days: frozenset[int]) -> None:
    closed = policy(Window(days, 0, 60), blackouts=(CHRISTMAS,))
    for ask in (
        lambda: opens_at(closed, datetime(2026, 6, 1, tzinfo=UTC)),
        lambda: longest_closed(closed),
    ):
        with pytest.raises(ValueError, match=r"^windows leave no opening within two weeks$"):
            ask()


# --- the days on which the clock changes ------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "minutes", "expected"),
    [
        (BERLIN, date(2026, 3, 29), 119, "2026-03-29T00:59+00:00"),
        (BERLIN, date(2026, 3, 29), 120, "2026-03-29T01:00+00:00"),  # 02:00 is missing
        (BERLIN, date(2026, 3, 29), 150, "2026-03-29T01:00+00:00"),
        (BERLIN, date(2026, 3, 29), 180, "2026-03-29T01:00+00:00"),
        (BERLIN, date(2026, 10, 25), 150, "2026-10-25T00:30+00:00"),  # the first of two
        (BERLIN, date(2026, 10, 25), 180, "2026-10-25T02:00+00:00"),
        (NEW_YORK, date(2026, 3, 8), 150, "2026-03-08T07:00+00:00"),
        (NEW_YORK, date(2026, 11, 1), 90, "2026-11-01T05:30+00:00"),
        (LORD_HOWE, date(2026, 10, 4), 135, "2026-10-03T15:30+00:00"),
        (LORD_HOWE, date(2026, 4, 5), 105, "2026-04-04T14:45+00:00"),
        (ZoneInfo("Africa/Cairo"), date(2026, 4, 24), 0, "2026-04-23T22:00+00:00"),  # no midnight
        (ZoneInfo("Pacific/Apia"), date(2011, 12, 30), 720, "2011-12-30T10:00+00:00"),  # no day
    ],
)
def test_a_wall_time_is_the_first_instant_that_reaches_it(
    zone: ZoneInfo, day: date, minutes: int, expected: str
) -> None:
    found = instant(zone, day, minutes)
    assert (found, found.tzinfo) == (datetime.fromisoformat(expected), UTC)


@pytest.mark.usefixtures("_machine_in")
@pytest.mark.parametrize("minute", range(120, 180))
def test_every_minute_of_the_missing_hour_is_the_moment_at_which_the_clock_is_put_forward(
    minute: int,
) -> None:
    moment = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert instant(BERLIN, date(2026, 3, 29), minute) == moment


def test_a_window_that_ends_when_it_starts_is_open_for_a_day() -> None:
    monday = policy(Window(frozenset({0}), 540, 540), zone=ZoneInfo("UTC"))
    assert open_minutes(monday, "2026-06-07T00:00", "2026-06-14T00:00") == 24 * 60
    assert is_open(monday, datetime(2026, 6, 9, 8, 59, tzinfo=UTC))


@pytest.mark.parametrize(
    ("zone", "day", "window", "minutes"),
    [
        # Spring: the hour from 02:00 is missing (in Lord Howe half an hour of it).
        (BERLIN, "2026-03-29", (60, 240), 120),
        (BERLIN, "2026-03-29", (120, 150), 0),
        (BERLIN, "2026-03-29", (150, 240), 60),
        (NEW_YORK, "2026-03-08", (60, 240), 120),
        (NEW_YORK, "2026-03-08", (120, 180), 0),
        (LORD_HOWE, "2026-10-04", (60, 240), 150),
        (LORD_HOWE, "2026-10-04", (120, 150), 0),
        # Autumn: the hour before the change comes twice.
        (BERLIN, "2026-10-25", (60, 240), 240),
        (BERLIN, "2026-10-25", (120, 150), 30),
        (BERLIN, "2026-10-25", (150, 240), 150),
        (NEW_YORK, "2026-11-01", (0, 180), 240),
        (NEW_YORK, "2026-11-01", (60, 90), 30),
        (LORD_HOWE, "2026-04-05", (60, 240), 210),
        (LORD_HOWE, "2026-04-05", (90, 120), 60),
    ],
)
def test_a_window_over_a_change_of_the_clock_is_open_from_start_to_end(
    zone: ZoneInfo, day: str, window: tuple[int, int], minutes: int
) -> None:
    daily = policy(Window(DAILY, *window), zone=zone)
    following = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    assert open_minutes(daily, f"{day}T00:00", f"{following}T00:00") == minutes


def test_a_weekly_window_in_the_missing_hour_opens_a_week_later() -> None:
    sunday = policy(Window(frozenset({6}), 120, 150))
    assert opens_at(sunday, wall(BERLIN, "2026-03-28T12:00")) == wall(BERLIN, "2026-04-05T02:00")
    assert longest_closed(sunday) > timedelta(days=13)


@pytest.mark.usefixtures("_machine_in")
@pytest.mark.parametrize("zone", [ZoneInfo("Pacific/Honolulu"), ZoneInfo("Pacific/Kiritimati")])
def test_days_are_those_of_the_policy_s_zone_whatever_the_machine_s_own(zone: ZoneInfo) -> None:
    night = policy(NIGHT, zone=zone)
    for each in ("2026-07-01T03:00", "2026-07-01T22:00"):
        assert is_open(night, wall(zone, each))
    daily = policy(
        Window(DAILY, 540, 1020),
        zone=zone,
        blackouts=(Blackout(date(2026, 7, 1), date(2026, 7, 1)),),
    )
    # From five in the afternoon of the day before to nine in the morning of the day after.
    assert longest_closed(daily) == timedelta(hours=40)


# --- how long it stays closed -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_policy", "longest"),
    [
        (policy(), timedelta()),
        (policy(OFFICE, zone=ZoneInfo("UTC")), timedelta(hours=64)),
        (policy(OFFICE), timedelta(hours=65)),  # the weekend in which summer time ends
        (policy(NIGHT), timedelta(hours=18)),
        (policy(blackouts=(CHRISTMAS,)), timedelta(days=17)),
        # From Friday 18 December 17:00 to Wednesday 6 January 09:00.
        (policy(OFFICE, blackouts=(CHRISTMAS,)), timedelta(days=18, hours=16)),
        (policy(NIGHT, blackouts=(CHRISTMAS,)), timedelta(days=17)),
        # A window within another one, on every day: the later start has the earlier end.
        (policy(Window(DAILY, 0, 720), Window(DAILY, 60, 120)), timedelta(hours=12)),
        # Two blackouts without a window between them: from Friday 17:00 to Monday 9:00.
        (
            policy(
                OFFICE,
                zone=ZoneInfo("UTC"),
                blackouts=(
                    Blackout(date(2026, 8, 16), date(2026, 8, 16)),
                    Blackout(date(2026, 8, 8), date(2026, 8, 14)),
                ),
            ),
            timedelta(days=9, hours=16),
        ),
        # A night that runs into a blackout is open up to its first midnight.
        (
            policy(
                Window(frozenset({4}), 1320, 360),
                zone=ZoneInfo("UTC"),
                blackouts=(Blackout(date(2026, 8, 8), date(2026, 8, 8)),),
            ),
            timedelta(days=6, hours=22),
        ),
    ],
)
def test_the_longest_closed_time_joins_windows_and_blackouts(
    given_policy: Policy, longest: timedelta
) -> None:
    assert longest_closed(given_policy) == longest


WINDOWS = st.builds(
    Window,
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start=st.integers(0, 1439),
    end=st.integers(1, 1440),
).filter(lambda window: window.start != window.end)
BLACKOUTS = st.builds(
    lambda first, days: Blackout(first, first + timedelta(days=days)),
    first=st.dates(date(2026, 1, 1), date(2026, 12, 1)),
    days=st.integers(0, 30),
)
POLICIES = st.builds(
    Policy,
    timezone=st.sampled_from(ZONES),
    windows=st.lists(WINDOWS, max_size=3).map(tuple),
    blackouts=st.lists(BLACKOUTS, max_size=3).map(tuple),
)
INSTANTS = st.integers(0, 365 * 24 * 60 * 60).map(
    lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


def by_definition(given_policy: Policy, at: datetime) -> bool:
    """Whether it is open, said directly: in some window's span, in no blackout."""
    zone = given_policy.timezone
    today = at.astimezone(zone).date()
    if any(
        instant(zone, each.first) <= at < instant(zone, each.last + timedelta(days=1))
        for each in given_policy.blackouts
    ):
        return False
    for day in (today - timedelta(days=1), today):
        for window in given_policy.windows:
            closing = day + timedelta(days=int(window.end <= window.start))
            if day.weekday() in window.days and instant(zone, day, window.start) <= at < instant(
                zone, closing, window.end
            ):
                return True
    return not given_policy.windows


@given(POLICIES, INSTANTS, st.floats(0, 1))
def test_an_opening_is_open_and_nothing_before_it_is(
    given_policy: Policy, at: datetime, share: float
) -> None:
    opening = opens_at(given_policy, at)
    assert opening >= at
    assert by_definition(given_policy, opening)
    assert opens_at(given_policy, opening) == opening
    between = at + (opening - at) * share
    if between < opening:
        assert not by_definition(given_policy, between)
        assert opens_at(given_policy, between) == opening
    assert opening - at <= longest_closed(given_policy) + timedelta(hours=1)
