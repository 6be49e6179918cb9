"""The state of a simulated Vault's KV version 2 engines. No input or output, no clock.

The rules are those of HashiCorp's engine
(https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2): versions only rise, a soft delete
does not lower them, `cas=0` writes only where no version exists, deleting the metadata starts again
at 1.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

MAX_VERSIONS = 10
"""Versions that are kept where neither the mount nor the secret says otherwise."""
CAS_MISMATCH = "check-and-set parameter did not match the current version"
CAS_REQUIRED = "check-and-set parameter required for this call"


class VaultError(Exception):
    """An answer of Vault other than success: a status and its `errors`."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(status, *errors)
        self.status = status
        self.errors = list(errors)

    def body(self) -> dict[str, Any]:
        """Return the error as Vault's JSON shows it."""
        return {"errors": self.errors}


class DeletedError(Exception):
    """The version asked for is deleted or destroyed: a 404 whose body holds its metadata."""

    def __init__(self, metadata: dict[str, Any]) -> None:
        super().__init__(metadata)
        self.metadata = metadata


def render_time(moment: datetime, nanoseconds: int) -> str:
    """Return a time as Go's RFC3339Nano writes it: up to nine decimals, without closing zeros."""
    moment = moment.astimezone(UTC)
    fraction = f"{moment.microsecond:06d}{nanoseconds:03d}".rstrip("0")
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "Z"


@dataclass(slots=True)
class _Version:
    data: dict[str, Any] | None = field(repr=False)
    created_time: str
    deletion_time: str = ""
    destroyed: bool = False

    def metadata(self) -> dict[str, Any]:
        return {
            "created_time": self.created_time,
            "deletion_time": self.deletion_time,
            "destroyed": self.destroyed,
        }


@dataclass(slots=True)
class _Secret:
    created_time: str
    updated_time: str
    current: int = 0
    oldest: int = 0
    max_versions: int = 0
    cas_required: bool = False
    custom_metadata: dict[str, str] | None = None
    versions: dict[int, _Version] = field(default_factory=dict)


@dataclass(slots=True)
class Mount:
    """A mounted KV engine."""

    path: str
    """Its name without closing slash; it may contain slashes."""
    version: int = 2
    max_versions: int = 0
    cas_required: bool = False
    secrets: dict[str, _Secret] = field(default_factory=dict, repr=False)
    plain: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    """The secrets of a version 1 engine."""


