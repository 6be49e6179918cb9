"""What the web server is told of the daemon, and the server beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from rotator import __version__
from rotator.config import HttpConfig
from rotator.config.text import is_loopback
from rotator.core.target import Target
from rotator.daemon.loop import Daemon
from rotator.engine.reconcile import Report
from rotator.errors import ServiceError
from rotator.ports import Clock
from rotator.web import Answers, AuditRecorder, Busy, Process, Role, Vitals, WebServer

_log = logging.getLogger(__name__)

_LEAST_PATIENCE = 60.0
_NEVER = 86400.0
# Seconds between two questions about the management key that no full comparison brings about.


class DaemonSource:
    """Tells the web server how the daemon does; see `rotator.web.Source`."""

    def __init__(self, daemon: Daemon, clock: Clock) -> None:
        """Look at a daemon."""
        self._daemon = daemon
        self._clock = clock
        self._started_at = clock.now()
        self._key_expires_at: datetime | None = None

    def vitals(self) -> Vitals:
        """Return whether the process lives."""
        daemon = self._daemon
        ready = daemon.world() is not None
        if (broken := daemon.broken()) is not None:
            return Vitals(broken, ready)
        age = daemon.heartbeat_age()
        heartbeat = daemon.config.daemon.heartbeat.total_seconds()
        if age is not None and age > max(_LEAST_PATIENCE, 4 * heartbeat):
            return Vitals(f"no heartbeat for {age:.0f} s", ready)
        return Vitals(None, ready)

    def process(self) -> Process:
        """Return the process as a whole."""
        status, config = self._daemon.status(), self._daemon.config
        age, failed = status.heartbeat_age, status.resync
        role = Role(str(status.role))
        return Process(
            instance=config.instance,
            version=__version__,
            holder=self._daemon.holder,
            started_at=self._started_at,
            workers=config.daemon.workers,
            busy=tuple(
                Busy(each.task, each.call_age, each.call, each.late) for each in status.activities
            ),
            heartbeat_at=self._clock.now() - timedelta(seconds=age) if age is not None else None,
            resync_at=status.resync_succeeded_at,
            resync_error=failed.failed if failed is not None else None,
            role=role,
            leader=self._daemon.holder if role is Role.ACTING else status.leader,
            config_sha256=status.config_sha256,
            config_at=status.reloaded_at or self._started_at,
            reload_error=status.reload_error,
            key_refused=status.refused,
            key_expires_at=self._key_expires_at,
        )

    def targets(self) -> tuple[Target, ...]:
        """Return the configured targets."""
        return self._daemon.config.targets

    def reports(self) -> Mapping[str, Report]:
        """Return the last report of each target that was looked at."""
        return self._daemon.reports()

    def ask_about_key(self) -> None:
        """Ask OpenRouter when the management key ends by itself; one call."""
        world = self._daemon.world()
        if world is None:
            return
        try:
            self._key_expires_at = world.issuer.whoami_management().expires_at
        except ServiceError as error:
            _log.warning("cannot tell when the management key expires: %s", error)


@contextmanager
def served(daemon: Daemon, http: HttpConfig | None, clock: Clock) -> Iterator[WebServer | None]:
    """Serve health, metrics and the status page inside the block; before the daemon runs.

    Args:
        daemon: what they tell of.
        http: where; None serves nothing.
        clock: the time.

    Raises:
        AddressUnavailable: the address cannot be taken.
    """
    if http is None:
        yield None
        return
    source, recorder = DaemonSource(daemon, clock), AuditRecorder(clock)
    host, port = http.listen.host, http.listen.port
    page = http.page or is_loopback(host)
    answers = Answers(source, recorder, clock, listen_host=host, page=page)
    server = WebServer(host, port, answers)
    daemon.hear(recorder.before)
    question = daemon.add_duty("key-expiry", _NEVER, source.ask_about_key)
    recorder.on_resync = question.ask
    server.start()
    try:
        yield server
    finally:
        server.stop()
