"""The composition root: from a configuration to the ports that the engine works with.

Nothing here decides anything. What is opened here is closed by `Services.close`.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rotator import __version__
from rotator.adapters.audit import FileAuditTrail, StreamAuditTrail
from rotator.adapters.clock import SystemClock
from rotator.adapters.openrouter import OpenRouterIssuer, OpenRouterSettings
from rotator.adapters.vault import (
    VaultClient,
    VaultLedgerStore,
    VaultSecretStore,
)
from rotator.config import Config
from rotator.core.snapshot import Identity, Limits
from rotator.engine.acting import append
from rotator.engine.installation import NONE_YET, read_installation, read_or_create_installation
from rotator.engine.pace import Pace
from rotator.engine.world import Fleet, World
from rotator.errors import AuditUnavailable
from rotator.events import Event, Phase, ProcessStart, ProcessStop, Result
from rotator.ports import AuditSink, Clock, UnsettledIntent
from rotator.wiring.references import ManagementKey, References, check_references
from rotator.wiring.vault_login import login, vault_settings

READ_ONLY = frozenset({"plan", "status", "check"})
"""Commands that change nothing: they need no audit trail and write no document."""


def draw() -> str:
    """Return 16 random hex digits."""
    return secrets.token_hex(8)


class NoAudit:
    """The audit trail of a command that changes nothing: it takes no event."""

    def append(self, event: Event) -> str:
        """Refuse: a command that changes nothing has nothing to record."""
        raise AuditUnavailable(f"a command that changes nothing cannot record {event.name}")

    def head(self) -> str:
        """Return the head of an empty chain."""
        return "0" * 64

    def unsettled(self) -> tuple[UnsettledIntent, ...]:
        """Return nothing."""
        return ()


def limits_of(config: Config) -> Limits:
    """Return the settings that decisions depend on."""
    daemon = config.daemon
    return Limits(
        claim_timeout=daemon.claim_timeout,
        adopt_over=daemon.adopt_over,
        max_dead=daemon.max_dead.of(len(config.targets)),
    )


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that was opened for one command.

    Attributes:
        config: the configuration it was opened for.
        mode: the command.
        clock: the time.
        vault: the Vault, for what is asked beside the ports.
        secrets: the secrets that consumers read.
        ledgers: our own documents.
        issuer: OpenRouter.
        audit: the audit trail.
        fleet: what is known of all targets together.
        stopping: tells whether the process was asked to stop.
        holder: this process's name in claims.
        references: reads our own secrets.
    """

    config: Config
    mode: str
    clock: Clock
    vault: VaultClient
    secrets: VaultSecretStore
    ledgers: VaultLedgerStore
    issuer: OpenRouterIssuer
    audit: AuditSink
    fleet: Fleet
    stopping: Callable[[], bool]
    references: References
    holder: str

    def world(self) -> World:
        """Return the ports and the shared state; one read of Vault, for the installation.

        A command that changes nothing takes a placeholder where there is none yet.

        Raises:
            ServiceError: the installation cannot be read or made.
        """
        if self.mode in READ_ONLY:
            installation = read_installation(self.ledgers) or NONE_YET
        else:
            installation = read_or_create_installation(self.ledgers, draw)
        return World(
            clock=self.clock,
            issuer=self.issuer,
            secrets=self.secrets,
            ledgers=self.ledgers,
            audit=self.audit,
            identity=Identity(self.config.instance, installation, self.holder),
            limits=limits_of(self.config),
            pace=Pace(self.clock, self.config.openrouter.writes_per_minute, self.stopping),
            draw=draw,
            stopping=self.stopping,
            fleet=self.fleet,
        )

    def announce(self, world: World) -> None:
        """Write into the audit trail that this process started.

        Raises:
            AuditUnavailable: it could not be written.
        """
        event = ProcessStart(
            phase=Phase.OUTCOME,
            op=f"{draw()}/start",
            result=Result.DONE,
            version=__version__,
            holder=self.holder,
            mode=self.mode,
            config_sha256=self.config.sha256,
        )
        append(world, event)

    def say_goodbye(self, world: World) -> None:
        """Write into the audit trail that this process stops in good order.

        Raises:
            AuditUnavailable: it could not be written.
        """
        op = f"{draw()}/stop"
        append(
            world,
            ProcessStop(phase=Phase.OUTCOME, op=op, result=Result.DONE, holder=self.holder),
        )

    def reopen(self) -> None:
        """Open the audit file again, as after it was renamed; nothing to do for a stream.

        Raises:
            AuditUnavailable: it cannot be opened; later appends try again.
        """
        if isinstance(self.audit, FileAuditTrail):
            self.audit.reopen()

    def close(self) -> None:
        """Close connections and files."""
        self.issuer.close()
        self.vault.close()
        if isinstance(self.audit, FileAuditTrail):
            self.audit.close()


def connect(
    config: Config,
    *,
    mode: str,
    stopping: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
    environment: Mapping[str, str] | None = None,
) -> Services:
    """Open what a command needs; nothing is sent yet.

    Args:
        config: the configuration.
        mode: the command's name; those of `READ_ONLY` get no audit trail.
        stopping: tells whether the process was asked to stop.
        clock: the system's, unless given.
        environment: the process's variables, unless given.

    Raises:
        ConfigurationError: a certificate, an address or a reference cannot be used. A
            file that a daemon waits for may come later, and is no error for ``run``.
        AuditUnavailable: the audit file cannot be opened.
    """
    clock = clock or SystemClock()
    environment = os.environ if environment is None else environment
    fleet = Fleet()
    vault_login = login(config, References(environment))
    threads = config.daemon.workers + 4  # the start's, the resync's, the lease's, a reload's
    vault = VaultClient(vault_settings(config), vault_login, clock, threads=threads)
    store = VaultSecretStore(vault)
    references = References(
        environment, lambda where: store.read_reference(where.path, where.field)
    )
    if mode != "check":
        check_references(config, references, mode)
    issuer = OpenRouterIssuer(
        OpenRouterSettings(
            base_url=config.openrouter.base_url,
            timeout=config.openrouter.timeout,
            proxy=config.openrouter.proxy,
            ca_cert=config.openrouter.ca_cert,
        ),
        ManagementKey(config.openrouter.management_key, references, fleet, clock),
        clock,
    )
    return Services(
        config=config,
        mode=mode,
        clock=clock,
        vault=vault,
        secrets=store,
        ledgers=VaultLedgerStore(vault, config.vault.state),
        issuer=issuer,
        audit=NoAudit() if mode in READ_ONLY else _audit(config, clock),
        fleet=fleet,
        stopping=stopping,
        references=references,
        holder=_holder(),
    )


def build(
    config: Config,
    *,
    mode: str,
    stopping: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
) -> tuple[World, Services]:
    """Open what a command needs, and return the world with what has to be closed after it.

    Raises:
        ConfigurationError, AuditUnavailable: as `connect`.
        ServiceError: as `Services.world`; everything is closed then.
    """
    services = connect(config, mode=mode, stopping=stopping, clock=clock)
    try:
        return services.world(), services
    except BaseException:
        services.close()
        raise


def _holder() -> str:
    """Return a name for this process, unique for each start, fit for a log line."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:63] or "host"
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


def _audit(config: Config, clock: Clock) -> AuditSink:
    """Open the audit trail."""
    if config.audit.path is None:
        return StreamAuditTrail(sys.stdout.buffer, instance=config.instance, clock=clock)
    return FileAuditTrail(config.audit.path, instance=config.instance, clock=clock)
