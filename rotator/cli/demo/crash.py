"""The demo's accident: the daemon is killed after it asked for a key, before it has the answer.

That is the worst moment there is. The key exists, its plaintext was shown once, and the
only process to which it was shown is gone.
"""

from __future__ import annotations

from rotator.cli.demo.bench import NAMES, ledger_of
from rotator.cli.demo.process import DaemonProcess
from rotator.cli.demo.trail import DAEMON, SHORT, Moment, Trail
from rotator.core.marker import parse_marker
from rotator.ports import Clock
from rotator.sandbox.faults import Fault, FaultKind
from rotator.sandbox.server import Sandbox

_AWAY = 0.5
"""Seconds until the daemon is started again."""

_HELD = 30.0
"""Seconds for which the answer is held back; the daemon does not live to see it."""

_NO_LATER = 1.0
"""Seconds after which the daemon is killed although it is at work on other targets too."""


class Crash:
    """Kills the daemon once and starts it again; `step` is called every tenth of a second."""

    def __init__(self, sandbox: Sandbox, daemon: DaemonProcess, clock: Clock, after: float) -> None:
        """Wait for the moment.

        Args:
            sandbox: whose answer is held back.
            daemon: the process.
            clock: the time.
            after: seconds from now.
        """
        self._sandbox = sandbox
        self._daemon = daemon
        self._clock = clock
        self._due = clock.monotonic() + after
        self._fault: int | None = None
        self._suspect: str | None = None
        self._suspect_since = 0.0
        self._back_at: float | None = None
        self.lost: str | None = None
        """Hash of the key whose plaintext was lost, once there is one."""
        self.over = False
        """Whether the daemon runs again after it."""

    @property
    def away(self) -> bool:
        """Whether the daemon is dead just now."""
        return self.lost is not None and not self.over

    def step(self, trail: Trail) -> list[Moment]:
        """Do what is due, and return what is to be shown of it."""
        now = self._clock.monotonic()
        if self.over or now < self._due:
            return []
        if self._back_at is not None:
            if now < self._back_at:
                return []
            self._daemon.start()
            self.over = True
            return []
        if self._fault is None:
            held = Fault(
                kind=FaultKind.LATENCY,
                api="openrouter",
                method="POST",
                path="*/keys",
                effect=True,
                seconds=_HELD,
            )
            self._fault = self._sandbox.faults.add(held)
            return []
        return self._kill_when_made(trail, self._fault, now)

    def _kill_when_made(self, trail: Trail, fault: int, now: float) -> list[Moment]:
        """Kill the daemon once a key exists whose answer has been held back for a while."""
        if not self._sandbox.faults.hits(fault):
            return []
        waiting = set(trail.being_made.values())
        made = ""
        name = DAEMON
        for key in self._sandbox.account.all_keys():
            marker = parse_marker(key["name"])
            if marker is not None and marker.target in waiting and key["hash"] not in trail.born:
                made, name = key["hash"], marker.target
        if not made or made != self._suspect:  # two looks apart, so that no answer is under way
            self._suspect, self._suspect_since = made, now
            return []
        if _others_at_work(self._sandbox, name) and now < self._suspect_since + _NO_LATER:
            return []  # one accident is enough to follow
        self._daemon.kill()
        self._sandbox.faults.remove(fault)
        self.lost = made
        self._back_at = now + _AWAY
        at = self._clock.now()
        return [
            Moment(at, DAEMON, "killed", "", f"kill -9, rotating {name}"),
            Moment(at, name, "lost", made[:SHORT], "made, but nobody has its plaintext"),
        ]


def _others_at_work(sandbox: Sandbox, victim: str) -> bool:
    """Tell whether a change of another target is under way."""
    books = (ledger_of(sandbox, name) for name in NAMES if name != victim)
    return any(book is not None and book.pending is not None for book in books)
