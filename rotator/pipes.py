"""Whether a reader still reads: what nobody takes from a pipe holds its writer up for ever."""

from __future__ import annotations

import select
from typing import Any

PIECE = select.PIPE_BUF
"""Bytes that a pipe with room takes without making its writer wait (pipe(7))."""


def has_room(stream: Any, seconds: float) -> bool:
    """Tell whether a stream takes a `PIECE` at once, now or within some seconds.

    True too of what is no file, and of a pipe whose reader is gone: a write tells at once.
    """
    try:
        descriptor: int = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(max(0.0, seconds) * 1000))
