"""What a server says of itself, and what a sealed one refuses."""

from __future__ import annotations

from typing import Any

import hvac
import pytest

from rotator.adapters.vault import TokenAuth, VaultHealth, VaultSecretStore
from rotator.errors import Transient
from rotator.secret import Secret, SecretFields
from tests.adapters.loopback import Reply, hang_up
from tests.adapters.vault.conftest import Connect
from tests.adapters.vault.raw_vault import RawVault, answer, errors, page
from tests.servers.vault_server import VaultServer


def health(status: int, **rest: Any) -> Reply:
    document = {"initialized": True, "sealed": False, "standby": False, "version": "1.21.0"}
    return answer(status, {**document, **rest})


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (health(200), VaultHealth(sealed=False, standby=False, version="1.21.0")),
        (health(429, standby=True), VaultHealth(sealed=False, standby=True, version="1.21.0")),
        (health(473, standby=True), VaultHealth(sealed=False, standby=True, version="1.21.0")),
        (health(503, sealed=True), VaultHealth(sealed=True, standby=False, version="1.21.0")),
        (health(200, version="1\x1b[0m"), VaultHealth(False, False, "unknown")),
    ],
)
def test_a_servers_state_is_read_whatever_its_status(
    vault: RawVault, connect: Connect, reply: Reply, expected: VaultHealth
) -> None:
    vault.respond = lambda asked: reply
    assert connect(vault.address).check() == expected
    (asked,) = vault.asked
    assert asked.call == "GET sys/health"
    assert "x-vault-token" not in asked.headers


@pytest.mark.parametrize(
    "reply",
    [page(200), page(503), hang_up(), errors(500), answer(200, {}), health(501, initialized=False)],
)
def test_what_is_no_working_vault_is_transient(
    vault: RawVault, connect: Connect, reply: Reply
) -> None:
    vault.respond = lambda asked: reply
    with pytest.raises(Transient):
        connect(vault.address).check()


def test_the_real_vault_sealed_does_nothing_and_says_so(
    real_vault: VaultServer, root: hvac.Client, connect: Connect
) -> None:
    client = connect(real_vault.address, TokenAuth(lambda: Secret(real_vault.root_token)))
    store = VaultSecretStore(client)
    assert store.read("secret/sealed").version == 0
    root.sys.seal()
    try:
        assert client.check().sealed
        with pytest.raises(Transient, match="Vault is sealed") as caught:
            store.write("secret/sealed", SecretFields({"a": "1"}), cas=0)
        assert caught.value.status == 503
        with pytest.raises(Transient, match="Vault is sealed"):
            store.read("secret/sealed")
    finally:
        real_vault.stop()
        real_vault.start()
    assert not client.check().sealed
