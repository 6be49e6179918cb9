"""Turns of single targets: queued for the workers, remembered, and woken early."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from rotator.adapters.logs import log_context
from rotator.core.target import Target
from rotator.daemon.schedule import Schedule
from rotator.daemon.shared import Shared
from rotator.daemon.table import Table, unexpected
from rotator.daemon.workers import Workers
from rotator.engine.reconcile import Report
from rotator.engine.requests import Desk

_log = logging.getLogger(__name__)

_EARLY = timedelta(milliseconds=50)


class Turns:
    """Gives targets their turns. Safe to use from several threads.

    Attributes:
        desk: what is in hand of the requests that commands have written into ledgers.
    """

    def __init__(self, shared: Shared, table: Table, workers: Workers, schedule: Schedule) -> None:
        """Use what the loop shares."""
        self._shared = shared
        self._table = table
        self._workers = workers
        self._schedule = schedule
        self.desk = Desk()

    def give(self, name: str) -> None:
        """Queue a turn of one target, unless one waits already or this process may not act."""
        if not self._shared.may_act():
            return
        queued = self._table.queue(name)
        if queued is None:
            return
        due, urgent = queued
        self._workers.submit(
            name,
            lambda: self._take(name),
            urgent=urgent or name in self._shared.acting().fleet.dead(),
            due=due,
            ended=lambda: self._table.unqueue(name),
        )

    def remembered(self, target: Target, work: Callable[[], Report]) -> Report:
        """Do one target's work, remember its report, and set its early wake-up."""
        with log_context(target=target.name):
            try:
                report = work()
            except Exception as error:  # noqa: BLE001 - one target holds up no other
                _log.error("%s in the work on the target", type(error).__name__, exc_info=True)
                report = unexpected(self._table, target, error, self._shared.clock.now())
        if report.plan is not None or report.failure is not None:  # else only observed so far
            self.remember(target, report)
        return report

    def remember(self, target: Target, report: Report) -> None:
        """Remember a report, and set the target's early wake-up."""
        wake_at = self._table.note(target, report, self._shared.heartbeat())
        if wake_at is not None and not self._shared.stop.is_set():
            wait = wake_at - self._shared.clock.now()
            self._schedule.after(f"target {target.name}", wait, self._wake, target.name)

    def _take(self, name: str) -> None:
        """Take a turn, with what is configured by now."""
        turn = self._table.turn(name)
        if turn is None or not self._shared.may_act():
            return
        world = self._shared.acting()

        def work() -> Report:
            return self.desk.attend(world, turn.target, demand=turn.demand, earlier=turn.earlier)

        self.remembered(turn.target, work)

    def _wake(self, name: str) -> None:
        """Give a target its turn at its early wake-up, unless its time was put off meanwhile."""
        if self._table.is_due(name, self._shared.clock.now() + _EARLY):
            self.give(name)
