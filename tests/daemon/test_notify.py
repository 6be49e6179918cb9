"""What the service manager is told, over a real datagram socket."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rotator.adapters.clock import SystemClock
from rotator.daemon.notify import Notifier
from tests.wiring.stand import CALM, Stand, eventually

START = 90.0
"""Seconds that a process may take to start on a busy machine, before which it cannot say a word."""


class Manager:
    """Stands for systemd: the socket, and what was sent to it."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)
        self._lines: list[str] = []

    def lines(self) -> list[str]:
        while True:
            try:
                self._lines += self._socket.recv(65536).decode().splitlines()
            except BlockingIOError:
                return self._lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.mark.parametrize("abstract", [False, True])
def test_each_word_is_one_datagram_also_to_an_abstract_socket(
    tmp_path: Path, abstract: bool
) -> None:
    name = f"rotator-test-{os.getpid()}" if abstract else str(tmp_path / "socket")
    manager = Manager("\0" + name if abstract else name)
    environment = {"NOTIFY_SOCKET": "@" + name if abstract else name, "WATCHDOG_USEC": "3000000"}
    notifier = Notifier(environment, SystemClock())
    notifier.ready()
    notifier.status("two\nlines")
    notifier.status("two lines")
    notifier.reloading()
    notifier.alive()
    notifier.stopping()
    lines = manager.lines()
    assert lines[:3] == ["READY=1", "STATUS=two lines", "RELOADING=1"]
    assert lines[3].startswith("MONOTONIC_USEC=")
    assert lines[4:] == ["WATCHDOG=1", "STOPPING=1"]
    assert notifier.watchdog == 3.0
    manager.close()


def test_a_status_that_is_no_text_or_long_is_told_all_the_same(
    manager: Manager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}, SystemClock())
    notifier.status("standing by for \udc80 " + "x" * 1_000_000)
    notifier.ready()
    told, ready = manager.lines()
    assert told.startswith("STATUS=standing by for \\udc80 xxx")
    assert len(told) < 2000
    assert ready == "READY=1"
    assert caplog.text == ""


def test_without_a_service_manager_nothing_is_told_and_nothing_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}):
        notifier = Notifier({**environment, "WATCHDOG_USEC": "1000"}, SystemClock())
        notifier.ready()
        assert notifier.watchdog is None
    assert caplog.text == ""


def test_a_service_manager_that_does_not_listen_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, SystemClock())
    notifier.ready()
    notifier.alive()
    assert caplog.text.count("the service manager cannot be told") == 1


def test_what_the_service_manager_did_not_take_is_said_again(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "late")}, SystemClock())
    assert not notifier.ready()
    notifier.status("one target")
    manager = Manager(str(tmp_path / "late"))
    assert notifier.ready()
    notifier.status("one target")
    notifier.status("one target")
    assert manager.lines() == ["READY=1", "STATUS=one target"]
    manager.close()


def test_a_daemon_whose_manager_listens_late_is_ready_all_the_same(
    stand: Stand, tmp_path: Path
) -> None:
    process = stand.start("run", NOTIFY_SOCKET=str(tmp_path / "late"))
    eventually(stand.issued, "it runs, and nobody was told", START)
    manager = Manager(str(tmp_path / "late"))
    eventually(lambda: "READY=1" in manager.lines(), "it is ready", START)
    process.terminate()
    assert process.wait(60) == 0
    manager.close()


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "5000000"}, 5.0),
        ({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())}, 5.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_counts_only_where_it_is_meant_for_this_process(
    variables: dict[str, str], seconds: float | None
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": "/nowhere", **variables}, SystemClock())
    assert notifier.watchdog == seconds


def test_the_daemon_is_ready_while_vault_is_away_reloads_and_stops_in_words(
    stand: Stand, manager: Manager
) -> None:
    stand.sandbox.vault.sealed = True
    process = stand.start(
        "run", NOTIFY_SOCKET=str(stand.folder / "notify"), WATCHDOG_USEC="2000000"
    )
    eventually(lambda: "READY=1" in manager.lines(), "it is ready", START)
    eventually(lambda: "STATUS=waiting for Vault" in manager.lines(), "it says what it waits for")
    eventually(lambda: "WATCHDOG=1" in manager.lines(), "it is alive")
    stand.sandbox.vault.sealed = False
    eventually(lambda: "STATUS=one target" in manager.lines(), "it goes on")
    stand.write(["billing-api", "b"], policy=CALM)
    process.send_signal(signal.SIGHUP)
    eventually(lambda: manager.lines().count("READY=1") == 2, "the reload is over")
    lines = manager.lines()
    assert lines.index("RELOADING=1") < len(lines) - lines[::-1].index("READY=1") - 1
    process.terminate()
    assert process.wait(60) == 0
    assert "STOPPING=1" in manager.lines()
