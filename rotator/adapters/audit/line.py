"""One line of the audit trail: how an event is written, and how a line is read back.

A line is a JSON object in ASCII with fixed order of keys and no spaces, ended by a newline
that is not part of it. Its digest is the SHA-256 of its bytes, as hex.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from rotator.errors import AuditUnavailable
from rotator.events import Event
from rotator.redaction import redact, redact_bytes

GENESIS = "0" * 64
"""``prev`` of a line before which there is none, as far as its writer knows."""

MAX_TEXT = 1000
"""Characters of one string; a longer one is cut and ends in an ellipsis."""

LEADING = (
    "ts", "chain", "seq", "prev", "event", "phase", "op", "instance", "target", "reason", "key_hash",
)  # fmt: skip
"""The keys with which every line begins, in this order."""

TRAILING = ("result", "error")
"""The keys with which every line ends; the event's own fields stand between."""

_COMMON = frozenset(LEADING + TRAILING)


@dataclass(frozen=True, slots=True)
class Place:
    """A line's place in its chain.

    Attributes:
        chain: the chain's identifier.
        seq: 1 for the chain's first line, and one more for each that follows.
        prev: the digest of the line before it.
    """

    chain: str
    seq: int
    prev: str


def digest(line: bytes) -> str:
    """Return the SHA-256 of a line's bytes (without its newline) as 64 hex digits."""
    return hashlib.sha256(line).hexdigest()


def timestamp(at: datetime) -> str:
    """Return an aware instant as RFC 3339 in UTC with microseconds.

    Raises:
        ValueError: it has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError("an instant without a time zone")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def own_fields(event: type[Event] | Event) -> tuple[str, ...]:
    """Return the names of the fields that an event has beside those of every event."""
    return tuple(field.name for field in fields(event) if field.name not in _COMMON)


def encode(event: Event, place: Place, *, at: datetime, instance: str) -> bytes:
    """Return an event as a line, without the newline.

    Everything is escaped to ASCII, so that no text from outside can end the line or move a
    terminal's cursor. What looks like a credential is masked, in each string and once more in
    the whole.

    Raises:
        AuditUnavailable: a field holds what the trail cannot hold.
    """
    record: dict[str, Any] = {
        "ts": at,
        "chain": place.chain,
        "seq": place.seq,
        "prev": place.prev,
        "event": event.name,
        "instance": instance,
    }
    names = (*LEADING, *own_fields(event), *TRAILING)
    try:
        values = {n: _plain(record[n] if n in record else getattr(event, n)) for n in names}
        return redact_bytes(dump(values))
    except (TypeError, ValueError) as error:
        raise AuditUnavailable(f"audit: {event.name} cannot be written: {error}") from None


def dump(record: dict[str, Any]) -> bytes:
    """Return a record in the one form in which it may stand in the trail."""
    return json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def parse(line: bytes) -> dict[str, Any] | None:
    """Return a line as a record, or None where it is no whole line of a trail.

    A record has its place in a chain and an event's name; whether the rest is as the
    catalogue says is another question.
    """
    try:
        record = json.loads(line.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    texts = all(isinstance(record.get(name), str) for name in ("ts", "chain", "prev", "event"))
    return record if texts and type(record.get("seq")) is int else None


def _plain(value: object) -> str | float | bool | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, str):
        text = redact(str(value))
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "\N{HORIZONTAL ELLIPSIS}"
    raise TypeError(f"a {type(value).__name__} has no place in an event")
