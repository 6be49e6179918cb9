"""The two ports that Vault serves: the consumers' secrets and our own documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rotator.adapters.vault.client import VaultClient
from rotator.adapters.vault.failures import SERVICE
from rotator.adapters.vault.kv import KeyValue
from rotator.errors import Refused
from rotator.ports import LedgerRecord, SecretMetadata, SecretVersion, Written
from rotator.secret import Secret, SecretFields


class VaultSecretStore:
    """`rotator.ports.SecretStore` on Vault KV v2."""

    def __init__(self, client: VaultClient) -> None:
        """Use a client's connections and token."""
        self._kv = KeyValue(client)

    def metadata(self, path: str) -> SecretMetadata:
        """Return the current version's number and time; see the port."""
        return self._kv.metadata(path)

    def read(self, path: str, version: int | None = None) -> SecretVersion:
        """Return the current version with its value, or the given one; see the port.

        A version that never was, or that Vault has dropped, is number 0 without a value.
        """
        found = self._kv.read(path, version)
        fields = None if found.data is None else SecretFields(found.data)
        return SecretVersion(found.number, found.created_time, fields, found.vault_time)

    def write(self, path: str, fields: SecretFields, cas: int) -> Written:
        """Write all fields by check-and-set; see the port."""
        return self._kv.write(path, fields.reveal(), cas)

    def read_reference(self, path: str, field: str) -> Secret:
        """Return one field of a secret, such as the management key that is kept in Vault.

        Raises:
            Refused: the secret or the field is not there, or is no text.
            Transient, Unauthorised: as for every read.
        """
        found = self.read(path)
        value = None if found.fields is None else found.fields.text(field)
        if value is None:
            what = "secret" if found.fields is None else f"text in field {field}"
            raise Refused(SERVICE, f"read {path}", f"there is no {what}")
        return value


class VaultLedgerStore:
    """`rotator.ports.LedgerStore` on Vault KV v2: each document is the data of one KV secret."""

    def __init__(self, client: VaultClient, state_prefix: str) -> None:
        """Use a client's connections and token.

        Args:
            client: the Vault.
            state_prefix: mount and prefix under which all documents stand (``rotator/prod``).
        """
        self._kv = KeyValue(client)
        self._prefix = state_prefix.rstrip("/")

    def read(self, name: str) -> LedgerRecord:
        """Return a document with its version; see the port."""
        found = self._kv.read(f"{self._prefix}/{name}")
        return LedgerRecord(found.number, found.created_time, found.data, found.vault_time)

    def write(self, name: str, document: Mapping[str, Any], cas: int) -> Written:
        """Write a document by check-and-set; see the port."""
        return self._kv.write(f"{self._prefix}/{name}", document, cas)
