"""How instants and lengths of time are written for people and programs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from rotator.core.words import in_future, in_past, moment, span, targets
from tests.core.builders import NOW


def test_an_instant_has_milliseconds_and_a_closing_z() -> None:
    at = datetime(2026, 3, 8, 7, 2, 24, 755156, tzinfo=timezone(timedelta()))
    assert moment(at) == "2026-03-08T07:02:24.755Z"
    assert moment(None) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0s"),
        (0.4, "0s"),
        (119, "119s"),
        (120, "2m"),
        (2 * 3600 - 1, "120m"),
        (2 * 3600, "2h"),
        (86399, "24h"),
        (86400, "1d"),
        (30 * 86400, "30d"),
    ],
)
def test_a_length_of_time_is_in_the_one_unit_that_says_most(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_a_future_instant_is_told_by_what_is_left() -> None:
    assert in_future(NOW + timedelta(days=5), NOW) == "in 5d"
    assert in_future(NOW + timedelta(seconds=2), NOW) == "in 2s"
    assert in_future(NOW + timedelta(seconds=1), NOW) == "now"
    assert in_future(NOW - timedelta(days=5), NOW) == "now"
    assert in_future(None, NOW) == "-"


def test_a_past_instant_is_told_by_how_long_ago_it_was() -> None:
    assert in_past(NOW - timedelta(minutes=5), NOW) == "5m ago"
    assert in_past(NOW, NOW) == "0s ago"
    assert in_past(None, NOW) == "not yet"


def test_one_target_is_not_several() -> None:
    assert [targets(each) for each in (0, 1, 2, 1000)] == [
        "0 targets", "one target", "2 targets", "1,000 targets",
    ]  # fmt: skip
