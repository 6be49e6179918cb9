"""The main thread: signals, the time a stop may take, and whether the loop still lives.

Signals arrive as bytes on a socket that the interpreter itself writes to, so that no
handler of ours runs in the middle of other code.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from rotator.daemon.loop import Daemon
from rotator.ports import Clock

_log = logging.getLogger(__name__)

STOP = (signal.SIGTERM, signal.SIGINT)
NOT_YET = (signal.SIGHUP, signal.SIGUSR1)

_CHECK_EVERY = 1.0
_LEAST_PATIENCE = 60.0


def supervise(
    daemon: Daemon,
    clock: Clock,
    *,
    grace: float,
    heartbeat: float,
    leave: Callable[[int], NoReturn] = os._exit,
) -> int:
    """Run the daemon in a thread and stay in this one, which must be the main thread.

    Args:
        daemon: the loop.
        clock: the time.
        grace: seconds that a stop may take; after that the process is left at once.
        heartbeat: seconds between two heartbeats.
        leave: ends the process without waiting for threads.

    Returns:
        The exit code: 0 after a stop in good order, 1 where the loop broke.
    """
    crashed: list[str] = []
    with _signals() as (inbox, wake):

        def run() -> None:
            try:
                daemon.run()
            except Exception as error:  # noqa: BLE001 - it is told, and the process ends by it
                _log.critical("the daemon ended by %s", type(error).__name__, exc_info=True)
                crashed.append(type(error).__name__)
            with suppress(OSError):  # we were left behind by a stop
                wake()

        thread = threading.Thread(target=run, name="daemon", daemon=True)
        thread.start()
        watch = _Watch(daemon, clock, max(_LEAST_PATIENCE, 4 * heartbeat))
        stop_by: float | None = None
        while thread.is_alive():
            left = _CHECK_EVERY if stop_by is None else stop_by - clock.monotonic()
            if stop_by is not None and left <= 0:
                _log.critical("still not stopped after %.0f s: leaving the process", grace)
                leave(1)
            for number in inbox(min(_CHECK_EVERY, left)):
                if number in NOT_YET:
                    name = signal.Signals(number).name
                    _log.warning("%s: not in this release, nothing is done", name)
                elif number in STOP and stop_by is None:
                    _log.warning("%s: stopping", signal.Signals(number).name)
                    stop_by = clock.monotonic() + grace
                    daemon.stop()
                elif number in STOP:
                    _log.critical("asked to stop a second time: leaving the process")
                    leave(1)
            if stop_by is None and (trouble := watch.trouble()) is not None:
                _log.critical("%s: leaving the process", trouble)
                leave(1)
            if stop_by is not None and daemon.heartbeat_age() is None:
                thread.join(_CHECK_EVERY)
                break  # It never got as far as to have a step in hand.
    return 1 if crashed else 0


class _Watch:
    """Tells whether the loop still lives, by its threads and by the age of its heartbeat."""

    def __init__(self, daemon: Daemon, clock: Clock, patience: float) -> None:
        self._daemon = daemon
        self._clock = clock
        self._patience = patience
        self._looked_at = clock.monotonic()
        self._excused_until = self._looked_at
        self._stale = False

    def trouble(self) -> str | None:
        """Return what is wrong, or None."""
        now = self._clock.monotonic()
        if now - self._looked_at > self._patience / 2:
            # We did not run either: the machine slept, or the process was stopped.
            self._excused_until = now + self._patience
        self._looked_at = now
        if (broken := self._daemon.broken()) is not None:
            return broken
        age = self._daemon.heartbeat_age()
        if age is None or age <= self._patience or now < self._excused_until:
            self._stale = False
            return None
        # Seen twice, because the machine may have gone to sleep in the middle of this very look.
        before, self._stale = self._stale, True
        return f"no heartbeat for {age:.0f} s" if before else None


@contextmanager
def _signals() -> Iterator[tuple[Callable[[float], Iterator[int]], Callable[[], None]]]:
    """Catch our signals; give a function that waits for some, and one that ends its wait."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    old_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    old = {number: signal.signal(number, lambda *_: None) for number in (*STOP, *NOT_YET)}

    def inbox(seconds: float) -> Iterator[int]:
        ready, _, _ = select.select([reader], [], [], max(0.0, seconds))
        if ready:
            yield from reader.recv(64)

    try:
        yield inbox, lambda: (writer.send(b"\0"), None)[1]
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(old_fd)
        reader.close()
        writer.close()
