"""The daemon's loop: a heartbeat over stored times, a resync, and early wake-ups.

Nothing is decided here but when a target is looked at. The heartbeat compares each
target's time with the clock; date jobs only shorten the wait for it, so that one that
is lost costs a heartbeat and no more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from rotator.adapters.clock import SystemClock
from rotator.adapters.logs import log_context
from rotator.core.failures import Cause, next_failure
from rotator.core.ledger import Failure
from rotator.core.reasons import Reason
from rotator.core.target import Target
from rotator.daemon.backoff import Backoff, persist
from rotator.daemon.workers import Spread, Workers
from rotator.engine.reconcile import Report, reconcile
from rotator.engine.resync import resync, settle_interrupted
from rotator.engine.world import World
from rotator.errors import AuditUnavailable, RotatorError, ServiceError
from rotator.wiring import Services

_log = logging.getLogger(__name__)

CLOCK_STEP = 5.0
"""Seconds by which the wall clock must leave the monotonic one to count as set by hand."""

ASK_AGAIN = 60.0
"""Seconds between two questions whether a refused management key is accepted again."""


@dataclass(slots=True)
class _Slot:
    """What the loop remembers of one target.

    Attributes:
        target: it.
        wake_at: when to look at it, by the local clock; None for "at the next resync".
        report: the last one, or None before the first.
        failure: the last failure, for the case that the ledger could not keep it.
        queued: whether a run of it waits or is under way.
    """

    target: Target
    wake_at: datetime | None = None
    report: Report | None = None
    failure: Failure | None = None
    queued: bool = False


class Daemon:
    """One process that keeps all targets of a configuration. Start `run` in a thread."""

    def __init__(self, services: Services, stop: threading.Event) -> None:
        """Prepare; nothing is sent before `run`.

        Args:
            services: what was opened for ``run``.
            stop: what its `stopping` asks; `stop` sets it.
        """
        self._services = services
        self._config = services.config
        self._clock = services.clock
        self._stop = stop
        self._lock = threading.Lock()
        self._resyncing = threading.Lock()
        self._slots = {target.name: _Slot(target) for target in services.config.targets}
        self._world: World | None = None
        self._workers: Workers | None = None
        self._scheduler: BackgroundScheduler | None = None
        self._beat_at: float | None = None
        self._wall, self._mono = self._clock.now(), self._clock.monotonic()
        self._asked_at = float("-inf")
        self._told_refused = False
        self._resync_at: datetime | None = None
        self._resync_backoff = Backoff(
            services.config.daemon.resync.total_seconds(),
            services.config.daemon.heartbeat.total_seconds(),
        )

    # --- from other threads ----------------------------------------------------------------------

    def stop(self) -> None:
        """Ask the loop to end: what has begun is finished, nothing new begins."""
        self._stop.set()

    def reports(self) -> dict[str, Report]:
        """Return the last report of each target that was looked at."""
        with self._lock:
            return {
                name: slot.report for name, slot in self._slots.items() if slot.report is not None
            }

    def heartbeat_age(self) -> float | None:
        """Return seconds since the last heartbeat, or None while there is no loop yet."""
        beat_at = self._beat_at
        return None if beat_at is None else self._clock.monotonic() - beat_at

    def broken(self) -> str | None:
        """Return what of the loop has died, or None."""
        if self._stop.is_set() or self._scheduler is None or self._workers is None:
            return None
        # A scheduler whose thread died still says that it runs.
        thread = self._scheduler._thread  # noqa: SLF001 - there is no public way to ask
        if thread is not None and not thread.is_alive():
            return "the scheduler's thread has died"
        return None if self._workers.all_alive() else "a worker's thread has died"

    # --- the life of the process -----------------------------------------------------------------

    def run(self) -> None:
        """Start, loop until `stop`, and end in good order."""
        world = self._start_up()
        if world is None:
            return
        workers = self._workers = Workers(self._config.daemon.workers)
        scheduler = self._scheduler = self._new_scheduler()
        self._beat_at = self._clock.monotonic()
        scheduler.start()
        self._stop.wait()
        _log.info("stopping: finishing the steps in hand")
        scheduler.shutdown(wait=False)
        workers.stop()
        workers.join()
        with self._resyncing:  # it ends soon, now that no worker takes anything from it
            pass
        try:
            self._services.say_goodbye(world)
        except AuditUnavailable as error:
            _log.error("the audit trail cannot be written: %s", error)
        _log.info("stopped")

    def _start_up(self) -> World | None:
        """Reach Vault, announce the process, settle what was interrupted; None after a stop."""
        worlds: list[World] = []
        targets = self._config.targets
        steps: tuple[tuple[str, Callable[[], object]], ...] = (
            ("reach Vault", lambda: worlds.append(self._services.world())),
            ("write the audit trail", lambda: self._services.announce(worlds[0])),
            ("settle the audit trail", lambda: settle_interrupted(worlds[0], targets)),
        )
        if not all(persist(what, step, self._stop) for what, step in steps):
            return None
        world = self._world = worlds[0]
        _log.info("started", extra={"targets": len(targets), "holder": self._services.holder})
        return world

    def _new_scheduler(self) -> BackgroundScheduler:
        """Return the scheduler with the heartbeat and the resync in it."""
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={
                "default": ThreadPoolExecutor(2),
                "heartbeat": ThreadPoolExecutor(1),
                "resync": ThreadPoolExecutor(1),
            },
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        now = SystemClock().now()
        scheduler.add_job(
            self._resync,
            IntervalTrigger(seconds=self._config.daemon.resync.total_seconds(), timezone=UTC),
            id="resync",
            executor="resync",
            next_run_time=now,
        )
        heartbeat = self._config.daemon.heartbeat.total_seconds()
        scheduler.add_job(
            self._heartbeat,
            IntervalTrigger(seconds=heartbeat, timezone=UTC),
            id="heartbeat",
            executor="heartbeat",
            next_run_time=now + timedelta(seconds=heartbeat),
        )
        return scheduler

    # --- jobs --------------------------------------------------------------------------------------

    def _heartbeat(self) -> None:
        """Queue every target whose time has come."""
        if self._stop.is_set():
            return
        now, mono = self._clock.now(), self._clock.monotonic()
        step = (now - self._wall).total_seconds() - (mono - self._mono)
        self._wall, self._mono = now, mono
        stepped = abs(step) > CLOCK_STEP
        if stepped:
            _log.warning("the clock was set by %+.0f s: every target is looked at again", step)
        with self._lock:
            due = [
                name
                for name, slot in self._slots.items()
                if slot.report is not None
                and (stepped or (slot.wake_at is not None and slot.wake_at <= now))
            ]
        for name in due:
            self._enqueue(name)
        self._ask_about_management_key(mono)
        if self._resync_at is not None and self._resync_at <= now:
            self._resync_at = None
            self._once("resync-again", self._resync, "resync")
        self._beat_at = mono

    def _ask_about_management_key(self, mono: float) -> None:
        """About once a minute, see whether a refused management key is accepted again."""
        world = self._world
        assert world is not None  # the scheduler starts after it
        refused = world.fleet.refused()
        if (refused is None) is self._told_refused:
            self._told_refused = refused is not None
            if refused is not None:
                _log.error("all changes are stopped: %s", refused)
            else:
                _log.warning("OpenRouter accepts the management key again: changes go on")
        if refused is None or mono - self._asked_at < ASK_AGAIN:
            return
        self._asked_at = mono
        self._once("management-key", self._ask_openrouter, "default")

    def _ask_openrouter(self) -> None:
        world = self._world
        assert world is not None  # the scheduler starts after it
        try:
            world.issuer.whoami_management()
        except ServiceError as error:
            _log.error("all changes stay stopped: %s", error)
            return
        world.fleet.refuse(None)
        self._once("resync-again", self._resync, "resync")

    def _once(self, job: str, work: Callable[[], None], executor: str) -> None:
        """Run something once, now, in a thread of an executor."""
        scheduler = self._scheduler
        if scheduler is not None and not self._stop.is_set():
            at = DateTrigger(SystemClock().now(), timezone=UTC)
            scheduler.add_job(work, at, id=job, executor=executor, replace_existing=True)

    def _resync(self) -> None:
        """Compare account, configuration and ledgers, and reconcile every target."""
        with self._resyncing:
            if self._stop.is_set():
                return
            try:
                self._resync_now()
            except Exception as error:  # noqa: BLE001 - it is told, and tried again
                _log.error("%s in the resync", type(error).__name__, exc_info=True)
                self._resync_later()

    def _resync_later(self) -> None:
        """Try a resync that failed again, sooner than its interval says."""
        wait = self._resync_backoff.next()
        self._resync_at = self._clock.now() + timedelta(seconds=wait)
        _log.warning("no full comparison with the account was made: again in %.0f s", wait)

    def _resync_now(self) -> None:
        world, workers = self._world, self._workers
        assert world is not None  # the scheduler starts after both
        assert workers is not None
        with self._lock:
            earlier = {
                name: slot.failure for name, slot in self._slots.items() if slot.failure is not None
            }
        spread = Spread(workers, lambda name: name in world.fleet.dead())

        def noting(work: Callable[[Target], Report], targets: Any) -> list[Report]:
            return spread(lambda target: self._noted(target, lambda: work(target)), targets)

        with log_context(job="resync"):
            self._settle(world)
            done = resync(world, self._config.targets, spread=noting, earlier=earlier)
            if done.failed is None:
                self._resync_backoff.reset()
                self._resync_at = None
                _log.info("resync", extra={"listed": done.keys, "foreign": done.foreign})
            else:
                self._resync_later()

    def _settle(self, world: World) -> None:
        """Close what a process left open that ended shortly before this one began."""
        try:
            settle_interrupted(world, self._config.targets)
        except (ServiceError, AuditUnavailable) as error:
            _log.error("cannot settle the audit trail yet: %s", error)

    # --- one target ------------------------------------------------------------------------------

    def _wake(self, name: str) -> None:
        """Queue a target at its early wake-up, unless its time was put off meanwhile."""
        with self._lock:
            wake_at = self._slots[name].wake_at
        if wake_at is not None and wake_at <= self._clock.now() + timedelta(milliseconds=50):
            self._enqueue(name)

    def _enqueue(self, name: str) -> None:
        """Queue a run of one target, unless one waits already."""
        world, workers = self._world, self._workers
        assert world is not None  # jobs run after the start
        assert workers is not None
        with self._lock:
            slot = self._slots[name]
            if slot.queued:
                return
            slot.queued = True
            due = slot.wake_at.timestamp() if slot.wake_at is not None else 0.0
            urgent = name in world.fleet.dead() or _is_urgent(slot.report)

        def ended() -> None:
            with self._lock:
                slot.queued = False

        def work() -> None:
            target = slot.target
            self._noted(target, lambda: reconcile(world, target, earlier=slot.failure))

        workers.submit(name, work, urgent=urgent, due=due, ended=ended)

    def _noted(self, target: Target, work: Callable[[], Report]) -> Report:
        """Run one target's work, remember its report, and set its early wake-up."""
        with log_context(target=target.name):
            try:
                report = work()
            except Exception as error:  # noqa: BLE001 - one target holds up no other
                _log.error("%s in the work on the target", type(error).__name__, exc_info=True)
                report = self._unexpected(target, error)
        slot = self._slots.get(target.name)
        if slot is None or (report.plan is None and report.failure is None):
            return report  # let go by the configuration, or only observed so far
        soonest = report.at + self._config.daemon.heartbeat
        with self._lock:
            slot.report, slot.failure = report, report.failure
            slot.wake_at = report.wake_at
            if slot.wake_at is not None and slot.wake_at <= report.at:
                slot.wake_at = soonest
            wake_at = slot.wake_at
        if wake_at is not None:
            self._wake_early(target.name, wake_at)
        return report

    def _wake_early(self, name: str, wake_at: datetime) -> None:
        scheduler = self._scheduler
        if scheduler is None or self._stop.is_set():
            return
        left = max(timedelta(), wake_at - self._clock.now())
        scheduler.add_job(
            self._wake,
            DateTrigger(SystemClock().now() + left, timezone=UTC),
            args=[name],
            id=f"target {name}",
            replace_existing=True,
        )

    def _unexpected(self, target: Target, error: Exception) -> Report:
        """Report a defect of this program, so that one target's holds up no other."""
        now = self._clock.now()
        detail = str(error) if isinstance(error, RotatorError) else type(error).__name__
        with self._lock:
            slot = self._slots.get(target.name)
            before = slot.failure if slot is not None else None
        cause = Cause(Reason.UNAVAILABLE, f"unexpected: {detail}")
        failure = next_failure(target.name, before, cause, now)
        return Report(target.name, now, None, None, (), failure, failure.next_try)


def _is_urgent(report: Report | None) -> bool:
    """Tell whether a target's last plan was to go before others."""
    return report is not None and report.plan is not None and report.plan.urgent
