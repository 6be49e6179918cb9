"""The Vault adapter keeps the contracts, on the real Vault and on the sandbox's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rotator.ports import LedgerStore, SecretStore
from rotator.sandbox.server import Sandbox
from tests.contract.ledger_store_contract import LedgerBench, LedgerStoreContract
from tests.contract.secret_store_contract import SecretBench, SecretStoreContract
from tests.contract.vault_bench import VaultLedgerBench, VaultSecretBench, relayed
from tests.servers.vault_server import VaultServer


class TestSecretsOnTheRealVault(SecretStoreContract):
    @pytest.fixture
    def bench(self, real_vault: VaultServer) -> Iterator[SecretBench]:
        with relayed(real_vault.address, real_vault.root_token) as parts:
            yield VaultSecretBench(*parts)


class TestLedgersOnTheRealVault(LedgerStoreContract):
    @pytest.fixture
    def bench(self, real_vault: VaultServer) -> Iterator[LedgerBench]:
        with relayed(real_vault.address, real_vault.root_token) as parts:
            yield VaultLedgerBench(*parts)


class TestSecretsOnTheSandbox(SecretStoreContract):
    @pytest.fixture
    def bench(self) -> Iterator[SecretBench]:
        with Sandbox() as sandbox, relayed(sandbox.vault_url, sandbox.vault_token) as parts:
            yield VaultSecretBench(*parts)


class TestLedgersOnTheSandbox(LedgerStoreContract):
    @pytest.fixture
    def bench(self) -> Iterator[LedgerBench]:
        with Sandbox() as sandbox, relayed(sandbox.vault_url, sandbox.vault_token) as parts:
            yield VaultLedgerBench(*parts)


def as_ports(
    secrets: VaultSecretBench, ledgers: VaultLedgerBench
) -> tuple[SecretStore, LedgerStore]:
    """For the type checker: both stores have the shape of their ports."""
    return secrets.store, ledgers.store
