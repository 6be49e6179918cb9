"""Simulated applications: each reads its key from Vault, caches it, and calls the provider with it.

Only the standard library's HTTP client is used, over one connection to each service. What a
consumer sees is what an application would see, so its failures are the measure of a rotation: there
must be none. No plaintext is kept in a report: keys are named by the SHA-256 by which the provider
names them.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

_IDLE_SECONDS = 20.0
_COMPLETION = json.dumps(
    {"model": "sandbox/echo", "messages": [{"role": "user", "content": "ping"}]}
)


@dataclass(frozen=True, slots=True)
class ConsumerTarget:
    """The secret that one consumer reads."""

    name: str
    mount: str
    path: str
    field: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that an application would have seen fail."""

    target: str
    at: datetime
    status: int
    """HTTP status of the provider; 0 where no whole answer came, or no key was to be had."""
    what: str
    """In short: `HTTP 401`, the name of a network error, or `no key`."""
    key_hash: str | None
    """SHA-256 of the key that was used; None where there was none."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the consumers have seen so far."""

    calls: int
    """Calls to the provider, failed ones too."""
    failures: tuple[Failure, ...]
    """Every call that failed, oldest first."""
    reads: int
    """Reads of Vault, failed ones too."""
    failed_reads: int
    """Reads of Vault that failed; the consumer then goes on with the key it has."""
    calls_by_key: dict[tuple[str, str], int]
    """Successful calls by target and SHA-256 of the key."""
    behind: int
    """Calls left out because the consumer could not keep up with its rate."""


@dataclass(slots=True)
class _Connection:
    """One persistent connection, opened again after any failure or a longer pause.

    A server closes an idle connection; a call that meets such an end would count as a failure.
    """

    url: str
    timeout: float
    _open: http.client.HTTPConnection | None = None
    _used_at: float = 0.0

    def call(
        self, method: str, path: str, headers: dict[str, str], payload: str | None = None
    ) -> tuple[int, bytes]:
        """Return status and body; OSError or HTTPException where no whole answer came."""
        parts = urlsplit(self.url)
        if time.monotonic() - self._used_at > _IDLE_SECONDS:
            self.close()
        if self._open is None:
            https = parts.scheme == "https"
            kind = http.client.HTTPSConnection if https else http.client.HTTPConnection
            self._open = kind(parts.hostname or "", parts.port, timeout=self.timeout)
        try:
            self._open.request(method, parts.path + path, payload, headers)
            answer = self._open.getresponse()
            body = answer.read()
            self._used_at = time.monotonic()
            return answer.status, body
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


@dataclass(slots=True)
class _Tally:
    calls: int = 0
    reads: int = 0
    failed_reads: int = 0
    behind: int = 0
    failures: list[Failure] = field(default_factory=list)
    by_key: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Consumer:
    def __init__(self, target: ConsumerTarget, fleet: ConsumerFleet, first_delay: float) -> None:
        self._target = target
        self._fleet = fleet
        self._first_delay = first_delay
        self._vault = _Connection(fleet.vault_url, fleet.read_timeout)
        self._provider = _Connection(fleet.openrouter_url, fleet.timeout)
        self._key: str | None = None
        self._key_hash: str | None = None
        self._read_at = float("-inf")

    def run(self) -> None:
        """Call at the fleet's rate until it stops."""
        fleet, interval = self._fleet, 1 / self._fleet.rate
        due = time.monotonic() + self._first_delay
        while not fleet.stopping.wait(max(0.0, due - time.monotonic())):
            self._refresh()
            self._call()
            due += interval
            missed = int((time.monotonic() - due) / interval)
            if missed > 0:
                due += missed * interval
                with fleet.tally.lock:
                    fleet.tally.behind += missed
        self._vault.close()
        self._provider.close()

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._key is not None and now - self._read_at < self._fleet.cache_for:
            return
        path = f"/v1/{quote(self._target.mount)}/data/{quote(self._target.path)}"
        tally = self._fleet.tally
        try:
            status, body = self._vault.call("GET", path, {"X-Vault-Token": self._fleet.vault_token})
            value = json.loads(body)["data"]["data"][self._target.field] if status == 200 else None
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            value = None
        with tally.lock:
            tally.reads += 1
            tally.failed_reads += not isinstance(value, str)
        if isinstance(value, str):
            self._key, self._read_at = value, now
            self._key_hash = hashlib.sha256(value.encode()).hexdigest()

    def _call(self) -> None:
        if self._key is None:
            self._failed(0, "no key")
            return
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            status, body = self._provider.call("POST", "/chat/completions", headers, _COMPLETION)
            whole = status != 200 or bool(json.loads(body))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._failed(0, type(error).__name__)
            return
        if status != 200 or not whole:
            self._failed(status, f"HTTP {status}")
            return
        tally = self._fleet.tally
        with tally.lock:
            tally.calls += 1
            tally.by_key[self._target.name, self._key_hash or ""] += 1

    def _failed(self, status: int, what: str) -> None:
        at = datetime.now(UTC)
        failure = Failure(self._target.name, at, status, what, self._key_hash)
        with self._fleet.tally.lock:
            self._fleet.tally.calls += 1
            self._fleet.tally.failures.append(failure)


class ConsumerFleet:
    """One consumer thread for each target.

    Args:
        targets: the secrets, one consumer each.
        openrouter_url: the provider's base URL, with `/api/v1`.
        vault_url: Vault's address; the token needs `read` on the targets' data paths.
        vault_token: that token.
        rate: calls a second of each consumer.
        cache_for: seconds for which a key that was read is used before it is read again.
        timeout: seconds after which a call is given up.
        read_timeout: the same for a read of Vault; `timeout` unless given. While a consumer waits
            for a read it makes no calls, so that its key looks quiet.
    """

    def __init__(
        self,
        targets: Sequence[ConsumerTarget],
        *,
        openrouter_url: str,
        vault_url: str,
        vault_token: str,
        rate: float = 10.0,
        cache_for: float = 5.0,
        timeout: float = 10.0,
        read_timeout: float | None = None,
    ) -> None:
        self.openrouter_url = openrouter_url.rstrip("/")
        self.vault_url = vault_url.rstrip("/")
        self.vault_token = vault_token
        self.rate = rate
        self.cache_for = cache_for
        self.timeout = timeout
        self.read_timeout = timeout if read_timeout is None else read_timeout
        self.stopping = threading.Event()
        self.tally = _Tally()
        spread = 1 / rate / max(1, len(targets))
        consumers = [_Consumer(target, self, i * spread) for i, target in enumerate(targets)]
        self._threads = [
            threading.Thread(target=consumer.run, name=f"consumer-{target.name}", daemon=True)
            for consumer, target in zip(consumers, targets, strict=True)
        ]

    def start(self) -> Self:
        """Start every consumer, spread over one interval of the rate. A fleet starts once."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> Report:
        """Let every call in hand end, then return the final report."""
        self.stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        return self.report()

    def report(self) -> Report:
        """Return what was seen so far."""
        tally = self.tally
        with tally.lock:
            return Report(
                calls=tally.calls,
                failures=tuple(tally.failures),
                reads=tally.reads,
                failed_reads=tally.failed_reads,
                calls_by_key=dict(tally.by_key),
                behind=tally.behind,
            )

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()
