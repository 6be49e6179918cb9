"""Verification of several files, of pairs, and of the form of its report."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.adapters.audit import FileAuditTrail
from rotator.adapters.audit.line import GENESIS, Place, digest, encode
from rotator.adapters.audit.report import Kind, Start
from rotator.adapters.audit.shape import shapes
from rotator.adapters.audit.verify import read_lines, verify
from rotator.events import Event, Result
from tests.adapters.audit.samples import (
    HISTORY,
    START,
    TickingClock,
    intent,
    judge,
    judge_paths,
    lines_of,
    notice,
    outcome,
    settled,
    written,
)


def rotated(folder: Path, *parts: tuple[Event, ...], forget: bool = False) -> list[Path]:
    """Files of one trail, oldest first, as renaming leaves them."""
    path = folder / "audit.jsonl"
    clock = TickingClock()
    trail = FileAuditTrail(path, instance="prod", clock=clock)
    for number, events in enumerate(parts):
        for event in events:
            trail.append(event)
        path.rename(folder / f"audit.{number}")
        if forget:
            trail.close()
            trail = FileAuditTrail(path, instance="prod", clock=clock)
    return [folder / f"audit.{number}" for number in range(len(parts))]


# --- links between files -------------------------------------------------------------------------


def test_files_are_linked_in_whatever_order_they_are_given(tmp_path: Path) -> None:
    files = rotated(tmp_path, (notice(),) * 2, (notice(),), (notice(),) * 3)
    for order in ((0, 1, 2), (2, 0, 1), (2, 1, 0)):
        report = judge_paths(*(files[index] for index in order))
        assert report.ok
        assert [chain.start for chain in report.chains] == [Start.NEW, Start.LINKED, Start.LINKED]
        assert [chain.last_seq for chain in report.chains] == [2, 1, 3]


def test_a_missing_file_is_a_gap_but_the_oldest_may_be_gone(tmp_path: Path) -> None:
    first, second, third = rotated(tmp_path, (notice(),), (notice(),), (notice(),))
    without_first = judge_paths(third, second)
    assert without_first.ok
    assert [chain.start for chain in without_first.chains] == [Start.EARLIER, Start.LINKED]
    without_second = judge_paths(third, first)
    assert [(str(p.where), p.kind) for p in without_second.problems] == [("a:1", Kind.GAP)]


def test_a_cut_end_of_an_older_file_shows_in_the_next(tmp_path: Path) -> None:
    first, second = rotated(tmp_path, (notice(),) * 3, (notice(),))
    first.write_bytes(b"".join(lines_of(first.read_bytes())[:-1]))
    report = judge_paths(first, second)
    assert [(str(p.where), p.kind) for p in report.problems] == [("b:1", Kind.GAP)]


def test_a_process_that_did_not_see_the_old_file_begins_anew(tmp_path: Path) -> None:
    report = judge_paths(*rotated(tmp_path, (notice(),), (notice(),), forget=True))
    assert report.ok
    assert [chain.start for chain in report.chains] == [Start.NEW, Start.NEW]


def test_a_second_file_that_goes_on_from_the_same_line_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    clock = TickingClock()
    true, forged = (FileAuditTrail(path, instance="prod", clock=clock) for _ in range(2))
    true.append(notice())
    assert forged.head() == true.head()
    path.rename(tmp_path / "audit.0")
    true.append(notice())
    path.rename(tmp_path / "audit.1")
    forged.append(notice())
    path.rename(tmp_path / "audit.2")
    assert judge_paths(tmp_path / "audit.0", tmp_path / "audit.1").ok
    report = judge_paths(*(tmp_path / f"audit.{number}" for number in range(3)))
    assert [problem.kind for problem in report.problems] == [Kind.TAMPERED]
    assert "b goes on from the same line" in report.problems[0].detail


def test_files_put_together_into_one_are_as_good(tmp_path: Path) -> None:
    files = rotated(tmp_path, (notice(),) * 2, (notice(),) * 2)
    joined = b"".join(each.read_bytes() for each in files)
    assert judge(joined).ok
    reverse = judge(b"".join(each.read_bytes() for each in reversed(files)))
    assert reverse.first_broken is not None


def test_a_file_that_was_split_is_joined_again() -> None:
    lines = lines_of(written())
    head, tail = b"".join(lines[:4]), b"".join(lines[4:])
    assert judge(tail, head).ok
    assert [str(p.where) for p in judge(tail).problems] == ["a:1"]
    assert not judge(b"".join(lines[5:]), head).ok


def test_a_copy_of_a_file_is_noticed() -> None:
    report = judge(written(), written())
    assert [(str(p.where), p.kind) for p in report.problems] == [("b:1", Kind.TAMPERED)]


def test_lines_moved_from_the_beginning_to_the_end_are_noticed() -> None:
    lines = lines_of(written())
    assert judge(b"".join(lines[1:] + lines[:1])).first_broken is not None


def test_no_file_and_an_empty_file_are_in_order_unless_a_head_was_expected() -> None:
    assert judge().ok
    assert judge(b"").ok
    assert judge(b"", heads=(GENESIS,)).ok
    assert [p.kind for p in judge(heads=("ab" * 32,)).problems] == [Kind.CUT]
    assert [str(p.where) for p in judge(b"", heads=("ab" * 32,)).problems] == ["a"]


def test_an_older_head_is_as_good_as_the_last_one() -> None:
    heads = tuple(digest(line.rstrip(b"\n")) for line in lines_of(written()))
    assert judge(written(), heads=heads).ok
    report = judge(written(), heads=(*heads, "ab" * 32))
    assert [(str(p.where), p.kind) for p in report.problems] == [(f"a:{len(heads)}", Kind.CUT)]


# --- pairs ---------------------------------------------------------------------------------------


def later(hours: int) -> tuple[Event, ...]:
    """So many hours' worth of notices; the sample clock moves a second with each."""
    return (notice(),) * (hours * 3600 + 1)


