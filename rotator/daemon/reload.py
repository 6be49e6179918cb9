"""Another configuration for a running process: taken as a whole, or not at all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from rotator.config import Config
from rotator.daemon.shared import Shared
from rotator.daemon.table import Table
from rotator.engine.acting import append
from rotator.errors import AuditUnavailable, ConfigurationError
from rotator.events import Phase, ProcessReload, Result
from rotator.wiring import draw

_log = logging.getLogger(__name__)

_TABLES = ("openrouter", "vault", "http", "audit")
_OF_DAEMON = ("workers", "lease", "claim_timeout")
# A claim in hand was begun under the old `claim_timeout`, by which other processes judge it too.

_LONGEST = 1000
# Characters of why a file was refused, as it is told elsewhere than in the log.


class Follow(Protocol):
    """Is told of a reload that has put another configuration in force."""

    def __call__(self, before: Config, config: Config, *, look: bool) -> None:
        """Follow it.

        Args:
            before: what was in force.
            config: what is in force now.
            look: whether targets or their policies differ.
        """
        ...


def needs_restart(old: Config, new: Config) -> tuple[str, ...]:
    """Return the settings that differ and cannot change in a running process."""
    found = ["instance"] if old.instance != new.instance else []
    for name in _TABLES:
        before, after = getattr(old, name), getattr(new, name)
        if before is None or after is None:
            found += [name] if before is not after else []
        else:
            found += [f"{name}.{each}" for each in _differing(before, after)]
    found += [f"daemon.{each}" for each in _differing(old.daemon, new.daemon) if each in _OF_DAEMON]
    return tuple(found)


def _as_told(problems: tuple[str, ...], end: str) -> str:
    """Return problems as one text for the lease, which Vault must be able to keep.

    It takes no document of more than a mebibyte, and nothing that is no text, as a file's
    name may be. A leader that could not write its lease would cease to act.
    """
    told = "; ".join(problems)
    if end:
        told += f": {end}"
    told = told.encode(errors="backslashreplace").decode()
    return told if len(told) <= _LONGEST else told[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _differing(before: object, after: object) -> list[str]:
    """Return the names of the settings of one table that differ."""
    names = list(getattr(type(before), "model_fields", {}))
    return [name for name in names if getattr(before, name) != getattr(after, name)]


class Reloading:
    """Reads the configuration again, for one thread at a time.

    Attributes:
        told: is called after each reload.
    """

    def __init__(
        self,
        shared: Shared,
        table: Table,
        load: Callable[[], Config] | None,
        follow: Follow,
    ) -> None:
        """Use what the loop shares.

        Args:
            shared: takes the configuration.
            table: takes its targets.
            load: reads the file again; None where there is nothing to be read again.
            follow: is told of another configuration.
        """
        self._shared = shared
        self._table = table
        self._load = load
        self._follow = follow
        self._lock = threading.Lock()
        self._asked = self._done = 0
        self._error: str | None = None
        self._taken_at: datetime | None = None
        self.told: Callable[[], None] = lambda: None

    def ask(self) -> None:
        """Note that a reload is asked for."""
        with self._lock:
            self._asked += 1

    def counts(self) -> tuple[int, int]:
        """Return how many were asked for, and how many of these are done."""
        with self._lock:
            return self._asked, self._done

    def error(self) -> str | None:
        """Return why the last one left the old configuration in force, or None."""
        return self._error

    def taken_at(self) -> datetime | None:
        """Return when the configuration in force was taken, or None for the first one."""
        return self._taken_at

    def run(self) -> None:
        """Open the audit file again, and put what the configuration file holds now in force."""
        with self._lock:
            asked = self._asked
        try:
            self._reopen()
            self._read()
        finally:
            with self._lock:
                self._done = asked
            self.told()

    def _reopen(self) -> None:
        try:
            self._shared.services.reopen()
        except AuditUnavailable as error:
            _log.error("the audit trail cannot be opened again: %s", error)

    def _read(self) -> None:
        if self._load is None:
            return
        old = self._shared.config
        try:
            new = self._load()
        except ConfigurationError as error:
            self._refuse(error.problems)
            return
        except Exception as error:  # noqa: BLE001 - the status must not say that all is well
            _log.error("%s in reading the configuration", type(error).__name__, exc_info=True)
            self._refuse((f"a defect of this program: {type(error).__name__}",))
            return
        if new.sha256 == old.sha256:
            if self._error is not None:
                _log.warning("the configuration file is again the one that is in force")
            else:
                _log.info("the configuration file is as it was")
            self._error = None
            return
        if fixed := needs_restart(old, new):
            self._refuse(tuple(f"{name} cannot change while running" for name in fixed), new)
            return
        self._take(old, new)

    def _refuse(self, problems: tuple[str, ...], new: Config | None = None) -> None:
        """Keep the old configuration, and say why; once for each cause."""
        told = _as_told(problems, "this needs a restart" if new is not None else "")
        if told == self._error:
            _log.error("the configuration file still cannot be taken, for the same reasons")
            return
        self._error = told
        for problem in problems:
            _log.error("the configuration stays as it was: %s", problem)
        if new is not None:
            _log.error("the configuration stays as it was: restart to change this")
        self._record(Result.FAILED, new.sha256 if new is not None else None, told)

    def _take(self, old: Config, new: Config) -> None:
        """Put another configuration in force."""
        changes = self._table.replace(new.targets)
        self._shared.take(new)
        world = self._shared.world
        if world is not None:
            for name in changes.removed:
                world.fleet.forget(name)
            if changes:
                world.fleet.unfill()  # what a target serves at a new place was not looked at yet
        self._error, self._taken_at = None, self._shared.clock.now()
        for warning in new.warnings:
            _log.warning("%s", warning)
        _log.warning("reloaded: %s", changes)
        self._record(Result.DONE, new.sha256, None)
        self._follow(old, new, look=bool(changes))

    def _record(self, result: Result, sha256: str | None, error: str | None) -> None:
        """Write it into the audit trail; where that fails, the next step will not act."""
        world = self._shared.world
        if world is None:
            return  # the start will say which configuration is in force
        event = ProcessReload(
            phase=Phase.OUTCOME,
            op=f"{draw()}/reload",
            result=result,
            holder=self._shared.services.holder,
            config_sha256=sha256,
            error=error,
        )
        try:
            append(world, event)
        except AuditUnavailable as failed:
            _log.error("the audit trail cannot be written: %s", failed)
