"""A rotation of every target, asked for by a signal."""

from __future__ import annotations

import logging
import threading

from rotator.core.asked import before_of
from rotator.core.request import Before
from rotator.core.words import targets
from rotator.daemon.duty import Duty
from rotator.daemon.shared import Role, Shared
from rotator.daemon.table import Table
from rotator.daemon.turns import Turns
from rotator.engine.acting import append
from rotator.engine.asking_for_all import ask_for_all
from rotator.engine.observe import ledger_seen
from rotator.engine.world import World, ledger_name
from rotator.errors import AuditUnavailable, ServiceError
from rotator.events import OperatorCommand, Phase, Result
from rotator.wiring import draw

_log = logging.getLogger(__name__)


class Sweep:
    """Asks for a rotation of every target, in a thread of its own.

    What each ledger says is read for that at once, and by it the rotation is known that was
    asked for. What cannot be done yet is tried again with each heartbeat; what is not
    fulfilled when another process acts is passed on to that one.

    Attributes:
        duty: that thread.
    """

    def __init__(self, shared: Shared, table: Table, turns: Turns) -> None:
        """Use what the loop shares."""
        self._shared = shared
        self._table = table
        self._turns = turns
        self._lock = threading.Lock()
        self._asked = False
        self._left: dict[str, Before | None] = {}
        self.duty = Duty("sweep", self._run, shared.progress)

    def ask(self) -> None:
        """Ask for it as of now; from any thread, and returns at once."""
        with self._lock:
            self._asked = True
        self.duty.ask()

    def go_on(self) -> None:
        """Go on with what was asked: it is tried again, or by now another process acts."""
        self.duty.ask()

    def left(self) -> int:
        """Return how many targets nobody was asked to rotate yet."""
        return len(self._left)

    def _run(self) -> None:
        with self._lock:
            asked, self._asked = self._asked, False
        free = self._table.undemanded()
        if asked:
            self._left = dict.fromkeys(free) | self._left
            if not self._left:
                _log.info("a rotation of every target is already waited for")
        self._left = {name: said for name, said in self._left.items() if name in free}
        if self._shared.world is None:
            return
        self._read(self._shared.world)
        match self._shared.role:
            case Role.ACTING:
                self._take_on()
            case Role.STANDBY:
                self._left |= self._table.withdraw()
                self._pass_on()
            case Role.UNKNOWN:
                pass  # whoever acts is to be asked, once that is known

    def _read(self, world: World) -> None:
        """Read what the ledgers say, of which it is not known yet."""
        for name in [name for name, said in self._left.items() if said is None]:
            try:
                seen = ledger_seen(world.ledgers.read(ledger_name(name)))
            except ServiceError as error:
                _log.error("target %s: not asked for a rotation yet: %s", name, error)
                continue
            self._left[name] = before_of(seen.ledger)

    def _take_on(self) -> None:
        """Note it for each target, since this process acts."""
        read = {name: said for name, said in self._left.items() if said is not None}
        if not read:
            return
        for name, said in read.items():
            self._table.demand(name, said)
            del self._left[name]
        _log.warning("a rotation was asked for of %s", targets(len(read)))
        self._record()
        for name in read:
            self._turns.give(name)

    def _pass_on(self) -> None:
        """Ask the process that acts, as a command would, by a request in each ledger."""
        shared, config = self._shared, self._shared.config
        read = {name: said for name, said in self._left.items() if said is not None}
        if not read:
            return
        asked, failed = ask_for_all(
            shared.acting(),
            [target for target in config.targets if target.name in read],
            by=f"SIGUSR1 to {shared.services.holder}",
            term=config.daemon.lease,
            before=read,
        )
        for name in read.keys() - failed:
            del self._left[name]
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
