"""The daemon's loop: a heartbeat over stored times, a resync, and early wake-ups.

Nothing is decided here but when a target is looked at. The heartbeat compares each
target's time with the clock; date jobs only shorten the wait for it, so that one that
is lost costs a heartbeat and no more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from rotator import __version__
from rotator.config import Config
from rotator.core.lease import PublicState
from rotator.daemon.backoff import persist
from rotator.daemon.duty import Duty
from rotator.daemon.leading import Leading, Pulse
from rotator.daemon.login import StayingLoggedIn
from rotator.daemon.reload import Reloading
from rotator.daemon.resyncing import Resyncing
from rotator.daemon.schedule import Schedule
from rotator.daemon.shared import Role, Shared
from rotator.daemon.status import Status
from rotator.daemon.sweep import Sweep
from rotator.daemon.table import Table
from rotator.daemon.turns import Turns
from rotator.daemon.workers import Workers
from rotator.engine.reconcile import Report
from rotator.engine.resync import settle_interrupted
from rotator.engine.world import World
from rotator.errors import AuditUnavailable, ServiceError
from rotator.ports import AuditSink
from rotator.wiring import Services

_log = logging.getLogger(__name__)

CLOCK_STEP = 5.0
"""Seconds by which the wall clock must leave the monotonic one to count as set by hand."""

ASK_AGAIN = 60.0
"""Seconds between two questions whether a refused management key is accepted again."""

_PACE = 1.0
"""Seconds between two looks whether the schedule waits for a clock that was set back."""

_LAST_WORD = 1.0
"""Seconds that a stop waits for the threads that have no step in hand, but a service may keep."""

_IN_TIME = 0.75
"""Share of the grace after which a stop waits for nothing but steps in hand."""


class Daemon:
    """One process that keeps all targets of a configuration. Start `run` in a thread.

    All other methods may be called from any thread and return at once.
    """

    def __init__(
        self,
        services: Services,
        stop: threading.Event,
        *,
        load: Callable[[], Config] | None = None,
        taken: Callable[[Config], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is sent before `run`.

        Args:
            services: what was opened for ``run``.
            stop: what its `stopping` asks; `stop` sets it.
            load: reads the configuration again; raises ConfigurationError.
            taken: is told of a configuration that a reload has put in force.
        """
        self._services = services
        self._clock = services.clock
        self._stop = stop
        self._shared = shared = Shared(services, stop)
        self._table = Table(services.config.targets)
        self._schedule = Schedule()
        self._workers = Workers(services.config.daemon.workers, shared.progress)
        self._turns = Turns(shared, self._table, self._workers, self._schedule)
        self._resyncing = Resyncing(shared, self._table, self._workers, self._turns)
        self._reloading = Reloading(shared, self._table, load, self._reloaded)
        self._sweep = Sweep(shared, self._table, self._turns)
        self._taken = taken
        self._start = self._new_duty("start", self._start_up)
        self._resync = self._new_duty("resync", self._resyncing.run)
        self._reload = self._new_duty("reload", self._reloading.run)
        self._question = self._new_duty("management-key", self._ask_openrouter)
        pulse = Pulse(shared, self._table, self._turns)
        self._pulse = self._new_duty("requests", pulse.run)
        self._leading = Leading(shared, self._schedule, self.take_role, self._public)
        self._lease = self._new_duty("lease", self._leading.tick)
        self._leading.tick_soon = self._lease.ask
        self._duties = [self._start, self._resync, self._reload, self._question, self._sweep.duty]
        self._token = self._new_duty("vault-token", StayingLoggedIn(shared).run)
        self._duties += [self._pulse, self._lease, self._token]
        self._extra: list[tuple[str, float, Duty]] = []
        self._announced = False
        self._running = False
        self._beat_at: float | None = None
        self._wall, self._mono = self._clock.now(), self._clock.monotonic()
        self._asked_at = float("-inf")
        self._told_refused = False

    # --- from other threads ----------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._shared.config

    @property
    def holder(self) -> str:
        """This process's name in claims."""
        return self._services.holder

    def world(self) -> World | None:
        """Return the ports and the shared state, or None before Vault was reached."""
        return self._shared.world

    def stop(self) -> None:
        """Ask the loop to end: what has begun is finished, nothing new begins."""
        self._stop.set()

    def reload(self) -> None:
        """Have the configuration read again, and the audit file opened again."""
        self._reloading.ask()
        self._reload.ask()

    def reloads(self) -> tuple[int, int]:
        """Return how many reloads were asked for, and how many of these are done."""
        return self._reloading.counts()

    def reload_error(self) -> str | None:
        """Return why the last reload left the old configuration in force, or None."""
        return self._reloading.error()

    def rotate_all(self) -> None:
        """Have every target rotated once: each gets another key than its ledger names now.

        While a target waits for that, further requests are the same one to it.
        """
        self._sweep.ask()

    def take_role(self, role: Role, leader: str | None = None) -> None:
        """Begin or cease to act; a step in hand is finished in either case."""
        before, self._shared.role, self._shared.leader = self._shared.role, role, leader
        if role is Role.ACTING and before is not Role.ACTING:
            self._resync.ask()
        if role is not before:
            self._sweep.go_on()

    def add_duty(self, name: str, every: float, work: Callable[[], None]) -> Duty:
        """Have something done in a thread of its own, at an interval of seconds and when asked.

        Only before `run`. The first time is at the start, before Vault was reached.
        """
        duty = self._new_duty(name, work)
        self._extra.append((name, every, duty))
        return duty

    def hear(self, before: Callable[[AuditSink], AuditSink]) -> None:
        """Have something stand before the audit trail and hear what is written. Before `run`."""
        self._shared.hear = before

    def reports(self) -> dict[str, Report]:
        """Return the last report of each configured target that was looked at."""
        return self._table.reports()

    def heartbeat_age(self) -> float | None:
        """Return seconds since the last heartbeat, or None while there is no loop yet."""
        beat_at = self._beat_at
        return None if beat_at is None else self._clock.monotonic() - beat_at

    def broken(self) -> str | None:
        """Return what of the loop has died or is wedged, or None."""
        if self._stop.is_set() or not self._running:
            return None
        thread = self._schedule.thread()
        if thread is not None and not thread.is_alive():
            return "the scheduler's thread has died"
        if not self._workers.all_alive():
            return "a worker's thread has died"
        if not all(duty.alive() for duty in self._all_duties()):
            return "a thread of the loop has died"
        for each in self._shared.progress.now():
            if each.late:
                doing = f"in {each.call}" if each.call else "without a call"
                return f"{each.thread} ({each.task}) has been {doing} for {each.call_age:.0f} s"
        return None

    def status(self) -> Status:
        """Return how the process does."""
        shared, world = self._shared, self._shared.world
        # What a process found while it led is for the one to tell that leads now.
        stands_by = shared.role is Role.STANDBY
        refused = world.fleet.refused() if world is not None else None
        return Status(
            ready=world is not None,
            heartbeat_age=self.heartbeat_age(),
            broken=self.broken(),
            activities=shared.progress.now(),
            role=shared.role,
            leader=shared.leader,
            targets=len(shared.config.targets),
            config_sha256=shared.config.sha256,
            reload_error=self._reloading.error(),
            reloaded_at=self._reloading.taken_at(),
            resync=None if stands_by else self._resyncing.last(),
            resync_succeeded_at=self._resyncing.succeeded_at(),
            refused=None if stands_by else refused,
            requests=len(self._table.demands()) + self._sweep.left(),
        )

    # --- the life of the process -----------------------------------------------------------------

    def run(self, told: Callable[[], None] = lambda: None) -> None:
        """Start, loop until `stop`, and end in good order.

        Args:
            told: is called when the loop runs, and after each reload.
        """
        self._reloading.told = told
        for duty in self._all_duties():
            duty.start()
        self._set_intervals()
        self._schedule.start()
        self._beat_at = self._clock.monotonic()
        self._running = True
        self._start.ask()
        for _, _, duty in self._extra:
            duty.ask()
        told()
        while not self._stop.wait(_PACE):
            self._schedule.keep_pace()
        self._end()

    def _end(self) -> None:
        """Finish the steps in hand, and leave the rest where it is: no service is waited for."""
        grace = self._shared.config.daemon.shutdown_grace.total_seconds()
        by = self._clock.monotonic() + _IN_TIME * grace
        _log.info("stopping: finishing the steps in hand")
        self._schedule.stop()
        for duty in self._all_duties():
            duty.stop()
        self._workers.stop()
        self._workers.join()
        last_word = min(by, self._clock.monotonic() + _LAST_WORD)
        for duty in self._all_duties():
            duty.join(self._until(last_word))
        self._say_goodbye()
        release = threading.Thread(target=self._leading.release, name="release", daemon=True)
        release.start()
        release.join(self._until(by))
        _log.info("stopped")

    def _until(self, monotonic: float) -> float:
        """Return the seconds that are left."""
        return max(0.0, monotonic - self._clock.monotonic())

    def _say_goodbye(self) -> None:
        world = self._shared.world
        if world is None or not self._announced:
            return
        try:
            self._services.say_goodbye(world)
        except AuditUnavailable as error:
            _log.error("the audit trail cannot be written: %s", error)

    def _start_up(self) -> None:
        """Reach Vault, announce the process, settle what was interrupted, and begin."""
        shared = self._shared
        steps: tuple[tuple[str, Callable[[], object]], ...] = (
            ("reach Vault", shared.open_world),
            ("write the audit trail", self._announce),
            (
                "settle the audit trail",
                lambda: settle_interrupted(shared.acting(), shared.config.targets),
            ),
        )
        if not all(persist(what, step, self._stop) for what, step in steps):
            return
        targets = len(shared.config.targets)
        _log.info("started", extra={"targets": targets, "holder": self._services.holder})
        self._lease.ask()
        self._resync.ask()

    def _public(self) -> PublicState:
        """Return what this process says of itself while it holds the lease."""
        return PublicState(
            version=__version__,
            config_sha256=self._shared.config.sha256,
            reload_error=self._reloading.error(),
            resynced_at=self._resyncing.succeeded_at(),
        )

    def _announce(self) -> None:
        self._services.announce(self._shared.acting())
        self._announced = True

    def _new_duty(self, name: str, work: Callable[[], None]) -> Duty:
        return Duty(name, work, self._shared.progress)

    def _all_duties(self) -> list[Duty]:
        return [*self._duties, *(duty for _, _, duty in self._extra)]

    def _set_intervals(self) -> None:
        """Set or change the jobs that come at an interval."""
        daemon, every = self._shared.config.daemon, self._schedule.every
        every("resync", daemon.resync.total_seconds(), self._resync.ask)
        if self._leading.interval is not None:
            every("lease", self._leading.interval, self._lease.ask)
        every("heartbeat", daemon.heartbeat.total_seconds(), self._heartbeat, executor="heartbeat")
        for name, seconds, duty in self._extra:
            every(name, seconds, duty.ask)

    def _reloaded(self, before: Config, config: Config, *, look: bool) -> None:
        """Follow a reload that has put another configuration in force."""
        self._taken(config)
        old, new = before.daemon, config.daemon
        if (old.resync, old.heartbeat) != (new.resync, new.heartbeat):
            self._set_intervals()
        if look:
            self._resync.ask()

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
        for name in self._table.due(now, everything=stepped):
            self._turns.give(name)
        self._token.ask()
        if self._sweep.left():
            self._sweep.go_on()
        if self._shared.may_act():
            self._pulse.ask()
            self._ask_about_management_key(mono)
            if self._resyncing.is_due(now):
                self._resync.ask()
        self._beat_at = mono

    def _ask_about_management_key(self, mono: float) -> None:
        """About once a minute, see whether a refused management key is accepted again."""
        refused = self._shared.acting().fleet.refused()
        if (refused is None) is self._told_refused:
            self._told_refused = refused is not None
            if refused is not None:
                _log.error("all changes are stopped: %s", refused)
            else:
                _log.warning("OpenRouter accepts the management key again: changes go on")
        if refused is None or mono - self._asked_at < ASK_AGAIN:
            return
        self._asked_at = mono
        self._question.ask()

    def _ask_openrouter(self) -> None:
        world = self._shared.acting()
        try:
            world.issuer.whoami_management()
        except ServiceError as error:
            _log.error("all changes stay stopped: %s", error)
            return
        world.fleet.refuse(None)
        self._resync.ask()
