"""The fakes of Vault keep the contracts of the real one."""

from __future__ import annotations

import uuid

import pytest

from rotator.ports import LedgerStore, SecretStore
from tests.contract.ledger_store_contract import LedgerBench, LedgerStoreContract
from tests.contract.secret_store_contract import SecretBench, SecretStoreContract
from tests.fakes.clock import FakeClock
from tests.fakes.faults import Faults, Kind, next_write
from tests.fakes.vault import FakeLedgers, FakeSecrets, FakeVault


class Losses:
    """What both benches share: a Vault, and faults for the next write."""

    def __init__(self) -> None:
        clock = FakeClock()
        self.vault = FakeVault(clock.now)
        self.faults = Faults(clock.now, clock.sleep)

    def lose_next_answer(self) -> None:
        self.faults.choose = next_write(Kind.ANSWER_LOST)

    def lose_next_request(self) -> None:
        self.faults.choose = next_write(Kind.NO_EFFECT_LOST)


class FakeSecretBench(Losses):
    """`SecretBench` over the fake."""

    def __init__(self) -> None:
        super().__init__()
        self.store: SecretStore = FakeSecrets(self.vault, self.faults)

    def path(self) -> str:
        return f"secret/contract/{uuid.uuid4().hex}"

    def delete(self, path: str) -> None:
        self.vault.delete(path)

    def destroy(self, path: str, version: int) -> None:
        self.vault.destroy(path, version)

    def forget(self, path: str) -> None:
        self.vault.forget(path)


class FakeLedgerBench(Losses):
    """`LedgerBench` over the fake."""

    def __init__(self) -> None:
        super().__init__()
        self.store: LedgerStore = FakeLedgers(self.vault, self.faults)

    def name(self) -> str:
        return f"targets/{uuid.uuid4().hex}"

    def delete(self, name: str) -> None:
        self.vault.delete(FakeLedgers.prefix + name)

    def forget(self, name: str) -> None:
        self.vault.forget(FakeLedgers.prefix + name)


class TestTheFakeSecrets(SecretStoreContract):
    @pytest.fixture
    def bench(self) -> SecretBench:
        return FakeSecretBench()


class TestTheFakeLedgers(LedgerStoreContract):
    @pytest.fixture
    def bench(self) -> LedgerBench:
        return FakeLedgerBench()
