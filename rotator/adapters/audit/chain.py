"""What is written next: an event's line, and a seal before it where the last line is torn."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from rotator.adapters.audit.line import Place, digest, encode
from rotator.adapters.audit.tail import Tail
from rotator.events import Event, Phase, Result, TornLineSealed


@dataclass(frozen=True, slots=True)
class Addition:
    """Bytes to append in one write.

    Attributes:
        data: whole lines; before them a newline where the file does not end in one.
        head: the digest of the last of these lines.
        seq: its number.
        chain: its chain.
        sealed: the seal among them, or None.
    """

    data: bytes
    head: str
    seq: int
    chain: str
    sealed: TornLineSealed | None


def new_chain_id() -> str:
    """Return a fresh random identifier for a chain: 16 hex digits."""
    return secrets.token_hex(8)


def addition(
    tail: Tail, event: Event, *, fresh_chain: str, link: str, at: datetime, instance: str
) -> Addition:
    """Return what appends an event to a trail with the given end.

    A file that holds no line yet begins the chain `fresh_chain`, whose first line names
    `link` (the head of the file before it, or 64 zeros) as the line before it. A seal names
    the last whole line as the one before it, and the torn bytes in fields of its own, so that
    both are part of the chain.

    Raises:
        AuditUnavailable: the event holds what the trail cannot hold.
    """
    chain = fresh_chain if tail.chain is None else tail.chain
    prev = link if tail.head is None else tail.head
    seal = None
    events: list[Event] = [event]
    if tail.torn is not None:
        seal = TornLineSealed(
            phase=Phase.OUTCOME,
            op=f"{chain}/seal",
            result=Result.DONE,
            torn_bytes=len(tail.torn),
            torn_sha256=digest(tail.torn),
        )
        events.insert(0, seal)
    seq = tail.seq
    parts = [] if tail.terminated else [b"\n"]
    for each in events:
        seq += 1
        line = encode(each, Place(chain, seq, prev), at=at, instance=instance)
        prev = digest(line)
        parts += [line, b"\n"]
    return Addition(b"".join(parts), prev, seq, chain, seal)
