"""The trail in a file: durable, shared, renamed, torn, full."""

from __future__ import annotations

import fcntl
import os
import resource
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from rotator.adapters.audit import FileAuditTrail
from rotator.adapters.audit.line import GENESIS
from rotator.adapters.audit.report import Start
from rotator.adapters.clock import SystemClock
from rotator.errors import AuditUnavailable
from rotator.ports import AuditSink, UnsettledIntent
from tests.adapters.audit.samples import (
    HISTORY,
    START,
    TickingClock,
    intent,
    judge,
    judge_paths,
    notice,
    records,
    settled,
    written,
)


def test_it_is_an_audit_sink(trail: FileAuditTrail) -> None:
    sink: AuditSink = trail
    head = sink.append(notice())
    assert sink.head() == head
    assert len(head) == 64


def test_the_file_is_readable_by_its_owner_only(trail: FileAuditTrail, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_is_on_the_disk_before_append_returns(
    path: Path, clock: TickingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's data at every append, and the folder's when the file is made."""
    synced: list[tuple[str, int]] = []

    def record(fd: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
        synced.append((kind, os.fstat(fd).st_size if kind == "file" else 0))

    monkeypatch.setattr(os, "fsync", record)
    trail = FileAuditTrail(path, instance="prod", clock=clock)
    assert synced == [("folder", 0)]
    for _ in range(2):
        trail.append(notice())
        assert synced[-1] == ("file", path.stat().st_size)
    assert len(synced) == 3


def test_another_process_goes_on_with_the_same_chain(path: Path, clock: TickingClock) -> None:
    one, other = (FileAuditTrail(path, instance="prod", clock=clock) for _ in range(2))
    for _ in range(3):
        one.append(notice())
        other.append(notice())
    assert len({record["chain"] for record in records(path)}) == 1
    assert judge_paths(path).ok


def test_threads_may_share_one_trail(trail: FileAuditTrail, path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        heads = list(pool.map(lambda _: trail.append(notice()), range(80)))
    assert len(set(heads)) == 80
    report = judge(path.read_bytes(), heads=tuple(heads))
    assert report.ok
    assert report.lines == 80


def test_the_head_is_the_one_that_this_process_wrote_last(path: Path, clock: TickingClock) -> None:
    trail = FileAuditTrail(path, instance="prod", clock=clock)
    assert trail.head() == GENESIS
    first = trail.append(notice())
    second = FileAuditTrail(path, instance="prod", clock=clock)
    assert second.head() == first
    second.append(notice())
    assert trail.head() == first


# --- renaming ------------------------------------------------------------------------------------


def test_a_renamed_file_is_noticed_and_the_new_one_names_its_head(
    trail: FileAuditTrail, path: Path
) -> None:
    head = trail.append(notice())
    old = path.with_suffix(".1")
    path.rename(old)
    trail.append(notice())
    assert (records(path)[0]["prev"], records(path)[0]["seq"]) == (head, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for order in ((old, path), (path, old)):
        report = judge_paths(*order)
        assert report.ok
        assert [chain.start for chain in report.chains] == [Start.NEW, Start.LINKED]
    assert [chain.start for chain in judge_paths(path).chains] == [Start.EARLIER]


def test_processes_that_share_a_renamed_file_share_the_new_one(
    path: Path, clock: TickingClock
) -> None:
    """Also what one of them wrote after another had looked is named by the new file."""
    one, other = (FileAuditTrail(path, instance="prod", clock=clock) for _ in range(2))
    one.append(notice())
    head = other.append(notice())
    path.rename(path.with_suffix(".1"))
    one.append(notice())
    other.append(notice())
    assert records(path)[0]["prev"] == head
    assert [record["seq"] for record in records(path)] == [1, 2]
    assert judge_paths(path, path.with_suffix(".1")).ok


def test_reopening_on_request_links_too(trail: FileAuditTrail, path: Path) -> None:
    head = trail.append(notice())
    path.rename(path.with_suffix(".1"))
    trail.reopen()
    assert path.exists()
    trail.append(notice())
    assert records(path)[0]["prev"] == head


def test_reopening_the_same_file_changes_nothing(trail: FileAuditTrail, path: Path) -> None:
    trail.append(notice())
    trail.reopen()
    trail.append(notice())
    trail.close()
    trail.append(notice())
    assert [record["seq"] for record in records(path)] == [1, 2, 3]
    assert judge_paths(path).ok


def test_a_file_that_was_emptied_in_place_goes_on_after_its_old_head(
    trail: FileAuditTrail, path: Path
) -> None:
    head = trail.append(notice())
    copy = path.with_suffix(".1")
    copy.write_bytes(path.read_bytes())
    os.truncate(path, 0)
    trail.append(notice())
    assert records(path)[0]["prev"] == head
    assert judge_paths(copy, path).ok


def test_a_renamed_file_with_a_torn_end_is_linked_by_its_last_whole_line(
    trail: FileAuditTrail, path: Path
) -> None:
    head = trail.append(notice())
    trail.append(notice())
    old = path.with_suffix(".1")
    path.rename(old)
    os.truncate(old, old.stat().st_size - 10)
    trail.append(notice())
    assert records(path)[0]["prev"] == head
    report = judge_paths(old, path)
    assert report.ok
    assert [chain.start for chain in report.chains] == [Start.NEW, Start.LINKED]
    assert [tear.sealed for tear in report.tears] == [False]


# --- a sink that cannot write --------------------------------------------------------------------


@pytest.mark.parametrize("make", ["folder", "fifo", "device", "no folder", "link to itself"])
def test_what_cannot_be_a_trail_is_refused_at_the_start(
    make: str, tmp_path: Path, clock: TickingClock
) -> None:
    path = tmp_path / "audit.jsonl"
    if make == "folder":
        path.mkdir()
    elif make == "fifo":
        os.mkfifo(path)
    elif make == "device":
        path = Path("/dev/null")
    elif make == "no folder":
        path = tmp_path / "absent" / "audit.jsonl"
    else:
        path.symlink_to(path)
    with pytest.raises(AuditUnavailable, match=str(path)) as caught:
        FileAuditTrail(path, instance="prod", clock=clock)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)


def test_a_folder_that_vanished_stops_steps_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    path = folder / "audit.jsonl"
    trail = FileAuditTrail(path, instance="prod", clock=TickingClock())
    head = trail.append(notice())
    folder.rename(tmp_path / "moved")
    with pytest.raises(AuditUnavailable, match="No such file"):
        trail.append(notice())
    folder.mkdir()
    trail.append(notice())
    assert records(path)[0]["prev"] == head


def test_a_large_file_of_something_else_is_not_appended_to(path: Path, clock: TickingClock) -> None:
    with path.open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    trail = FileAuditTrail(path, instance="prod", clock=clock)
    with pytest.raises(AuditUnavailable, match="something else"):
        trail.append(notice())


def test_a_lock_that_another_process_keeps_stops_steps(path: Path, clock: TickingClock) -> None:
    trail = FileAuditTrail(path, instance="prod", clock=clock)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(AuditUnavailable, match="held its lock for 10 s"):
            trail.append(notice())
    assert clock.elapsed >= 10
    trail.append(notice())
    assert judge_paths(path).lines == 1


class Waiting(TickingClock):
    """A clock whose sleepers wake when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep, self.wake = threading.Event(), threading.Event()

    def sleep(self, seconds: float) -> None:
        self.asleep.set()
        self.wake.wait(60)
        super().sleep(seconds)


def test_threads_wait_for_one_lock_together_and_not_one_after_the_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Waiting()
    trail = FileAuditTrail(path, instance="prod", clock=clock)
    with path.open("rb") as other, ThreadPoolExecutor(1) as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        first = pool.submit(trail.append, notice())
        assert clock.asleep.wait(60)
        monkeypatch.setattr("rotator.adapters.audit.file.LOCK_TIMEOUT", 0.01)
        for step in (lambda: trail.append(notice()), trail.head, trail.unsettled, trail.reopen):
            with pytest.raises(AuditUnavailable, match="other threads"):
                step()
        trail.close()
        fcntl.flock(other, fcntl.LOCK_UN)
        clock.wake.set()
        assert first.result(60) == trail.head()
    assert judge_paths(path).lines == 1


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow past this, as on a full disk; the last write before it is a short one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_does_not_fit_is_taken_back_and_stops_the_step(
    trail: FileAuditTrail, path: Path
) -> None:
    head = trail.append(notice())
    before = path.read_bytes()
    for room in (0, 1, 100):
        with (
            file_size_limit(len(before) + room),
            pytest.raises(AuditUnavailable, match="cannot write it: File too large"),
        ):
            trail.append(notice())
        assert path.read_bytes() == before
        assert trail.head() == head
    trail.append(notice())
    report = judge(path.read_bytes(), heads=(head,))
    assert (report.ok, report.lines, report.tears) == (True, 2, ())


def test_a_write_that_cannot_be_taken_back_is_sealed_later(
    trail: FileAuditTrail, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail.append(notice())
    size = path.stat().st_size

    def refuse(fd: int, length: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched, file_size_limit(size + 50):
        patched.setattr(os, "ftruncate", refuse)
        with pytest.raises(AuditUnavailable):
            trail.append(notice())
    assert path.stat().st_size == size + 50
    trail.append(notice())
    report = judge_paths(path)
    assert report.ok
    assert [(tear.length, tear.sealed) for tear in report.tears] == [(50, True)]


def test_a_disk_that_fails_to_sync_stops_the_step_and_the_line_is_taken_back(
    trail: FileAuditTrail, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail.append(notice())
    before = path.read_bytes()

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(AuditUnavailable, match="Input/output error"):
            trail.append(notice())
    assert path.read_bytes() == before
    trail.append(notice())
    assert judge_paths(path).ok


# --- intents without an outcome ------------------------------------------------------------------


def test_the_intents_without_an_outcome_are_found_whoever_wrote_them(
    path: Path, clock: TickingClock
) -> None:
    path.write_bytes(written((*HISTORY, intent("c4/disable"), intent("c5/disable"))))
    trail = FileAuditTrail(path, instance="prod", clock=clock)
    trail.append(intent("c6/delete", None))
    trail.append(settled("c4/disable"))
    found = trail.unsettled()
    assert [each.op for each in found] == ["c5/disable", "c6/delete"]
    assert found[0] == UnsettledIntent(
        event="key.disable",
        op="c5/disable",
        target="billing-api",
        key_hash="1f" * 32,
        at=found[0].at,
    )
    assert found[0].at > START
    assert found[0].at.tzinfo is not None
    trail.append(notice())


def test_lines_that_are_no_events_do_not_hide_the_intents_around_them(
    path: Path, clock: TickingClock
) -> None:
    data = written((intent("a/disable"),)) + b'junk\n{"op":[]}\n' + written((intent("b/disable"),))
    path.write_bytes(data + b'{"torn')
    trail = FileAuditTrail(path, instance="prod", clock=clock)
    assert [each.op for each in trail.unsettled()] == ["a/disable", "b/disable"]


def test_only_the_end_of_a_very_long_file_is_searched(
    path: Path, clock: TickingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = FileAuditTrail(path, instance="prod", clock=clock)
    trail.append(intent("old/disable"))
    cut = path.stat().st_size
    trail.append(intent("new/disable"))
    new = path.stat().st_size - cut
    for limit, found in ((new, ["new/disable"]), (new - 1, []), (new + 1, ["new/disable"])):
        monkeypatch.setattr("rotator.adapters.audit.file._SCAN_LIMIT", limit)
        assert [each.op for each in trail.unsettled()] == found


# --- crashes -------------------------------------------------------------------------------------

WRITER = textwrap.dedent("""
    import sys
    from rotator.adapters.audit import FileAuditTrail
    from rotator.adapters.clock import SystemClock
    from tests.adapters.audit.samples import notice
    trail = FileAuditTrail(sys.argv[1], instance="prod", clock=SystemClock())
    print("ready", flush=True)
    while True:
        print(trail.append(notice("x" * 900)), flush=True)
""")


def test_two_processes_that_are_killed_while_they_write_leave_a_trail_that_verifies(
    path: Path,
) -> None:
    """Every head that was reported as durable is found again."""
    promised: set[str] = set()

    def life(lines: int) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            heads = [process.stdout.readline().strip() for _ in range(lines)]
            process.kill()
            heads += process.stdout.read().split()
        promised.update(head for head in heads if len(head) == 64)

    for generation in range(6):
        pair = [threading.Thread(target=life, args=(3 + generation + i,)) for i in range(2)]
        for thread in pair:
            thread.start()
        for thread in pair:
            thread.join()
    FileAuditTrail(path, instance="prod", clock=SystemClock()).append(notice())
    report = judge(path.read_bytes(), heads=tuple(promised))
    assert report.problems == ()
    assert len(promised) >= 6 * 7
    assert report.lines > len(promised)
