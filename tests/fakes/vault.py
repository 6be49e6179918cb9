"""Vault KV v2 in memory: secrets and ledgers, with check-and-set, versions and times."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rotator.errors import CheckAndSetConflict
from rotator.ports import LedgerRecord, SecretMetadata, SecretVersion, Written
from rotator.secret import SecretFields
from tests.fakes.faults import Faults


@dataclass
class Entry:
    """One version: its data (None once deleted), and when it was written."""

    data: dict[str, Any] | None
    created_time: datetime


@dataclass
class FakeVault:
    """The documents of a Vault: the truth, without faults.

    Attributes:
        now: Vault's clock.
        paths: by path, all versions, the first is version 1.
        on_write: called with the path after each write.
    """

    now: Callable[[], datetime]
    paths: dict[str, list[Entry]] = field(default_factory=dict)
    on_write: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._last = datetime.min.replace(tzinfo=UTC)

    def put(self, path: str, data: Mapping[str, Any], cas: int | None = None) -> Written:
        """Write a version, on condition where `cas` is given."""
        with self._lock:
            versions = self.paths.setdefault(path, [])
            if cas is not None and cas != len(versions):
                raise CheckAndSetConflict(
                    "vault", f"write {path}", "check-and-set did not match", status=400
                )
            versions.append(Entry(json.loads(json.dumps(dict(data))), self._new_instant()))
            written = Written(len(versions), versions[-1].created_time, self.date())
        self.on_write(path)
        return written

    def written(self, path: str, data: Mapping[str, Any], version: int) -> tuple[Written] | None:
        """Return what a write whose answer was lost did, if exactly this data stands there."""
        versions = self.paths.get(path) or []
        if len(versions) != version or versions[-1].data != dict(data):
            return None
        return (Written(version, versions[-1].created_time, self.date()),)

    def _new_instant(self) -> datetime:
        """Return a time that no version was written at before: Vault counts nanoseconds."""
        self._last = max(self.now(), self._last + timedelta(microseconds=1))
        return self._last

    def current(self, path: str) -> dict[str, Any] | None:
        """Return the current version's data, or None."""
        versions = self.paths.get(path)
        return versions[-1].data if versions else None

    def date(self) -> datetime:
        """Return the time as the ``Date`` header gives it: in whole seconds."""
        return self.now().replace(microsecond=0)

    def delete(self, path: str) -> None:
        """Soft-delete the current version."""
        self.destroy(path, len(self.paths[path]))

    def destroy(self, path: str, version: int) -> None:
        """Delete one version's data; its number stays taken."""
        self.paths[path][version - 1].data = None
        self.on_write(path)

    def forget(self, path: str) -> None:
        """Remove a path with all its versions, as deleting the metadata does."""
        self.paths.pop(path, None)
        self.on_write(path)


class FakeSecrets:
    """Implements `rotator.ports.SecretStore` over a `FakeVault`, with faults."""

    def __init__(self, vault: FakeVault, faults: Faults) -> None:
        self.vault = vault
        self._faults = faults

    def metadata(self, path: str) -> SecretMetadata:
        def seen() -> SecretMetadata:
            versions = self.vault.paths.get(path)
            if not versions:
                return SecretMetadata(0, None, live=False, vault_time=self.vault.date())
            last = versions[-1]
            return SecretMetadata(
                len(versions), last.created_time, last.data is not None, self.vault.date()
            )

        return self._faults.call("vault", "metadata", seen, acts=False)

    def read(self, path: str, version: int | None = None) -> SecretVersion:
        def seen() -> SecretVersion:
            versions = self.vault.paths.get(path) or []
            number = version or len(versions)
            if not 1 <= number <= len(versions):
                return SecretVersion(0, None, None, self.vault.date())
            entry = versions[number - 1]
            fields = SecretFields(entry.data) if entry.data is not None else None
            return SecretVersion(number, entry.created_time, fields, self.vault.date())

        return self._faults.call("vault", "read", seen, acts=False)

    def write(self, path: str, fields: SecretFields, cas: int) -> Written:
        data = fields.reveal()
        return self._faults.call(
            "vault",
            "write",
            lambda: self.vault.put(path, data, cas),
            acts=True,
            settle=lambda: self.vault.written(path, data, cas + 1),
        )


class FakeLedgers:
    """Implements `rotator.ports.LedgerStore` over a `FakeVault`, with faults."""

    prefix = "state/"

    def __init__(self, vault: FakeVault, faults: Faults) -> None:
        self.vault = vault
        self._faults = faults

    def read(self, name: str) -> LedgerRecord:
        def seen() -> LedgerRecord:
            versions = self.vault.paths.get(self.prefix + name)
            if not versions:
                return LedgerRecord(0, None, None, self.vault.date())
            last = versions[-1]
            return LedgerRecord(len(versions), last.created_time, last.data, self.vault.date())

        return self._faults.call("vault", "read_ledger", seen, acts=False)

    def write(self, name: str, document: Mapping[str, Any], cas: int) -> Written:
        path, data = self.prefix + name, dict(document)
        return self._faults.call(
            "vault",
            "write_ledger",
            lambda: self.vault.put(path, data, cas),
            acts=True,
            settle=lambda: self.vault.written(path, data, cas + 1),
        )
