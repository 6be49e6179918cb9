"""Listens to the audit trail: the last events for the page, and counts for the metrics."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rotator.errors import AuditUnavailable
from rotator.events import Event, Phase, Resync
from rotator.ports import AuditSink, Clock, UnsettledIntent
from rotator.redaction import redact

KEPT = 60
"""How many events are remembered for the page."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as the page shows it.

    Attributes:
        at: when it was written, by the local clock.
        name: of the event.
        phase: intent or outcome.
        result: on outcomes.
        target: the target's name, or None.
        key_hash: of the key concerned, or None.
        text: particulars, without anything that looks like a credential.
    """

    at: datetime
    name: str
    phase: str
    result: str | None
    target: str | None
    key_hash: str | None
    text: str


@dataclass(frozen=True, slots=True)
class AuditState:
    """What was heard so far.

    Attributes:
        events: the last events, the newest first.
        steps: how many steps ended, by event and result.
        failures: how many events could not be written.
        failing: why the last one could not be written, or None.
        account: the last full comparison, or None before it.
    """

    events: tuple[Seen, ...]
    steps: dict[tuple[str, str], int]
    failures: int
    failing: str | None
    account: Resync | None


class AuditRecorder:
    """Remembers what is written to an audit trail, and what could not be."""

    def __init__(self, clock: Clock) -> None:
        """Have heard nothing yet.

        Attributes:
            on_resync: is called after a full comparison was written.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._events: deque[Seen] = deque(maxlen=KEPT)
        self._steps: Counter[tuple[str, str]] = Counter()
        self._failures = 0
        self._failing: str | None = None
        self._account: Resync | None = None
        self.on_resync: Callable[[], None] = lambda: None

    def before(self, sink: AuditSink) -> AuditSink:
        """Return a sink that passes each event on and lets this recorder hear of it."""
        return _Heard(sink, self)

    def state(self) -> AuditState:
        """Return what was heard so far."""
        with self._lock:
            return AuditState(
                tuple(reversed(self._events)),
                dict(self._steps),
                self._failures,
                self._failing,
                self._account,
            )

    def refused(self, why: str) -> None:
        """Note that an event could not be written."""
        with self._lock:
            self._failures += 1
            self._failing = redact(why)

    def written(self, event: Event) -> None:
        """Note that an event was written."""
        seen = Seen(
            at=self._clock.now(),
            name=event.name,
            phase=str(event.phase),
            result=str(event.result) if event.result is not None else None,
            target=event.target,
            key_hash=event.key_hash,
            text=redact(_text(event)),
        )
        with self._lock:
            self._failing = None
            if isinstance(event, Resync):
                self._account = event
            if event.step and event.phase is Phase.OUTCOME and seen.result is not None:
                self._steps[(seen.name, seen.result)] += 1
            # What a step found is shown, not that it was about to be taken: half the lines.
            if event.phase is Phase.OUTCOME:
                self._events.append(seen)
        if isinstance(event, Resync):
            self.on_resync()


class _Heard:
    """An audit sink before another one."""

    def __init__(self, sink: AuditSink, recorder: AuditRecorder) -> None:
        self._sink = sink
        self._recorder = recorder

    def append(self, event: Event) -> str:
        try:
            head = self._sink.append(event)
        except AuditUnavailable as error:
            self._recorder.refused(str(error))
            raise
        self._recorder.written(event)
        return head

    def head(self) -> str:
        return self._sink.head()

    def unsettled(self) -> tuple[UnsettledIntent, ...]:
        return self._sink.unsettled()


def _text(event: Event) -> str:
    """Return the particulars that a person reads."""
    if isinstance(event, Resync):
        return f"{event.keys} keys, {event.orphans} orphans, {event.foreign} foreign"
    parts = (
        getattr(event, "change", None),
        event.error,
        getattr(event, "detail", None),
        getattr(event, "command", None),
        getattr(event, "mode", None),
    )
    return " ".join(str(part) for part in parts if part)
