"""The fake of OpenRouter keeps the contract of the real one."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

import pytest

from rotator.ports import KeyIssuer
from tests.contract.key_issuer_contract import KeyIssuerBench, KeyIssuerContract
from tests.fakes.clock import FakeClock
from tests.fakes.faults import Faults, Kind, next_write
from tests.fakes.issuer import FakeAccount, FakeIssuer


class FakeBench:
    """`KeyIssuerBench` over the fake."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.faults = Faults(self.clock.now, self.clock.sleep)
        self.account = FakeAccount(self.clock.now, workspaces=set())
        self.issuer: KeyIssuer = FakeIssuer(self.account, self.faults)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def advance(self, span: timedelta) -> None:
        self.clock.advance(span)

    def workspace(self) -> str:
        made = str(uuid.uuid4())
        assert self.account.workspaces is not None
        self.account.workspaces.add(made)
        return made

    def disable_by_hand(self, key_hash: str) -> None:
        self.account.set_disabled(key_hash, disabled=True)

    def delete_by_hand(self, key_hash: str) -> None:
        self.account.remove(key_hash)

    def use(self, key_hash: str) -> None:
        self.account.use(key_hash)

    def creates(self) -> int:
        return self.faults.calls.count("openrouter.create")

    def refuse_next_create(self) -> None:
        self.faults.choose = next_write(Kind.FORBIDDEN)

    def limit_next_write(self, retry_after: int) -> None:
        assert retry_after == 7, "the delay of the fake is fixed"
        self.faults.choose = next_write(Kind.LIMITED)

    def lose_next_request(self) -> None:
        self.faults.choose = next_write(Kind.NO_EFFECT_LOST)

    def lose_next_answer(self) -> None:
        self.faults.choose = next_write(Kind.ANSWER_LOST)

    def lose_answers(self) -> None:
        self.faults.choose = lambda *_: Kind.UNSETTLED

    def fail_reads(self) -> None:
        self.faults.choose = lambda _service, _name, acts: None if acts else Kind.ERROR

    def mend(self) -> None:
        self.faults.choose = lambda *_: None

    def revoke_management_key(self) -> None:
        self.account.manages = False


class TestTheFakeIssuer(KeyIssuerContract):
    @pytest.fixture
    def bench(self) -> KeyIssuerBench:
        return FakeBench()
