"""The installation's id: drawn once for a state prefix, agreed on, never overwritten."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rotator.adapters.clock import SystemClock
from rotator.adapters.vault import TokenAuth, VaultClient, VaultLedgerStore, VaultSettings
from rotator.engine.installation import read_installation, read_or_create_installation
from rotator.errors import OutcomeUnknown, Refused
from rotator.ports import Written
from rotator.secret import Secret
from tests.wiring.stand import Stand

ID = "0123456789abcdef"


@pytest.fixture
def ledgers(stand: Stand) -> VaultLedgerStore:
    token = Secret(stand.sandbox.vault_token)
    client = VaultClient(
        VaultSettings(stand.sandbox.vault_url), TokenAuth(lambda: token), SystemClock()
    )
    return VaultLedgerStore(client, "secret/rotator")


def test_it_is_made_once_and_read_from_then_on(stand: Stand, ledgers: VaultLedgerStore) -> None:
    assert read_installation(ledgers) is None
    assert read_or_create_installation(ledgers, lambda: ID) == ID
    assert read_or_create_installation(ledgers, lambda: "f" * 16) == ID
    assert read_installation(ledgers) == ID
    stored = stand.sandbox.vault.read("secret", "rotator/installation")
    assert stored["data"] == {"id": ID, "schema": 1}
    assert stored["metadata"]["version"] == 1


class Overtaken(VaultLedgerStore):
    """A store in which somebody else does something right before our write."""

    def __init__(self, inner: VaultLedgerStore, before: Callable[[], None]) -> None:
        self._inner = inner
        self._before = before

    def read(self, name: str) -> Any:
        return self._inner.read(name)

    def write(self, name: str, document: Mapping[str, Any], cas: int) -> Written:
        self._before()
        return self._inner.write(name, document, cas)


def test_two_processes_that_start_at_once_agree(ledgers: VaultLedgerStore) -> None:
    def other() -> None:
        read_or_create_installation(ledgers, lambda: ID)

    assert read_or_create_installation(Overtaken(ledgers, other), lambda: "f" * 16) == ID


def test_a_write_whose_answer_is_lost_is_settled_by_reading_again(
    ledgers: VaultLedgerStore,
) -> None:
    def lost() -> None:
        ledgers.write("installation", {"id": ID, "schema": 1}, 0)
        raise OutcomeUnknown("vault", "write", "the answer was lost")

    assert read_or_create_installation(Overtaken(ledgers, lost), lambda: "f" * 16) == ID


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"id": ID, "schema": 2}, "newer than this program's"),
        ({"id": "short", "schema": 1}, "cannot be understood"),
        ({"id": ID.upper(), "schema": 1}, "cannot be understood"),
        ({"id": ID, "schema": True}, "cannot be understood"),
        ({"schema": 1}, "cannot be understood"),
        ({}, "cannot be understood"),
    ],
)
def test_what_cannot_be_used_is_refused_and_left_as_it_is(
    stand: Stand, ledgers: VaultLedgerStore, document: dict[str, Any], why: str
) -> None:
    stand.sandbox.vault.write("secret", "rotator/installation", document)
    with pytest.raises(Refused, match=why):
        read_or_create_installation(ledgers, lambda: ID)
    assert stand.sandbox.vault.read("secret", "rotator/installation")["data"] == document


def test_a_deleted_one_is_not_replaced(stand: Stand, ledgers: VaultLedgerStore) -> None:
    read_or_create_installation(ledgers, lambda: ID)
    stand.sandbox.vault.delete("secret", "rotator/installation")
    with pytest.raises(Refused, match="deleted"):
        read_or_create_installation(ledgers, lambda: "f" * 16)
