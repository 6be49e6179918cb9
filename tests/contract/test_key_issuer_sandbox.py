"""OpenRouter's adapter keeps the contract, over the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from rotator.adapters.openrouter import OpenRouterIssuer, OpenRouterSettings
from rotator.ports import KeyIssuer
from rotator.sandbox.faults import Fault, FaultKind
from rotator.sandbox.server import Sandbox
from rotator.secret import Secret
from tests.contract.key_issuer_contract import KeyIssuerBench, KeyIssuerContract

WRITES = ("POST", "PATCH", "DELETE")


@dataclass(slots=True)
class MovedClock:
    """A clock that moves only when a test moves it."""

    time: datetime = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        raise AssertionError("the adapter does not wait by the clock")


@dataclass(slots=True)
class SandboxBench:
    issuer: KeyIssuer
    sandbox: Sandbox
    clock: MovedClock

    @property
    def now(self) -> datetime:
        return self.clock.time

    def advance(self, span: timedelta) -> None:
        self.clock.time += span

    def workspace(self) -> str:
        return self.sandbox.account.add_workspace("Contract", "contract")

    def disable_by_hand(self, key_hash: str) -> None:
        self.sandbox.account.set_disabled(key_hash, disabled=True)

    def delete_by_hand(self, key_hash: str) -> None:
        self.sandbox.account.set_deleted(key_hash)

    def use(self, key_hash: str) -> None:
        self.sandbox.account.spend(key_hash, 0.25)

    def creates(self) -> int:
        return self.sandbox.calls.count("openrouter", "POST", "/keys")

    def refuse_next_create(self) -> None:
        self.strike(Fault(kind=FaultKind.ERROR, status=403, method="POST"))

    def limit_next_write(self, retry_after: int) -> None:
        self.strike_next_write(kind=FaultKind.RATE_LIMIT, retry_after=retry_after)

    def lose_next_request(self) -> None:
        self.strike_next_write(kind=FaultKind.CUT)

    def lose_next_answer(self) -> None:
        self.strike_next_write(kind=FaultKind.CUT, effect=True)

    def lose_answers(self) -> None:
        self.strike(Fault(kind=FaultKind.CUT, effect=True, reset=True, count=None))

    def fail_reads(self) -> None:
        self.strike(Fault(kind=FaultKind.ERROR, status=503, method="GET", count=None))

    def mend(self) -> None:
        self.sandbox.faults.clear()

    def revoke_management_key(self) -> None:
        self.sandbox.account.set_deleted(Secret(self.sandbox.management_key).sha256())

    def strike(self, fault: Fault) -> None:
        self.sandbox.faults.clear()
        self.sandbox.faults.add(fault)

    def strike_next_write(self, **fault: object) -> None:
        """One rule for each method that writes; the next call of the bench clears the others."""
        self.sandbox.faults.clear()
        for method in WRITES:
            self.sandbox.faults.add(Fault.from_json({**fault, "method": method}))


class TestTheAdapterOnTheSandbox(KeyIssuerContract):
    @pytest.fixture
    def bench(self) -> Iterator[KeyIssuerBench]:
        clock = MovedClock()
        with Sandbox(with_vault=False, now=clock.now) as sandbox:
            settings = OpenRouterSettings(
                base_url=sandbox.openrouter_url,
                timeout=timedelta(seconds=20),
                retry_wait=timedelta(0),
            )
            issuer = OpenRouterIssuer(settings, lambda: Secret(sandbox.management_key), clock)
            yield SandboxBench(issuer, sandbox, clock)
            issuer.close()
