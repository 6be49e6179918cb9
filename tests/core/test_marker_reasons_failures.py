"""Markers, reasons and their page, and the wait after a failure."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.core.failures import Cause, failure_after, next_failure
from rotator.core.instants import is_believable
from rotator.core.ledger import Failure
from rotator.core.marker import Marker, parse_marker
from rotator.core.reasons import MEANING, Reason
from rotator.core.schedule import BACKOFF_BASE, BACKOFF_CAP, backoff
from rotator.core.steps import Finding
from rotator.core.target import SecretRef
from tests.core.builders import (
    DAY,
    FAILURE,
    HOUR,
    INSTALLATION,
    MINUTE,
    NONCE,
    NOW,
    ledger,
    marked,
    served,
    snapshot,
    target,
    without_ledger,
)

# Markers.

names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)
hexes = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)


@given(st.builds(Marker, instance=names, installation=hexes, target=names, nonce=hexes))
def test_every_marker_is_read_back_from_its_text(marker: Marker) -> None:
    assert parse_marker(str(marker)) == marker


@given(st.text())
def test_any_other_name_is_no_marker(name: str) -> None:
    assert parse_marker(name) is None or str(parse_marker(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "rotator",
        marked() + "0",
        marked() + "\n",
        " " + marked(),
        marked() + " copy",
        "my " + marked(),
        marked().upper(),
        marked().replace("rotator", "rotate"),
        marked() + "/" + NONCE,
        f"rotator/prod/{INSTALLATION}/{NONCE}",
        f"rotator/prod/{INSTALLATION}/bill/ing/{NONCE}",
        f"rotator/-prod/{INSTALLATION}/billing/{NONCE}",
        f"rotator/prod/{INSTALLATION}/{'b' * 64}/{NONCE}",
        f"rotator/prod/{INSTALLATION[:-1]}/billing/{NONCE}",
        f"rotator/prod/{INSTALLATION}/billing/{NONCE[:-1]}g",
    ],
)
def test_a_marker_is_parsed_whole_and_never_by_prefix(name: str) -> None:
    assert parse_marker(name) is None


# Reasons.

PAGE = Path(__file__).parents[2] / "docs" / "reasons.md"


def test_every_reason_has_one_sentence_of_meaning() -> None:
    assert set(MEANING) == set(Reason)
    for reason, meaning in MEANING.items():
        assert re.fullmatch(r"[A-Z][^.]*\.", meaning), reason
    assert len(set(MEANING.values())) == len(MEANING)


def test_codes_are_lower_case_words() -> None:
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", reason) for reason in Reason)
    assert all(reason.name.lower() == reason.value for reason in Reason)


def test_the_page_of_reasons_lists_every_code_with_its_meaning_in_order() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(str(reason), MEANING[reason]) for reason in Reason]


def test_a_finding_is_a_sentence_with_its_particulars() -> None:
    assert Finding(Reason.HELD, "By ops: audit.").sentence == (
        "An operator holds the target. By ops: audit."
    )
    assert Finding(Reason.HELD).sentence == "An operator holds the target."


def test_a_place_is_told_as_path_and_field() -> None:
    assert str(SecretRef("secret/apps/billing", "KEY")) == "secret/apps/billing#KEY"


# Failures.

NO_ANSWER = Cause(Reason.UNAVAILABLE, "no answer")


def failed(
    before: Failure | None = None,
    *,
    retry_after: timedelta | None = None,
    left: timedelta | None = None,
) -> Failure:
    """The failure to remember after one more."""
    cause = Cause(Reason.UNAVAILABLE, "no answer", retry_after)
    expires_at = NOW + left if left is not None else None
    return next_failure("billing", before, cause, NOW, expires_at)


def test_failures_in_a_row_wait_longer_and_longer_up_to_a_cap() -> None:
    waits = []
    before = None
    for count in range(1, 15):
        before = failed(before)
        assert (before.count, before.since) == (count, NOW)
        waits.append(before.next_try - NOW)
    assert all(BACKOFF_BASE / 2 <= wait <= BACKOFF_CAP for wait in waits)
    assert waits[5] > waits[2] > waits[0]
    assert waits[-1] > BACKOFF_CAP / 2


def test_the_run_of_failures_keeps_its_beginning_and_tells_the_last_cause() -> None:
    after = failed(FAILURE)
    assert (after.since, after.count) == (FAILURE.since, FAILURE.count + 1)


def test_a_service_that_says_how_long_is_obeyed_even_past_the_cap() -> None:
    assert failed(retry_after=5 * HOUR).next_try == NOW + 5 * HOUR
    assert failed(retry_after=5 * HOUR, left=MINUTE).next_try == NOW + 5 * HOUR
    assert failed(retry_after=timedelta(seconds=1)).next_try > NOW + timedelta(seconds=1)


def test_a_wait_is_never_longer_than_the_served_key_has_left() -> None:
    assert failed(FAILURE, left=MINUTE).next_try == NOW + MINUTE / 2
    assert failed(FAILURE, left=90 * DAY) == failed(FAILURE)


def test_once_the_served_key_has_expired_a_retry_comes_soon_however_often_it_failed() -> None:
    often = replace(FAILURE, count=20)
    assert failed(often).next_try - NOW > BACKOFF_CAP / 2
    for left in (timedelta(), -MINUTE, -90 * DAY):
        assert NOW + BACKOFF_BASE / 2 <= failed(often, left=left).next_try <= NOW + BACKOFF_BASE


def test_the_failure_after_an_observation_counts_on_from_its_ledger() -> None:
    expiring = served(expires_at=NOW + MINUTE)
    observed = snapshot(ledger(served=expiring, failure=FAILURE))
    after = failure_after(observed, NO_ANSWER, NOW)
    assert (after.count, after.next_try) == (FAILURE.count + 1, NOW + MINUTE / 2)
    nothing = failure_after(snapshot(ledger(served=None)), NO_ANSWER, NOW)
    assert (nothing.count, nothing.since) == (1, NOW)
    assert failure_after(without_ledger(), NO_ANSWER, NOW).count == 1


def test_a_first_expired_claim_is_followed_up_at_once_and_a_second_one_waits() -> None:
    expired = Cause(Reason.CLAIM_EXPIRED, "a process died")
    first = next_failure("billing", None, expired, NOW)
    assert first.next_try == NOW
    assert next_failure("billing", first, expired, NOW).next_try > NOW


@pytest.mark.parametrize(
    ("at", "believed"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), True),
        (datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), False),
        (datetime(2499, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), True),
        (datetime(2500, 1, 1, tzinfo=UTC), False),
    ],
)
def test_an_instant_is_believed_from_1970_to_2499(at: datetime, believed: bool) -> None:
    assert is_believable(at) is believed


def test_a_failure_waits_by_the_name_of_its_target() -> None:
    waits = {
        failure_after(snapshot(target=target(name=name)), NO_ANSWER, NOW).next_try
        for name in ("billing", "payroll", "crm")
    }
    assert waits == {NOW + backoff(1, name) for name in ("billing", "payroll", "crm")}
