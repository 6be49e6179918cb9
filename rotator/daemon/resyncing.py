"""The resync as a duty of the loop: when it failed, again soon; what it found, remembered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from rotator.adapters.logs import log_context
from rotator.core.target import Target
from rotator.daemon.backoff import Backoff
from rotator.daemon.shared import Shared
from rotator.daemon.table import Table
from rotator.daemon.turns import Turns
from rotator.daemon.workers import Spread, Workers
from rotator.engine.reconcile import Report
from rotator.engine.resync import ResyncReport, resync, settle_interrupted
from rotator.errors import AuditUnavailable, ServiceError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resynced:
    """How the last resync went.

    Attributes:
        at: when it ended, by the local clock.
        failed: why there was no complete listing, or None.
        keys: how many keys were listed.
        foreign: how many of them are not ours.
        copied: how many bear our instance but another installation.
    """

    at: datetime
    failed: str | None
    keys: int
    foreign: int
    copied: int


class Resyncing:
    """Compares account, configuration and ledgers, for one thread at a time."""

    def __init__(self, shared: Shared, table: Table, workers: Workers, turns: Turns) -> None:
        """Use what the loop shares."""
        self._shared = shared
        self._table = table
        self._workers = workers
        self._turns = turns
        daemon = shared.config.daemon
        self._backoff = Backoff(daemon.resync.total_seconds(), daemon.heartbeat.total_seconds())
        self._again_at: datetime | None = None
        self._last: Resynced | None = None
        self._succeeded_at: datetime | None = None

    def last(self) -> Resynced | None:
        """Return how the last one went, or None before the first has ended."""
        return self._last

    def succeeded_at(self) -> datetime | None:
        """Return when the last one with a complete listing ended, or None."""
        return self._succeeded_at

    def is_due(self, now: datetime) -> bool:
        """Tell whether one that failed is to be tried again; true once for each failure."""
        if self._again_at is None or self._again_at > now:
            return False
        self._again_at = None
        return True

    def run(self) -> None:
        """Make one resync, where this process may act."""
        if not self._shared.may_act():
            return
        try:
            with log_context(job="resync"):
                done = self._run()
        except Exception as error:  # noqa: BLE001 - it is told, and tried again
            _log.error("%s in the resync", type(error).__name__, exc_info=True)
            self._note(ResyncReport((), type(error).__name__))
            return
        self._note(done)

    def _run(self) -> ResyncReport:
        self._settle()
        world = self._shared.acting()
        term = world.fleet.term()  # before the targets: a reload in between makes it an old one
        targets = self._shared.config.targets
        spread = Spread(self._workers, lambda name: name in world.fleet.dead())

        def remembering(work: Callable[[Target], Report], some: Iterable[Target]) -> list[Report]:
            return spread(lambda target: self._one(target, work), some)

        demands = self._table.demands()
        done = resync(
            world,
            targets,
            spread=remembering,
            earlier=self._table.failures(),
            demand=lambda target: demands.get(target.name),
            term=term,
        )
        if done.failed is None:
            self._let_go(done)
        for name in requested(done):
            self._turns.give(name)
        return done

    def _one(self, target: Target, work: Callable[[Target], Report]) -> Report:
        """Work on one target, unless a reload has changed it or taken it away meanwhile."""
        if target.configured and not self._table.holds(target):
            return Report(target.name, self._shared.clock.now(), None, None)
        return self._turns.remembered(target, lambda: work(target))

    def _let_go(self, done: ResyncReport) -> None:
        """Keep the targets that the configuration has let go until their old keys are gone."""
        found = [
            (report.snapshot.target, report)
            for report in done.reports
            if report.snapshot is not None and not report.snapshot.target.configured
        ]
        self._table.let_go(target for target, _ in found)
        for target, report in found:
            self._turns.remember(target, report)

    def _note(self, done: ResyncReport) -> None:
        now = self._shared.clock.now()
        self._last = Resynced(now, done.failed, done.keys, done.foreign, done.copied)
        if done.failed is None:
            self._succeeded_at = now
            self._backoff.reset()
            self._again_at = None
            _log.info("resync", extra={"listed": done.keys, "foreign": done.foreign})
        elif not self._shared.stop.is_set():
            wait = self._backoff.next()
            self._again_at = now + timedelta(seconds=wait)
            _log.warning("no full comparison with the account was made: again in %.0f s", wait)

    def _settle(self) -> None:
        """Close what a process left open that ended shortly before this one began."""
        try:
            settle_interrupted(self._shared.acting(), self._shared.config.targets)
        except (ServiceError, AuditUnavailable) as error:
            _log.error("cannot settle the audit trail yet: %s", error)


def requested(done: ResyncReport) -> tuple[str, ...]:
    """Return the targets in whose ledgers a request stands, whether the pulse names it or not."""
    found = []
    for report in done.reports:
        book = report.snapshot.ledger.ledger if report.snapshot is not None else None
        if book is not None and book.request is not None:
            found.append(report.target)
    return tuple(found)
