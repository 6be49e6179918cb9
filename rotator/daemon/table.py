"""The table of targets: what the loop remembers of each, while the set of them may change."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from rotator.core.asked import is_rotated
from rotator.core.failures import Cause, next_failure
from rotator.core.ledger import Failure
from rotator.core.reasons import Reason
from rotator.core.request import Before
from rotator.core.snapshot import Demand
from rotator.core.target import Target
from rotator.engine.reconcile import Report
from rotator.errors import RotatorError

_NOT_OVER = frozenset({Reason.CLAIMED, Reason.BACKING_OFF})
"""Why a request waits although a pass found nothing to do."""


@dataclass(slots=True)
class _Slot:
    """What the loop remembers of one target.

    Attributes:
        target: it.
        wake_at: when to look at it, by the local clock; None for "at the next resync".
        report: the last one, or None before the first.
        failure: the last failure, for the case that the ledger could not keep it.
        queued: whether a run of it waits or is under way.
        demand: a request to rotate it that is not fulfilled yet, or None.
    """

    target: Target
    wake_at: datetime | None = None
    report: Report | None = None
    failure: Failure | None = None
    queued: bool = False
    demand: Demand | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What a run of one target starts with.

    Attributes:
        target: it.
        earlier: the last failure, or None.
        demand: a request to rotate it, or None.
    """

    target: Target
    earlier: Failure | None
    demand: Demand | None


