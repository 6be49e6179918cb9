"""One seeded life: replicas of the real program over the fakes, and all that goes wrong.

`Simulation` holds the truth and lets troubles come; a `Replica` is the daemon's loop, a
`Process` also one command of an operator. After a time nothing new goes wrong, and all
must come to rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import cast

from rotator.core.asked import is_rotated
from rotator.core.lease import PublicState
from rotator.core.ledger import Failure
from rotator.core.marker import parse_marker
from rotator.core.reasons import Reason
from rotator.core.request import Arguments, Verb
from rotator.core.snapshot import Demand, Identity, Limits
from rotator.core.target import Target
from rotator.engine.asking import Asking, Wish, living_leader
from rotator.engine.index import fill_index
from rotator.engine.lease import Leadership
from rotator.engine.pace import Pace
from rotator.engine.pulse import read_pulse
from rotator.engine.reconcile import Report, reconcile
from rotator.engine.requests import Desk
from rotator.engine.resync import resync, settle_interrupted
from rotator.engine.world import Fleet, World
from rotator.errors import AuditUnavailable, RotatorError, ServiceError
from rotator.events import Phase, Result
from rotator.ports import UnsettledIntent
from tests.engine.promises import BrokenPromiseError
from tests.fakes.audit import FakeAudit, FakeTrail
from tests.fakes.faults import Kind, ProcessDeath
from tests.fakes.vault import FakeLedgers, FakeVault
from tests.simulation import hands
from tests.simulation.hub import Hub, SkewedClock
from tests.simulation.judge import OTHER, Judge
from tests.simulation.ports import (
    SimulatedAccount,
    SimulatedFaults,
    SimulatedIssuer,
    SimulatedSecrets,
    View,
)
from tests.simulation.scenario import Scenario, Trouble

INSTALLATION = "00112233445566aa"
HEARTBEAT = 15.0
MOST_HOURS = 96
MOST_PASSES = 600
"""How many reconciliations one target may need, beside those of its resyncs, to come to rest."""

STAND_BY = 1800.0
"""Seconds for which a replica without the lease sleeps, unless it is woken by getting it."""

ASKS_FOR = 90.0
"""Seconds for which a command waits for an answer."""

OTHER_DOCUMENTS = {"read_ledger": "read_lease", "write_ledger": "ask"}
"""How calls are named that read the lease or the pulse, or ask for something."""

RELOADS = (0.0, 0.0, 20.0, 90.0)
"""After how many seconds a replica goes by a changed configuration."""


class Process:
    """One running program, or one command; started anew each time that it dies."""

    def __init__(self, sim: Simulation, name: str, skew: float = 0.0) -> None:
        self.sim = sim
        self.name = name
        self.clock = SkewedClock(sim.hub)
        self.clock.skew = timedelta(seconds=skew)
        self.usual_skew = self.clock.skew
        self.doomed = False
        self.down_for = 60.0
        self.boots = 0
        self.boot()

    def boot(self) -> None:
        """Start anew: it remembers nothing, and claims under a name of its own."""
        self.boots += 1
        self.doomed = False
        self.targets = self.sim.targets
        sim, self.holder = self.sim, f"{self.name}-{self.boots}"
        self.faults = faults = SimulatedFaults(sim, self, self.boots)
        view = View(sim, self, faults)
        self.world = World(
            clock=self.clock,
            issuer=SimulatedIssuer(sim, faults),
            secrets=SimulatedSecrets(view, faults),
            ledgers=FakeLedgers(cast("FakeVault", view), faults),
            audit=FakeAudit(sim.trail, faults, self.holder),
            identity=Identity("sim", INSTALLATION, self.holder),
            limits=Limits(sim.scenario.claim_timeout, timedelta(days=7), 3),
            pace=Pace(self.clock, 60),
            draw=sim.draw,
            leads=self.leads,
            fleet=Fleet(),
        )

    def leads(self) -> bool:
        """Tell whether it may act: a command may."""
        return True

    def aside(self, names: dict[str, str]) -> World:
        """Return its world as another thread of it sees it, whose calls go by other names."""
        faults = SimulatedFaults(self.sim, self, self.boots, names)
        view = View(self.sim, self, faults)
        return replace(self.world, ledgers=FakeLedgers(cast("FakeVault", view), faults))


class Replica(Process):
    """The daemon's loop: a resync from time to time, and each target when it wants to wake.

    Where there is a lease, only its holder does so, and answers what commands ask for.
    """

    def __init__(self, sim: Simulation, number: int, skew: float) -> None:
        self.leadership: Leadership | None = None
        super().__init__(sim, f"replica{number}", skew)
        self.token = 0
        self.idle = False
        self.reload_at = 0.0
        self.wakes: dict[str, datetime | None] = {}
        self.failures: dict[str, Failure] = {}
        self.greenlet = sim.hub.process(self.main)

    def main(self) -> None:
        """Live, die, and start again, for ever."""
        while True:
            try:
                self._live()
            except ProcessDeath:
                self.sim.note(self.name, "died")
                self.doomed = True
                self.sleep(self.down_for)
                self.boot()

    def boot(self) -> None:
        super().boot()
        self.desk = Desk()
        self.asked = False
        term = self.sim.scenario.lease
        if not term:
            return
        world = self.aside({"read_ledger": "read_lease", "write_ledger": "write_lease"})
        self.leadership = Leadership(world, term, lambda: PublicState("simulated", "0" * 64))
        self.sim.hub.at(self.sim.latency(), self.sim.hub.process(self._keep_lease))

    def leads(self) -> bool:
        return self.leadership is None or self.leadership.leads()

    def _keep_lease(self) -> None:
        """Renew the lease or look whose it is, as the daemon's lease job does."""
        leadership, boot = self.leadership, self.boots
        assert leadership is not None
        with contextlib.suppress(ProcessDeath):
            while self.boots == boot and not self.doomed:
                led, wait = leadership.leads(), leadership.tick()
                if leadership.leads() and not led:
                    self.resync_at = self.clock.monotonic()
                    self.wake_soon()
                self.sim.hub.wait(wait)
            return
        if self.boots == boot:
            self.doomed = True
            self.wake_soon()

    def sleep(self, seconds: float) -> None:
        """Sleep until the time is over or `wake` is called."""
        self.token += 1
        token = self.token
        self.idle = True
        self.sim.hub.at(seconds, lambda: self.wake(token))
        self.sim.hub.leave()
        self.idle = False

    def wake(self, token: int | None = None) -> None:
        """Wake up, if it still sleeps the sleep that was meant."""
        if self.idle and token in (None, self.token):
            self.greenlet.switch()

    def wake_soon(self) -> None:
        """Wake up as soon as the running process lets others go on."""
        self.sim.hub.at(0.0, self.wake)

    def _live(self) -> None:
        self.wakes.clear()
        self.failures.clear()
        self.resync_at = self.clock.monotonic()
        self.asked_at = 0.0
        while True:
            if self.doomed:
                raise ProcessDeath
            self._reload()
            if not self.leads():
                self.sleep(STAND_BY)
                continue
            self._read_pulse()
            if self.clock.monotonic() >= self.resync_at:
                self._resync()
            for target in self.targets:
                wake = self.wakes.get(target.name)
                if wake is not None and wake <= self.clock.now():
                    earlier = self.failures.get(target.name)
                    self._noted(self.desk.attend(self.world, target, earlier=earlier))
            self._ask_about_management_key()
            wakes = [each for each in self.wakes.values() if each is not None]
            left = self.resync_at - self.clock.monotonic()
            if wakes:
                left = min(left, (min(wakes) - self.clock.now()).total_seconds())
            if self.world.fleet.refused() is not None:
                left = min(left, 60.0)
            self.sleep(max(left, 0.05))

    def _read_pulse(self) -> None:
        """Find out what was asked for, where a command says that it asked for something."""
        if not self.asked:
            return
        self.asked = False
        with contextlib.suppress(ServiceError):
            for each in read_pulse(self.aside(OTHER_DOCUMENTS).ledgers).requests:
                if each.target in self.wakes:
                    self.wakes[each.target] = self.clock.now()

    def _reload(self) -> None:
        """Go by a changed configuration, which calls for a resync."""
        if self.targets is self.sim.targets or self.clock.monotonic() < self.reload_at:
            return
        gone = {each.name for each in self.targets} - {each.name for each in self.sim.targets}
        for name in gone:
            self.world.fleet.forget(name)
            self.wakes.pop(name, None)
            self.failures.pop(name, None)
        self.world.fleet.unfill()
        self.targets = self.sim.targets
        self.resync_at = self.clock.monotonic()

    def reload(self, seconds: float) -> None:
        """Let the replica know of a changed configuration after some seconds."""
        self.reload_at = self.clock.monotonic() + seconds
        self.sim.hub.at(seconds + 0.001, self.wake)

    def _resync(self) -> None:
        with contextlib.suppress(ServiceError, AuditUnavailable):
            settle_interrupted(self.world, self.targets)
        outcome = resync(self.world, self.targets, earlier=self.failures)
        again = self.sim.scenario.resync if outcome.failed is None else 30.0
        self.resync_at = self.clock.monotonic() + again
        for report in outcome.reports:
            self._noted(report)

    def _noted(self, report: Report) -> None:
        self.sim.passes[report.target] += 1
        self.failures.pop(report.target, None)
        if report.failure is not None:
            self.failures[report.target] = report.failure
        wake = report.wake_at
        if wake is not None and wake <= report.at:
            wake = report.at + timedelta(seconds=HEARTBEAT)
        if any(each.name == report.target for each in self.targets):
            self.wakes[report.target] = wake  # one that was let go is looked at by the resync
        if report.failure is not None and report.failure.reason is Reason.DEFECT:
            raise BrokenPromiseError(f"a plan would break a promise: {report.failure.detail}")

    def _ask_about_management_key(self) -> None:
        """About once a minute, see whether a refused management key is accepted again."""
        now = self.clock.monotonic()
        if self.world.fleet.refused() is None or now - self.asked_at < 60.0:
            return
        self.asked_at = now
        try:
            self.world.issuer.whoami_management()
        except ServiceError:
            return
        self.world.fleet.refuse(None)
        self.resync_at = self.clock.monotonic()

    def look_again(self) -> None:
        """After a step of its clock, look at every target at the next heartbeat."""
        for name in self.wakes:
            self.wakes[name] = self.clock.now()
        self.sim.hub.at(HEARTBEAT, self.wake)


