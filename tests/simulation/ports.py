"""The fakes' choke point, where processes are switched and everything goes wrong.

Every port call of every process passes through `SimulatedFaults.call`: it takes time, in
which others go on; one fault, or the conditions that last, may befall it; and the judge
sees what was sent before its effect comes to pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rotator.core.keys import CallerKey, IssuedKey, NewKey
from rotator.errors import AuditUnavailable, Refused, RotatorError, Transient, Unauthorised
from rotator.ports import MintedKey, SecretVersion, Written
from rotator.secret import Secret
from tests.fakes.faults import Faults, Kind, ProcessDeath
from tests.fakes.issuer import FakeAccount, FakeIssuer
from tests.fakes.vault import Entry, FakeSecrets, FakeVault
from tests.simulation.judge import Sent
from tests.simulation.scenario import ODD

if TYPE_CHECKING:
    from tests.simulation.life import Process, Simulation

T = TypeVar("T")

REMOVALS = ("openrouter.disable", "openrouter.delete")
STALE_BY = timedelta(seconds=4)

_AS_KINDS = {"malformed": Kind.ANSWER_LOST, "cut": Kind.NO_EFFECT_LOST}
# What an answer that cannot be understood comes to, where the call changes something: the
# adapters settle it by a read, and the create's is unknown.


class SimulatedFaults(Faults):
    """The calls of one thread of a process: each takes time, in which others go on.

    Attributes:
        boot: which start of the process it belongs to; a later one knows nothing of it.
        names: calls of ports that are told apart by who makes them.
    """

    def __init__(
        self, sim: Simulation, process: Process, boot: int, names: dict[str, str] | None = None
    ) -> None:
        super().__init__(sim.hub.now, sim.hub.wait, late=sim.hub.late)
        self.sim = sim
        self.process = process
        self.boot = boot
        self.names = names or {}
        self.next_kind: Kind | None = None
        self.odd: str | None = None
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
        name = self.names.get(name, name)
        label = f"{service}.{name}"
        sim.judge.begun(process.holder, service, name)
        sent = self._sent(label)
        sim.hub.wait(sim.latency())
        self._die_if_doomed()
        self.odd = self.next_kind = None
        fault = sim.comes_to(self, label)
        if fault in ODD:
            self.odd = fault
            self.next_kind = _AS_KINDS.get(fault) if acts else None
        elif fault is not None:
            self.next_kind = Kind(fault)

        def through() -> T:
            if self.odd is not None:
                self._oddly(service, name, acts=acts)
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
            self._answered()
            return cast("T", answer.answer)

    def _sent(self, label: str) -> Sent:
        sim, process = self.sim, self.process
        read_at = sim.last_read(process.holder) if label in REMOVALS else None
        last = sim.trail.last_by.get(process.holder)
        named = last.target if last is not None else None
        target = next((each for each in process.targets if each.name == named), None)
        now = sim.hub.now()
        return Sent(process.holder, now, process.clock.now(), read_at, last, target)

    def _answered(self) -> None:
        self.sim.judge.check()
        self.sim.hub.wait(self.sim.latency())
        self._die_if_doomed()

    def _die_if_doomed(self) -> None:
        if self.process.doomed or self.process.boots != self.boot:
            raise ProcessDeath

    def _oddly(self, service: str, name: str, *, acts: bool) -> None:
        """Fail or disturb this one call, as only the simulator does."""
        match self.odd:
            case "malformed" | "cut" if not acts:
                status = 200 if self.odd == "malformed" else 403
                raise Transient(service, name, "the answer cannot be understood", status=status)
            case "unsaid":
                raise _slower(service, name, None)
            case "daily":
                raise _slower(service, name, _until_midnight(self.now()))
            case "not_there" if name in ("disable", "enable"):
                raise Refused(service, name, "not found", status=404)
            case "not_there":
                raise NotThereError(None)
            case "conflict":
                self.sim.stranger_writes(self.process)

    def _weathered(self, service: str, name: str, *, acts: bool = False) -> None:
        """Fail a call where a condition that lasts says so."""
        for what, _ in self.sim.current_weather():
            error = _ill(what, service, name, self.now(), acts=acts)
            if isinstance(error, NotThereError) and name == "list":
                self.sim.judge.blind.add(self.process.holder)
            if error is not None:
                self.sim.felt(what)
                raise error


class NotThereError(RotatorError):
    """A call that is answered as if nothing were there."""

    def __init__(self, answer: object) -> None:
        super().__init__("nothing is there")
        self.answer = answer


def _slower(service: str, name: str, wait: float | None) -> Transient:
    pauses = service == "openrouter"
    return Transient(service, name, "slower", status=429, retry_after=wait, pauses_writes=pauses)


def _until_midnight(now: datetime) -> float:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (midnight - now).total_seconds()


def _ill(what: str, service: str, name: str, now: datetime, *, acts: bool) -> RotatorError | None:
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
            return Unauthorised(service, name, "refused", status=403)
        case "403" if managing:
            return Refused(service, name, "forbidden", status=403)
        case "403_writes" if acts:
            return Refused(service, name, "forbidden", status=403)
        case "404" if name in ("get", "list", "delete"):
            return NotThereError(() if name == "list" else None)
        case "404" if acts:
            return Refused(service, name, "not found", status=404)
        case "429_daily":
            return _slower(service, name, _until_midnight(now))
        case "429" | "429_long" | "429_unsaid" if acts:
            return _slower(service, name, {"429": 7.0, "429_long": 3600.0}.get(what))
        case "openrouter_down":
            return Transient(service, name, "bad gateway", status=502)
        case "list_fails" if name == "list":
            return Transient(service, name, "the listing repeats itself")
        case "nobody_let_in" if name == "whoami":
            return NotThereError(None)
    return None


def _ill_vault(what: str, name: str, *, acts: bool) -> RotatorError | None:
    match what:
        case "vault_sealed":
            return Transient("vault", name, "sealed", status=503)
        case "vault_standby" if acts:
            return Transient("vault", name, "standby", status=473)
        case "vault_read_only" if acts:
            return Transient("vault", name, "read-only", status=500)
        case "vault_forbids" if acts:
            return Refused("vault", name, "permission denied", status=403)
    return None


class SimulatedAccount(FakeAccount):
    """An account that remembers for some seconds how its keys were, for stale looks."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self.changes = 0
        self._undo: deque[tuple[datetime, str, IssuedKey | None]] = deque(maxlen=64)

    def make(self, new: NewKey) -> MintedKey:
        minted = super().make(new)
        self.changes += 1
        self._undo.append((self.now(), minted.key.hash, None))
        return minted

    def change(self, key_hash: str, **fields: object) -> IssuedKey:
        before = self.keys[key_hash]
        after = super().change(key_hash, **fields)
        if (before.disabled, before.name) != (after.disabled, after.name):
            self.changes += 1
            self._undo.append((self.now(), key_hash, before))
        return after

    def remove(self, key_hash: str) -> None:
        before = self.keys.get(key_hash)
        super().remove(key_hash)
        if before is not None:
            self.changes += 1
            self._undo.append((self.now(), key_hash, before))

    def as_of(self, at: datetime) -> dict[str, IssuedKey]:
        """Return the keys as they were some seconds ago; of their use the newest is told."""
        keys = dict(self.keys)
        for changed_at, key_hash, before in reversed(self._undo):
            if changed_at <= at:
                break
            if before is None:
                keys.pop(key_hash, None)
            else:
                keys[key_hash] = before
        return keys


