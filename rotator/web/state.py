"""What the web server is told of the process: values, and the protocol that gives them.

All instants are aware and in UTC. None of it holds a plaintext.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from rotator.core.target import Target
from rotator.engine.reconcile import Report


@dataclass(frozen=True, slots=True)
class Vitals:
    """Whether the process lives and may be counted on. Cheap to make: probes ask often.

    Attributes:
        trouble: why the process should be started again, or None; never an outage elsewhere.
        ready: whether the configuration is loaded and Vault has let us in once.
    """

    trouble: str | None
    ready: bool


@dataclass(frozen=True, slots=True)
class Busy:
    """A thread that has something in hand.

    Attributes:
        task: the target or the duty that it works on.
        seconds: for how long.
        call: the call that it is in, or None.
        late: whether it is past its call's outer deadline.
    """

    task: str
    seconds: float
    call: str | None
    late: bool


class Role(StrEnum):
    """Whether this process acts, stands by for another, or cannot tell which of the two."""

    ACTING = "acting"
    STANDBY = "standby"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Process:
    """The process as a whole.

    Attributes:
        instance: the configuration's.
        version: of this program.
        holder: this process's name in claims.
        started_at: when it started.
        workers: how many targets it can work on at the same time.
        busy: the threads that have something in hand.
        heartbeat_at: when the loop last compared due times with the clock, or None before that.
        resync_at: when the account was last compared in full, or None before that.
        resync_error: why the last comparison failed, or None.
        role: whether this process acts. One that stands by knows nothing new of the targets.
        leader: the name of the process that acts, or None where none is known.
        config_sha256: of the configuration in force.
        config_at: when it was loaded.
        reload_error: why a newer one was refused, or None.
        key_refused: why OpenRouter refuses the management key, or None.
        key_expires_at: when the management key ends by itself, or None for never or unknown.
    """

    instance: str
    version: str
    holder: str
    started_at: datetime
    workers: int
    busy: tuple[Busy, ...] = ()
    heartbeat_at: datetime | None = None
    resync_at: datetime | None = None
    resync_error: str | None = None
    role: Role = Role.ACTING
    leader: str | None = None
    config_sha256: str = ""
    config_at: datetime | None = None
    reload_error: str | None = None
    key_refused: str | None = None
    key_expires_at: datetime | None = None


class Source(Protocol):
    """Gives what the server shows. Called from the server's thread; none of it may wait."""

    def vitals(self) -> Vitals:
        """Return whether the process lives."""
        ...

    def process(self) -> Process:
        """Return the process as a whole."""
        ...

    def targets(self) -> tuple[Target, ...]:
        """Return the configured targets."""
        ...

    def reports(self) -> Mapping[str, Report]:
        """Return the last report of each target that was looked at."""
        ...