@dataclass(frozen=True, slots=True)
class Changes:
    """How one set of targets differs from another: names, in order."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        """Return how many there are of each, as a person would say it."""
        return (
            f"{len(self.added)} targets added, {len(self.removed)} let go, "
            f"{len(self.changed)} changed"
        )


class Table:
    """The targets and what is remembered of each. Safe to use from several threads.

    Beside the configured ones it holds those that the configuration has let go and whose old
    keys are not all gone.
    """

    def __init__(self, targets: Iterable[Target]) -> None:
        """Begin with the configured targets."""
        self._lock = threading.Lock()
        self._slots = {target.name: _Slot(target) for target in targets}

    def replace(self, targets: Iterable[Target]) -> Changes:
        """Take another set of configured targets; what is known of those that stay, stays.

        A target at another place or field is the same target to its ledger, but what was seen
        at the old place says nothing about the new one.
        """
        with self._lock:
            old = {name: slot for name, slot in self._slots.items() if slot.target.configured}
            new = {target.name: target for target in targets}
            changes = Changes(
                tuple(sorted(new.keys() - old.keys())),
                tuple(sorted(old.keys() - new.keys())),
                tuple(sorted(n for n in new.keys() & old.keys() if old[n].target != new[n])),
            )
            slots: dict[str, _Slot] = {}
            for name, target in new.items():
                slot = old.get(name) or _Slot(target)
                if slot.target.secret != target.secret:
                    slot = _Slot(target, queued=slot.queued, demand=slot.demand)
                slot.target = target
                slots[name] = slot
            self._slots = slots
            return changes

    def let_go(self, targets: Iterable[Target]) -> None:
        """Note which targets that are configured no more still have old keys to be finished."""
        with self._lock:
            found = {target.name: target for target in targets}
            kept = {n: s for n, s in self._slots.items() if s.target.configured or n in found}
            self._slots = kept
            for name, target in found.items():
                self._slots.setdefault(name, _Slot(target))

    def holds(self, target: Target) -> bool:
        """Tell whether a target is still what it was, so that work on it may begin."""
        with self._lock:
            slot = self._slots.get(target.name)
            return slot is not None and slot.target == target

    def reports(self) -> dict[str, Report]:
        """Return the last report of each configured target that was looked at."""
        with self._lock:
            return {
                name: slot.report
                for name, slot in self._slots.items()
                if slot.report is not None and slot.target.configured
            }

    def failures(self) -> dict[str, Failure]:
        """Return the last failure of each target that has one."""
        with self._lock:
            return {n: s.failure for n, s in self._slots.items() if s.failure is not None}

    def due(self, now: datetime, *, everything: bool = False) -> list[str]:
        """Return the names of the targets that were looked at and whose time has come."""
        with self._lock:
            return [
                name
                for name, slot in self._slots.items()
                if slot.report is not None
                and (everything or (slot.wake_at is not None and slot.wake_at <= now))
            ]

    def is_due(self, name: str, now: datetime) -> bool:
        """Tell whether the time of one target has come."""
        with self._lock:
            slot = self._slots.get(name)
            return slot is not None and slot.wake_at is not None and slot.wake_at <= now

    # --- runs ------------------------------------------------------------------------------------

    def queue(self, name: str) -> tuple[float, bool] | None:
        """Note that a run of a target is queued.

        Returns:
            When it was due, as seconds of the epoch, and whether it is urgent; None where a run
            waits already, or there is no such target.
        """
        with self._lock:
            slot = self._slots.get(name)
            if slot is None or slot.queued:
                return None
            slot.queued = True
            due = slot.wake_at.timestamp() if slot.wake_at is not None else 0.0
            planned = slot.report.plan if slot.report is not None else None
            return due, planned is not None and planned.urgent

    def unqueue(self, name: str) -> None:
        """Note that the queued run of a target is over, or was dropped."""
        with self._lock:
            slot = self._slots.get(name)
            if slot is not None:
                slot.queued = False

    def turn(self, name: str) -> Turn | None:
        """Return what a run of a target starts with now, or None where there is none any more."""
        with self._lock:
            slot = self._slots.get(name)
            return None if slot is None else Turn(slot.target, slot.failure, slot.demand)

    def note(self, target: Target, report: Report, soonest: timedelta) -> datetime | None:
        """Remember how a run went.

        Args:
            target: as it was when the run began.
            report: how it went.
            soonest: how long to wait at least where the report asks for another run at once.

        Returns:
            When to wake it early, or None.
        """
        with self._lock:
            slot = self._slots.get(target.name)
            if slot is None or slot.target.secret != target.secret:
                return None
            slot.report, slot.failure, slot.wake_at = report, report.failure, report.wake_at
            if slot.wake_at is not None and slot.wake_at <= report.at:
                slot.wake_at = report.at + soonest
            if slot.target != target:
                slot.wake_at = report.at  # it was looked at under a policy of before a reload
            if slot.demand is not None and _over(report, slot.demand):
                slot.demand = None
            elif (
                slot.demand is not None
                and report.failure is None
                and not _told(report, slot.demand)
            ):
                soon = report.at + soonest  # the request came after the pass had begun
                slot.wake_at = min(slot.wake_at or soon, soon)
            return slot.wake_at

    # --- requests --------------------------------------------------------------------------------

    def undemanded(self) -> frozenset[str]:
        """Return the names of the configured targets of which no rotation is waited for."""
        with self._lock:
            return frozenset(
                name
                for name, slot in self._slots.items()
                if slot.target.configured and slot.demand is None
            )

    def demand(self, name: str, before: Before) -> None:
        """Ask for a rotation of one target; where one is waited for already, it is the same.

        Args:
            name: of the target.
            before: what its ledger said when it was asked for.
        """
        with self._lock:
            slot = self._slots.get(name)
            if slot is not None and slot.demand is None:
                slot.demand = Demand(named=False, before=before)

    def withdraw(self) -> dict[str, Before | None]:
        """Forget each request that waits, and return by target what its ledger said for it."""
        with self._lock:
            waiting = {n: s.demand for n, s in self._slots.items() if s.demand is not None}
            for name in waiting:
                self._slots[name].demand = None
            return {name: demand.before for name, demand in waiting.items()}

    def demands(self) -> dict[str, Demand]:
        """Return each request that waits, by target."""
        with self._lock:
            return {n: s.demand for n, s in self._slots.items() if s.demand is not None}


def unexpected(table: Table, target: Target, error: Exception, now: datetime) -> Report:
    """Report a defect of this program, so that one target's holds up no other."""
    detail = str(error) if isinstance(error, RotatorError) else type(error).__name__
    cause = Cause(Reason.DEFECT, f"unexpected: {detail}")
    failure = next_failure(target.name, table.failures().get(target.name), cause, now)
    return Report(target.name, now, None, None, (), failure, failure.next_try)


def _told(report: Report, demand: Demand) -> bool:
    """Tell whether a pass knew of a request as it was planned."""
    return report.snapshot is not None and report.snapshot.demand is demand


def _over(report: Report, demand: Demand) -> bool:
    """Tell whether a request is fulfilled, or cannot be while things are as they are."""
    book = report.snapshot.ledger.ledger if report.snapshot is not None else None
    if book is not None and is_rotated(book, demand.before):
        return True
    chosen = report.plan
    if chosen is None or chosen.steps or report.failure is not None:
        return False
    return chosen.reason not in _NOT_OVER and _told(report, demand)
