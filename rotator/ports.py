"""What the engine needs of the outside world, as protocols named by their consumer.

Each is implemented by one adapter, and in the tests by one in-memory fake; one
contract suite runs against all. Unless a method says otherwise it may raise
`Transient` (nothing happened), `Refused` (a definite no) and `Unauthorised` (our
own credential is refused). Methods that change something may also raise
`OutcomeUnknown`. All instants are aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from rotator.core.keys import CallerKey, IssuedKey, NewKey
from rotator.events import Event
from rotator.secret import Secret, SecretFields


class Clock(Protocol):
    """The time, and waiting."""

    def now(self) -> datetime:
        """Return the local wall clock's time (aware, UTC)."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never steps back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait; callers keep each wait short enough to notice a stop."""
        ...


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A key that was just created: what OpenRouter says of it, and its plaintext.

    Attributes:
        key: its facts; `key.hash` is the hash that the answer gave, or the
            plaintext's SHA-256 where the answer's is missing or malformed.
        secret: the plaintext, which OpenRouter shows this one time.
    """

    key: IssuedKey
    secret: Secret


class KeyIssuer(Protocol):
    """OpenRouter's management API, as far as the engine needs it."""

    def create(self, new: NewKey) -> MintedKey:
        """Create a key: one POST, sent once, never retried or redirected.

        Raises:
            Refused: a 4xx whose body arrived whole; no key was made.
            Transient: a 429 that arrived whole (no key was made), or a connection
                that failed before anything was sent.
            OutcomeUnknown: anything else; a key may exist, now or later.
        """
        ...

    def list_keys(self, workspace: str | None) -> tuple[IssuedKey, ...]:
        """Return all keys of one workspace, each once; None is the default workspace.

        Disabled and expired keys are included. Either complete or an error: a
        listing that is cut, repeats itself or never ends raises `Transient`.
        `Refused` with status 404 or 400 where there is no such workspace.
        """
        ...

    def list_workspaces(self) -> frozenset[str]:
        """Return the ids of the account's workspaces, the default one's as well.

        One that is made or deleted meanwhile may hide another: absence proves nothing.
        """
        ...

    def get(self, key_hash: str) -> IssuedKey | None:
        """Return one key, or None where OpenRouter answers 404."""
        ...

    def set_disabled(self, key_hash: str, disabled: bool) -> IssuedKey:  # noqa: FBT001
        """Disable or enable a key and return it as it then is.

        An unclear answer is settled by a read; `OutcomeUnknown` where that fails too.
        `Refused` with status 404 where there is no such key.
        """
        ...

    def delete(self, key_hash: str) -> None:
        """Delete a key for good; a key that is gone already counts as deleted.

        An unclear answer is settled by a read; `OutcomeUnknown` where that fails too.
        """
        ...

    def whoami(self, secret: Secret) -> CallerKey | None:
        """Ask, with the given key as the credential, about that key.

        Returns None where the key is refused (401). Never raises `Unauthorised`.
        """
        ...

    def whoami_management(self) -> CallerKey:
        """Ask, with the management key, about itself (`Unauthorised` where refused)."""
        ...


@dataclass(frozen=True, slots=True)
class SecretMetadata:
    """A secret's current version, without its value.

    Attributes:
        version: the current version's number, 0 where there never was one.
        created_time: when that version was written, by Vault's clock; None for version 0.
        live: whether that version is there to be read (not deleted, not destroyed).
        vault_time: Vault's clock (``Date`` of the answer, whole seconds).
    """

    version: int
    created_time: datetime | None
    live: bool
    vault_time: datetime


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """One version of a secret with its value.

    Attributes:
        version: its number, 0 where the secret does not exist.
        created_time: when it was written, by Vault's clock; None for version 0.
        fields: its value, or None where there is none to be read.
        vault_time: Vault's clock (``Date`` of the answer, whole seconds).
    """

    version: int
    created_time: datetime | None
    fields: SecretFields | None
    vault_time: datetime


@dataclass(frozen=True, slots=True)
class Written:
    """A check-and-set write that took effect.

    Attributes:
        version: the version that it made.
        created_time: when, by Vault's clock.
        vault_time: Vault's clock (``Date`` of the answer, whole seconds).
    """

    version: int
    created_time: datetime
    vault_time: datetime


class SecretStore(Protocol):
    """The secrets that consumers read (Vault KV v2); paths are ``mount/path``."""

    def metadata(self, path: str) -> SecretMetadata:
        """Return the current version's number and time; no right to the value is needed."""
        ...

    def read(self, path: str, version: int | None = None) -> SecretVersion:
        """Return the current version with its value, or the given one."""
        ...

    def write(self, path: str, fields: SecretFields, cas: int) -> Written:
        """Write all fields, on condition that the current version is `cas` (0: none yet).

        A lost answer is settled by a read: success where exactly this data stands
        at version ``cas + 1``.

        Raises:
            CheckAndSetConflict: a definite no; the current version is another.
            OutcomeUnknown: the answer was lost and the read did not settle it.
        """
        ...


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """One document of our own state, as it stands in Vault.

    Attributes:
        version: its current version, 0 where there never was one.
        created_time: when that version was written, by Vault's clock; None for version 0.
        document: its content, or None where there is none (absent, deleted, destroyed).
        vault_time: Vault's clock (``Date`` of the answer, whole seconds).
    """

    version: int
    created_time: datetime | None
    document: Mapping[str, Any] | None
    vault_time: datetime


class LedgerStore(Protocol):
    """Our own documents under the state prefix; names are like ``targets/billing-api``."""

    def read(self, name: str) -> LedgerRecord:
        """Return a document with its version."""
        ...

    def write(self, name: str, document: Mapping[str, Any], cas: int) -> Written:
        """Write a document by check-and-set; as `SecretStore.write` in all else."""
        ...


@dataclass(frozen=True, slots=True)
class UnsettledIntent:
    """An intent in the audit trail that has no outcome yet.

    Attributes:
        event: the event's name, as in the catalogue.
        op: the step.
        target: the target, or None.
        key_hash: the key, or None.
        at: when the intent was written (aware, UTC).
    """

    event: str
    op: str
    target: str | None
    key_hash: str | None
    at: datetime


class AuditSink(Protocol):
    """The audit trail. Without one nothing acts."""

    def append(self, event: Event) -> str:
        """Write one event durably and return the chain's new head (64 hex digits).

        Raises:
            AuditUnavailable: it could not be written; the step must not act.
        """
        ...

    def head(self) -> str:
        """Return the head of the chain: the digest of the last line."""
        ...

    def unsettled(self) -> tuple[UnsettledIntent, ...]:
        """Return the intents of this trail that no outcome followed, oldest first."""
        ...
