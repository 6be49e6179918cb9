"""A target, an account, a Vault and processes that die: the engine under faults.

`Lab` holds the truth, which no fault hides, and checks the promises against it before
and after every port call. One process lives in it; while that one is paused, another
may live beside it.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rotator.core.ledger import Failure, Ledger
from rotator.core.snapshot import Demand, Identity, Limits
from rotator.core.target import Drain, KeySettings, Policy, SecretRef, Target
from rotator.engine.pace import Pace
from rotator.engine.reconcile import Report, reconcile
from rotator.engine.resync import ResyncReport, resync, settle_interrupted
from rotator.engine.world import Fleet, World
from rotator.errors import AuditUnavailable, ServiceError
from tests.engine.promises import FIELD, BrokenPromiseError, Promises
from tests.fakes.audit import FakeAudit, FakeTrail
from tests.fakes.clock import FakeClock
from tests.fakes.faults import Faults, Late, ProcessDeath
from tests.fakes.issuer import FakeAccount, FakeIssuer
from tests.fakes.vault import FakeLedgers, FakeSecrets, FakeVault

INSTALLATION = "00112233445566aa"
PATH = "secret/app"
CLAIM_TIMEOUT = timedelta(minutes=5)

_RESYNC = timedelta(hours=1)
_MOST_PASSES = 3000

POLICY = Policy(
    every=timedelta(hours=12),
    grace=timedelta(hours=1),
    drain=Drain(quiet_for=timedelta(minutes=10), deadline=timedelta(hours=4)),
    quarantine=timedelta(hours=2),
)


def target(
    name: str = "app",
    *,
    path: str = PATH,
    policy: Policy = POLICY,
    key: KeySettings | None = None,
) -> Target:
    """Return a target with short waits."""
    key = key or KeySettings(limit=50.0, limit_reset="daily")
    return Target(name, SecretRef(path, FIELD), policy, key)


class Process:
    """The program, started anew each time that it dies; its ports share one `Faults`."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name
        self.faults = Faults(lab.clock.now, lab.clock.sleep, late=lab.late)
        self.faults.before_each = lambda service, name, _: lab.promises.begun(
            self.world.identity.holder, service, name
        )
        self.faults.after_each = lab.promises.check
        self._boots = itertools.count(1)
        self.boot()

    def boot(self) -> None:
        """Start anew: it remembers nothing, and claims under a name of its own."""
        lab, holder = self.lab, f"{self.name}-{next(self._boots)}"
        self.world = World(
            clock=lab.clock,
            issuer=FakeIssuer(lab.account, self.faults),
            secrets=FakeSecrets(lab.vault, self.faults),
            ledgers=FakeLedgers(lab.vault, self.faults),
            audit=FakeAudit(lab.trail, self.faults, holder),
            identity=Identity("test", INSTALLATION, holder),
            limits=Limits(CLAIM_TIMEOUT, timedelta(days=7), 3),
            pace=Pace(lab.clock, 6000),
            draw=lab.draw,
            fleet=Fleet(),
        )
        self.reports: dict[str, Report] = {}
        self.booted = False

    def run(self, *, demand: Demand | None = None, full: bool = False) -> Report:
        """Make one pass over the first target, or over all, and die if it must."""
        first = self.lab.targets[0]
        try:
            if full or not self.booted:
                outcome = self._resync(demand)
                self.booted = self.booted or outcome.failed is None
                report = next(each for each in outcome.reports if each.target == first.name)
            else:
                earlier = self._failure(first.name)
                report = reconcile(self.world, first, demand=demand, earlier=earlier)
        except ProcessDeath:
            self.boot()
            report = Report(first.name, self.lab.clock.now(), None, None)
        self._ask_about_management_key()
        self.reports[first.name] = report
        return report

    def _ask_about_management_key(self) -> None:
        """Allow changes again once the management key is accepted, as the daemon's loop does."""
        if self.world.fleet.refused() is None:
            return
        try:
            self.world.issuer.whoami_management()
        except (ServiceError, ProcessDeath):
            return
        self.world.fleet.refuse(None)

    def _resync(self, demand: Demand | None) -> ResyncReport:
        with contextlib.suppress(ServiceError, AuditUnavailable):
            settle_interrupted(self.world, self.lab.targets)
        earlier = {
            name: report.failure
            for name, report in self.reports.items()
            if report.failure is not None
        }
        wanted = self.lab.targets[0].name
        return resync(
            self.world,
            self.lab.targets,
            earlier=earlier,
            demand=lambda each: demand if each.name == wanted else None,
        )

    def _failure(self, name: str) -> Failure | None:
        report = self.reports.get(name)
        return report.failure if report is not None else None

    def live(self, until: timedelta, *, demand: Demand | None = None) -> None:
        """Live for a while: passes when they are due, a resync each hour."""
        clock = self.lab.clock
        ends = clock.now() + until
        next_resync = clock.now()
        passes = 0
        while clock.now() < ends:
            full = clock.now() >= next_resync
            if full:
                next_resync = clock.now() + _RESYNC
            report = self.run(demand=demand, full=full)
            passes += 1
            if passes > _MOST_PASSES:
                raise BrokenPromiseError("it never comes to rest")
            wakes = [ends, next_resync]
            if report.wake_at is not None:
                wakes.append(report.wake_at)
            if report.plan is None or not self.booted:
                wakes.append(clock.now() + timedelta(seconds=15))
            clock.advance(max(min(wakes) - clock.now(), timedelta(seconds=1)))


