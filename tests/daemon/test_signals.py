"""The daemon as a process: signals, the time a stop may take, and exit codes."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import termios
from typing import IO

import pytest

from rotator.pipes import PIECE
from rotator.sandbox.faults import Fault, FaultKind
from tests.wiring.stand import CALM, Stand, eventually

MINTING = Fault(
    kind=FaultKind.LATENCY, api="openrouter", method="POST", path="/api/v1/keys", seconds=60.0
)


def started(stand: Stand) -> subprocess.Popen[str]:
    """Start a daemon and wait until it has made the first key."""
    process = stand.start("run")
    eventually(lambda: any(e["event"] == "resync" for e in stand.events()), "the first resync")
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_an_idle_daemon_in_good_order(
    stand: Stand, number: signal.Signals
) -> None:
    process = started(stand)
    process.send_signal(number)
    code, err = ended(process)
    assert code == 0, err
    assert f"{number.name}: stopping" in err
    assert stand.events()[-1]["event"] == "process.stop"


def logged(process: subprocess.Popen[str], text: str) -> str:
    """Read what a process logs up to a line that holds a text, and return that line."""
    assert process.stderr is not None
    for line in iter(process.stderr.readline, ""):
        if text in line:
            return line
    raise AssertionError(f"it ended without a word of {text!r}")


def test_sighup_takes_another_configuration_and_sigusr1_rotates(stand: Stand) -> None:
    process = started(stand)
    stand.write(["billing-api", "another"])
    process.send_signal(signal.SIGHUP)
    assert "1 targets added, 0 let go, 0 changed" in logged(process, "reloaded")
    eventually(lambda: len(stand.issued()) == 2, "the new target has a first key")
    before = stand.served()
    process.send_signal(signal.SIGUSR1)
    eventually(lambda: stand.served() != before, "it is rotated")
    process.terminate()
    assert ended(process)[0] == 0


SIGNALLED = """\
import atexit, os, signal, sys
from rotator.cli import main
from rotator.cli.root import Session

def raised():
    for number in (signal.SIGHUP, signal.SIGUSR1):
        os.kill(os.getpid(), number)

def config(self, *, read=Session.config, **rest):
    raised()
    return read(self, **rest)

Session.config = config
atexit.register(raised)
main()
"""
"""The command line, with signals while the configuration is read and while the process ends."""


def test_sighup_and_sigusr1_end_neither_a_start_nor_an_end(stand: Stand) -> None:
    process = stand.start("run", python=SIGNALLED)
    logged(process, "SIGHUP: reading the configuration again")
    eventually(
        lambda: any(each["event"] == "operator.command" for each in stand.events()),
        "SIGUSR1 is followed, which came before anybody could",
    )
    process.terminate()
    code, err = ended(process)
    assert code == 0, err


def test_sigterm_in_the_middle_of_a_rotation_finishes_it(stand: Stand) -> None:
    fault = stand.sandbox.faults.add(MINTING)
    process = stand.start("run")
    eventually(lambda: stand.sandbox.faults.hits(fault), "a create is under way")
    process.terminate()
    assert process.stderr is not None
    assert any("finishing the steps in hand" in line for line in iter(process.stderr.readline, ""))
    stand.sandbox.faults.clear()
    code, err = ended(process)
    assert code == 0, err
    assert stand.served() in stand.issued()
    outcomes = [e["op"] for e in stand.events() if e["phase"] == "outcome"]
    intents = [e["op"] for e in stand.events() if e["phase"] == "intent"]
    assert set(intents) <= set(outcomes)
    assert stand.events()[-1]["event"] == "process.stop"


def test_a_stop_that_takes_too_long_leaves_the_process_loudly(stand: Stand) -> None:
    stand.write(policy=CALM, shutdown_grace="300ms", timeout="30s", claim_timeout="2m")
    fault = stand.sandbox.faults.add(MINTING)
    process = stand.start("run")
    eventually(lambda: stand.sandbox.faults.hits(fault), "a create is under way")
    process.terminate()
    code, err = ended(process)
    assert code == 1
    assert "still not stopped after" in err


PATIENT = {"shutdown_grace": "4s", "timeout": "60s", "claim_timeout": "4m"}
"""A service may be silent for far longer than a stop may take."""


def test_a_stop_does_not_wait_for_a_listing(stand: Stand) -> None:
    stand.write(policy=CALM, daemon='resync = "1s"', **PATIENT)
    process = started(stand)
    fault = stand.sandbox.faults.add(
        Fault(
            kind=FaultKind.LATENCY,
            api="openrouter",
            method="GET",
            path="/api/v1/keys",
            seconds=60.0,
        )
    )
    eventually(lambda: stand.sandbox.faults.hits(fault), "a listing is under way")
    process.terminate()
    code, err = ended(process)
    assert code == 0, err
    assert stand.events()[-1]["event"] == "process.stop"
    assert stand.sandbox.vault.read("secret", "rotator/lease")["data"]["released"] is True


def test_a_stop_is_in_good_order_while_vault_is_silent(stand: Stand) -> None:
    stand.write(policy=CALM, **PATIENT)
    process = started(stand)
    fault = stand.sandbox.faults.add(
        Fault(kind=FaultKind.LATENCY, api="vault", seconds=60.0, count=None)
    )
    eventually(lambda: stand.sandbox.faults.hits(fault), "Vault is silent")
    process.terminate()
    code, err = ended(process)
    assert code == 0, err
    assert stand.events()[-1]["event"] == "process.stop"


def queued(pipe: IO[str]) -> int:
    """Return how many bytes of a pipe nobody has read."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_a_reader_of_the_log_who_stops_reading_holds_up_neither_work_nor_a_stop(
    stand: Stand,
) -> None:
    stand.write(policy=CALM, daemon='resync = "100ms"')
    process = stand.start("--log-level", "debug", "run")
    assert process.stderr is not None
    fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, PIECE)

    def resyncs() -> int:
        return sum(1 for each in stand.events() if each["event"] == "resync")

    eventually(lambda: resyncs() > 3, "it has much to say")
    before, unread = resyncs(), queued(process.stderr)
    eventually(lambda: resyncs() > before + 3, "it goes on")
    assert 0 < queued(process.stderr) == unread
    process.terminate()
    assert process.wait(60) == 0
    assert stand.events()[-1]["event"] == "process.stop"


