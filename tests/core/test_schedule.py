"""The schedule: when a target is due, why, and what puts it off."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.core.calendar import is_open
from rotator.core.schedule import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    Due,
    DueReason,
    backoff,
    cron_sample,
    disable_allowed_at,
    is_expiring,
    longest_gap,
    next_cron,
    offset,
    period,
    rotation_due_at,
)
from rotator.core.target import Blackout, Drain, Policy, Window

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MADE = datetime(2026, 6, 1, 12, tzinfo=UTC)  # a Monday
WEEK = 7 * DAY
OFFICE = Window(frozenset(range(5)), 9 * 60, 17 * 60)


def cron(expression: str, zone: ZoneInfo = BERLIN, **changes: object) -> Policy:
    return replace(Policy(every=None, cron=expression, timezone=zone), **changes)  # type: ignore[arg-type]


def due(
    policy: Policy,
    now: datetime = MADE,
    *,
    name: str = "billing-api",
    due_from: datetime = MADE,
    first_seen: datetime = MADE - 365 * DAY,
    adopt_over: timedelta = WEEK,
) -> Due:
    return rotation_due_at(
        policy, name, now, due_from=due_from, first_seen=first_seen, adopt_over=adopt_over
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# --- every ------------------------------------------------------------------------------------


def test_every_counts_from_the_making_of_the_served_key() -> None:
    assert due(Policy()) == Due(MADE + 30 * DAY, DueReason.EVERY, MADE + 30 * DAY)


def test_the_offset_is_subtracted_from_every() -> None:
    policy = Policy(jitter=6 * HOUR)
    early = offset("billing-api", 6 * HOUR)
    assert timedelta() < early < 6 * HOUR
    assert due(policy).at == MADE + 30 * DAY - early


def test_a_rotation_is_due_at_its_instant_and_not_a_moment_earlier() -> None:
    policy = Policy()
    for late, is_due in ((-timedelta(microseconds=1), False), (timedelta(), True), (DAY, True)):
        now = MADE + 30 * DAY + late
        assert (due(policy, now).at <= now) is is_due


# --- windows, blackouts, max_age --------------------------------------------------------------


def test_a_window_puts_the_start_off_to_its_opening() -> None:
    # 1 July 2026, 12:00 UTC plus three days is a Saturday.
    policy = Policy(every=33 * DAY, windows=(OFFICE,))
    assert due(policy) == Due(
        at("2026-07-06T09:00+00:00"), DueReason.EVERY, at("2026-07-04T12:00+00:00")
    )


def test_a_missed_window_is_not_used_after_it_closed() -> None:
    policy = Policy(windows=(OFFICE,))  # due on Wednesday, 1 July, at noon
    noon = at("2026-07-01T12:00+00:00")
    assert due(policy, at("2026-07-01T16:59+00:00")).at == noon
    evening = due(policy, at("2026-07-01T17:00+00:00"))
    assert evening == Due(at("2026-07-02T09:00+00:00"), DueReason.EVERY, noon)
    assert due(policy, at("2026-07-02T09:00+00:00")).at == noon


def test_max_age_passes_over_windows_and_says_so() -> None:
    policy = Policy(every=33 * DAY, max_age=34 * DAY, windows=(OFFICE,))
    oldest = at("2026-07-05T12:00+00:00")  # Sunday
    assert due(policy) == Due(oldest, DueReason.MAX_AGE, oldest, window_free=True)


def test_max_age_after_the_opening_changes_nothing() -> None:
    policy = Policy(every=33 * DAY, max_age=40 * DAY, windows=(OFFICE,))
    assert due(policy).why is DueReason.EVERY
    late = at("2026-07-13T10:00+00:00")  # past max_age, but a window is open
    assert due(policy, late).window_free is False
    assert due(policy, late).at <= late


def test_max_age_does_not_pass_over_a_blackout() -> None:
    blackout = Blackout(date(2026, 7, 4), date(2026, 7, 10))
    policy = Policy(every=33 * DAY, max_age=34 * DAY, windows=(OFFICE,), blackouts=(blackout,))
    found = due(policy)
    assert found == Due(
        at("2026-07-11T00:00+00:00"), DueReason.MAX_AGE, MADE + 34 * DAY, window_free=True
    )


def test_max_age_reached_before_a_blackout_waits_for_its_end() -> None:
    blackout = Blackout(date(2026, 7, 6), date(2026, 7, 8))
    policy = Policy(every=33 * DAY, max_age=34 * DAY, windows=(OFFICE,), blackouts=(blackout,))
    assert due(policy, at("2026-07-07T10:00+00:00")).at == at("2026-07-09T00:00+00:00")


def test_an_old_key_is_disabled_by_the_same_windows_and_blackouts() -> None:
    blackout = Blackout(date(2026, 7, 6), date(2026, 7, 8))
    policy = Policy(windows=(OFFICE,), blackouts=(blackout,))
    saturday = at("2026-07-04T12:00+00:00")
    assert disable_allowed_at(policy, saturday) == at("2026-07-09T09:00+00:00")
    assert disable_allowed_at(Policy(), saturday) == saturday


# --- targets first seen overdue ---------------------------------------------------------------


def test_a_target_first_seen_overdue_waits_for_its_own_share_of_the_adoption() -> None:
    seen = MADE + 100 * DAY
    found = due(Policy(), seen, first_seen=seen)
    assert found.why is DueReason.ADOPTED
    assert found.at == seen + offset("billing-api", WEEK)
    assert seen < found.at < seen + WEEK


def test_a_target_first_seen_in_time_is_due_by_its_schedule() -> None:
    seen = MADE + 29 * DAY
    assert due(Policy(), seen, first_seen=seen).at == MADE + 30 * DAY
    just = MADE + 30 * DAY - timedelta(microseconds=1)
    assert due(Policy(), just, first_seen=just).why is DueReason.EVERY
    late = MADE + 30 * DAY
    assert due(Policy(), late, first_seen=late).why is DueReason.ADOPTED


def test_the_adoption_ends_with_the_first_key_of_our_own() -> None:
    seen = MADE - DAY
    found = due(Policy(), MADE, first_seen=seen, due_from=MADE)
    assert found.why is DueReason.EVERY


@pytest.mark.parametrize(
    "policy",
    [Policy(max_age=45 * DAY), Policy(every=90 * DAY, max_age=91 * DAY), cron("0 3 1 * *")],
)
def test_adoption_spreads_cron_and_even_max_age(policy: Policy) -> None:
    seen = MADE + 100 * DAY
    dues = [due(policy, seen, name=f"t{n}", first_seen=seen) for n in range(200)]
    assert {each.why for each in dues} == {DueReason.ADOPTED}
    assert not any(each.window_free for each in dues)
    for day in range(7):
        ends = [seen + day * DAY, seen + (day + 1) * DAY]
        assert 10 < sum(ends[0] <= each.at < ends[1] for each in dues) < 50


def test_an_adopted_target_waits_for_a_window_though_it_is_past_its_greatest_age() -> None:
    policy = Policy(max_age=45 * DAY, windows=(Window(frozenset({5}), 0, 60),))
    seen = MADE + 100 * DAY
    found = due(policy, seen, first_seen=seen)
    assert found.why is DueReason.ADOPTED
    assert is_open(policy, found.at)
    # Only when that window was missed does the greatest age pass over windows again.
    late = found.at + 2 * HOUR
    assert due(policy, late, first_seen=seen).window_free
    assert due(policy, late, first_seen=seen).at <= late


# --- cron -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("0 3 * * sun", "2026-06-01T12:00+00:00", "2026-06-07T01:00+00:00"),
        ("0 3 * * 0", "2026-06-01T12:00+00:00", "2026-06-07T01:00+00:00"),
        ("0 3 * * 7", "2026-06-01T12:00+00:00", "2026-06-07T01:00+00:00"),
        ("0 3 * * 1-5", "2026-06-05T12:00+00:00", "2026-06-08T01:00+00:00"),
        ("0 3 13 * fri", "2026-06-07T12:00+00:00", "2026-06-12T01:00+00:00"),  # either day
        ("0 3 13 * fri", "2026-06-12T12:00+00:00", "2026-06-13T01:00+00:00"),
        ("0 3 */2 * fri", "2026-06-07T12:00+00:00", "2026-06-19T01:00+00:00"),  # a star: both
        ("0 0 29 2 *", "2026-06-01T12:00+00:00", "2028-02-28T23:00+00:00"),
        ("0 3 1 * *", "2026-06-01T01:00+00:00", "2026-07-01T01:00+00:00"),  # strictly after
        ("0 3 1 * *", "2026-06-01T00:59:59.999999+00:00", "2026-06-01T01:00+00:00"),
    ],
)
def test_cron_expressions_have_the_meaning_of_debians_cron(
    expression: str, after: str, expected: str
) -> None:
    assert next_cron(cron(expression), at(after)) == at(expected)


@pytest.mark.parametrize(
    ("zone", "expression", "day", "expected"),
    [
        # The skipped time comes when the clock is put forward, and once.
        (BERLIN, "30 2 * * *", "2026-03-29", ["01:00"]),
        (BERLIN, "0 3 * * *", "2026-03-29", ["01:00"]),
        (NEW_YORK, "30 2 * * *", "2026-03-08", ["07:00"]),
        (LORD_HOWE, "15 2 * * *", "2026-10-03", ["15:30"]),
        # The repeated time comes once.
        (BERLIN, "30 2 * * *", "2026-10-25", ["00:30"]),
        (NEW_YORK, "30 1 * * *", "2026-11-01", ["05:30"]),
        (LORD_HOWE, "45 1 * * *", "2026-04-04", ["14:45"]),
        # With a star the wall clock is followed as it is: 25 and 23 hours.
        (BERLIN, "0 * * * *", "2026-10-25", [f"{hour:02}:00" for hour in range(24)]),
    ],
)
def test_cron_on_the_days_on_which_the_clock_changes(
    zone: ZoneInfo, expression: str, day: str, expected: list[str]
) -> None:
    policy = cron(expression, zone)
    found = []
    moment = at(f"{day}T00:00+00:00") - timedelta(microseconds=1)
    while (moment := next_cron(policy, moment)) < at(f"{day}T00:00+00:00") + DAY:
        found.append(moment.strftime("%H:%M"))
    assert found == expected


def test_a_search_that_begins_in_the_repeated_hour_never_goes_back() -> None:
    policy = cron("30 2 * * *")
    second_half_past_two = at("2026-10-25T01:15+00:00")  # 02:15, the second time
    assert next_cron(policy, second_half_past_two) == at("2026-10-26T01:30+00:00")


def test_the_offset_is_added_to_a_cron_time() -> None:
    policy = cron("0 3 1 * *", jitter=6 * HOUR)
    found = due(policy)
    assert found.why is DueReason.CRON
    assert found.at == at("2026-07-01T01:00+00:00") + offset("billing-api", 6 * HOUR)


def test_a_cron_time_is_skipped_while_the_served_key_is_young() -> None:
    policy = cron("0 12 * * *", ZoneInfo("UTC"), min_age=2 * HOUR)
    noon = at("2026-06-02T12:00+00:00")
    assert due(policy, due_from=noon - 2 * HOUR).at == noon
    assert due(policy, due_from=noon - timedelta(hours=1, minutes=59)).at == noon + DAY


def test_a_key_made_at_a_cron_time_is_not_due_at_once_without_a_least_age() -> None:
    policy = cron("0 12 * * *", ZoneInfo("UTC"), min_age=timedelta())
    assert due(policy).at == MADE + DAY


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("0 0 30 2 *", "Bad day-of-month in cron '0 0 30 2 *'"),
        ("0 0 */31 * mon#2", "cron '0 0 */31 * mon#2' never comes"),  # a first day of the month
        ("61 * * * *", "Bad minute in cron '61 * * * *'"),
        ("0 3 * *", "a cron expression has five fields: minute hour day month weekday"),
        ("@daily", "a cron expression has five fields: minute hour day month weekday"),
        ("x", "a cron expression has five fields: minute hour day month weekday"),
    ],
)
def test_an_impossible_cron_expression_is_an_error_that_names_it(
    expression: str, error: str
) -> None:
    with pytest.raises(ValueError) as raised:
        next_cron(cron(expression), MADE)
    assert str(raised.value) == error
    twice = f"cron '{expression}' does not come twice in fifty years"
    for ask in (cron_sample, period, longest_gap):
        with pytest.raises(ValueError) as raised:
            ask(cron(expression))
        assert str(raised.value) == (twice if "never" in error else error)


def test_a_policy_with_neither_a_period_nor_a_cron_expression_is_an_error() -> None:
    with pytest.raises(ValueError, match="five fields"):
        next_cron(Policy(every=None, cron=None), MADE)
    with pytest.raises(ValueError, match="five fields"):
        longest_gap(Policy(every=None, cron=None))


# --- offsets, backoff, expiry -----------------------------------------------------------------


def test_an_offset_is_the_same_in_every_process() -> None:
    assert offset("billing-api", DAY) == timedelta(seconds=24550, microseconds=864038)


def test_no_jitter_is_no_offset() -> None:
    assert offset("billing-api", timedelta()) == timedelta()


@given(st.text(max_size=63), st.timedeltas(timedelta(microseconds=1), timedelta(days=36500)))
def test_an_offset_lies_within_its_bounds(name: str, within: timedelta) -> None:
    assert timedelta() <= offset(name, within) < within


def test_backoff_doubles_up_to_its_cap_and_is_spread_by_name() -> None:
    assert backoff(0, "a") == timedelta()
    for count in range(1, 60):
        full = min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(count - 1, 10))
        waits = {backoff(count, f"t{n}") for n in range(20)}
        assert len(waits) == 20
        assert all(full / 2 < wait <= full for wait in waits)
    many = [backoff(1, f"t{n}") for n in range(500)]
    assert min(many) < BACKOFF_BASE * 0.51
    assert max(many) > BACKOFF_BASE * 0.99


def test_a_key_is_expiring_with_less_left_than_grace_and_drain_deadline() -> None:
    policy = Policy(grace=DAY, drain=Drain(deadline=WEEK))
    assert not is_expiring(None, policy, MADE)
    assert not is_expiring(MADE + 8 * DAY, policy, MADE)
    assert is_expiring(MADE + 8 * DAY - timedelta(seconds=1), policy, MADE)


# --- periods and gaps -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "shortest", "longest"),
    [
        (Policy(), 30 * DAY, 30 * DAY),
        (Policy(windows=(OFFICE,)), 30 * DAY, 30 * DAY + 64 * HOUR),
        (Policy(windows=(OFFICE,), max_age=31 * DAY), 30 * DAY, 31 * DAY),
        # The day on which summer time begins has 23 hours, that on which it ends 25.
        (cron("0 4 * * *", min_age=HOUR), 23 * HOUR, 26 * HOUR),
        (cron("0 4 * * *", min_age=HOUR, jitter=HOUR), 23 * HOUR, 27 * HOUR),
        (cron("0 4 1 * *", ZoneInfo("UTC"), min_age=HOUR), 28 * DAY, 31 * DAY + HOUR),
        (cron("0 0 29 2 *", ZoneInfo("UTC"), min_age=HOUR), 1461 * DAY, 1461 * DAY + HOUR),
    ],
)
def test_the_nominal_period_and_the_longest_gap(
    policy: Policy, shortest: timedelta, longest: timedelta
) -> None:
    assert period(policy) == shortest
    assert longest_gap(policy) == longest


def test_the_longest_gap_of_many_times_in_a_day_reaches_over_the_other_days() -> None:
    minutes = cron("* * * * sun", ZoneInfo("UTC"), min_age=timedelta())
    assert longest_gap(minutes) == 6 * DAY + timedelta(minutes=1)
    hours = cron("*/5 9-16 * 2 *", ZoneInfo("UTC"), min_age=timedelta())
    # From 28 February 2025, 16:55, to 1 February 2026, 9:00.
    assert longest_gap(hours) == 338 * DAY - timedelta(hours=7, minutes=55)


def test_a_blackout_makes_the_longest_gap_longer() -> None:
    blackout = Blackout(date(2026, 12, 20), date(2027, 1, 5))
    assert longest_gap(Policy(blackouts=(blackout,))) == 47 * DAY
    assert longest_gap(Policy(blackouts=(blackout,), max_age=35 * DAY)) == 52 * DAY - 5 * DAY
    weekly = cron("0 3 * * sun", ZoneInfo("UTC"), min_age=HOUR, blackouts=(blackout,))
    assert longest_gap(weekly) == 24 * DAY + HOUR
    assert longest_gap(replace(weekly, jitter=6 * HOUR)) == 24 * DAY + 7 * HOUR


CRONS = st.sampled_from(
    ["0 3 * * *", "0 3 * * sun", "30 2 1,15 * *", "*/20 * * * *", "0 */7 * * *", "15 3 13 * fri"]
)
POLICIES = st.builds(
    lambda expression, every, **changes: Policy(
        every=None if expression else every, cron=expression, **changes
    ),
    expression=st.none() | CRONS,
    every=st.integers(1, 90).map(lambda days: days * DAY),
    timezone=st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, ZoneInfo("UTC")]),
    jitter=st.integers(0, 20).map(lambda minutes: minutes * timedelta(minutes=1)),
    max_age=st.none() | st.integers(90, 120).map(lambda days: days * DAY),
    windows=st.sampled_from([(), (OFFICE,), (Window(frozenset({6}), 23 * 60, 180),)]),
    blackouts=st.sampled_from([(), (Blackout(date(2026, 12, 20), date(2027, 1, 5)),)]),
)
NOW = st.integers(0, 500 * 24 * 60).map(lambda minutes: MADE + timedelta(minutes=minutes))


@given(POLICIES, NOW, st.integers(0, 200), st.integers(-50, 200))
def test_what_is_due_now_may_start_now_and_what_is_not_has_its_time_ahead(
    policy: Policy, now: datetime, age: int, seen: int
) -> None:
    due_from, first_seen = now - age * DAY, now - seen * DAY
    found = due(policy, now, due_from=due_from, first_seen=first_seen)
    gates = replace(policy, windows=()) if found.window_free else policy
    assert found.since <= found.at
    assert is_open(gates, found.at)
    if found.at <= now:
        assert is_open(gates, now)
    else:
        later = due(policy, found.at, due_from=due_from, first_seen=first_seen)
        assert later.at <= found.at, "what was announced is due when its time comes"


@given(POLICIES, NOW)
def test_a_key_of_our_own_is_replaced_within_the_longest_gap(
    policy: Policy, made: datetime
) -> None:
    found = due(policy, made, due_from=made, first_seen=made - DAY)
    assert made < found.at <= made + longest_gap(policy)


def test_the_sample_of_a_cron_expression_is_ascending() -> None:
    sample = cron_sample(cron("*/20 * * * *"))
    assert len(sample) == 1500
    assert list(sample) == sorted(set(sample))
