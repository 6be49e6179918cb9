"""What a plan consists of: needs, findings and steps, each a frozen value that can be printed.

A step does one thing outside. The executor carries steps out in order and stops at
the first that fails; the next pass observes anew and plans anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rotator.core.edits import Edit
from rotator.core.keys import NewKey
from rotator.core.ledger import Claim, Ledger
from rotator.core.reasons import MEANING, Reason
from rotator.core.target import SecretRef


@dataclass(frozen=True, slots=True)
class NeedValue:
    """The value of the target's field must be read."""


@dataclass(frozen=True, slots=True)
class NeedVersions:
    """Older versions of the secret must be read, as far as that can be done."""

    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NeedLook:
    """A key must be asked for at OpenRouter (GET)."""

    key: str


@dataclass(frozen=True, slots=True)
class NeedListing:
    """A complete listing must be made now, of these workspaces beside the default one."""

    workspaces: frozenset[str]


@dataclass(frozen=True, slots=True)
class NeedProbe:
    """The served value must be asked about itself (``GET /key``)."""


Need = NeedValue | NeedVersions | NeedLook | NeedListing | NeedProbe


@dataclass(frozen=True, slots=True)
class CreateLedger:
    """Write the target's first ledger."""

    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Record:
    """Change the ledger by one edit; ends the standing claim where the edit does."""

    edit: Edit


@dataclass(frozen=True, slots=True)
class MakeClaim:
    """Claim the target for one change."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class TakeOverClaim:
    """Take over an expired claim."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Fence:
    """Write the secret again unchanged, so that a late publish of a dead process fails."""

    secret: SecretRef


@dataclass(frozen=True, slots=True)
class Mint:
    """Create a key, once."""

    new: NewKey


@dataclass(frozen=True, slots=True)
class Recall:
    """Read an old key's plaintext from an older version of the secret that served it."""

    key: str
    version: int
    secret: SecretRef


@dataclass(frozen=True, slots=True)
class Verify:
    """Prove that the created or recalled key works."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Write the plaintext in hand to the target's field, by check-and-set."""

    secret: SecretRef


@dataclass(frozen=True, slots=True)
class PromoteMinted:
    """Record that the published key is the served one; the claim ends."""

    compromised: bool


@dataclass(frozen=True, slots=True)
class PromoteRecalled:
    """Record that the published old key is the served one again; the claim ends."""

    key: str


@dataclass(frozen=True, slots=True)
class Enable:
    """Enable a key."""

    key: str


@dataclass(frozen=True, slots=True)
class Disable:
    """Disable a key, after a fresh read showed that its secret does not serve it."""

    key: str
    secret: SecretRef


@dataclass(frozen=True, slots=True)
class RecordDisabled:
    """Record that a key was disabled just now; the claim ends."""

    key: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a disabled key, after a fresh read showed that its secret does not serve it."""

    key: str
    secret: SecretRef


@dataclass(frozen=True, slots=True)
class Settle:
    """Write the outcomes that a dead process left open into the audit trail.

    Attributes:
        claim: the change it had begun.
        found: by the step's name, whether its effect was found.
        key: hash of the key concerned, where known.
    """

    claim: Claim
    found: tuple[tuple[str, bool], ...]
    key: str | None


Step = (
    CreateLedger
    | Record
    | MakeClaim
    | TakeOverClaim
    | Fence
    | Mint
    | Recall
    | Verify
    | Publish
    | PromoteMinted
    | PromoteRecalled
    | Enable
    | Disable
    | RecordDisabled
    | Delete
    | Settle
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a target that a person should see.

    Attributes:
        reason: a stable code.
        detail: one line of particulars, may be empty.
        key: hash of the key concerned, where there is one.
        attention: whether a person must act.
    """

    reason: Reason
    detail: str = ""
    key: str | None = None
    attention: bool = False

    @property
    def sentence(self) -> str:
        """The reason's meaning, with the particulars."""
        return f"{MEANING[self.reason]} {self.detail}".strip()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about one target now.

    Attributes:
        reason: why the steps, or why there are none.
        steps: in order; empty where there is nothing to do.
        needs: what must be observed before anything can be planned.
        findings: what a person should see.
        wake_at: when to look again at the latest, by the local clock; None for "no time set".
        urgent: whether the steps go before other targets' work.
    """

    reason: Reason
    steps: tuple[Step, ...] = ()
    needs: tuple[Need, ...] = ()
    findings: tuple[Finding, ...] = ()
    wake_at: datetime | None = None
    urgent: bool = False
