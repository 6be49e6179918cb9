"""The fakes' choke point, where processes are switched and everything goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rotator.errors import AuditUnavailable, Refused, RotatorError, Transient, Unauthorised
from rotator.ports import SecretVersion, Written
from tests.fakes.faults import Faults, Kind, ProcessDeath
from tests.fakes.vault import Entry, FakeSecrets, FakeVault
from tests.simulation.judge import Sent

if TYPE_CHECKING:
    from tests.simulation.life import Process, Simulation

T = TypeVar("T")

REMOVALS = ("openrouter.disable", "openrouter.delete")
STALE_BY = timedelta(seconds=4)


class SimulatedFaults(Faults):
    """One process's calls: each takes time, in which others go on."""

    def __init__(self, sim: Simulation, process: Process) -> None:
        super().__init__(sim.hub.now, sim.hub.wait, late=sim.hub.late)
        self.sim = sim
        self.process = process
        self.next_kind: Kind | None = None
        self.choose = lambda *_: self.next_kind
        self.after_each = self._answered

    def call(
        self,
        service: str,
        name: str,
        effect: Callable[[], T],
        *,
        acts: bool,
        settle: Callable[[], tuple[T] | None] = lambda: None,
    ) -> T:
        sim, process = self.sim, self.process
        label = f"{service}.{name}"
        sim.judge.begun(process.holder, service, name)
        read_at = sim.last_read(process.holder) if label in REMOVALS else None
        last = sim.trail.last_by.get(process.holder)
        sent = Sent(process.holder, sim.hub.now(), process.clock.now(), read_at, last)
        sim.hub.wait(sim.latency())
        if process.doomed:
            raise ProcessDeath
        self.next_kind = sim.comes_to(self, label)

        def through() -> T:
            if sim.weather:
                self._weathered(service, name, acts=acts)
            sim.judge.sent = sent
            if service == "openrouter" and not acts:
                sim.judge.time_passed()
                if name == "list":
                    sim.judge.listed_at[process.holder] = sim.hub.now()
                    sim.judge.blind.discard(process.holder)
            return effect()

        def settled() -> tuple[T] | None:
            if sim.weather:
                try:
                    self._weathered(service, "get" if service == "openrouter" else "read")
                except RotatorError:
                    return None
            return settle()

        try:
            return super().call(service, name, through, acts=acts, settle=settled)
        except NotThereError as answer:
            return cast("T", answer.answer)

    def _answered(self) -> None:
        self.sim.judge.check()
        self.sim.hub.wait(self.sim.latency())
        if self.process.doomed:
            raise ProcessDeath

    def _weathered(self, service: str, name: str, *, acts: bool = False) -> None:
        """Fail a call where a condition that lasts says so."""
        for what, _ in self.sim.current_weather():
            error = _ill(what, service, name, acts=acts)
            if isinstance(error, NotThereError) and name == "list":
                self.sim.judge.blind.add(self.process.holder)
            if error is not None:
                self.sim.hits[f"{service}.{name}", what] += 1
                raise error


class NotThereError(RotatorError):
    """A call that is answered as if nothing were there."""

    def __init__(self, answer: object) -> None:
        super().__init__("nothing is there")
        self.answer = answer


def _ill(what: str, service: str, name: str, *, acts: bool) -> RotatorError | None:
    """Return what a call raises under a condition, or None where that does not concern it."""
    if service == "audit":
        return AuditUnavailable(f"{name}: disk full") if what == "audit_down" else None
    if service == "vault":
        return _ill_vault(what, name, acts=acts)
    managing = name != "whoami"
    match what:
        case "401" if managing:
            return Unauthorised(service, name, "refused", status=401)
        case "403" if name == "whoami_management":
            return Unauthorised(service, name, "refused", status=401)
        case "403" if managing:
            return Refused(service, name, "forbidden", status=403)
        case "403_writes" if acts:
            return Refused(service, name, "forbidden", status=403)
        case "404" if name in ("get", "list"):
            return NotThereError(None if name == "get" else ())
        case "404" if acts:
            return Refused(service, name, "not found", status=404)
        case "429" | "429_long" | "429_unsaid" if acts:
            wait = {"429": 7.0, "429_long": 3600.0}.get(what)
            return Transient(
                service, name, "slower", status=429, retry_after=wait, pauses_writes=True
            )
        case "openrouter_down":
            return Transient(service, name, "bad gateway", status=502)
        case "list_fails" if name == "list":
            return Transient(service, name, "the listing repeats itself")
        case "nobody_let_in" if name == "whoami":
            return NotThereError(None)
    return None


def _ill_vault(what: str, name: str, *, acts: bool) -> RotatorError | None:
    match what:
        case "vault_down":
            return Transient("vault", name, "sealed", status=503)
        case "vault_read_only" if acts:
            return Transient("vault", name, "read-only", status=500)
        case "vault_forbids" if acts:
            return Refused("vault", name, "permission denied", status=403)
    return None


class View:
    """Vault as one process reads it: a standby may lag behind."""

    def __init__(self, sim: Simulation, process: Process) -> None:
        self._sim = sim
        self._process = process
        self._vault = sim.vault
        self.reading: str | None = None
        self.paths = self

    def get(self, path: str) -> list[Entry] | None:
        """Return the versions that a read shows."""
        sim = self._sim
        versions, as_of = self._vault.paths.get(path), sim.hub.now()
        if sim.weather and sim.is_on("stale_reads"):
            as_of -= STALE_BY
            versions = [each for each in versions or () if each.created_time <= as_of]
            sim.hits["vault.read", "stale_reads"] += 1
        if self.reading == path:
            sim.judge.seen[self._process.holder, path] = as_of
        return versions

    def date(self) -> datetime:
        """Return the time as the ``Date`` header gives it."""
        return self._vault.date()

    def put(self, path: str, data: dict[str, Any], cas: int | None = None) -> Written:
        """Write a version."""
        return self._vault.put(path, data, cas)

    def written(self, path: str, data: dict[str, Any], version: int) -> tuple[Written] | None:
        """Return what a write whose answer was lost did."""
        return self._vault.written(path, data, version)


class SimulatedSecrets(FakeSecrets):
    """Secrets as one process reads them; each read is noted."""

    def __init__(self, view: View, faults: Faults) -> None:
        super().__init__(cast("FakeVault", view), faults)
        self._view = view

    def read(self, path: str, version: int | None = None) -> SecretVersion:
        self._view.reading = path if version is None else None
        try:
            return super().read(path, version)
        finally:
            self._view.reading = None
