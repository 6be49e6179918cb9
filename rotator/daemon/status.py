"""The daemon's state as one frozen value, for pages, metrics, health and the service manager."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rotator.core.words import targets
from rotator.daemon.progress import Activity
from rotator.daemon.resyncing import Resynced
from rotator.daemon.shared import Role


@dataclass(frozen=True, slots=True)
class Status:
    """How the process does. What it knows of each target is in `Daemon.reports`.

    Attributes:
        ready: whether Vault let us in once, with a configuration that could be used.
        heartbeat_age: seconds since the last heartbeat, or None before the loop runs.
        broken: what of the loop has died or is wedged, or None.
        activities: what each thread that has something in hand is doing.
        role: whether this process acts.
        leader: the process that acts, where it is another and known.
        targets: how many targets are configured.
        config_sha256: of the file that is in force.
        reload_error: why the last reload left the old configuration in force, or None.
        reloaded_at: when the configuration in force was taken by a reload, or None.
        resync: how the last resync went, or None before the first has ended and where it stands by.
        resync_succeeded_at: when the last one with a complete listing ended, or None.
        refused: why all changes are stopped (the management key is refused), or None; also None
            where it stands by and asks nobody.
        requests: how many targets have a request to rotate that is not fulfilled yet.
    """

    ready: bool
    heartbeat_age: float | None
    broken: str | None
    activities: tuple[Activity, ...]
    role: Role
    leader: str | None
    targets: int
    config_sha256: str
    reload_error: str | None
    reloaded_at: datetime | None
    resync: Resynced | None
    resync_succeeded_at: datetime | None
    refused: str | None
    requests: int

    def line(self) -> str:
        """Return all this in one line for a person."""
        if not self.ready:
            return "waiting for Vault"
        parts = [targets(self.targets)]
        if self.role is not Role.ACTING:
            parts.append(f"standing by for {self.leader}" if self.leader else "standing by")
        if self.requests:
            parts.append(f"{self.requests} to be rotated on request")
        if self.refused is not None:
            parts.append("all changes are stopped: the management key is refused")
        if self.resync is not None and self.resync.failed is not None:
            parts.append("the last comparison with the account failed")
        if self.reload_error is not None:
            parts.append("the configuration file was changed but could not be taken")
        return "; ".join(parts)
