"""The adapter against a server that says what the test wants, and against the real Vault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import hvac
import pytest

from rotator.adapters.clock import SystemClock
from rotator.adapters.vault import (
    Login,
    TokenAuth,
    VaultClient,
    VaultSecretStore,
    VaultSettings,
)
from rotator.ports import Clock
from rotator.secret import Secret
from tests.adapters.vault.raw_vault import RawVault
from tests.servers.vault_server import VaultServer

TOKEN = "hvs.CANARYtokenCANARY"
VALUE = "sk-or-v1-CANARYvalueCANARY"


class HandClock:
    """A clock whose monotonic time moves only when a test moves it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 3, 4, 12, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        raise AssertionError("the adapter does not wait")


Connect = Callable[..., VaultClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients, and closes them in the end."""
    clients: list[VaultClient] = []

    def make(
        address: str,
        login: Login | None = None,
        *,
        timeout: float = 10.0,
        clock: Clock | None = None,
        threads: int = 16,
    ) -> VaultClient:
        client = VaultClient(
            VaultSettings(address, timeout=timedelta(seconds=timeout)),
            login or TokenAuth(lambda: Secret(TOKEN)),
            clock or SystemClock(),
            threads=threads,
            spread=lambda: 0.0,
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def vault() -> Iterator[RawVault]:
    with RawVault() as running:
        yield running


@pytest.fixture
def store(vault: RawVault, connect: Connect) -> VaultSecretStore:
    """A store on the scripted server, with a short patience."""
    return VaultSecretStore(connect(vault.address, timeout=0.5))


@pytest.fixture
def root(real_vault: VaultServer) -> Iterator[hvac.Client]:
    """A person with all rights at the real Vault."""
    client = hvac.Client(url=real_vault.address, token=real_vault.root_token)
    yield client
    client.adapter.close()
