"""The trail on standard output."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys

import pytest

from rotator.adapters.audit import StreamAuditTrail
from rotator.adapters.audit.line import GENESIS
from rotator.adapters.clock import SystemClock
from rotator.errors import AuditUnavailable
from rotator.pipes import PIECE
from rotator.ports import AuditSink
from tests.adapters.audit.samples import (
    HISTORY,
    TickingClock,
    intent,
    judge,
    lines_of,
    notice,
    written,
)


class Limited(io.BytesIO):
    """Takes so many bytes and then raises, or takes nothing more."""

    def __init__(self, room: int, error: OSError | None = None) -> None:
        super().__init__()
        self.room = room
        self.error = error

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        if not self.room:
            if self.error is not None:
                raise self.error
            return 0
        taken = super().write(data[: min(self.room, 100)])
        self.room -= taken
        return taken


def test_each_process_writes_a_chain_of_its_own() -> None:
    one, other = written(HISTORY, "a" * 16), written(HISTORY, "b" * 16)
    mixed = b"".join(
        line for pair in zip(lines_of(one), lines_of(other), strict=True) for line in pair
    )
    report = judge(mixed, recording=True)
    assert report.ok
    assert [chain.last_seq for chain in report.chains] == [len(HISTORY)] * 2
    assert not judge(mixed).ok
    lines = lines_of(mixed)
    assert not judge(b"".join(lines[:4] + lines[5:]), recording=True).ok


def test_it_is_an_audit_sink_that_remembers_nothing() -> None:
    trail = StreamAuditTrail(io.BytesIO(), instance="prod", clock=TickingClock())
    sink: AuditSink = trail
    assert sink.head() == GENESIS
    assert sink.append(intent()) == sink.head()
    assert sink.unsettled() == ()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), None])
@pytest.mark.parametrize("room", [0, 1, 350, 700])
def test_a_line_that_went_out_in_part_is_sealed_by_the_next(
    room: int, error: OSError | None
) -> None:
    stream = Limited(room, error)
    trail = StreamAuditTrail(stream, instance="prod", clock=TickingClock())
    for again in (300, 100, 10_000):
        while stream.room > 700:  # a line fits
            trail.append(notice("x" * 400))
        with pytest.raises(AuditUnavailable, match="standard output"):
            trail.append(notice("x" * 700))
        stream.room = again
    head = trail.append(notice())
    report = judge(stream.getvalue(), heads=(head,), recording=True)
    assert report.problems == ()
    assert all(tear.sealed for tear in report.tears)
    assert report.tears or room == 0


def test_a_closed_pipe_stops_steps() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        trail = StreamAuditTrail(stream, instance="prod", clock=TickingClock())
        trail.append(notice())
        os.close(reader)
        with pytest.raises(AuditUnavailable, match="Broken pipe"):
            trail.append(notice())


def test_a_reader_who_takes_nothing_stops_steps_until_he_reads_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rotator.adapters.audit.stream.WRITE_TIMEOUT", 0.05)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIECE)
    with os.fdopen(writer, "wb") as stream:
        trail = StreamAuditTrail(stream, instance="prod", clock=SystemClock())
        trail.append(notice())
        with pytest.raises(AuditUnavailable, match="its reader takes nothing"):
            trail.append(notice())
        read = os.read(reader, PIECE)
        head = trail.append(notice())
        read += os.read(reader, PIECE)
    os.close(reader)
    report = judge(read, heads=(head,), recording=True)
    assert (report.problems, report.lines) == ((), 2)


def test_while_one_thread_waits_for_a_reader_no_other_waits_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rotator.adapters.audit.stream.WRITE_TIMEOUT", 0.0)
    trail = StreamAuditTrail(io.BytesIO(), instance="prod", clock=TickingClock())
    with trail._mutex, pytest.raises(AuditUnavailable, match="its reader takes nothing"):
        trail.append(notice())


def test_a_closed_stream_stops_steps() -> None:
    stream = io.BytesIO()
    trail = StreamAuditTrail(stream, instance="prod", clock=TickingClock())
    stream.close()
    with pytest.raises(AuditUnavailable, match="closed"):
        trail.append(notice())


def test_standard_output_carries_the_trail_and_nothing_is_left_in_its_buffer() -> None:
    code = (
        "import sys; from rotator.adapters.audit import StreamAuditTrail\n"
        "from rotator.adapters.clock import SystemClock\n"
        "from tests.adapters.audit.samples import notice\n"
        "trail = StreamAuditTrail(sys.stdout.buffer, instance='prod', clock=SystemClock())\n"
        "trail.append(notice()); trail.append(notice()); import os; os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    report = judge(done.stdout, recording=True)
    assert (report.ok, report.lines) == (True, 2)
