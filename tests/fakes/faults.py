"""Faults at port calls: every call of every fake passes through one `Faults`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

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
    """What goes wrong at one call.

    Where a port promises that a lost answer is settled by a read, `ANSWER_LOST` and
    `NO_EFFECT_LOST` are settled so, and `UNSETTLED` is the harder case: the call took
    effect, its answer is lost, and the read that would settle it is lost too.
    """

    DIE_BEFORE = "die_before"
    DIE_AFTER = "die_after"
    ERROR = "error"
    LIMITED = "limited"
    REFUSED = "refused"
    FORBIDDEN = "forbidden"
    UNAUTHORISED = "unauthorised"
    ANSWER_LOST = "answer_lost"
    UNSETTLED = "unsettled"
    NO_EFFECT_LOST = "no_effect_lost"
    LATE = "late"
    VERY_LATE = "very_late"
    SLOW = "slow"
    SLOW_AFTER = "slow_after"


_LOST = frozenset({Kind.ANSWER_LOST, Kind.UNSETTLED, Kind.NO_EFFECT_LOST})
_DELAYED = frozenset({Kind.LATE, Kind.VERY_LATE})


def next_write(kind: Kind) -> Callable[[str, str, bool], Kind | None]:
    """Return a choice for `Faults.choose`: the next call that changes something, and no other."""
    left = [kind]
    return lambda _service, _name, acts: left.pop() if acts and left else None


def nth(call: str, number: int, kind: Kind) -> Callable[[str, str, bool], Kind | None]:
    """Return a choice for `Faults.choose`: one kind of call, the given time it is made."""
    seen = []

    def choose(service: str, name: str, acts: bool) -> Kind | None:
        if f"{service}.{name}" == call:
            seen.append(call)
            if len(seen) == number:
                return kind
        return None

    return choose


class ProcessDeath(BaseException):
    """The process is killed here; nothing of it runs any more."""


@dataclass
class Late:
    """Effects under way, shared by all processes: each with the time at which it lands."""

    effects: list[tuple[datetime, Callable[[], object]]] = field(default_factory=list)
    after_each: Callable[[], None] = lambda: None

    def next_at(self) -> datetime | None:
        """Return when the next one lands, or None."""
        return min((at for at, _ in self.effects), default=None)

    def land(self, now: datetime) -> None:
        """Let effects whose time has come have their effect."""
        due = [each for each in self.effects if each[0] <= now]
        self.effects = [each for each in self.effects if each[0] > now]
        for _, effect in due:
            with contextlib.suppress(RotatorError):
                effect()
            self.after_each()


@dataclass
class Faults:
    """Counts the calls of one process and makes chosen ones fail.

    Attributes:
        now: the true time.
        sleep: lets time pass during a slow call.
        plan: by the call's number (from 1), what goes wrong.
        choose: what goes wrong by a call's service, name and whether it acts, where
            the plan says nothing.
        calls: the names of all calls so far.
        hit: the faults that came to pass, as (call's name, kind).
        late: effects under way.
        before_each: called before every call, with service, name and whether it acts.
        instead: makes every call that gets through, by its service and name, whether it
            acts, and what has its effect: it may answer something else.
        after_each: called after every call that had its effect.
        late_by: how late a late effect lands.
        very_late_by: how late a very late effect lands.
        slow_by: how long a slow call takes.
    """

    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    plan: dict[int, Kind] = field(default_factory=dict)
    choose: Callable[[str, str, bool], Kind | None] = lambda *_: None
    calls: list[str] = field(default_factory=list)
    hit: list[tuple[str, Kind]] = field(default_factory=list)
    late: Late = field(default_factory=Late)
    before_each: Callable[[str, str, bool], None] = lambda *_: None
    instead: Callable[[str, str, bool, Callable[[], Any]], Any] = lambda *call: call[-1]()
    after_each: Callable[[], None] = lambda: None
    late_by: timedelta = timedelta(seconds=5)
    very_late_by: timedelta = timedelta(minutes=15)
    slow_by: timedelta = timedelta(minutes=10)

    def call(
        self,
        service: str,
        name: str,
        effect: Callable[[], T],
        *,
        acts: bool,
        settle: Callable[[], tuple[T] | None] = lambda: None,
    ) -> T:
        """Make one call, unless a fault befalls it.

        Args:
            service: which service.
            name: the call's name.
            effect: has its effect and returns its answer.
            acts: whether it changes something.
            settle: the read that settles a lost answer: the answer in a tuple, or None
                where the effect does not show.
        """
        self.before_each(service, name, acts)
        self.calls.append(f"{service}.{name}")
        kind = self.plan.get(len(self.calls)) or self.choose(service, name, acts)
        if kind is not None:
            self.hit.append((f"{service}.{name}", kind))
        if kind is Kind.DIE_BEFORE:
            raise ProcessDeath
        if kind is Kind.SLOW:
            self.sleep(self.slow_by.total_seconds())
        if kind in (
            Kind.ERROR,
            Kind.LIMITED,
            Kind.REFUSED,
            Kind.FORBIDDEN,
            Kind.UNAUTHORISED,
        ):
            raise self._error(service, name, kind)
        if kind in _DELAYED and acts and service != "audit":
            delay = self.late_by if kind is Kind.LATE else self.very_late_by
            self.late.effects.append((self.now() + delay, effect))
            return self._settled(service, name, settle)
        if kind is Kind.NO_EFFECT_LOST:
            return self._lost(service, name, kind, settle, acts=acts)
        done: T = self.instead(service, name, acts, effect)
        self.after_each()
        if kind is Kind.DIE_AFTER:
            raise ProcessDeath
        if kind is Kind.SLOW_AFTER:
            self.sleep(self.slow_by.total_seconds())
        if kind in _LOST:
            return self._lost(service, name, kind, settle, acts=acts)
        return done

    def _error(self, service: str, name: str, kind: Kind) -> RotatorError:
        if service == "audit":
            return AuditUnavailable(f"{name}: disk full")
        if kind in (Kind.REFUSED, Kind.FORBIDDEN):
            status = 403 if kind is Kind.FORBIDDEN else 400
            return Refused(service, name, "refused", status=status)
        if kind is Kind.UNAUTHORISED:
            return Unauthorised(service, name, "refused", status=401)
        limited = kind is Kind.LIMITED
        return Transient(
            service,
            name,
            "not now",
            status=429 if limited else 503,
            retry_after=7.0 if limited else 1.0,
            pauses_writes=limited and service == "openrouter",
        )

    def _lost(
        self,
        service: str,
        name: str,
        kind: Kind,
        settle: Callable[[], tuple[T] | None],
        *,
        acts: bool,
    ) -> T:
        if service == "audit":
            raise AuditUnavailable(f"{name}: written, but not acknowledged")
        if not acts:
            raise Transient(service, name, "no answer")
        return self._settled(service, name, settle if kind is not Kind.UNSETTLED else lambda: None)

    def _settled(self, service: str, name: str, settle: Callable[[], tuple[T] | None]) -> T:
        found = settle()
        if found is None:
            raise OutcomeUnknown(service, name, "no answer")
        return found[0]
