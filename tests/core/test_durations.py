"""Durations: what is accepted, what is refused, and that what is printed reads back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.core.durations import LONGEST, format_duration, parse_duration

ACCEPTED = {
    "90s": timedelta(seconds=90),
    "0s": timedelta(),
    "250ms": timedelta(milliseconds=250),
    "0.5ms": timedelta(microseconds=500),
    "1.5h": timedelta(minutes=90),
    "1h30m": timedelta(minutes=90),
    "2w": timedelta(days=14),
    "1w2d3h4m5s6ms": timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5, milliseconds=6),
    "30d": timedelta(days=30),
    "36500d": LONGEST,
}

REFUSED = [
    "", " ", "5", "-5s", "+5s", "5 s", " 5s", "5s ", "5S", "5min", "1y", "1mo", "s", ".5s", "5.s",
    "1e3s", "1,5h", "1h 30m", "30m1h", "1h1h", "0.0001ms", "36501d", "999999999999w", "٣s", "1h\n",
]  # fmt: skip


@pytest.mark.parametrize(("text", "duration"), ACCEPTED.items())
def test_a_duration_is_a_number_and_a_unit_or_several(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", REFUSED)
def test_anything_else_is_refused_with_what_would_be_legal(text: str) -> None:
    with pytest.raises(ValueError, match=r"1h30m|at most 36500d|whole number of microseconds"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(days=14), "14d"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(seconds=1.5), "1s500ms"),
        (timedelta(microseconds=1), "0.001ms"),
        (timedelta(seconds=-90), "-1m30s"),
    ],
)
def test_a_duration_is_printed_in_the_largest_units_up_to_days(
    duration: timedelta, text: str
) -> None:
    assert format_duration(duration) == text


@given(st.timedeltas(min_value=timedelta(), max_value=LONGEST))
def test_what_is_printed_reads_back_as_the_same_duration(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(alphabet="0123456789.msdhw -", max_size=12))
def test_a_text_is_read_or_refused_and_nothing_else_happens(text: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError:
        return
    assert timedelta() <= duration <= LONGEST
    assert parse_duration(format_duration(duration)) == duration