def test_an_intent_at_the_end_is_open_and_no_problem() -> None:
    report = judge(written((*HISTORY, intent("c9/delete"))))
    assert report.ok
    assert [(each.op, str(each.where)) for each in report.open] == [("c9/delete", "a:10")]


def test_an_intent_long_before_the_end_without_an_outcome_is_a_problem() -> None:
    report = judge(written((intent("c1/x"), intent("c2/x"), outcome("c1/x"), *later(1))))
    assert [(str(p.where), p.kind) for p in report.problems] == [("a:2", Kind.UNPAIRED)]
    assert "c2/x" in report.problems[0].detail
    mended = written((intent("c2/x"), *later(1), settled("c2/x")))
    assert judge(mended).ok
    data = written((intent("c2/x"), notice(), notice()))
    strict = verify([("a", lines_of(data))], open_for=timedelta(seconds=1))
    assert [p.kind for p in strict.problems] == [Kind.UNPAIRED]


def test_a_step_that_was_begun_again_needs_an_outcome_again() -> None:
    again = (intent(), outcome(), intent())
    assert [each.op for each in judge(written(again)).open] == ["c1/disable"]
    assert judge(written((*again, outcome()))).open == ()


def test_a_step_may_be_settled_after_its_own_outcome() -> None:
    events = (intent(), outcome(result=Result.UNKNOWN), settled(result=Result.FOUND), settled())
    report = judge(written(events))
    assert (report.ok, report.open) == (True, ())


def test_an_outcome_without_an_intent_is_a_problem() -> None:
    report = judge(written((notice(), outcome())))
    assert [(str(p.where), p.kind) for p in report.problems] == [("a:2", Kind.UNPAIRED)]


def test_an_outcome_before_its_intent_is_a_problem_of_order() -> None:
    report = judge(written((outcome(), intent(), outcome())))
    assert [(str(p.where), p.kind) for p in report.problems] == [("a:1", Kind.UNPAIRED)]


def test_a_step_of_another_trail_may_be_settled_in_this_one() -> None:
    assert judge(written((notice(), settled("elsewhere/mint")))).ok


def test_a_pair_may_be_parted_by_the_change_of_files(tmp_path: Path) -> None:
    files = rotated(tmp_path, (notice(), intent()), (outcome(), notice()))
    for order in (files, files[::-1]):
        report = judge_paths(*order)
        assert (report.ok, report.open) == (True, ())
    assert judge_paths(files[1]).ok  # the intent may stand in the file that is gone
    assert [each.op for each in judge_paths(files[0]).open] == ["c1/disable"]


def test_a_pair_may_be_parted_between_recordings_of_two_processes() -> None:
    one = written((notice(), notice(), intent("c1/x")), "a" * 16)
    other = written((notice(), settled("c1/x")), "b" * 16)
    for order in ((one, other), (other, one)):
        report = judge(*order, recording=True)
        assert (report.ok, report.open) == (True, ())


# --- shapes --------------------------------------------------------------------------------------


def chained(*payloads: bytes) -> bytes:
    """Lines whose chain is right, whatever else is wrong with them."""
    prev, parts = GENESIS, []
    for seq, payload in enumerate(payloads, 1):
        place = Place("4be1c0de4be1c0de", seq, prev)
        line = payload or encode(notice(), place, at=START, instance="prod")
        if payload:
            line = payload.replace(b"$SEQ", str(seq).encode()).replace(b"$PREV", prev.encode())
        parts.append(line + b"\n")
        prev = digest(line)
    return b"".join(parts)


