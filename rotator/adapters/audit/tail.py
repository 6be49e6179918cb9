"""Where a trail file ends: the last whole line, and whether a torn one follows it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rotator.adapters.audit.line import digest, parse

_FIRST_BLOCK = 16 * 1024
_LIMIT = 64 * 1024 * 1024


class NotATrailError(Exception):
    """The last 64 MiB of the file hold no line of a trail; this is not our file."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a trail file.

    Attributes:
        chain: the chain that the file ends with, or None where no whole line is in it.
        seq: its last line's number, 0 where there is none.
        head: the digest of the last whole line, or None where there is none.
        torn: the bytes after the last whole line (or a whole line that lacks its newline),
            without a newline at their end; None where the file ends in good order.
        terminated: whether the file ends in a newline (an empty one does).
    """

    chain: str | None
    seq: int
    head: str | None
    torn: bytes | None
    terminated: bool


def read_tail(fd: int, size: int) -> Tail:
    """Read the end of an open file of which `size` bytes are of interest.

    Raises:
        NotATrailError: it is large and holds nothing that this program wrote.
        OSError: it cannot be read.
    """
    block = _FIRST_BLOCK
    while True:
        start = max(0, size - block)
        data = _read(fd, start, size)
        if start > 0:  # the first line of the block may be a part of one
            data = data.partition(b"\n")[2]
        tail = _tail_of(data, whole_file=start == 0)
        if tail is not None:
            return tail
        if block >= _LIMIT:
            raise NotATrailError
        block *= 4


def tail_of(data: bytes) -> Tail:
    """Return the tail of a whole trail, given as its bytes."""
    tail = _tail_of(data, whole_file=True)
    assert tail is not None
    return tail


def _read(fd: int, start: int, end: int) -> bytes:
    parts = []
    while start < end:
        part = os.pread(fd, end - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _tail_of(data: bytes, *, whole_file: bool) -> Tail | None:
    """Return the tail that the data show, or None where more of the file is needed."""
    if not data:
        return Tail(None, 0, None, None, terminated=True) if whole_file else None
    terminated = data.endswith(b"\n")
    lines = (data[:-1] if terminated else data).split(b"\n")
    for index in range(len(lines) - 1, -1, -1):
        record = parse(lines[index])
        if record is None:
            continue
        head = digest(lines[index])
        if index < len(lines) - 1:
            torn: bytes | None = b"\n".join(lines[index + 1 :])
        else:
            torn = None if terminated else lines[index]
        return Tail(record["chain"], record["seq"], head, torn, terminated)
    if not whole_file:
        return None
    return Tail(None, 0, None, b"\n".join(lines), terminated)
