"""One pass over everything that is due now, for cron and CI."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from rotator.adapters.logs import log_context
from rotator.core.target import Target
from rotator.daemon.workers import Spread, Workers
from rotator.engine.reconcile import Report, reconcile
from rotator.engine.resync import resync, settle_interrupted
from rotator.engine.world import World

_log = logging.getLogger(__name__)

_ROUNDS = 20
"""How often a target is looked at again at once; more would be a loop without an end."""


@dataclass(frozen=True, slots=True)
class Passes:
    """What came of going over all targets once.

    Attributes:
        reports: by target, the last report; the steps of all its passes are in it.
        listing_failed: why the account could not be listed, or None.
        foreign: how many keys of the account are not ours.
        stopped: whether the process was asked to stop before the end.
    """

    reports: dict[str, Report]
    listing_failed: str | None
    foreign: int
    stopped: bool


def run_once(world: World, targets: tuple[Target, ...], workers: int) -> Passes:
    """Bring every target as far as it can be brought now, with one listing of the account.

    Args:
        world: the ports.
        targets: all configured targets.
        workers: how many of them are worked on at the same time.

    Raises:
        ServiceError: what an earlier process left open in the audit trail cannot be settled.
        AuditUnavailable: the audit trail cannot be written.
    """
    settle_interrupted(world, targets)
    pool = Workers(workers)
    spread = Spread(pool, lambda name: name in world.fleet.dead())
    reports: dict[str, Report] = {}

    def noting(work: Callable[[Target], Report], some: Iterable[Target]) -> list[Report]:
        def one(target: Target) -> Report:
            with log_context(target=target.name):
                report = work(target)
            if report.plan is not None or report.failure is not None:
                _note(reports, report)
            return report

        return spread(one, some)

    try:
        with log_context(job="resync"):
            whole = resync(world, targets, spread=noting)
        for _ in range(_ROUNDS):
            again = [target for target in targets if _has_work(world, reports.get(target.name))]
            if not again or world.stopping():
                break
            noting(lambda target: reconcile(world, target), again)
    finally:
        pool.stop()
        pool.join()
    return Passes(reports, whole.failed, whole.foreign, world.stopping())


def _note(reports: dict[str, Report], report: Report) -> None:
    """Keep a target's last report, with the steps of the earlier ones."""
    before = reports.get(report.target)
    steps = (*before.changed, *report.changed) if before is not None else report.changed
    reports[report.target] = Report(
        report.target,
        report.at,
        report.plan,
        report.snapshot,
        steps,
        report.failure,
        report.wake_at,
    )


def _has_work(world: World, report: Report | None) -> bool:
    """Tell whether a target that did not fail is to be looked at again at once."""
    if report is None or report.failure is not None or report.wake_at is None:
        return False
    return report.wake_at <= world.clock.now() + timedelta()
