"""What the parts of the loop share: the configuration in force, the world, and who may act."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum

from rotator.config import Config
from rotator.daemon.progress import Progress, watched
from rotator.engine.world import World
from rotator.ports import AuditSink, Clock
from rotator.wiring import Services, limits_of

_EXCHANGES = 8
"""Timeouts that one call may last: a login, two quick retries, and a read that settles it."""

_LISTING = 3600.0
"""Seconds that a listing may last: it has as many pages as the account has hundreds of keys."""

_FILE = 60.0
"""Seconds that an append to the audit trail may last; its lock is waited for for ten."""


class Role(StrEnum):
    """Whether this process acts.

    Attributes:
        ACTING: it does; there is no other, or it holds the lease.
        STANDBY: another process holds the lease.
        UNKNOWN: it has not learnt yet which of the two.
    """

    ACTING = "acting"
    STANDBY = "standby"
    UNKNOWN = "unknown"


class Shared:
    """The state that all threads of the loop read and few change.

    Attributes:
        services: what was opened for the process.
        config: the configuration in force; replaced as a whole.
        world: the ports, or None before Vault was reached; replaced as a whole.
        clock: the time.
        stop: set once the process was asked to stop.
        progress: what each thread is doing.
        role: whether this process acts.
        leader: the name of the process that acts, where it is another and known.
        leads: tells whether our lease still counts, where there is one.
        hear: puts something before the audit trail once Vault is reached.
    """

    def __init__(self, services: Services, stop: threading.Event) -> None:
        """Begin with the configuration that the services were opened for."""
        self.services = services
        self.config: Config = services.config
        self.world: World | None = None
        self.clock: Clock = services.clock
        self.stop = stop
        self._lock = threading.Lock()
        self.progress = Progress(services.clock)
        self.role = Role.ACTING
        self.leader: str | None = None
        self.leads: Callable[[], bool] = lambda: True
        self.hear: Callable[[AuditSink], AuditSink] = lambda sink: sink

    def may_act(self) -> bool:
        """Tell whether work on targets may begin."""
        acting = self.world is not None and self.role is Role.ACTING and self.leads()
        return acting and not self.stop.is_set()

    def acting(self) -> World:
        """Return the world; only for work that begins after Vault was reached."""
        assert self.world is not None
        return self.world

    def open_world(self) -> None:
        """Reach Vault, once.

        Raises:
            ServiceError: the installation cannot be read or made.
        """
        world, progress = self.services.world(), self.progress
        openrouter = _EXCHANGES * self.config.openrouter.timeout.total_seconds()
        vault = _EXCHANGES * self.config.vault.timeout.total_seconds()

        def longest(method: str) -> float:
            return _LISTING if method == "list_keys" else openrouter

        noted = replace(
            world,
            issuer=watched(world.issuer, "openrouter", progress, longest),
            secrets=watched(world.secrets, "vault", progress, lambda _: vault),
            ledgers=watched(world.ledgers, "vault", progress, lambda _: vault),
            leads=lambda: self.leads(),  # noqa: PLW0108 - it is set later
            audit=watched(self.hear(world.audit), "audit", progress, lambda _: _FILE),
        )
        with self._lock:
            self.world = replace(noted, limits=limits_of(self.config))

    def take(self, config: Config) -> None:
        """Put another configuration in force."""
        with self._lock:
            self.config = config
            if self.world is not None:
                self.world = replace(self.world, limits=limits_of(config))

    def heartbeat(self) -> timedelta:
        """Return the time between two heartbeats."""
        return self.config.daemon.heartbeat