def test_a_second_signal_stops_at_once(stand: Stand) -> None:
    stand.write(policy=CALM, timeout="30s", claim_timeout="2m")
    fault = stand.sandbox.faults.add(MINTING)
    process = stand.start("run")
    eventually(lambda: stand.sandbox.faults.hits(fault), "a create is under way")
    process.terminate()
    assert process.stderr is not None
    assert any("SIGTERM: stopping" in line for line in iter(process.stderr.readline, ""))
    process.terminate()
    code, err = ended(process)
    assert code == 1
    assert "a second time" in err


def test_what_a_second_signal_cut_short_is_settled_by_the_next_start(stand: Stand) -> None:
    process = started(stand)
    before = stand.served()
    fault = stand.sandbox.faults.add(
        Fault(kind=FaultKind.LATENCY, api="openrouter", method="POST", seconds=60, effect=True)
    )
    process.send_signal(signal.SIGUSR1)
    eventually(lambda: stand.sandbox.faults.hits(fault), "a create is under way")
    process.terminate()
    logged(process, "SIGTERM: stopping")
    process.terminate()
    assert ended(process)[0] == 1
    stand.sandbox.faults.clear()
    assert stand.served() == before
    process = stand.start("run")

    def kept() -> list[str]:
        return [key_hash for key_hash, key in stand.issued().items() if not key["deleted"]]

    eventually(lambda: len(stand.issued()) == 2 and len(kept()) == 1, "the lost key is removed", 60)
    assert kept() == [before] == [stand.served()]
    process.terminate()
    assert ended(process)[0] == 0
    assert stand.call("audit", "verify", str(stand.audit)).exit_code == 0


def test_a_stop_while_vault_is_away_at_the_start_is_no_failure(stand: Stand) -> None:
    stand.sandbox.vault.sealed = True
    process = stand.start("run")
    assert process.stderr is not None
    assert any("cannot reach Vault yet" in line for line in iter(process.stderr.readline, ""))
    process.terminate()
    code, _ = ended(process)
    assert code == 0


def test_a_daemon_needs_no_file_that_comes_later(stand: Stand) -> None:
    """An agent may write the token a moment after the start."""
    token = stand.folder / "token"
    text = stand.write().read_text()
    stand.path.write_text(text.replace('{ env = "STAND_VAULT_TOKEN" }', f'{{ file = "{token}" }}'))
    process = stand.start("run")
    assert process.stderr is not None
    assert any("cannot reach Vault yet" in line for line in iter(process.stderr.readline, ""))
    token.write_text(stand.sandbox.vault_token + "\n")
    eventually(stand.issued, "it goes on by itself")
    process.terminate()
    assert ended(process)[0] == 0


def test_nothing_secret_is_logged_at_the_most_talkative_level(stand: Stand) -> None:
    process = stand.start("--log-level", "debug", "run")
    eventually(lambda: any(e["event"] == "resync" for e in stand.events()), "the first resync")
    process.terminate()
    code, err = ended(process)
    assert code == 0
    for canary in (stand.value(), stand.sandbox.management_key, stand.sandbox.vault_token):
        assert canary not in err
    assert "sk-or-v1-" not in err
