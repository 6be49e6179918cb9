"""A daemon in a thread of this process, for tests that look inside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rotator.adapters.clock import SystemClock
from rotator.daemon import Daemon
from rotator.wiring import connect
from tests.wiring.stand import Stand, eventually


@contextmanager
def running(stand: Stand, clock: SystemClock | None = None) -> Iterator[Daemon]:
    """A daemon in a thread of its own, stopped in good order at the end."""
    stop = threading.Event()
    services = connect(stand.config(), mode="run", stopping=stop.is_set, clock=clock)
    daemon = Daemon(services, stop, load=stand.config)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        yield daemon
    finally:
        daemon.stop()
        thread.join(60)
        services.close()
        assert not thread.is_alive()


def settled(daemon: Daemon, *names: str) -> None:
    """Wait until targets were looked at."""
    eventually(lambda: set(names) <= set(daemon.reports()), f"{names} were looked at")


def reloaded(daemon: Daemon) -> None:
    """Have the configuration read again, and wait until that is done."""
    daemon.reload()
    asked, _ = daemon.reloads()
    eventually(lambda: daemon.reloads()[1] >= asked, "the reload is done")


def swept(daemon: Daemon, stand: Stand) -> None:
    """Ask for a rotation of every target, and wait until that is noted."""

    def noted() -> int:
        return sum(1 for each in stand.events() if each["event"] == "operator.command")

    before = noted()
    daemon.rotate_all()
    eventually(lambda: noted() > before, "the request is noted")