class VaultStore:
    """Mounted engines behind one lock; every method is one atomic call.

    Args:
        now: returns the current time, aware.
        mounts: names of KV version 2 mounts.

    Raises (from the methods that stand for calls): VaultError, DeletedError.
    """

    def __init__(
        self, *, now: Callable[[], datetime], mounts: tuple[str, ...] = ("secret",)
    ) -> None:
        self._now = now
        self._lock = threading.RLock()
        self._stamps = 0
        self._mounts: dict[str, Mount] = {}
        self.sealed = False
        """While set, the API answers everything but the state of the seal with 503."""
        for mount in mounts:
            self.mount(mount)

    @property
    def now(self) -> datetime:
        """The server's current time."""
        return self._now()

    @property
    def lock(self) -> threading.RLock:
        """The lock of the state, to make several calls one."""
        return self._lock

    def mount(
        self, path: str, *, version: int = 2, max_versions: int = 0, cas_required: bool = False
    ) -> None:
        """Mount a KV engine; version 1 is there to be recognised and refused."""
        with self._lock:
            self._mounts[path] = Mount(path, version, max_versions, cas_required)

    def find_mount(self, path: str) -> tuple[Mount, str] | None:
        """Return the mount that `path` lies in and the rest of the path, or None."""
        with self._lock:
            for mount in sorted(self._mounts.values(), key=lambda mount: -len(mount.path)):
                if path == mount.path or path.startswith(f"{mount.path}/"):
                    return mount, path[len(mount.path) + 1 :]
            return None

    def read(self, mount: str, path: str, version: int = 0) -> dict[str, Any]:
        """GET data: a version (0 is the current one) with its metadata.

        VaultError 404 where there is no such version, DeletedError where it is deleted.
        """
        with self._lock:
            secret = self._secret(mount, path)
            number = version or secret.current
            found = secret.versions.get(number)
            if found is None:
                raise VaultError(404)
            metadata = self._version_metadata(secret, number)
            if found.destroyed or found.deletion_time:
                raise DeletedError(metadata)
            return {"data": copy.deepcopy(found.data), "metadata": metadata}

    def write(
        self, mount: str, path: str, data: Mapping[str, Any], cas: int | None = None
    ) -> dict[str, Any]:
        """POST data: add a version, return its metadata; VaultError 400 for a stale `cas`."""
        with self._lock:
            engine = self._mount(mount)
            secret = engine.secrets.get(path)
            current = 0 if secret is None else secret.current
            required = engine.cas_required or (secret is not None and secret.cas_required)
            if cas is None and required:
                raise VaultError(400, CAS_REQUIRED)
            if cas is not None and cas != current:
                raise VaultError(400, CAS_MISMATCH)
            stamp = self._stamp()
            if secret is None:
                secret = engine.secrets[path] = _Secret(stamp, stamp)
            secret.current += 1
            secret.updated_time = stamp
            secret.versions[secret.current] = _Version(copy.deepcopy(dict(data)), stamp)
            keep = secret.max_versions or engine.max_versions or MAX_VERSIONS
            for number in [number for number in secret.versions if number <= secret.current - keep]:
                del secret.versions[number]
                secret.oldest = secret.current - keep + 1
            return self._version_metadata(secret, secret.current)

    def delete(self, mount: str, path: str, versions: list[int] | None = None) -> None:
        """DELETE data, or POST delete: soft-delete the current version, or the named ones."""
        with self._lock:
            for version in self._chosen(mount, path, versions):
                if not version.destroyed and not version.deletion_time:
                    version.deletion_time = self._stamp()

    def undelete(self, mount: str, path: str, versions: list[int]) -> None:
        """POST undelete: bring soft-deleted versions back."""
        with self._lock:
            for version in self._chosen(mount, path, versions):
                if not version.destroyed:
                    version.deletion_time = ""

    def destroy(self, mount: str, path: str, versions: list[int]) -> None:
        """POST destroy: remove the data of versions for good; their metadata stays."""
        with self._lock:
            for version in self._chosen(mount, path, versions):
                version.data = None
                version.destroyed = True

    def read_metadata(self, mount: str, path: str) -> dict[str, Any]:
        """GET metadata: what is known of every version; VaultError 404 where there is nothing."""
        with self._lock:
            secret = self._secret(mount, path)
            return {
                "cas_required": secret.cas_required,
                "created_time": secret.created_time,
                "current_version": secret.current,
                "custom_metadata": copy.copy(secret.custom_metadata),
                "delete_version_after": "0s",
                "max_versions": secret.max_versions,
                "oldest_version": secret.oldest,
                "updated_time": secret.updated_time,
                "versions": {
                    str(number): version.metadata() for number, version in secret.versions.items()
                },
            }

    def write_metadata(
        self,
        mount: str,
        path: str,
        *,
        max_versions: int | None = None,
        cas_required: bool | None = None,
        custom_metadata: Mapping[str, str] | None = None,
    ) -> None:
        """POST metadata: set what is named; a secret that has no version yet stays at version 0."""
        with self._lock:
            engine = self._mount(mount)
            stamp = self._stamp()
            secret = engine.secrets.setdefault(path, _Secret(stamp, stamp))
            if max_versions is not None:
                secret.max_versions = max_versions
            if cas_required is not None:
                secret.cas_required = cas_required
            if custom_metadata is not None:
                secret.custom_metadata = dict(custom_metadata)

    def delete_metadata(self, mount: str, path: str) -> None:
        """DELETE metadata: remove a secret with all versions; the next write is version 1 again."""
        with self._lock:
            self._mount(mount).secrets.pop(path, None)

    def list_names(self, mount: str, path: str) -> list[str]:
        """LIST metadata: names below `path`, folders with a closing slash; 404 for none."""
        with self._lock:
            prefix = f"{path.rstrip('/')}/" if path.strip("/") else ""
            names: set[str] = set()
            for key in self._mount(mount).secrets:
                if key.startswith(prefix):
                    first, slash, _ = key[len(prefix) :].partition("/")
                    names.add(first + slash)
            if not names:
                raise VaultError(404)
            return sorted(names)

    # Parts of the above; the lock is held.

    def _mount(self, mount: str) -> Mount:
        engine = self._mounts.get(mount)
        if engine is None or engine.version != 2:
            raise VaultError(404, f'no handler for route "{mount}/". route entry not found.')
        return engine

    def _secret(self, mount: str, path: str) -> _Secret:
        secret = self._mount(mount).secrets.get(path)
        if secret is None:
            raise VaultError(404)
        return secret

    def _chosen(self, mount: str, path: str, versions: list[int] | None) -> list[_Version]:
        secret = self._mount(mount).secrets.get(path)
        if secret is None:
            return []
        chosen = [secret.current] if versions is None else versions
        return [secret.versions[number] for number in chosen if number in secret.versions]

    def _version_metadata(self, secret: _Secret, number: int) -> dict[str, Any]:
        return {
            **secret.versions[number].metadata(),
            "custom_metadata": copy.copy(secret.custom_metadata),
            "version": number,
        }

    def _stamp(self) -> str:
        """Return now, distinct from the last stamp even where the clock stands still."""
        self._stamps += 1
        return render_time(self._now(), self._stamps % 1000)