class Simulation:
    """The truth, the processes, and the troubles that come.

    Attributes:
        targets: what is configured now.
        hits: by step and fault, how often that came to pass.
        conditions: by name, how often a condition was felt, or a person or clock did something.
        counts: by call and step, how often it was made.
        passes: by target, how many reconciliations were made.
        most_passes: how many one target needed to come to rest.
        history: what happened, each with its time and process.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.rng = random.Random(f"{scenario.seed}/schedule")
        self.hub = Hub(scenario.start, self.rng)
        now = self.hub.now
        self.targets = scenario.targets
        self.account, self.vault, self.trail = SimulatedAccount(now), FakeVault(now), FakeTrail(now)
        self.judge = Judge(
            self.account,
            self.vault,
            self.trail,
            claim_timeout=scenario.claim_timeout,
            targets=scenario.targets,
            caches=scenario.caches,
        )
        self.hub.late.after_each = self.judge.check
        self.counts: Counter[str] = Counter()
        self.calls = 0
        self.hits: Counter[tuple[str, str]] = Counter()
        self.struck = 0
        self.conditions: Counter[str] = Counter()
        self.passes: Counter[str] = Counter()
        self.most_passes = 0
        self.paused_until = 0.0
        self.history: list[tuple[float, str, str, str]] = []
        self.weather: list[tuple[str, datetime]] = []
        self._drawn = 0
        self._commands = 0
        self._moments: dict[tuple[str, int], list[Trouble]] = {}
        for each in scenario.troubles:
            self._moments.setdefault((each.call, each.number), []).append(each)
        for target in scenario.targets:
            self.vault.put(target.secret.path, {OTHER: "stays"})
        self.account.on_make = self._made(self.account.on_make)
        with self.judge.hand():
            self.judge.strangers.add(hands.console_key(self).key.hash)
        self.replicas = [Replica(self, n, skew) for n, skew in enumerate(scenario.skews)]

    def draw(self) -> str:
        """Return 16 hex digits that no process drew before."""
        self._drawn += 1
        return f"{self._drawn:016x}"

    def latency(self) -> float:
        """Return for how many seconds half of a call is under way."""
        drawn = self.rng.random()
        return drawn * 0.1 if drawn < 0.95 else (drawn - 0.95) * 60

    def note(self, who: str, what: str, more: str = "") -> None:
        """Write a line of history."""
        self.history.append((self.hub.elapsed, who, what, more))

    def rotations(self) -> int:
        """Return how many keys were published after the first of each target."""
        published = self.trail.events("secret.publish")
        done = [each.target for each in published if each.result is Result.DONE]
        return len(done) - len(set(done))

    def digest(self) -> str:
        """Return one value that two runs share only where they were the same."""
        text = "\n".join(map(repr, self.history))
        return hashlib.sha256(text.encode()).hexdigest()

    # Troubles.

    def comes_to(self, faults: SimulatedFaults, label: str) -> str | None:
        """Count a call, let happen what happens before it, and return its fault."""
        self.calls += 1
        step = self._step(faults, label)
        found: list[Trouble] = []
        for each in dict.fromkeys((label, step, "")):
            self.counts[each] += 1
            if (each, self.counts[each]) in self._moments:
                found += self._moments.pop((each, self.counts[each]))
        fault = None
        for trouble in found:
            self.struck += 1
            if trouble.sort == "fault":
                fault = trouble.what
                self._strike(faults, trouble)
                self.hits[step, fault] += 1
            else:
                self.happens(trouble)
        self.note(faults.process.holder, label, fault or "")
        return fault

    def _strike(self, faults: SimulatedFaults, trouble: Trouble) -> None:
        """Set how late or slow a fault makes its call."""
        span = timedelta(seconds=trouble.seconds)
        faults.late_by = faults.slow_by = span
        faults.very_late_by = span + self.scenario.claim_timeout
        faults.process.down_for = trouble.seconds
        if trouble.what in (Kind.SLOW, Kind.SLOW_AFTER):
            self.paused_until = max(self.paused_until, self.hub.elapsed + trouble.seconds)

    def _step(self, faults: SimulatedFaults, label: str) -> str:
        """Return the row of the table: writes are told apart by what is written."""
        if label not in ("vault.write", "vault.write_ledger"):
            return label
        last = self.trail.last_by.get(faults.process.holder)
        if last is None or last.phase is not Phase.INTENT:
            return label
        what = last.name if label == "vault.write" else getattr(last, "change", "")
        return f"{label} ({what})"

    def happens(self, trouble: Trouble) -> None:
        """Let a condition begin, a clock step, or a person do something."""
        self.note("world", str(trouble))
        if trouble.sort == "weather":
            until = self.hub.now() + timedelta(seconds=trouble.seconds)
            self.weather.append((trouble.what, until))
            return
        if trouble.sort == "clock":
            self._set_clock(self.replicas[trouble.replica], trouble)
        elif not hands.act(self, trouble):
            return
        self.conditions[trouble.what] += 1

    def _set_clock(self, replica: Replica, trouble: Trouble) -> None:
        replica.clock.skew += timedelta(seconds=trouble.seconds)
        if trouble.what == "restart":
            replica.doomed, replica.down_for = True, 60.0
            replica.wake_soon()
        else:
            replica.look_again()

    def felt(self, what: str) -> None:
        """Count a condition that made a difference to a call."""
        self.conditions[what] += 1

    def stranger_writes(self, process: Process) -> None:
        """Somebody writes what a process is about to write, and changes nothing by it."""
        last = self.trail.last_by.get(process.holder)
        target = self.judge.named.get((last.target if last is not None else None) or "")
        if last is None or target is None:
            return
        if last.name == "ledger.change":
            hands.rewrite_ledger(self, target)
        else:
            hands.rewrite_secret(self, target)

    def configure(self, targets: tuple[Target, ...]) -> None:
        """Change the configuration; each replica goes by it after a while."""
        self.targets = targets
        for replica in self.replicas:
            replica.reload(self.rng.choice(RELOADS))

    def current_weather(self) -> list[tuple[str, datetime]]:
        """Return the conditions that last."""
        now = self.hub.now()
        self.weather = [each for each in self.weather if each[1] > now]
        return self.weather

    def is_on(self, what: str) -> bool:
        """Tell whether a condition lasts."""
        return any(each == what for each, _ in self.current_weather())

    def _made(self, judged: Callable[..., None]) -> Callable[..., None]:
        """Under some conditions a new key is not accepted, for a while or ever."""

        def made(new: object) -> None:
            judged(new)
            lag = None
            for what, seconds in (("new_keys_lag", 40.0), ("new_keys_refused", 1e9)):
                if self.is_on(what):
                    self.felt(what)
                    lag = seconds
            if lag is not None:
                plaintext = f"sk-or-v1-{self.account.minted + 1:064x}"
                key_hash = hashlib.sha256(plaintext.encode()).hexdigest()
                self.account.refuses.add(key_hash)
                self.hub.at(lag, lambda: self.account.refuses.discard(key_hash))

        return made

    def last_read(self, holder: str) -> datetime | None:
        """Return when a process last read the secret of the target that it acts on."""
        intent = self.trail.last_by.get(holder)
        target = self.judge.named.get(intent.target or "") if intent is not None else None
        return self.judge.seen.get((holder, target.secret.path)) if target is not None else None

    # Commands.

    def command(self, work: Callable[[World], object]) -> Process:
        """Let an operator's command run as a process of its own."""
        self._commands += 1
        process = Process(self, f"operator{self._commands}")

        def run() -> None:
            try:
                with contextlib.suppress(RotatorError, ServiceError):
                    fill_index(process.world, process.targets, _each)
                    work(process.world)
            except ProcessDeath:
                self.note(process.name, "died")

        self.hub.at(0.0, self.hub.process(run))
        return process

    def ask(
        self,
        target: Target,
        verb: Verb,
        by_itself: Callable[[World], object],
        arguments: Arguments | None = None,
    ) -> None:
        """Let a command ask the holder of the lease, or act itself where nobody holds it."""

        def work(world: World) -> None:
            other = process.aside(OTHER_DOCUMENTS)
            term = self.scenario.lease
            if living_leader(other, term) is None:
                by_itself(world)
                return
            wish = Wish(verb, arguments or Arguments(), "somebody", ASKS_FOR)
            asking = Asking(other, target, wish, term, lambda _: None)
            if asking.place() is None:
                asking.announce()
                self.hub.at(self.rng.random() * HEARTBEAT, self._pulse)
                asking.wait()

        process = self.command(work)

    def _pulse(self) -> None:
        """The next heartbeat finds that the pulse has moved."""
        for replica in self.replicas:
            replica.asked = True
            replica.wake()

    def rotate(self, target: Target, *, compromised: bool = False, foreign: bool = False) -> None:
        """Let an operator rotate one target now."""
        demand = Demand(compromised=compromised, overwrite_foreign=foreign)
        self.judge.asked[target.name] += 1

        def work(world: World) -> None:
            earlier, asked = None, demand
            for _ in range(6):
                report = reconcile(world, target, demand=asked, earlier=earlier)
                earlier, seen = report.failure, report.snapshot
                if seen is not None:
                    asked = seen.demand or asked
                    book = seen.ledger.ledger
                    if book is not None and is_rotated(book, asked.before):
                        return
                world.clock.sleep(60.0)

        arguments = Arguments(compromised=compromised, overwrite_foreign=foreign)
        self.ask(target, Verb.ROTATE, work, arguments)

    # The life.

    def live(self) -> None:
        """Live with everything that goes wrong, then without, until all is at rest.

        Raises:
            BrokenPromiseError: a promise was broken.
        """
        for replica in self.replicas:
            self.hub.at(self.rng.random() * 20, replica.greenlet)
        self.hub.run(self.scenario.lasts)
        self._calm_down()
        self._come_to_rest()
        self.judge.check_no_plaintext()

    def _calm_down(self) -> None:
        """Nothing new goes wrong any more, and every target is configured."""
        self.note("world", "troubles end")
        self._moments.clear()
        self.weather.clear()
        self.account.refuses.clear()
        if len(self.targets) < len(self.scenario.targets):
            self.configure(tuple(self.judge.named.values()))
        for replica in self.replicas:
            replica.clock.skew = replica.usual_skew
            replica.look_again()
        self.judge.check()

    def _come_to_rest(self) -> None:
        stopped = self.hub.now()
        serving = set(self.judge.serving.values())
        leftover = frozenset(
            key.hash
            for key in self.account.keys.values()
            if parse_marker(key.name) is not None and key.hash not in serving
        )
        before = self.passes.copy()
        waits: dict[str, str | None] = {}
        open_intents: list[UnsettledIntent] = []
        for hour in range(MOST_HOURS):
            self.hub.run(3600.0)
            waits = {
                name: self.judge.unsettled(name, stopped, leftover) for name in self.judge.named
            }
            self.most_passes = max((self.passes - before).values(), default=0)
            under_way = self.hub.late.effects or self.paused_until > self.hub.elapsed
            open_intents = self.judge.open_intents()
            if not any(waits.values()) and not under_way and not open_intents:
                return
            if hour >= 2 and hour % 6 == 2:
                hands.help_out(self)
            if self.most_passes > MOST_PASSES:
                break
        raise BrokenPromiseError(f"it does not come to rest: {waits} {open_intents}")


def _each(work: Callable[[Target], None], targets: Iterable[Target]) -> None:
    for target in targets:
        work(target)
