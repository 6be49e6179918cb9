"""Whatever is done to a valid trail, the verdict tells a tear from tampering and finds the place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.adapters.audit import FileAuditTrail
from rotator.adapters.audit.line import digest
from rotator.adapters.audit.report import Kind
from tests.adapters.audit.samples import (
    HISTORY,
    TickingClock,
    append_after,
    judge,
    lines_of,
    notice,
    written,
)

VALID = written()
LINES = lines_of(VALID)
HEAD = digest(LINES[-1].rstrip(b"\n"))


def line_at(offset: int) -> int:
    """The number of the line in which a byte stands."""
    return VALID.count(b"\n", 0, offset) + 1


def test_a_valid_trail_is_found_in_order() -> None:
    report = judge(VALID, heads=(HEAD,))
    assert report.ok
    assert report.lines == len(HISTORY)
    assert (report.tears, report.open) == ((), ())
    assert [(chain.first_seq, chain.last_seq) for chain in report.chains] == [(1, len(HISTORY))]


def test_a_trail_cut_at_any_byte_is_torn_and_never_tampered_and_the_next_append_seals_it() -> None:
    for cut in range(len(VALID)):
        data = VALID[:cut]
        at_a_boundary = cut == 0 or data.endswith(b"\n")
        report = judge(data)
        assert report.ok, (cut, report.problems)
        assert [tear.sealed for tear in report.tears] == ([] if at_a_boundary else [False]), cut
        if not at_a_boundary:
            assert report.tears[0].where.line == line_at(cut - 1), cut

        after, head = append_after(data, notice())
        mended = judge(after, heads=(head,))
        assert mended.ok, (cut, mended.problems)
        assert [tear.sealed for tear in mended.tears] == ([] if at_a_boundary else [True]), cut
        assert after.count(b'"event":"audit.sealed"') == len(mended.tears), cut


@pytest.mark.parametrize("cut", [1, 2, 40, len(LINES[-1]) - 1, len(LINES[-1]), len(LINES[-1]) + 1])
def test_a_file_that_was_cut_is_sealed_by_the_next_append(path: Path, cut: int) -> None:
    path.write_bytes(VALID[:-cut])
    head = FileAuditTrail(path, instance="prod", clock=TickingClock()).append(notice())
    report = judge(path.read_bytes(), heads=(head,))
    assert report.ok
    assert [tear.sealed for tear in report.tears] == ([] if cut == len(LINES[-1]) else [True])


@given(cuts=st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_crash_upon_crash_in_the_middle_of_sealing_still_verifies(cuts: list[float]) -> None:
    """Each append is cut anywhere in what it wrote; the one after goes on from there."""
    data = VALID[:-7]
    for share in cuts:
        after, _ = append_after(data, notice())
        data = after[: len(data) + int(share * (len(after) - len(data)))]
        report = judge(data)
        assert report.ok, report.problems
    after, head = append_after(data, notice())
    assert judge(after, heads=(head,)).ok


@given(offset=st.integers(0, len(VALID) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_is_found_in_its_line_or_the_one_after(offset: int, byte: int) -> None:
    data = bytearray(VALID)
    data[offset] = byte
    report = judge(bytes(data), heads=(HEAD,))
    if bytes(data) == VALID:
        assert report.ok
        return
    assert report.first_broken is not None
    line = line_at(offset)
    assert line <= report.first_broken.where.line <= line + 1


@given(offset=st.integers(0, 4000), byte=st.integers(0, 255), torn=st.sampled_from([1, 40, 400]))
def test_a_changed_byte_of_a_trail_with_a_sealed_tear_is_found_by_the_next_whole_line(
    offset: int, byte: int, torn: int
) -> None:
    valid, head = append_after(VALID[:-torn], notice())
    offset %= len(valid)
    data = bytearray(valid)
    data[offset] = byte
    report = judge(bytes(data), heads=(head,))
    if bytes(data) == valid:
        assert report.ok
        return
    assert report.first_broken is not None
    # Between a line and the next whole one stands the torn line at most.
    line = valid.count(b"\n", 0, offset) + 1
    assert line <= report.first_broken.where.line <= line + 2


@given(st.data())
def test_a_line_that_was_removed_is_tampering(data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(LINES) - 2))
    report = judge(b"".join(LINES[:index] + LINES[index + 1 :]))
    assert report.first_broken is not None
    assert report.first_broken.kind is Kind.TAMPERED
    assert report.first_broken.where.line == index + 1


@given(st.data())
def test_a_line_that_was_inserted_is_tampering(data: st.DataObject) -> None:
    """Whether it is a copy, a line of another trail, a chain's first line or no event at all."""
    index = data.draw(st.integers(0, len(LINES) - 1))
    other = lines_of(written((notice("forged"),) * 9, chain="f" * 16))
    line = data.draw(st.sampled_from([*LINES, *other, b"{}\n", b"\n", b"x\n"]))
    report = judge(b"".join([*LINES[:index], line, *LINES[index:]]))
    assert report.first_broken is not None
    assert report.first_broken.kind in {Kind.TAMPERED, Kind.GAP}
    assert index + 1 <= report.first_broken.where.line <= index + 2


@given(st.permutations(range(len(LINES))))
def test_lines_in_another_order_are_tampering(order: list[int]) -> None:
    report = judge(b"".join(LINES[index] for index in order))
    if order == sorted(order):
        assert report.ok
        return
    assert report.first_broken is not None
    assert report.first_broken.kind is Kind.TAMPERED
    moved = next(place for place, index in enumerate(order) if place != index)
    assert report.first_broken.where.line == moved + 1


@pytest.mark.parametrize("kept", range(len(LINES)))
def test_lines_cut_off_at_the_end_are_missed_where_the_head_is_known(kept: int) -> None:
    data = b"".join(LINES[:kept])
    assert judge(data).ok
    report = judge(data, heads=(HEAD,))
    assert [problem.kind for problem in report.problems] == [Kind.CUT]
    assert report.problems[0].where.line == kept


def test_every_seal_says_what_it_closed() -> None:
    after, _ = append_after(VALID[:-40], notice())
    torn = LINES[-1][:-40]
    seal = json.loads(after.splitlines()[-2])
    assert (seal["event"], seal["torn_bytes"]) == ("audit.sealed", len(torn))
    assert seal["torn_sha256"] == digest(torn)
    assert seal["prev"] == digest(LINES[-2].rstrip(b"\n"))
