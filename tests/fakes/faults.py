"""Faults at port calls: every call of every fake passes through one `Faults`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from rotator.errors import (
    AuditUnavailable,
    OutcomeUnknown,
    Refused,
    RotatorError,
    Transient,
    Unauthorised,
)

T = TypeVar("T")


class Kind(StrEnum):
    """What goes wrong at one call."""

    DIE_BEFORE = "die_before"
    DIE_AFTER = "die_after"
    ERROR = "error"
    REFUSED = "refused"
    UNAUTHORISED = "unauthorised"
    ANSWER_LOST = "answer_lost"
    NO_EFFECT_LOST = "no_effect_lost"
    LATE = "late"
    VERY_LATE = "very_late"
    SLOW = "slow"


class ProcessDeath(BaseException):
    """The process is killed here; nothing of it runs any more."""


@dataclass
class Faults:
    """Counts calls and makes chosen ones fail.

    Attributes:
        now: the true time.
        sleep: lets time pass during a slow call.
        plan: by the call's number (from 1), what goes wrong.
        calls: the names of all calls so far.
        hit: the faults that came to pass, as (call's name, kind).
        late: effects under way, with the time at which they land.
        after_each: called after every call that had its effect.
        late_by: how late a late effect lands.
        very_late_by: how late a very late effect lands.
        slow_by: how long a slow call takes.
    """

    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    plan: dict[int, Kind] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    hit: list[tuple[str, Kind]] = field(default_factory=list)
    late: list[tuple[datetime, Callable[[], object]]] = field(default_factory=list)
    after_each: Callable[[], None] = lambda: None
    late_by: timedelta = timedelta(seconds=5)
    very_late_by: timedelta = timedelta(minutes=15)
    slow_by: timedelta = timedelta(minutes=10)

    def call(self, service: str, name: str, effect: Callable[[], T], *, acts: bool) -> T:
        """Make one call, unless a fault is planned for it."""
        self.calls.append(f"{service}.{name}")
        kind = self.plan.get(len(self.calls))
        if kind is not None:
            self.hit.append((f"{service}.{name}", kind))
        if kind is Kind.DIE_BEFORE:
            raise ProcessDeath
        if kind is Kind.SLOW:
            self.sleep(self.slow_by.total_seconds())
        if kind in (Kind.ERROR, Kind.REFUSED, Kind.UNAUTHORISED):
            raise self._error(service, name, kind)
        if kind in (Kind.LATE, Kind.VERY_LATE) and acts and service != "audit":
            delay = self.late_by if kind is Kind.LATE else self.very_late_by
            self.late.append((self.now() + delay, effect))
            raise OutcomeUnknown(service, name, "no answer")
        if kind is Kind.NO_EFFECT_LOST:
            raise self._lost(service, name, acts=acts)
        done = effect()
        self.after_each()
        if kind is Kind.DIE_AFTER:
            raise ProcessDeath
        if kind is Kind.ANSWER_LOST:
            raise self._lost(service, name, acts=acts)
        return done

    def land(self) -> None:
        """Let effects whose time has come have their effect."""
        due = [each for each in self.late if each[0] <= self.now()]
        self.late = [each for each in self.late if each[0] > self.now()]
        for _, effect in due:
            with contextlib.suppress(RotatorError):
                effect()
            self.after_each()

    def _error(self, service: str, name: str, kind: Kind) -> RotatorError:
        if service == "audit":
            return AuditUnavailable(f"{name}: disk full")
        if kind is Kind.REFUSED:
            return Refused(service, name, "refused", status=400)
        if kind is Kind.UNAUTHORISED:
            return Unauthorised(service, name, "refused", status=401)
        return Transient(service, name, "not now", retry_after=1.0)

    def _lost(self, service: str, name: str, *, acts: bool) -> RotatorError:
        if service == "audit":
            return AuditUnavailable(f"{name}: written, but not acknowledged")
        if acts:
            return OutcomeUnknown(service, name, "no answer")
        return Transient(service, name, "no answer")
