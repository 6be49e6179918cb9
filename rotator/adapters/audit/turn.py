"""One writer at a time, and none who waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rotator.errors import AuditUnavailable
from rotator.ports import Clock


@contextmanager
def turn(mutex: threading.Lock, clock: Clock, seconds: float, refusal: str) -> Iterator[float]:
    """Hold a mutex, and give the monotonic time until which whoever holds it may go on waiting.

    Threads wait together: one after the other, the last would wait so many times as long.

    Args:
        mutex: what the threads of this process share.
        clock: the time.
        seconds: how long to wait, for the mutex and for what is to be done under it.
        refusal: what is said where the mutex could not be had.

    Raises:
        AuditUnavailable: it could not be had in time.
    """
    deadline = clock.monotonic() + seconds
    if not mutex.acquire(timeout=seconds):
        raise AuditUnavailable(refusal)
    try:
        yield deadline
    finally:
        mutex.release()
