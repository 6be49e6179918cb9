"""``rotator demo`` as a person starts it: a process of its own, on a terminal and without one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rotator.adapters.audit import FileAuditTrail
from rotator.adapters.clock import SystemClock
from rotator.cli.demo.bench import NAMES, Files, serve_hand_made_keys
from rotator.cli.demo.trail import Trail
from rotator.cli.demo.verdict import Summary, judge
from rotator.events import Phase, ProcessStop, Result
from rotator.sandbox.consumers import Report
from rotator.sandbox.server import Sandbox

PATIENCE = 90.0
"""Seconds after which a test gives up; a demo of a few seconds may go on for 40 more."""

LAST_LINE = re.compile(
    r"demo: \d+ rotations?, [\d,]+ consumer calls, 0 failed, 0 orphans, audit chain intact"
)


def environment(tmp_path: Path) -> dict[str, str]:
    """The process's variables, with a folder for temporary files of its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in {"LINES", "COLUMNS"}}
    return {**kept, "TMPDIR": str(folder), "TERM": "xterm-256color", "PYTHONUTF8": "1"}


def started(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rotator", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(tmp_path),
        text=True,
    )


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[Any]]]:
    """Processes that are ended with the test, however it went."""
    running: list[subprocess.Popen[Any]] = []
    yield running
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_without_a_terminal_it_prints_whole_lives_and_a_last_line_that_is_true(
    tmp_path: Path, processes: list[subprocess.Popen[Any]]
) -> None:
    process = started(tmp_path, "--seconds", "8")
    processes.append(process)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    lines = output.splitlines()
    assert LAST_LINE.fullmatch(lines[-1])
    assert "\x1b" not in output
    for name in NAMES:
        told = [line.split()[2] for line in lines if line.split()[1:2] == [name]]
        for stage in ("adopted", "born", "served", "drained", "disabled", "deleted"):
            assert stage in told, f"{name} was not {stage}:\n{output}"
    assert not list((tmp_path / "temporary").iterdir())


def test_on_a_terminal_of_80_columns_it_draws_a_screen_on_which_everything_fits(
    tmp_path: Path, processes: list[subprocess.Popen[Any]]
) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "rotator", "demo", "--seconds", "5"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(tmp_path),
    )
    processes.append(process)
    os.close(theirs)
    output = read_all(ours)
    assert process.wait(PATIENCE) == 0, output
    frames = frames_of(output)
    assert len(frames) > 10
    assert max(len(frame) for frame in frames) == 23
    assert max(len(row) for frame in frames for row in frame) <= 80
    shown = "\n".join(row for frame in frames for row in frame)
    for word in (*NAMES, "grace", "quarantine", "next in", "audit trail", "born", "deleted"):
        assert word in shown
    assert LAST_LINE.search(output)
    assert "…" not in shown


def read_all(terminal: int) -> str:
    """What a process writes to its terminal until it ends."""
    output = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            part = b""
        if not part:
            os.close(terminal)
            return output.decode()
        output += part


def frames_of(output: str) -> list[list[str]]:
    """The rows of every frame; each begins where the cursor is sent up again."""
    parts = re.split(r"(?:\r?\x1b\[\d*[AK])+", output)
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part) for part in parts]
    return [
        part.replace("\r", "").split("\n")[:23] for part in plain if part.startswith("rotator demo")
    ]


def ask(method: str, url: str, headers: dict[str, str], body: object = None) -> Any:
    """The answer of one of the sandbox's APIs."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def wait_for(path: Path, text: str) -> None:
    """Return once a file holds a text."""
    end = time.monotonic() + PATIENCE
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < end, f"{path} never held {text}"
        time.sleep(0.02)


def test_a_served_key_that_somebody_disables_makes_it_fail_and_it_says_why(
    tmp_path: Path, processes: list[subprocess.Popen[Any]]
) -> None:
    folder = tmp_path / "kept"
    process = started(tmp_path, "--seconds", "6", "--keep", str(folder))
    processes.append(process)
    wait_for(folder / "audit.jsonl", '"target":"evals"')
    config = tomllib.loads((folder / "config.toml").read_text())
    token = {"X-Vault-Token": (folder / "vault-token").read_text()}
    secret = ask("GET", f"{config['vault']['address']}/v1/secret/data/apps/evals", token)
    served = hashlib.sha256(secret["data"]["data"]["OPENROUTER_API_KEY"].encode()).hexdigest()
    management = {"Authorization": f"Bearer {(folder / 'management-key').read_text()}"}
    base = config["openrouter"]["base_url"]
    ask("PATCH", f"{base}/keys/{served}", management, {"disabled": True})
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert re.search(rf"WRONG: evals: \d+ calls failed, first by HTTP 401 .*{served[:8]}", output)
    assert "WRONG: evals: the key that is served does not work" in output
    assert re.fullmatch(
        r"demo: .*, [1-9]\d* failed, 0 orphans, audit chain intact", output.splitlines()[-1]
    )


def test_control_c_stops_the_daemon_in_good_order_and_still_tells_what_was_seen(
    tmp_path: Path, processes: list[subprocess.Popen[Any]]
) -> None:
    folder = tmp_path / "kept"
    process = started(tmp_path, "--keep", str(folder), "--json")
    processes.append(process)
    wait_for(folder / "audit.jsonl", '"target":"evals"')
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    summary = json.loads(output)
    assert process.returncode == 1
    assert summary["audit"]["ok"]
    assert (summary["failed"], summary["orphans"]) == (0, 0)
    assert "billing-api: no key went from its rotation to its deletion" in summary["problems"]
    last = json.loads((folder / "audit.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "process.stop"


def test_it_does_not_write_into_a_folder_that_holds_something(
    tmp_path: Path, processes: list[subprocess.Popen[Any]]
) -> None:
    (tmp_path / "precious").write_text("mine")
    process = started(tmp_path, "--keep", str(tmp_path))
    processes.append(process)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "is not empty" in output


# --- the verdict, on states that a good run never leaves -----------------------------------------


def judged(sandbox: Sandbox, folder: Path) -> Summary:
    """The verdict on a sandbox in which nothing ran."""
    files = Files(folder)
    return judge(sandbox, files, Trail(files.audit), Report(0, (), 0, 0, {}, 0), None)


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox whose targets serve hand-made keys, with an audit trail of two lines."""
    trail = FileAuditTrail(tmp_path / "audit.jsonl", instance="demo", clock=SystemClock())
    for op in ("1/stop", "2/stop"):
        trail.append(ProcessStop(phase=Phase.OUTCOME, op=op, result=Result.DONE, holder="host"))
    trail.close()
    with Sandbox() as sandbox:
        serve_hand_made_keys(sandbox)
        yield sandbox


def test_a_key_that_is_neither_served_nor_in_a_ledger_is_an_orphan(
    idle: Sandbox, tmp_path: Path
) -> None:
    assert judged(idle, tmp_path).orphans == 0
    authorization = f"Bearer {idle.management_key}"
    lost = idle.account.create_key(authorization, {"name": "of nobody"})["data"]["hash"]
    summary = judged(idle, tmp_path)
    assert summary.orphans == 1
    assert any(each.startswith(lost[:8]) for each in summary.problems)


def test_an_audit_trail_with_a_changed_line_is_not_intact(idle: Sandbox, tmp_path: Path) -> None:
    assert judged(idle, tmp_path).line().endswith("audit chain intact")
    trail = tmp_path / "audit.jsonl"
    trail.write_text(trail.read_text().replace("host", "hosT", 1))
    summary = judged(idle, tmp_path)
    assert summary.line().endswith("audit chain broken")
    assert not summary.ok
