"""Everything that a chaos run sets up: servers, wires, proxies, targets, consumers, a watcher."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.chaos.consumers import Consumers, Orders
from tests.chaos.wire import Wire
from tests.end_to_end.bench import FIELD, NotServedError, Place, Running, SandboxProcess, eventually
from tests.end_to_end.many_targets import Watcher
from tests.end_to_end.proxy import Answer, Forward, Meddler, Proxy, Request, honest
from tests.servers.vault_cluster import VaultCluster

T = TypeVar("T")

POLICY = {
    "every": '"12s"',
    "grace": '"3s"',
    "drain": '{ quiet_for = "2s", deadline = "40s", then = "disable" }',
    "quarantine": '"2s"',
}
"""A key that may have been served, though it never was, shows no use, which is no proof: only the
deadline ends it. By then every consumer has read again, whatever kept it from doing so before."""

TIMEOUT = "1s"
DAEMON = {"claim_timeout": '"4s"', "resync": '"3s"', "shutdown_grace": '"10s"'}
LEASES = {"shared": "2s", "a": "0s", "b": "0s"}
"""With a lease most lives are too short to outwait that of the one before. Without one a process
acts and asks nobody, also beside others: the lease only saves work, no promise rests on it."""

CLAIM = 4.0
"""Seconds of the claim timeout: four times the timeout, which is as short as it may be."""

EXPIRING = 'key = { expires_in = "10m" }'
"""A retry never waits longer than half of what the served key has left."""

RATE = 4.0
CACHE_FOR = 1.0
"""Consumers re-read well within the grace."""

OTHER = "OTHER"
"""A field beside ours, which has to stay as it is."""


@dataclass(slots=True)
class Ears:
    """Listens at both proxies, and remembers every plaintext and token that passed."""

    secrets: set[str] = field(default_factory=set)
    meddle: Meddler = honest
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request, forward: Forward) -> Answer | None:
        def heard(*instead: Request) -> Answer:
            answer = forward(*instead)
            self._learn(request, answer)
            return answer

        return self.meddle(request, heard)

    def _learn(self, request: Request, answer: Answer) -> None:
        found = None
        if request.method == "POST" and request.route.endswith("/api/v1/keys"):
            found = (answer.json or {}).get("key")
        elif request.route.endswith("/login"):
            found = ((answer.json or {}).get("auth") or {}).get("client_token")
        if found:
            with self._lock:
                self.secrets.add(found)


@dataclass(slots=True)
class PatientWatcher(Watcher):
    """Goes on when Vault does not answer, and sees which keys were served."""

    missed: int = 0
    served: set[tuple[str, str]] = field(default_factory=set)

    def run(self) -> None:
        try:
            while not self.stop.wait(self.pause):
                self.try_once()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever joins
            self.broken = error

    def try_once(self) -> None:
        """Look once, unless a service is away."""
        try:
            self.sample()
        except (OSError, http.client.HTTPException, NotServedError, ValueError):
            self.missed += 1

    def known(self) -> tuple[set[str], set[str]]:
        for target in self.place.targets:
            served = self.place.served(target).hash
            self.served |= {(target, served)} if served else set()
        return Watcher.known(self)

    @property
    def rotations(self) -> int:
        """How many keys were seen to follow another one."""
        return len(self.served) - len({target for target, _ in self.served})


class Stage:
    """The servers and what stands between them. Use it as a context manager.

    Attributes:
        folder: the evidence: all that any process wrote.
        cluster: the real Vault.
        sandbox: the OpenRouter.
        line: the daemon's TCP connection to Vault, which can be cut.
        ears: what both HTTP proxies do beyond handing on: one for each service.
        places: the same installation on three machines: `shared`, where several processes write
            one audit file, and `a` and `b` with a file of their own.
        consumers, watcher: there from `open` on.
    """

    def __init__(self, folder: Path, vault: Path, *, nodes: int, targets: int, seed: int) -> None:
        self.folder = folder
        self.targets = tuple(f"target-{number:02}" for number in range(targets))
        self._seed = seed
        self._stack = ExitStack()
        self.cluster = VaultCluster(vault, folder, nodes)
        self.ears = {"openrouter": Ears(), "vault": Ears()}
        self.places: dict[str, Place] = {}

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        stack, cluster = self._stack, self.cluster
        stack.enter_context(cluster)
        self.sandbox = stack.enter_context(SandboxProcess())
        self.line = stack.enter_context(Wire(cluster.ready, self._seed))
        self.safe_line = stack.enter_context(Wire(cluster.ready, self._seed))
        openrouter = stack.enter_context(Proxy(self.sandbox.url, record=False))
        vault = stack.enter_context(Proxy(self.line.url, record=False))
        openrouter.meddle, vault.meddle = self.ears["openrouter"], self.ears["vault"]
        for name in ("shared", "a", "b"):
            (self.folder / name).mkdir()
            self.places[name] = self._place(name, openrouter.url, vault.url)
            stack.callback(self.places[name].close)
        shared = self.places["shared"]
        self.given = {cluster.secrets[0], cluster.secrets[1], self.sandbox.management_key}
        self.given.add(shared.use_approle())
        for place in self.places.values():
            place.auth, place.environment = shared.auth, dict(shared.environment)
            place.configure()
        for target in self.targets:
            shared.write(shared.path_of(target), {OTHER: f"of {target}"})
        self.watcher = PatientWatcher(shared, pause=1.5)

    def _place(self, name: str, openrouter: str, vault: str) -> Place:
        return Place(
            folder=self.folder / name,
            instance="chaos",
            openrouter=openrouter,
            vault=vault,
            sandbox=self.sandbox,
            real_vault=SafeVault(self.safe_line.url, self.cluster.root_token),
            targets=self.targets,
            policy=POLICY,
            daemon=DAEMON | {"lease": f'"{LEASES[name]}"'},
            openrouter_more="writes_per_minute = 6000",
            target_more=EXPIRING,
            timeout=TIMEOUT,
        )

    @property
    def place(self) -> Place:
        """Where to look at what became of things: past all that is cut."""
        return self.places["shared"]

    def open(self) -> None:
        """Let the consumers begin, now that every target has its first key, and the watcher."""
        orders = Orders(
            targets=tuple(map(self.place.consumer_of, self.targets)),
            openrouter_url=self.sandbox.url,
            vault_url=self.safe_line.url,
            vault_token=self.cluster.root_token,
            rate=RATE,
            cache_for=CACHE_FOR,
        )
        self.consumers = self._stack.enter_context(Consumers(orders))
        watching = threading.Thread(target=self.watcher.run, name="watcher")
        watching.start()
        self._stack.callback(watching.join)
        self._stack.callback(self.watcher.stop.set)

    def figures(self) -> Counter[str]:
        """How much has happened so far."""
        return Counter(
            {
                "rotations": self.watcher.rotations,
                "calls of consumers": self.consumers.calls,
                "looks of the watcher": self.watcher.samples,
            }
        )

    def everyone_served(self) -> bool:
        """Whether every target has a key."""
        try:
            return all(self.place.served(target).hash for target in self.targets)
        except (OSError, http.client.HTTPException, NotServedError):
            return False

    def rest(self, within: float, daemon: Running) -> list[str]:
        """Wait until a daemon has brought all targets to rest; what is not as it must be then."""
        with contextlib.suppress(AssertionError):
            eventually(
                lambda: not self._restless() or not daemon.alive(), "rest", within, pause=1.0
            )
        if restless := self._restless():
            return [f"{each} is not at rest: {self.ledger(each)}" for each in restless]
        return [
            f"{target}: {each}"
            for target in self.targets
            for each in patiently(self.place.not_clean, target)
        ]

    def _restless(self) -> list[str]:
        return [
            target
            for target in self.targets
            if not patiently(self.place.at_rest, target) or self.ledger(target)["failure"]
        ]

    def ledger(self, target: str) -> dict[str, Any]:
        """A target's ledger, however long Vault takes to answer."""
        return patiently(self.place.ledger, target) or {}

    def served(self, target: str) -> str | None:
        """The hash of what is served, however long Vault takes to answer."""
        return patiently(self.place.served, target).hash

    def fields(self) -> list[str]:
        """The targets whose secret has lost what is not ours."""
        lost = []
        for target in self.targets:
            read = patiently(self.place.read, self.place.path_of(target)) or {"data": {}}
            if {name: text for name, text in read["data"].items() if name != FIELD} != {
                OTHER: f"of {target}"
            }:
                lost.append(target)
        return lost


def patiently(look: Callable[[str], T], at: str) -> T:
    """Look again for a while where Vault does not answer: slow machines elect a leader at any time."""
    found: list[T] = []

    def tried() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException, NotServedError):
            found.append(look(at))
        return bool(found)

    eventually(tried, "an answer of Vault", pause=0.5)
    return found[0]


@dataclass(frozen=True, slots=True)
class SafeVault:
    """The way to Vault that is never cut, for those who look and for consumers."""

    address: str
    root_token: str
