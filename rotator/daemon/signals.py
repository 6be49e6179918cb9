"""The signals of the daemon, as bytes on a socket that the interpreter itself writes to.

So no handler of ours runs in the middle of other code.
"""

from __future__ import annotations

import select
import signal
import socket
from contextlib import suppress
from types import TracebackType
from typing import Self

STOP = (signal.SIGTERM, signal.SIGINT)
RELOAD = signal.SIGHUP
ROTATE = signal.SIGUSR1

_AT_ONCE = 4096
# Bytes of signals read at once: one round answers all that came meanwhile.


class Signals:
    """Catches our signals inside a ``with`` block, which must be the main thread's.

    What comes before somebody waits for it is kept. After the block only a stop still does
    what it does to any process: nobody could follow the others, which would end it.
    """

    def __init__(self) -> None:
        """Catch nothing yet."""
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def __enter__(self) -> Self:
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        caught = (*STOP, RELOAD, ROTATE)
        self._old = {number: signal.signal(number, lambda *_: None) for number in caught}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number in STOP:
            signal.signal(number, self._old[number])
        for number in (RELOAD, ROTATE):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._old_fd)
        self._reader.close()
        self._writer.close()

    def wait(self, seconds: float) -> frozenset[int]:
        """Return the signals that came, or none after a while or a `wake`."""
        ready, _, _ = select.select([self._reader], [], [], max(0.0, seconds))
        return frozenset(self._reader.recv(_AT_ONCE)) if ready else frozenset()

    def wake(self) -> None:
        """End a wait; for any thread, also after the block."""
        with suppress(OSError):  # it is closed, or full of signals
            self._writer.send(b"\0")