@dataclass
class Lab:
    """The truth, and the process that runs at the moment.

    Attributes:
        targets: what is configured.
        cache: for how long consumers go on using a value that they have read.
    """

    targets: tuple[Target, ...] = field(default_factory=lambda: (target(),))
    cache: timedelta = timedelta(minutes=30)

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.account = FakeAccount(self.clock.now)
        self.vault = FakeVault(self.clock.now)
        self.trail = FakeTrail(self.clock.now)
        self.late = Late()
        self.promises = Promises(
            self.account, self.vault, self.trail, CLAIM_TIMEOUT, self.targets, self.cache
        )
        self.promises.installation = INSTALLATION
        self.late.after_each = self.promises.check
        self.clock.on_advance = self._time_passed
        self.clock.next_stop = self.late.next_at
        self._ids = itertools.count(1)
        self.vault.put(PATH, {"OTHER": "stays"})
        self.process = Process(self, "process")

    def __setattr__(self, name: str, value: object) -> None:
        """Let the promises know of a changed configuration."""
        object.__setattr__(self, name, value)
        if name == "targets" and "promises" in vars(self):
            self.promises.targets = self.targets

    def draw(self) -> str:
        """Return 16 hex digits that no process drew before."""
        return f"{next(self._ids):016x}"

    # The process.

    @property
    def world(self) -> World:
        """The process's ports."""
        return self.process.world

    @property
    def faults(self) -> Faults:
        """The process's faults."""
        return self.process.faults

    @property
    def reports(self) -> dict[str, Report]:
        """The process's last reports."""
        return self.process.reports

    def run(self, *, demand: Demand | None = None, full: bool = False) -> Report:
        """Let the process make one pass."""
        return self.process.run(demand=demand, full=full)

    def live(self, until: timedelta, *, demand: Demand | None = None) -> None:
        """Let the process live for a while."""
        self.process.live(until, demand=demand)

    def another(self, name: str = "rival") -> Process:
        """Start another process beside the first."""
        return Process(self, name)

    def let_another_live_in_pauses(self) -> Process:
        """While the first process is paused in a slow call, another one lives."""
        rival = self.another()

        def paused(seconds: float) -> None:
            rival.live(timedelta(seconds=seconds))
            rival.run()

        self.faults.sleep = paused
        return rival

    # The truth.

    @property
    def excused(self) -> set[str]:
        """Hashes of keys that a person did something to."""
        return self.promises.excused

    @property
    def began(self) -> set[str]:
        """Names of targets that served something once."""
        return self.promises.began

    def ledger(self, name: str = "app") -> Ledger | None:
        """Return a ledger as it stands."""
        return self.promises.ledger(name)

    def served_hash(self, path: str = PATH) -> str | None:
        """Return the hash of the value that consumers are served now."""
        return self.promises.served_hash(path)

    def next_wake(self) -> datetime | None:
        """Return when the process wants to look again."""
        report = self.reports.get(self.targets[0].name)
        return report.wake_at if report is not None else None

    def _time_passed(self) -> None:
        """Late effects land, and consumers use what they have read."""
        self.late.land(self.clock.now())
        self.promises.time_passed()

    def check_at_rest(self) -> None:
        """Check what must hold once faults stopped and time has passed."""
        self.promises.check_at_rest()

    def come_to_rest(self) -> None:
        """Live on until everything is at rest, which a life without faults is every few hours."""
        for _ in range(7):
            try:
                return self.check_at_rest()
            except BrokenPromiseError:
                self.live(timedelta(hours=1))
        return self.check_at_rest()