PAYLOAD = encode(intent(), Place("4be1c0de4be1c0de", 99, "$PREV"), at=START, instance="prod")
PAYLOAD = PAYLOAD.replace(b'"seq":99', b'"seq":$SEQ')


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"key.disable", b"key.forge", "the catalogue has no event 'key.forge'"),
        (b'"reason":"quiet",', b"", "has no field reason"),
        (b'"error":null', b'"error":null,"more":1', "no place for 'more'"),
        (b'"phase":"intent"', b'"phase":"maybe"', "cannot have this phase"),
        (b'"result":null', b'"result":"done"', "an intent has none"),
        (b'"error":null', b'"error":"x"', "an intent has no error"),
        (b'"phase":"intent"', b'"phase":"outcome"', "an outcome has a result"),
        (b'"target":"billing-api"', b'"target":7', "cannot have this target"),
        (b"2026-08-24T03", b"2026-08-24 03", "cannot have this ts"),
        (b'"seq":', b'"seq": ', "not written as this program writes"),
        (b'"reason":"quiet"', b'"reason":"a","reason":"quiet"', "not written as this program"),
    ],
)
def test_a_line_that_is_not_as_the_catalogue_says_is_named(
    old: bytes, new: bytes, said: str
) -> None:
    assert judge(chained(b"", PAYLOAD, b"")).ok
    report = judge(chained(b"", PAYLOAD.replace(old, new), b""))
    assert [(str(p.where), p.kind) for p in report.problems] == [("a:2", Kind.INVALID)]
    assert said in report.problems[0].detail


def test_a_hostile_name_cannot_move_the_cursor_of_who_reads_the_report() -> None:
    report = judge(chained(PAYLOAD.replace(b"key.disable", b"\\u001b[2J\\n")))
    assert str(report.first_broken).isprintable()


PLACED = {"ts", "chain", "seq", "prev", "event"}
OPTIONAL = sorted({name for shape in shapes().values() for name in shape.fields} - PLACED)
names = st.sampled_from([*shapes(), "key.forge"]) | st.text(max_size=5)
anything: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([{}])
)


@given(
    st.lists(
        st.binary(max_size=20)
        | st.fixed_dictionaries(
            {
                "ts": st.text() | st.just("2026-08-24T03:00:00Z"),
                "chain": st.sampled_from("ab"),
                "seq": st.integers(-1, 3),
                "prev": st.sampled_from([GENESIS, "", "x"]),
                "event": names,
            },
            optional=dict.fromkeys(OPTIONAL, anything),
        ).map(lambda record: json.dumps(record).encode()),
        max_size=5,
    ),
    st.booleans(),
)
def test_no_file_content_breaks_the_verification(lines: list[bytes], recording: bool) -> None:
    report = judge(b"\n".join(lines), heads=("ab" * 32,), recording=recording)
    assert not report.ok
    assert all(str(problem).isascii() and str(problem).isprintable() for problem in report.problems)
    json.dumps(report.to_json(), allow_nan=False)


# --- the report ----------------------------------------------------------------------------------


def test_the_report_is_plain_json() -> None:
    lines = lines_of(written((*HISTORY, intent("c9/delete"))))
    report = judge(b"".join(lines[:3] + lines[4:]) + b'{"ts":')
    document = report.to_json()
    assert json.loads(json.dumps(document)) == document
    assert (document["ok"], document["first_broken"]) == (False, "a:4")
    assert document["problems"][0] == {
        "where": {"file": "a", "line": 4},
        "kind": "tampered",
        "detail": "lines are missing: it is number 5 of its chain, after 3",
    }
    assert document["tears"] == [{"where": {"file": "a", "line": 10}, "length": 6, "sealed": False}]
    assert [each["op"] for each in document["open"]] == ["c9/delete"]
    assert document["chains"][0]["head"] == digest(lines[-1].rstrip(b"\n"))


def test_problems_stand_in_the_order_of_files_and_lines() -> None:
    bad = written().replace(b"quiet", b"other", 1)
    cut = written((notice(),) * 3, "c" * 16)
    report = judge(bad, b"".join(lines_of(cut)[1:]), heads=("ab" * 32,))
    assert [(str(p.where), p.kind) for p in report.problems] == [
        ("a:3", Kind.TAMPERED),
        ("b:1", Kind.TAMPERED),
        ("b:2", Kind.CUT),
    ]
    assert report.first_broken == report.problems[0]


def test_packed_files_are_read_too(tmp_path: Path) -> None:
    packed = tmp_path / "audit.jsonl.1.gz"
    packed.write_bytes(gzip.compress(written()))
    plain = tmp_path / "audit.jsonl"
    plain.write_bytes(written((replace(notice(), op="x"),), "d" * 16))
    report = verify([(str(path), read_lines(path)) for path in (plain, packed)])
    assert (report.ok, report.lines) == (True, len(HISTORY) + 1)


def test_a_file_that_is_no_trail_does_not_pass_for_a_torn_one() -> None:
    report = verify([("config.toml", [b'instance = "prod"\n', b"\n", b"[vault]\n"])])
    assert not report.ok
    assert [(each.kind, each.where.line) for each in report.problems] == [
        (Kind.INVALID, 1),
        (Kind.INVALID, 3),
    ]
