"""A rotation of every target, asked for by a signal."""

from __future__ import annotations

import logging
import threading
from datetime import datetime

from rotator.core.words import targets
from rotator.daemon.duty import Duty
from rotator.daemon.shared import Role, Shared
from rotator.daemon.table import Table
from rotator.daemon.turns import Turns
from rotator.engine.acting import append
from rotator.engine.asking import ask_for_all
from rotator.errors import AuditUnavailable, ServiceError
from rotator.events import OperatorCommand, Phase, Result
from rotator.wiring import draw

_log = logging.getLogger(__name__)


class Sweep:
    """Asks for a rotation of every target, in a thread of its own.

    Attributes:
        duty: that thread.
    """

    def __init__(self, shared: Shared, table: Table, turns: Turns) -> None:
        """Use what the loop shares."""
        self._shared = shared
        self._table = table
        self._turns = turns
        self._lock = threading.Lock()
        self._at: datetime | None = None
        self.duty = Duty("sweep", self._run, shared.progress)

    def ask(self) -> None:
        """Ask for it as of now; from any thread, and returns at once."""
        with self._lock:
            self._at = self._at or self._shared.clock.now()
        self.duty.ask()

    def _run(self) -> None:
        with self._lock:
            at, self._at = self._at, None
        if at is None:
            return
        if self._shared.role is Role.STANDBY:
            self._pass_on()
            return
        names = self._table.demand(at)
        if not names:
            _log.info("a rotation of every target is already waited for")
            return
        _log.warning("a rotation was asked for of %s", targets(len(names)))
        self._record()
        for name in names:
            self._turns.give(name)

    def _pass_on(self) -> None:
        """Ask the process that acts, as a command would, by a request in each ledger."""
        shared, config = self._shared, self._shared.config
        by = f"SIGUSR1 to {shared.services.holder}"
        try:
            asked = ask_for_all(shared.acting(), config.targets, by=by, term=config.daemon.lease)
        except ServiceError as error:
            _log.error("the process that acts could not be asked to rotate: %s", error)
            return
        _log.warning("%s acts, and was asked to rotate %s", shared.leader, targets(asked))

    def _record(self) -> None:
        """Write it into the audit trail; where that fails, the next step will not act."""
        world = self._shared.world
        if world is None:
            return
        event = OperatorCommand(
            phase=Phase.OUTCOME,
            op=f"{draw()}/rotate",
            result=Result.DONE,
            command="rotate",
            by="SIGUSR1",
            detail="--all",
        )
        try:
            append(world, event)
        except AuditUnavailable as error:
            _log.error("the audit trail cannot be written: %s", error)
