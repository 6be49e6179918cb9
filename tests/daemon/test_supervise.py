"""The main thread notices a loop that died, stands still, or ended by itself."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn, cast

import pytest

from rotator.adapters.clock import SystemClock
from rotator.daemon import Daemon, Signals, supervise


class Left(Exception):  # noqa: N818 - what happened to the process
    """The process was left at once."""


def leave(code: int) -> NoReturn:
    raise Left(code)


class Loop:
    """Stands for a daemon in a given condition."""

    def __init__(self, *, broken: str | None = None, age: float | None = 0.0) -> None:
        self._broken, self._age = broken, age
        self.asked = threading.Event()
        self.let_go = threading.Event()
        self.error: Exception | None = None
        settings = SimpleNamespace(
            heartbeat=timedelta(seconds=1), shutdown_grace=timedelta(seconds=1)
        )
        self.config = SimpleNamespace(daemon=settings)

    def run(self, told: Callable[[], None]) -> None:
        if self.error is not None:
            raise self.error
        self.let_go.wait(60)

    def stop(self) -> None:
        self.asked.set()

    def broken(self) -> str | None:
        return self._broken

    def reloads(self) -> tuple[int, int]:
        return 0, 0

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(line=lambda: "")

    def heartbeat_age(self) -> float | None:
        return self._age


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a process that ends leaves ignored is not left so in this one."""
    numbers = (signal.SIGHUP, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def supervised(
    loop: Loop, clock: SystemClock | None = None, environment: dict[str, str] | None = None
) -> int:
    daemon, clock = cast("Daemon", loop), clock or SystemClock()
    try:
        with Signals() as signals:
            return supervise(daemon, clock, signals, environment=environment or {}, leave=leave)
    finally:
        loop.let_go.set()


def test_a_dead_thread_ends_the_process_loudly(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Left, match="1"):
        supervised(Loop(broken="the scheduler's thread has died"))
    assert "the scheduler's thread has died: leaving the process" in caplog.text


def test_a_heart_that_stands_still_ends_the_process_loudly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(Left, match="1"):
        supervised(Loop(age=61.0))
    assert "no heartbeat for 61 s" in caplog.text


def test_a_log_that_hangs_does_not_keep_the_process() -> None:
    hangs = threading.Event()

    class Hanging(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            hangs.wait(60)

    handler, log = Hanging(), logging.getLogger("rotator.daemon.supervise")
    log.addHandler(handler)
    try:
        with pytest.raises(Left, match="1"):
            supervised(Loop(age=61.0))
        assert not hangs.is_set()
    finally:
        hangs.set()
        log.removeHandler(handler)


class Waking(SystemClock):
    """A clock that jumps once, as after a night's sleep of the machine."""

    def __init__(self) -> None:
        self.slept = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.slept


def test_a_machine_that_slept_gets_time_for_its_next_heartbeat() -> None:
    clock, loop = Waking(), Loop(age=0.0)
    looks: list[None] = []

    def wake() -> float | None:
        looks.append(None)
        if len(looks) == 3:
            loop.let_go.set()
        clock.slept = 36000.0
        return 36000.0

    loop.heartbeat_age = wake  # type: ignore[method-assign]
    assert supervised(loop, clock) == 0


@pytest.mark.parametrize(("age", "broken", "fed"), [(1.0, None, True), (40.0, None, False)])
def test_the_watchdog_is_fed_only_while_the_heart_beats(
    tmp_path: Path, age: float, broken: str | None, fed: bool
) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    loop = Loop(age=age, broken=broken)
    looks: list[None] = []

    def status() -> SimpleNamespace:
        looks.append(None)
        if len(looks) == 2:
            loop.let_go.set()
        return SimpleNamespace(line=lambda: "")

    loop.status = status  # type: ignore[method-assign]
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    assert supervised(loop, environment=environment) == 0
    heard: list[str] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            heard.append(manager.recv(4096).decode())
    manager.close()
    assert heard[0] == "READY=1"
    assert ("WATCHDOG=1" in heard) is fed


def test_a_loop_that_ends_by_an_error_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    loop.error = ValueError("a defect")
    assert supervised(loop) == 1
    assert "the daemon ended by ValueError" in caplog.text


def test_a_loop_that_ends_in_good_order_is_none() -> None:
    loop = Loop()
    loop.let_go.set()
    assert supervised(loop) == 0
