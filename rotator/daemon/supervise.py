"""The main thread: signals, the time a stop may take, and whether the loop still lives."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import NoReturn

from rotator.daemon.loop import Daemon
from rotator.daemon.notify import Notifier
from rotator.daemon.signals import RELOAD, ROTATE, STOP, Signals
from rotator.ports import Clock

_log = logging.getLogger(__name__)

_CHECK_EVERY = 1.0
_LEAST_PATIENCE = 60.0
_LAST_WORD = 1.0
# Seconds that the log has for the reason why the process is left.


def supervise(
    daemon: Daemon,
    clock: Clock,
    signals: Signals,
    *,
    environment: Mapping[str, str] | None = None,
    leave: Callable[[int], NoReturn] = os._exit,
) -> int:
    """Run the daemon in a thread and stay in this one, which must be the main thread.

    Args:
        daemon: the loop.
        clock: the time.
        signals: what is followed; those too that came before.
        environment: the process's variables, unless given; of these only what the service
            manager sets is read, see `rotator.daemon.notify`.
        leave: ends the process without waiting for threads.

    Returns:
        The exit code: 0 after a stop in good order, 1 where the loop broke.
    """
    notifier = Notifier(os.environ if environment is None else environment, clock)
    crashed: list[str] = []

    def run() -> None:
        try:
            daemon.run(signals.wake)
        except Exception as error:  # noqa: BLE001 - it is told, and the process ends by it
            _log.critical("the daemon ended by %s", type(error).__name__, exc_info=True)
            crashed.append(type(error).__name__)
        signals.wake()

    thread = threading.Thread(target=run, name="daemon", daemon=True)
    thread.start()
    _Supervisor(daemon, clock, notifier, thread, leave).stay(signals)
    return 1 if crashed else 0


class _Supervisor:
    """What the main thread does while the loop lives."""

    def __init__(
        self,
        daemon: Daemon,
        clock: Clock,
        notifier: Notifier,
        thread: threading.Thread,
        leave: Callable[[int], NoReturn],
    ) -> None:
        self._daemon = daemon
        self._clock = clock
        self._notifier = notifier
        self._thread = thread
        self._leave = leave
        self._watch = _Watch(daemon, clock)
        self._stop_by: float | None = None
        self._grace = 0.0
        self._ready = self._reloading = False
        self._fed_at = float("-inf")
        watchdog = notifier.watchdog
        self._check_every = min(_CHECK_EVERY, watchdog / 4) if watchdog else _CHECK_EVERY

    def stay(self, signals: Signals) -> None:
        """Wait for signals and for the loop's end, and look after the loop meanwhile."""
        while self._thread.is_alive():
            left = self._check_every
            if self._stop_by is not None:
                left = min(left, self._stop_by - self._clock.monotonic())
                if left <= 0:
                    self._give_up(f"still not stopped after {self._grace:.0f} s")
            self._answer(signals.wait(left))
            if self._stop_by is None:
                if (trouble := self._watch.trouble()) is not None:
                    self._give_up(trouble)
                self._tell()
            elif self._daemon.heartbeat_age() is None:
                self._thread.join(_CHECK_EVERY)
                break  # It never got as far as to have a step in hand.

    def _answer(self, numbers: frozenset[int]) -> None:
        """Do what signals ask for; several of one kind ask for the same thing."""
        if RELOAD in numbers and self._stop_by is None:
            _log.info("SIGHUP: reading the configuration again")
            self._notifier.reloading()
            self._reloading = True
            self._daemon.reload()
        if ROTATE in numbers and self._stop_by is None:
            self._daemon.rotate_all()
        stops = sorted(numbers & frozenset(STOP))
        if stops and self._stop_by is not None:
            self._give_up("asked to stop a second time")
        if stops:
            _log.warning("%s: stopping", signal.Signals(stops[0]).name)
            self._notifier.stopping()
            self._grace = self._daemon.config.daemon.shutdown_grace.total_seconds()
            self._stop_by = self._clock.monotonic() + self._grace
            self._daemon.stop()

    def _tell(self) -> None:
        """Tell the service manager that we are ready, how we do, and that we make progress."""
        if self._daemon.heartbeat_age() is None:
            return
        asked, done = self._daemon.reloads()
        is_news = not self._ready or (self._reloading and done >= asked)
        if is_news and self._notifier.ready():  # else again with the next look: it is waited for
            self._ready, self._reloading = True, False
        self._notifier.status(self._daemon.status().line())
        watchdog = self._notifier.watchdog
        if watchdog is None:
            return
        now = self._clock.monotonic()
        if now - self._fed_at >= watchdog / 4 and self._watch.progress(watchdog):
            self._fed_at = now
            self._notifier.alive()

    def _give_up(self, why: str) -> None:
        """End the process at once: every step in hand is settled by the next start."""
        # Whatever keeps the log, as a thread that died with its lock, must not keep us.
        saying = threading.Thread(
            target=_log.critical, args=("%s: leaving the process", why), daemon=True
        )
        saying.start()
        saying.join(_LAST_WORD)
        self._leave(1)


class _Watch:
    """Tells whether the loop still lives, by its threads and by the age of its heartbeat."""

    def __init__(self, daemon: Daemon, clock: Clock) -> None:
        self._daemon = daemon
        self._clock = clock
        self._looked_at = clock.monotonic()
        self._excused_until = self._looked_at
        self._stale = False

    def progress(self, watchdog: float) -> bool:
        """Tell whether scheduler and workers have made progress; stricter than `trouble`."""
        age = self._daemon.heartbeat_age()
        expected = max(3 * self._heartbeat(), watchdog / 2)
        return age is not None and age <= expected and self._daemon.broken() is None

    def trouble(self) -> str | None:
        """Return what is wrong, or None."""
        now, patience = self._clock.monotonic(), max(_LEAST_PATIENCE, 4 * self._heartbeat())
        if now - self._looked_at > patience / 2:
            # We did not run either: the machine slept, or the process was stopped.
            self._excused_until = now + patience
        self._looked_at = now
        broken = self._daemon.broken()
        age = self._daemon.heartbeat_age()
        late = age is not None and age > patience
        if now < self._excused_until or (broken is None and not late):
            self._stale = False
            return None
        # Seen twice, because the machine may have gone to sleep in the middle of this very look.
        before, self._stale = self._stale, True
        if not before:
            return None
        return broken if broken is not None else f"no heartbeat for {age:.0f} s"

    def _heartbeat(self) -> float:
        return self._daemon.config.daemon.heartbeat.total_seconds()
