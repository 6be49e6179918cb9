"""An audit trail in memory that outlives the processes that write to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from rotator.events import Event, Phase
from rotator.ports import UnsettledIntent
from tests.fakes.faults import Faults


@dataclass
class FakeTrail:
    """The lines of a trail: the truth, without faults.

    Attributes:
        now: the trail's clock.
        lines: every event with its time.
        last_by: by writer, the last event that it wrote.
        on_append: called with each event after it was written.
    """

    now: Callable[[], datetime]
    lines: list[tuple[datetime, Event]] = field(default_factory=list)
    last_by: dict[str, Event] = field(default_factory=dict)
    on_append: Callable[[Event], None] = lambda _: None

    def add(self, event: Event, writer: str = "") -> None:
        """Write one event."""
        self.lines.append((self.now(), event))
        self.last_by[writer] = event
        self.on_append(event)

    def events(self, name: str, phase: Phase = Phase.OUTCOME) -> list[Event]:
        """Return all events of a name and phase."""
        return [each for _, each in self.lines if (each.name, each.phase) == (name, phase)]

    def unsettled(self) -> tuple[UnsettledIntent, ...]:
        """Return intents that no outcome of the same op followed."""
        closed = {each.op for _, each in self.lines if each.phase is Phase.OUTCOME}
        return tuple(
            UnsettledIntent(each.name, each.op, each.target, each.key_hash, at)
            for at, each in self.lines
            if each.phase is Phase.INTENT and each.op not in closed
        )


class FakeAudit:
    """Implements `rotator.ports.AuditSink` over a `FakeTrail`, with faults."""

    def __init__(self, trail: FakeTrail, faults: Faults, writer: str = "") -> None:
        self.trail = trail
        self._faults = faults
        self._writer = writer

    def append(self, event: Event) -> str:
        def written() -> str:
            self.trail.add(event, self._writer)
            return self.head()

        return self._faults.call("audit", "append", written, acts=True)

    def head(self) -> str:
        return hashlib.sha256(str(len(self.trail.lines)).encode()).hexdigest()

    def unsettled(self) -> tuple[UnsettledIntent, ...]:
        return self.trail.unsettled()
