"""Finds the intents that no outcome followed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, BinaryIO

from rotator.adapters.audit.line import parse
from rotator.events import Phase
from rotator.ports import UnsettledIntent


def unsettled_intents(file: BinaryIO, *, start: int, end: int) -> tuple[UnsettledIntent, ...]:
    """Return the intents between two offsets of a trail that no outcome of their op followed.

    A line that `start` cuts through is passed over, and so is what is no whole line. An op
    that was begun again after its outcome counts as unsettled again.

    Raises:
        OSError: the file cannot be read.
    """
    file.seek(max(0, start - 1))
    if start > 0:
        file.readline()
    waiting: dict[str, dict[str, Any]] = {}
    while file.tell() < end:
        line = file.readline()
        if not line:
            break
        record = parse(line.rstrip(b"\n"))
        if record is None or not isinstance(op := record.get("op"), str):
            continue
        if record.get("phase") == Phase.INTENT:
            waiting.setdefault(op, record)
        else:
            waiting.pop(op, None)
    return tuple(found for record in waiting.values() if (found := _intent(record)) is not None)


def _intent(record: dict[str, Any]) -> UnsettledIntent | None:
    try:
        at = datetime.fromisoformat(record["ts"])
    except ValueError:
        return None
    return UnsettledIntent(
        event=record["event"],
        op=record["op"],
        target=record.get("target"),
        key_hash=record.get("key_hash"),
        at=at,
    )
