"""The audit trail on standard output, where a collector takes it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol, cast

from rotator.adapters.audit.chain import addition, new_chain_id
from rotator.adapters.audit.line import GENESIS
from rotator.adapters.audit.tail import tail_of
from rotator.adapters.audit.turn import turn
from rotator.errors import AuditUnavailable
from rotator.events import Event
from rotator.pipes import PIECE, has_room
from rotator.ports import Clock, UnsettledIntent

WRITE_TIMEOUT = 10.0
"""Seconds to wait for a reader who takes nothing before a step is refused."""

_STALLED = "its reader takes nothing"


class RawStream(Protocol):
    """What is written to: tells how many bytes it took, None where it would block."""

    def write(self, data: bytes, /) -> int | None:
        """Write some of the bytes."""
        ...

    def flush(self) -> None:
        """Pass on what is buffered."""
        ...


class StreamAuditTrail:
    """Writes events to a stream, as one chain of its own for each process.

    Durable is what the reader of the stream makes of it. What was once written cannot be
    taken back or read again, so a line that went out in part is sealed by the next.
    """

    def __init__(
        self,
        stream: BinaryIO | RawStream,
        *,
        instance: str,
        clock: Clock,
        new_chain_id: Callable[[], str] = new_chain_id,
    ) -> None:
        """Take a binary stream, such as ``sys.stdout.buffer``; its buffer is bypassed.

        A buffer would keep a line that could not be written, and write it at some later time.
        """
        stream.flush()
        self._stream = cast("RawStream", getattr(stream, "raw", stream))
        self._instance = instance
        self._clock = clock
        self._chain = new_chain_id()
        self._written = b""  # from the last good line on
        self._mutex = threading.Lock()

    def append(self, event: Event) -> str:
        """Write one event and return the chain's new head (64 hex digits).

        Raises:
            AuditUnavailable: it could not be written; the step must not act.
        """
        with self._turn() as deadline:
            added = addition(
                tail_of(self._written),
                event,
                fresh_chain=self._chain,
                link=GENESIS,
                at=self._clock.now(),
                instance=self._instance,
            )
            self._write(added.data, deadline)
            self._written = added.data[added.data.rfind(b"\n", 0, -1) + 1 :]
            return added.head

    def head(self) -> str:
        """Return the digest of the last line, 64 zeros before the first."""
        with self._mutex:
            return tail_of(self._written).head or GENESIS

    def unsettled(self) -> tuple[UnsettledIntent, ...]:
        """Return nothing: a stream cannot be read again."""
        return ()

    def reopen(self) -> None:
        """Do nothing: a stream has no name to open."""

    def close(self) -> None:
        """Do nothing: the stream belongs to the process."""

    def _turn(self) -> AbstractContextManager[float]:
        """Wait for the other threads, and give the time at which the reader has had his."""
        refusal = f"audit trail on standard output: {_STALLED}"
        return turn(self._mutex, self._clock, WRITE_TIMEOUT, refusal)

    def _write(self, data: bytes, deadline: float) -> None:
        done = 0
        try:
            while done < len(data):
                room = has_room(self._stream, deadline - self._clock.monotonic())
                count = self._stream.write(data[done : done + PIECE]) if room else None
                if not count:
                    raise BlockingIOError(errno.EAGAIN, _STALLED)
                done += count
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self._written += data[:done]
            cause = getattr(error, "strerror", None) or str(error)
            raise AuditUnavailable(f"audit trail on standard output: {cause}") from None
