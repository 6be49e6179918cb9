"""The audit catalogue: one frozen type for each event that can stand in the audit trail.

The catalogue is closed: `CATALOGUE` lists every type, ``docs/audit.md`` explains
each, and ``docs/audit-event.schema.json`` is derived from them. A sink adds the
fields of the chain (``ts``, ``chain``, ``seq``, ``prev``) and the instance.

A step that changes something outside is written twice under one ``op``: as an
intent before it acts, and as an outcome after. A notice reports something that
was seen or said, and is written once, as an outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar


class Phase(StrEnum):
    """Whether an event was written before the step acted or after."""

    INTENT = "intent"
    OUTCOME = "outcome"


class Result(StrEnum):
    """What an outcome says of its step.

    ``done``, ``refused`` (a definite no), ``failed`` (nothing happened, may be
    tried again) and ``unknown`` (it may have happened) come from the process that
    acted. ``found``, ``not_found`` and ``interrupted`` (no longer to be told) come
    from whoever settles the step later.
    """

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    FOUND = "found"
    NOT_FOUND = "not_found"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every audit event carries.

    Attributes:
        phase: intent or outcome.
        op: names the step: the claim's identifier, a slash, and the step's name. An
            intent and its outcome share it.
        target: the target's name, or None where the event concerns the whole process.
        reason: a stable code (`rotator.core.reasons`), or None.
        key_hash: the hash of the OpenRouter key concerned, or None where none is known.
        result: only on outcomes.
        error: one line of cause on an outcome that is not a success, without secrets.
    """

    name: ClassVar[str]
    step: ClassVar[bool] = True

    phase: Phase
    op: str
    target: str | None = None
    reason: str | None = None
    key_hash: str | None = None
    result: Result | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCreate(Event):
    """A replacement key is asked for at OpenRouter (the one POST).

    Attributes:
        key_name: the name that carries the marker.
        limit: spending cap in US dollars, None for unlimited.
        limit_reset: when the cap starts afresh, None for never.
        expires_at: when the key stops working by itself, None for never.
        workspace_id: the workspace, None for the default one.
    """

    name: ClassVar[str] = "key.create"

    key_name: str
    limit: float | None = None
    limit_reset: str | None = None
    expires_at: datetime | None = None
    workspace_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVerify(Event):
    """A key is asked about itself, to prove that it works before anyone is given it."""

    name: ClassVar[str] = "key.verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDisable(Event):
    """A key is disabled at OpenRouter; this can be undone."""

    name: ClassVar[str] = "key.disable"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEnable(Event):
    """A disabled key is enabled again at OpenRouter."""

    name: ClassVar[str] = "key.enable"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDelete(Event):
    """A disabled key is deleted at OpenRouter; this is final."""

    name: ClassVar[str] = "key.delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretPublish(Event):
    """A key's plaintext is written to the target's field in Vault.

    Attributes:
        path: the secret.
        field: the field that changes; all others stay.
        base_version: the version that the write is conditional on.
        version: the version it made (outcome only).
    """

    name: ClassVar[str] = "secret.publish"

    path: str
    field: str
    base_version: int
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFence(Event):
    """A secret is written again unchanged, so that a late write of a dead process fails.

    Attributes:
        path: the secret.
        base_version: the version that the write is conditional on.
        version: the version it made (outcome only).
    """

    name: ClassVar[str] = "secret.fence"

    path: str
    base_version: int
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerChange(Event):
    """A target's ledger is changed by check-and-set.

    Attributes:
        change: what the change is called (``claim``, ``promote``, ``disabled`` ...).
        base_version: the ledger version that the write is conditional on.
        version: the ledger version it made (outcome only).
    """

    name: ClassVar[str] = "ledger.change"

    change: str
    base_version: int
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettled(Event):
    """A step that another process began is settled: ``found`` or ``not_found``.

    Its ``op`` is that of the step; it closes the intent, where there was one.
    """

    name: ClassVar[str] = "step.settled"
    step: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAttention(Event):
    """A target needs a person: its value is foreign, its old key is blocked, and the like.

    Attributes:
        detail: one plain sentence.
    """

    name: ClassVar[str] = "target.attention"
    step: ClassVar[bool] = False

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCommand(Event):
    """A person gave a command that changes something.

    Attributes:
        command: the command's name.
        by: the account name and host from which it came; where another process asked for
            it, as that one says.
        detail: its arguments in one line, without secrets.
    """

    name: ClassVar[str] = "operator.command"
    step: ClassVar[bool] = False

    command: str
    by: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resync(Event):
    """A full listing was compared with the configuration and the ledgers.

    Attributes:
        keys: keys listed.
        served: of these, served by a configured target.
        orphans: marked by this installation but in no ledger.
        foreign: all that are not ours.
    """

    name: ClassVar[str] = "resync"
    step: ClassVar[bool] = False

    keys: int
    served: int
    orphans: int
    foreign: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStart(Event):
    """A process that may change things has started.

    Attributes:
        version: of this program.
        holder: the name under which this process claims targets.
        mode: the command that started it.
        config_sha256: of the configuration file's bytes.
    """

    name: ClassVar[str] = "process.start"
    step: ClassVar[bool] = False

    version: str
    holder: str
    mode: str
    config_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStop(Event):
    """A process that may change things is stopping in good order.

    Attributes:
        holder: the name under which this process claimed targets.
    """

    name: ClassVar[str] = "process.stop"
    step: ClassVar[bool] = False

    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessReload(Event):
    """Such a process has read its configuration file again, which had changed.

    ``failed`` means that the old configuration stays in force; ``error`` says why.

    Attributes:
        holder: the name under which this process claims targets.
        config_sha256: of the file's bytes, or None where it could not be read as a whole.
    """

    name: ClassVar[str] = "process.reload"
    step: ClassVar[bool] = False

    holder: str
    config_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TornLineSealed(Event):
    """The last line of the file was cut by a crash; it was closed and left as it is.

    Attributes:
        torn_bytes: the length of the torn line.
        torn_sha256: of its bytes, as hex.
    """

    name: ClassVar[str] = "audit.sealed"
    step: ClassVar[bool] = False

    torn_bytes: int
    torn_sha256: str


CATALOGUE: tuple[type[Event], ...] = (
    KeyCreate,
    KeyVerify,
    KeyDisable,
    KeyEnable,
    KeyDelete,
    SecretPublish,
    SecretFence,
    LedgerChange,
    StepSettled,
    TargetAttention,
    OperatorCommand,
    Resync,
    ProcessStart,
    ProcessStop,
    ProcessReload,
    TornLineSealed,
)
"""Every type of event there is, in the order of the documentation."""
