"""Who acts: the lease as a duty of the loop, and the requests that come with it.

The process that holds the lease acts and answers requests; the others stand by. Where
the configuration says that there is no lease, this one acts, and asks nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from rotator.core.lease import PARTS, Open, PublicState
from rotator.daemon.schedule import Schedule
from rotator.daemon.shared import Role, Shared
from rotator.daemon.table import Table
from rotator.daemon.turns import Turns
from rotator.engine.lease import Leadership
from rotator.engine.pulse import read_pulse, strike_from_pulse
from rotator.errors import ServiceError

_log = logging.getLogger(__name__)

_IN_TIME = 0.9
# A tick that is wanted later than this share of the interval is left to the interval.

_LONGEST_NAME = 100
# Characters of a name that is told; whoever may write the pulse may write anything there.


class TakeRole(Protocol):
    """Is told whether this process acts."""

    def __call__(self, role: Role, leader: str | None = None) -> None:
        """Follow it.

        Args:
            role: what this process is now.
            leader: the process that acts, where it is another and known.
        """
        ...


class Leading:
    """This process's part in who acts. Each method is for one thread at a time.

    Attributes:
        tick_soon: has `tick` called in its thread.
    """

    def __init__(
        self,
        shared: Shared,
        schedule: Schedule,
        take_role: TakeRole,
        state: Callable[[], PublicState],
    ) -> None:
        """Hold nothing yet.

        Args:
            shared: what the loop shares; it asks this whether new work may begin.
            schedule: for a look at the moment at which another's lease would expire.
            take_role: is told whether this process acts.
            state: returns what this process says of itself while it holds the lease.
        """
        self._shared = shared
        self._schedule = schedule
        self._take_role = take_role
        self.tick_soon: Callable[[], object] = lambda: None
        self._state = state
        self._term: timedelta = shared.config.daemon.lease
        self._leadership: Leadership | None = None
        self._since: datetime | None = None
        if self._term:
            shared.role = Role.UNKNOWN
            shared.leads = self._leads

    @property
    def interval(self) -> float | None:
        """Seconds between two ticks at most, or None where there is no lease."""
        return self._term.total_seconds() / PARTS if self._term else None

    def tick(self) -> None:
        """Renew the lease, take it, or look at another's; and tell the loop what follows."""
        interval = self.interval
        if self._shared.world is None or self._shared.stop.is_set() or interval is None:
            return
        if self._leadership is None:
            self._leadership = Leadership(self._shared.world, self._term, self._state)
        leadership, before = self._leadership, self._shared.role
        wait = leadership.tick()
        seen = leadership.seen()
        holder = seen.lease.holder if seen is not None and seen.lease is not None else None
        if leadership.leads():
            since = seen.lease.acquired_at if seen is not None and seen.lease is not None else None
            if since != self._since:
                # Others may have acted until now, also where this process never noticed it.
                self._since = since
                _log.warning("this process holds the lease and acts")
                self._shared.world.fleet.unfill()
                self._take_role(Role.UNKNOWN)
            self._take_role(Role.ACTING)
        else:
            ours = self._shared.world.identity.holder
            another = holder if holder != ours else None
            role = Role.STANDBY if another is not None else Role.UNKNOWN
            if (role, another) != (before, self._shared.leader):
                _log.warning("standing by: %s acts", another or "nobody knows who")
            self._take_role(role, another)
        if wait < _IN_TIME * interval:
            after = timedelta(seconds=wait)
            self._schedule.after("lease again", after, lambda _: self.tick_soon(), "")

    def release(self) -> None:
        """Give the lease up at a stop in good order; only after the last tick."""
        if self._leadership is not None:
            self._leadership.release()

    def _leads(self) -> bool:
        return self._leadership is not None and self._leadership.leads()


class Pulse:
    """The requests that commands have named in the pulse: looked at with each heartbeat."""

    def __init__(self, shared: Shared, table: Table, turns: Turns) -> None:
        """Know of no request yet."""
        self._shared = shared
        self._table = table
        self._turns = turns
        self._given: dict[Open, int] = {}
        self._strays: frozenset[Open] = frozenset()

    def run(self) -> None:
        """Give each target with an open request its turn, and strike what is not open any more."""
        if not self._shared.may_act() or not self._shared.config.daemon.lease:
            return
        world = self._shared.acting()
        try:
            named = frozenset(read_pulse(world.ledgers).requests)
        except ServiceError as error:
            _log.warning("the requests could not be looked for: %s", error)
            return
        strays = frozenset(each for each in named if self._table.turn(each.target) is None)
        self._tell(strays)
        done = strays | {each for each in named - strays if self._is_over(each)}
        for each in named - done:
            self._given.setdefault(each, self._turns.desk.looks(each.target))
            self._turns.give(each.target)
        self._given = {each: count for each, count in self._given.items() if each in named}
        if not done:
            return
        try:
            strike_from_pulse(world.ledgers, world.clock, done)
        except ServiceError as error:
            _log.warning("answered requests are still named in the pulse: %s", error)

    def _tell(self, strays: frozenset[Open]) -> None:
        """Log requests for targets that are none of ours, in one line, once."""
        if strays and strays != self._strays:
            first = min(each.target for each in strays)[:_LONGEST_NAME]
            _log.warning(
                "target %s: a request for it, and it is not configured (%d like that)",
                first,
                len(strays),
            )
        self._strays = strays

    def _is_over(self, each: Open) -> bool:
        """Tell whether a request was answered or withdrawn."""
        given = self._given.get(each)
        return given is not None and self._turns.desk.is_gone(each.target, each.id, given)
