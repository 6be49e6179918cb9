"""Switchable faults of the simulated APIs, and the count of the calls that arrived."""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class FaultKind(StrEnum):
    """What goes wrong with a call."""

    LATENCY = "latency"
    """The call waits: before its effect, or with `effect` after it.

    It waits `seconds`, or until the fault is switched off, which lets a test hold a call and let
    it go. A caller that gives up meanwhile does not stop the effect.
    """
    ERROR = "error"
    """The answer is `status` with an error body of the API, or with `body`."""
    RATE_LIMIT = "rate_limit"
    """The answer is 429, with `Retry-After: retry_after` unless that is None."""
    HTML = "html"
    """The answer is `status` with a page of HTML, as a proxy in between would send it."""
    CUT = "cut"
    """The connection is closed without an answer; with `reset`, by a TCP reset."""
    TRUNCATE = "truncate"
    """The effect is committed; the connection is closed half-way through the body."""
    DRIP = "drip"
    """The effect is committed; the body arrives in small pieces over `seconds`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule: which calls, how often, and what goes wrong with them.

    Of several rules that match a call, every LATENCY and the first other one strike.
    """

    kind: FaultKind
    api: str = "*"
    """`openrouter`, `vault` or `*`."""
    method: str = "*"
    """HTTP method, or `*`."""
    path: str = "*"
    """Shell pattern over the URL's path, such as `/api/v1/keys*`; `*` crosses slashes."""
    count: int | None = 1
    """Strikes the next so many matching calls; None for all."""
    probability: float = 1.0
    """Chance that a matching call is struck; drawn from `seed`."""
    seed: int = 0
    effect: bool = False
    """LATENCY, ERROR, RATE_LIMIT, HTML, CUT: whether the call takes effect before it goes wrong."""
    status: int = 500
    body: str | None = None
    retry_after: int | None = 1
    """Seconds, for RATE_LIMIT."""
    seconds: float = 1.0
    reset: bool = False

    def __post_init__(self) -> None:
        """Refuse what can never strike; ValueError."""
        count = 1 if self.count is None else self.count
        if not 0 < self.probability <= 1 or isinstance(count, bool) or count < 1:
            raise ValueError("a fault needs a probability in (0, 1] and a count of at least 1")
        if not 100 <= self.status <= 599 or self.seconds < 0:
            raise ValueError("a fault needs an HTTP status and no negative seconds")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Fault:
        """Read a fault from JSON; ValueError for unknown fields, types or values."""
        known = {item.name for item in fields(cls)}
        if unknown := set(value) - known:
            raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
        try:
            return cls(**{**value, "kind": FaultKind(value.get("kind", ""))})
        except TypeError as error:
            raise ValueError(str(error)) from None

    def as_json(self) -> dict[str, Any]:
        """Return the fault as JSON shows it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that strikes a call, by its number."""

    number: int
    fault: Fault


@dataclass(slots=True)
class _Rule:
    fault: Fault
    random: random.Random
    hits: int = 0
    held: list[Callable[[], None]] = field(default_factory=list)

    def let_go(self) -> None:
        for call in self.held:
            call()

    def strikes(self, api: str, method: str, path: str) -> bool:
        fault = self.fault
        if fault.count is not None and self.hits >= fault.count:
            return False
        if fault.api not in {"*", api} or fault.method not in {"*", method}:
            return False
        if not fnmatchcase(path, fault.path):
            return False
        if fault.probability < 1 and self.random.random() >= fault.probability:
            return False
        self.hits += 1
        return True


@dataclass(slots=True)
class Faults:
    """The faults in force, in the order in which they were added. Thread-safe."""

    _rules: dict[int, _Rule] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next: int = 1

    def add(self, fault: Fault) -> int:
        """Switch a fault on and return its number."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._rules[number] = _Rule(fault, random.Random(fault.seed))
            return number

    def remove(self, number: int) -> None:
        """Switch one fault off; KeyError where there is none of that number."""
        with self._lock:
            self._rules.pop(number).let_go()

    def clear(self) -> None:
        """Switch all faults off."""
        with self._lock:
            for rule in self._rules.values():
                rule.let_go()
            self._rules.clear()

    def when_off(self, number: int, call: Callable[[], None]) -> None:
        """Call back once the fault is switched off, from whichever thread does it; now if it is."""
        with self._lock:
            rule = self._rules.get(number)
            if rule is not None:
                rule.held.append(call)
                return
        call()

    def hits(self, number: int) -> int:
        """Return how many calls a fault has struck; KeyError where there is none."""
        with self._lock:
            return self._rules[number].hits

    def listed(self) -> list[dict[str, Any]]:
        """Return every fault with its number and how many calls it has struck."""
        with self._lock:
            return [
                {"id": number, "hits": rule.hits, **rule.fault.as_json()}
                for number, rule in self._rules.items()
            ]

    def strike(self, api: str, method: str, path: str) -> list[Strike]:
        """Return the faults that strike this call, and count them."""
        with self._lock:
            struck: list[Strike] = []
            decided = False
            for number, rule in self._rules.items():
                waits = rule.fault.kind is FaultKind.LATENCY
                if (waits or not decided) and rule.strikes(api, method, path):
                    struck.append(Strike(number, rule.fault))
                    decided = decided or not waits
            return struck


@dataclass(frozen=True, slots=True)
class Call:
    """A call that arrived at one of the APIs."""

    api: str
    method: str
    template: str
    path: str


@dataclass(slots=True)
class Calls:
    """The calls that arrived, whatever became of them, by API, method and route. Thread-safe."""

    _count: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _last: deque[Call] = field(default_factory=lambda: deque(maxlen=10_000))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, call: Call) -> None:
        """Count a call."""
        with self._lock:
            self._count[call.api, call.method, call.template] += 1
            self._last.append(call)

    def count(self, api: str, method: str | None = None, template: str | None = None) -> int:
        """Return the number of calls of an API, of one method or route where named."""
        with self._lock:
            return sum(
                number
                for (its_api, its_method, its_template), number in self._count.items()
                if its_api == api
                and method in {None, its_method}
                and template in {None, its_template}
            )

    def by_route(self, api: str) -> dict[str, int]:
        """Return the counts of an API as `{"POST /keys": 3}`."""
        with self._lock:
            return {
                f"{method} {template}": number
                for (its_api, method, template), number in sorted(self._count.items())
                if its_api == api
            }

    def last(self) -> list[Call]:
        """Return up to 10,000 of the latest calls, oldest first."""
        with self._lock:
            return list(self._last)

    def reset(self) -> None:
        """Start counting from nothing."""
        with self._lock:
            self._count.clear()
            self._last.clear()
