"""How an event becomes a line: one form, nothing from outside loose in it, no plaintext."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.adapters.audit import FileAuditTrail
from rotator.adapters.audit.line import GENESIS, MAX_TEXT, Place, digest, dump, encode, parse
from rotator.errors import AuditUnavailable
from rotator.events import Event, TargetAttention
from tests.adapters.audit.samples import CREATE, START, TickingClock, intent, notice, records

PLACE = Place("4be1c0de4be1c0de", 7, "ab" * 32)


def line(event: Event) -> bytes:
    return encode(event, PLACE, at=START, instance="prod")


def test_a_line_has_its_keys_in_a_fixed_order_and_no_spaces() -> None:
    assert line(CREATE).decode() == (
        '{"ts":"2026-08-24T03:00:00.000000Z","chain":"4be1c0de4be1c0de","seq":7,'
        f'"prev":"{"ab" * 32}","event":"key.create","phase":"intent","op":"7c1e/mint",'
        '"instance":"prod","target":"billing-api","reason":"due","key_hash":null,'
        '"key_name":"rotator prod 5d0f billing-api 7c1e","limit":12.5,"limit_reset":"monthly",'
        '"expires_at":"2026-10-23T03:00:00.000000Z","workspace_id":null,"result":null,"error":null}'
    )


def test_instants_are_written_in_utc() -> None:
    create = replace(
        CREATE,
        expires_at=datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
    )
    assert json.loads(line(create))["expires_at"] == "2025-12-31T23:00:00.000000Z"


@given(st.text(), st.text())
def test_no_text_from_outside_can_end_a_line_or_move_a_cursor(detail: str, error: str) -> None:
    written = line(replace(notice(detail), error=error))
    assert all(0x20 <= byte < 0x7F for byte in written)
    record = parse(written)
    assert record is not None
    assert dump(record) == written


def test_a_long_text_is_cut_and_says_so() -> None:
    detail = json.loads(line(notice("x" * 5000)))["detail"]
    assert len(detail) == MAX_TEXT
    assert detail.endswith("x\N{HORIZONTAL ELLIPSIS}")


@pytest.mark.parametrize(
    "plaintext",
    [
        "sk-or-v1-" + "5e" * 32,
        "hvs.CAESIJ8-example_token-0123456789abcdef",
        "s.Zx81QmNvb3kGp0aRt5LwYc2d",
        "Bearer abcDEF123456",
    ],
)
@pytest.mark.parametrize("before", ["", "\n", "x" * (MAX_TEXT - 12) + " "])
def test_a_plaintext_does_not_get_in_even_by_accident(plaintext: str, before: str) -> None:
    event = replace(notice(before + plaintext), error=plaintext, op=plaintext, reason=plaintext)
    written = line(event)
    assert plaintext[9:].encode() not in written
    assert parse(written) is not None


def test_hashes_stay_readable() -> None:
    assert b"1f" * 32 in line(intent())


@pytest.mark.parametrize(
    "bad",
    [
        replace(CREATE, limit=math.nan),
        replace(CREATE, limit=math.inf),
        replace(CREATE, expires_at=datetime(2026, 1, 1)),  # noqa: DTZ001
        TargetAttention(**{f: getattr(notice(), f) for f in ("phase", "op")}, detail=b"bytes"),  # type: ignore[arg-type]
    ],
)
def test_an_event_that_the_trail_cannot_hold_stops_its_step_and_leaves_the_file_alone(
    bad: Event, trail: FileAuditTrail, path: Path
) -> None:
    trail.append(notice())
    before = path.read_bytes()
    with pytest.raises(AuditUnavailable, match="cannot be written"):
        trail.append(bad)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "junk",
    [b"", b"{}", b"null", b"[]", b"\x00\x00", b'{"seq":1}', b"\xff", b"[" * 100_000, b"1" * 9999],
)
def test_what_is_no_line_is_recognised_as_such(junk: bytes) -> None:
    assert parse(junk) is None


def test_the_digest_names_the_line_before(path: Path, clock: TickingClock) -> None:
    trail = FileAuditTrail(path, instance="prod", clock=clock)
    heads = [trail.append(notice()) for _ in range(3)]
    lines = path.read_bytes().splitlines()
    assert [digest(each) for each in lines] == heads
    assert [record["prev"] for record in records(path)] == [GENESIS, *heads[:2]]
    assert [record["seq"] for record in records(path)] == [1, 2, 3]