class SimulatedIssuer(FakeIssuer):
    """OpenRouter as one process sees it: a look may be some seconds old."""

    def __init__(self, sim: Simulation, faults: SimulatedFaults) -> None:
        super().__init__(sim.account, faults)
        self._sim = sim
        self._shown = faults

    def list_keys(self, workspace: str | None) -> tuple[IssuedKey, ...]:
        return self._call("list", lambda: self._listed(workspace))

    def whoami(self, secret: Secret) -> CallerKey | None:
        tried_at = self._sim.hub.now()
        caller = super().whoami(secret)
        if caller is not None:
            self._sim.judge.tried_at[secret.sha256()] = tried_at
        return caller

    def _listed(self, workspace: str | None) -> tuple[IssuedKey, ...]:
        return tuple(each for each in self._keys().values() if each.workspace_id == workspace)

    def get(self, key_hash: str) -> IssuedKey | None:
        return self._call("get", lambda: self._keys().get(key_hash))

    def _keys(self) -> dict[str, IssuedKey]:
        sim = self._sim
        weather = sim.is_on("stale_account")
        if weather:
            sim.felt("stale_account")
        if weather or self._shown.odd == "stale":
            return sim.account.as_of(sim.hub.now() - STALE_BY)
        return sim.account.keys


class View:
    """Vault as one process reads it: a standby may lag behind."""

    def __init__(self, sim: Simulation, process: Process, faults: SimulatedFaults) -> None:
        self._sim = sim
        self._process = process
        self._faults = faults
        self._vault = sim.vault
        self.reading: str | None = None
        self.paths = self

    def get(self, path: str) -> list[Entry] | None:
        """Return the versions that a read shows."""
        sim = self._sim
        versions, as_of = self._vault.paths.get(path), sim.hub.now()
        if sim.weather or self._faults.odd is not None:
            lagging = [each for each in ("stale_reads", "vault_standby") if sim.is_on(each)]
            for each in lagging:
                sim.felt(each)
            if lagging or self._faults.odd == "stale":
                as_of -= STALE_BY
                versions = [each for each in versions or () if each.created_time <= as_of]
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
