"""Thousands of signals during rotations; `ROTATOR_LONG=1` for the long form, `make soak`."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wiring.stand import QUICK, Stand, eventually

LONG = os.environ.get("ROTATOR_LONG") == "1"
SIGNALS, A_SECOND = (10_000, 50.0) if LONG else (1_000, 200.0)
TARGETS = [f"t{number}" for number in range(8)]
MOST_GROWTH = 12 * 1024


def resident(process: subprocess.Popen[str]) -> int:
    """Return how much of a process is in memory, in KiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def drained(process: subprocess.Popen[str], lines: list[str]) -> threading.Thread:
    """Read what a process logs, so that it is never held up by a full pipe."""
    assert process.stderr is not None
    pipe = process.stderr
    thread = threading.Thread(target=lambda: lines.extend(iter(pipe.readline, "")), daemon=True)
    thread.start()
    return thread


def paced(count: int, a_second: float) -> Iterator[int]:
    """Count at a rate."""
    pause = threading.Event()
    for number in range(count):
        yield number
        pause.wait(1 / a_second)


@pytest.mark.timeout(600)
def test_a_storm_of_signals_crashes_nothing_and_mints_no_more_than_was_asked_for(
    stand: Stand,
) -> None:
    stand.write(TARGETS, policy=QUICK)
    whole = stand.path.read_text()
    process = stand.start("run")
    lines: list[str] = []
    reader = drained(process, lines)
    eventually(lambda: any(e["event"] == "resync" for e in stand.events()), "the first resync")
    before = 0
    for number in paced(SIGNALS, A_SECOND):
        if number == SIGNALS // 5:
            before = resident(process)
        if number % 100 == 50:  # now another file, now a broken one, now the first again
            text = (whole.replace('grace = "10ms"', 'grace = "20ms"'), whole + "[", whole)
            fresh = stand.folder / "fresh.toml"
            fresh.write_text(text[number // 100 % 3])
            fresh.replace(stand.path)
        process.send_signal(signal.SIGUSR1 if number % 2 else signal.SIGHUP)
    stand.path.write_text(whole)
    process.send_signal(signal.SIGHUP)

    def waiting() -> list[str]:
        return [h for h, key in stand.issued().items() if not key["deleted"]]

    served = {stand.served(name) for name in TARGETS}
    eventually(
        lambda: sorted(waiting()) == sorted(stand.served(name) for name in TARGETS),
        "all predecessors are retired",
        120,
    )
    after = resident(process)
    assert process.poll() is None
    process.terminate()
    assert process.wait(60) == 0
    reader.join(60)
    assert served
    assert not [line for line in lines if "Traceback" in line or '"critical"' in line]
    rounds = [e for e in stand.events() if e["event"] == "operator.command"]
    minted = len(stand.issued())
    assert rounds
    assert minted > 2 * len(TARGETS), "something was rotated"
    assert minted <= len(TARGETS) * (1 + len(rounds)), "first keys, and one a round at most"
    assert after - before <= MOST_GROWTH, f"from {before} to {after} KiB"
    assert stand.call("audit", "verify", str(stand.audit)).exit_code == 0
