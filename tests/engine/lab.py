"""A target, an account, a Vault and processes that die: the engine under faults.

`Lab` holds the truth, which no fault hides, and checks the promises against it after
every port call.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rotator.core.codec import decode_ledger
from rotator.core.ledger import Failure, Ledger
from rotator.core.marker import parse_marker
from rotator.core.snapshot import Demand, Identity, Limits
from rotator.core.target import Drain, KeySettings, Policy, SecretRef, Target
from rotator.engine.pace import Pace
from rotator.engine.reconcile import Report, reconcile
from rotator.engine.resync import ResyncReport, resync, settle_interrupted
from rotator.engine.world import Fleet, World
from rotator.errors import AuditUnavailable, ServiceError
from tests.fakes.audit import FakeAudit, FakeTrail
from tests.fakes.clock import FakeClock
from tests.fakes.faults import Faults, ProcessDeath
from tests.fakes.issuer import FakeAccount, FakeIssuer
from tests.fakes.vault import FakeLedgers, FakeSecrets, FakeVault

INSTALLATION = "00112233445566aa"
PATH = "secret/app"
FIELD = "OPENROUTER_API_KEY"
CLAIM_TIMEOUT = timedelta(minutes=5)

POLICY = Policy(
    every=timedelta(hours=12),
    grace=timedelta(hours=1),
    drain=Drain(quiet_for=timedelta(minutes=10), deadline=timedelta(hours=4)),
    quarantine=timedelta(hours=2),
)


def target(name: str = "app", *, path: str = PATH, policy: Policy = POLICY) -> Target:
    """Return a target with short waits."""
    return Target(
        name, SecretRef(path, FIELD), policy, KeySettings(limit=50.0, limit_reset="daily")
    )


@dataclass
class BrokenPromiseError(AssertionError):
    """A promise was broken."""

    what: str

    def __str__(self) -> str:
        return self.what


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
        self.faults = Faults(self.clock.now, self.clock.sleep)
        self.account = FakeAccount(self.clock.now)
        self.vault = FakeVault(self.clock.now)
        self.trail = FakeTrail(self.clock.now)
        self.faults.after_each = self.check
        self.clock.on_advance = self._time_passed
        self.account.on_disable = self._check_disable
        self.account.on_delete = self._check_delete
        self._ids = itertools.count(1)
        self._boots = itertools.count(1)
        self.last_served: dict[str, datetime] = {}
        self.reports: dict[str, Report] = {}
        self.excused: set[str] = set()
        self.began: set[str] = set()
        self.other: str | None = "stays"
        self.vault.paths[PATH] = []
        self.vault.put(PATH, {"OTHER": "stays"})
        self.boot()

    # The process.

    def boot(self) -> None:
        """Start a process anew: it remembers nothing, and claims under a name of its own."""
        holder = f"process-{next(self._boots)}"
        self.world = World(
            clock=self.clock,
            issuer=FakeIssuer(self.account, self.faults),
            secrets=FakeSecrets(self.vault, self.faults),
            ledgers=FakeLedgers(self.vault, self.faults),
            audit=FakeAudit(self.trail, self.faults),
            identity=Identity("test", INSTALLATION, holder),
            limits=Limits(CLAIM_TIMEOUT, timedelta(days=7), 3),
            pace=Pace(self.clock, 6000),
            draw=lambda: f"{next(self._ids):016x}",
            fleet=Fleet(),
        )
        self.reports = {}
        self.booted = False

    def run(self, *, demand: Demand | None = None, full: bool = False) -> Report:
        """Let the process make one pass over its first target, and die if it must."""
        first = self.targets[0]
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
            report = Report(first.name, self.clock.now(), None, None)
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
            settle_interrupted(self.world, self.targets)
        earlier = {
            name: report.failure
            for name, report in self.reports.items()
            if report.failure is not None
        }
        wanted = self.targets[0].name
        return resync(
            self.world,
            self.targets,
            earlier=earlier,
            demand=lambda each: demand if each.name == wanted else None,
        )

    def _failure(self, name: str) -> Failure | None:
        report = self.reports.get(name)
        return report.failure if report is not None else None

    def live(self, until: timedelta, *, demand: Demand | None = None) -> None:
        """Let the daemon live for a while: passes when they are due, a resync each hour."""
        ends = self.clock.now() + until
        next_resync = self.clock.now()
        passes = 0
        while self.clock.now() < ends:
            full = self.clock.now() >= next_resync
            if full:
                next_resync = self.clock.now() + timedelta(hours=1)
            report = self.run(demand=demand, full=full)
            passes += 1
            if passes > 3000:
                raise BrokenPromiseError("it never comes to rest")
            wakes = [ends, next_resync, self.clock.now() + timedelta(minutes=10)]
            if report.wake_at is not None:
                wakes.append(report.wake_at)
            if report.plan is None:
                wakes.append(self.clock.now() + timedelta(seconds=15))
            step = max(min(wakes) - self.clock.now(), timedelta(seconds=1))
            self.clock.advance(step)

    # The truth.

    def ledger(self, name: str = "app") -> Ledger | None:
        """Return a ledger as it stands."""
        document = self.vault.current(f"state/targets/{name}")
        return decode_ledger(document) if document is not None else None

    def served_hash(self, path: str = PATH) -> str | None:
        """Return the hash of the value that consumers are served now."""
        data = self.vault.current(path) or {}
        value = data.get(FIELD)
        return hashlib.sha256(value.encode()).hexdigest() if isinstance(value, str) else None

    def enabled(self) -> set[str]:
        """Return the hashes of all enabled keys."""
        return {key.hash for key in self.account.keys.values() if not key.disabled}

    def _time_passed(self) -> None:
        """Late effects land, and consumers use what they have read."""
        self.faults.land()
        now = self.clock.now()
        for each in self.targets:
            served = self.served_hash(each.secret.path)
            if served is not None:
                self.last_served[served] = now
        for key_hash, last in self.last_served.items():
            if now - last <= self.cache and key_hash in self.account.keys:
                self.account.change(key_hash, last_used_at=now)

    def check(self) -> None:
        """Check what must hold at every instant.

        Raises:
            BrokenPromiseError: it does not.
        """
        for each in self.targets:
            served = self.served_hash(each.secret.path)
            if served is None:
                if each.name in self.began:
                    raise BrokenPromiseError(f"{each.name} serves nothing any more")
                continue
            self.began.add(each.name)
            self.last_served[served] = self.clock.now()
            if not self.account.accepts(served) and served not in self.excused:
                raise BrokenPromiseError(f"{each.name} serves a dead key")
        if (self.vault.current(PATH) or {}).get("OTHER") != self.other:
            raise BrokenPromiseError("a foreign field was changed")

    def _check_disable(self, key_hash: str) -> None:
        """A key that consumers may still use is not disabled."""
        last = self.last_served.get(key_hash)
        if last is None or key_hash in self.excused:
            return
        if self.clock.now() - last < self.targets[0].policy.grace:
            raise BrokenPromiseError(f"{key_hash[:8]} disabled within its grace period")

    def _check_delete(self, key_hash: str) -> None:
        """Only a disabled key that is not served is deleted."""
        if not self.account.keys[key_hash].disabled:
            raise BrokenPromiseError(f"{key_hash[:8]} deleted while enabled")
        if key_hash == self.served_hash():
            raise BrokenPromiseError(f"{key_hash[:8]} deleted while served")

    def check_at_rest(self) -> None:
        """Check what must hold once faults stopped and time has passed.

        Raises:
            BrokenPromiseError: it does not.
        """
        for each in self.targets:
            book = self.ledger(each.name)
            served = self.served_hash(each.secret.path)
            if book is None or book.served is None or book.served.hash != served:
                raise BrokenPromiseError(f"{each.name}: the ledger does not know the served key")
            if book.pending is not None or book.retiring or book.failure is not None:
                raise BrokenPromiseError(f"{each.name}: it did not come to rest: {book}")
        served_now = {self.served_hash(each.secret.path) for each in self.targets}
        orphans = [
            key.name
            for key in self.account.keys.values()
            if parse_marker(key.name) is not None and key.hash not in served_now
        ]
        if orphans:
            raise BrokenPromiseError(f"keys are left over: {orphans}")
        if open_intents := self.trail.unsettled():
            raise BrokenPromiseError(f"intents without an outcome: {open_intents}")
