"""Changes of a ledger by our own work, each a frozen value with a pure `apply`.

An edit can be applied again to a newer version of the ledger (an operator may have
put a hold in meanwhile), so none of them carries a whole ledger. `change` is what
the audit trail calls it. Those that follow a person's hand are in
`rotator.core.hand_edits`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from typing import ClassVar, Protocol

from rotator.core.ledger import (
    ABANDONED_KEPT,
    DELETED_KEPT,
    Claim,
    ClaimKind,
    Failure,
    Ledger,
    RetiringKey,
    ServedKey,
)
from rotator.core.reasons import Reason
from rotator.core.retirement import AT_ONCE
from rotator.core.target import SecretRef


class Edit(Protocol):
    """A named pure change of a ledger."""

    change: ClassVar[str]

    def apply(self, ledger: Ledger) -> Ledger:
        """Return the changed ledger."""


def retire(served: ServedKey, secret: SecretRef, *, since: datetime, why: Reason) -> RetiringKey:
    """Return the retiring entry that a served key becomes, with what is known of it."""
    return RetiringKey(
        hash=served.hash,
        value_sha256=served.value_sha256,
        minted_by_us=served.minted_by_us,
        workspace=served.workspace,
        minted_at=served.minted_at,
        secret=secret,
        since=since,
        why=Reason.COMPROMISED if served.compromised else why,
        disable_claimed=served.disable_claimed,
        delete_claimed=served.delete_claimed,
        terms=served.terms,
        expires_at=served.expires_at,
    )


def retire_served(ledger: Ledger, *, since: datetime, why: Reason) -> Ledger:
    """Return a ledger whose served key, if there is one, has moved into `retiring`."""
    if ledger.served is None:
        return ledger
    entry = retire(ledger.served, ledger.secret, since=since, why=why)
    return replace(ledger.with_entry(entry), served=None)


@dataclass(frozen=True, slots=True)
class TakeClaim:
    """Claim the target for one change; a claimed disable or delete stays with its key."""

    change: ClassVar[str] = "claim"

    claim: Claim

    def apply(self, ledger: Ledger) -> Ledger:
        """Set the claim, and mark the key that it threatens."""
        ledger = replace(ledger, pending=self.claim)
        entry = ledger.entry(self.claim.key) if self.claim.key else None
        if entry is not None and self.claim.kind is ClaimKind.DISABLE:
            return ledger.with_entry(replace(entry, disable_claimed=True))
        if entry is not None and self.claim.kind is ClaimKind.DELETE:
            return ledger.with_entry(replace(entry, delete_claimed=True))
        return ledger


@dataclass(frozen=True, slots=True)
class RenewClaim:
    """Base the claim on a newer version of the secret, or write down its key's odd digest."""

    change: ClassVar[str] = "renew_claim"

    base_version: int
    base_created_time: datetime | None
    key: str | None = None
    value_sha256: str | None = None

    def apply(self, ledger: Ledger) -> Ledger:
        """Change the standing claim."""
        if ledger.pending is None:
            return ledger
        claim = replace(
            ledger.pending,
            base_version=self.base_version,
            base_created_time=self.base_created_time,
            key=self.key or ledger.pending.key,
            value_sha256=self.value_sha256 or ledger.pending.value_sha256,
        )
        return replace(ledger, pending=claim)


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Continue an expired claim as its new holder; kind, nonce and op stay."""

    change: ClassVar[str] = "take_over"

    holder: str
    at: datetime

    def apply(self, ledger: Ledger) -> Ledger:
        """Set holder and start afresh."""
        if ledger.pending is None:
            return ledger
        return replace(
            ledger, pending=replace(ledger.pending, holder=self.holder, started_at=self.at)
        )


@dataclass(frozen=True, slots=True)
class DropClaim:
    """End the claim without any other change."""

    change: ClassVar[str] = "drop_claim"

    failure: Failure | None = None

    def apply(self, ledger: Ledger) -> Ledger:
        """Clear the claim and keep the failure, if any."""
        return replace(ledger, pending=None, failure=self.failure or ledger.failure)


@dataclass(frozen=True, slots=True)
class NoteFailure:
    """Remember a failure; a standing claim stays until it expires."""

    change: ClassVar[str] = "failure"

    failure: Failure

    def apply(self, ledger: Ledger) -> Ledger:
        """Set the failure."""
        return replace(ledger, failure=self.failure)


@dataclass(frozen=True, slots=True)
class FailureOver:
    """Nothing of the last failure is left to be tried again."""

    change: ClassVar[str] = "failure_over"

    def apply(self, ledger: Ledger) -> Ledger:
        """Clear the failure."""
        return replace(ledger, failure=None)


def _all_afresh(ledger: Ledger, at: datetime) -> Ledger:
    """Give every retiring key its grace afresh, but for those that go without one."""
    for entry in ledger.retiring:
        if entry.why not in AT_ONCE:
            ledger = ledger.with_entry(replace(entry, since=at, quiet_since=None))
    return ledger


@dataclass(frozen=True, slots=True)
class Promote:
    """The new key is served: it becomes so here, the old one retires, the claim ends.

    Attributes:
        served: the key that is now served.
        why: why its predecessor retires.
        compromised: whether all predecessors go without grace and drain; a key that
            another path was left with serves there still, and is none.
    """

    change: ClassVar[str] = "promote"

    served: ServedKey
    why: Reason = Reason.SUPERSEDED
    compromised: bool = False

    def apply(self, ledger: Ledger) -> Ledger:
        """Swap the keys and end the claim."""
        if ledger.served is None and ledger.foreign is None:
            # What the field held while it was empty, as far as we saw, is not known.
            ledger = _all_afresh(ledger, self.served.published_at)
        if ledger.served is not None and ledger.served.hash != self.served.hash:
            ledger = retire_served(ledger, since=self.served.published_at, why=self.why)
        ledger = ledger.without_entry(self.served.hash)
        if self.compromised:
            # That one was disabled once is not believed: a person may have enabled it since.
            doomed = (
                replace(each, why=Reason.COMPROMISED, disabled_at=None, enabled_by_hand=False)
                for each in ledger.retiring
                if each.why is not Reason.LEFT_BEHIND
            )
            ledger = reduce(Ledger.with_entry, doomed, ledger)
        return replace(ledger, served=self.served, foreign=None, pending=None, failure=None)


@dataclass(frozen=True, slots=True)
class Abandon:
    """A nonce whose key can never have been served is given up, and its key with it.

    Attributes:
        nonce: of the attempt.
        key: its key, where one was made.
        failure: what to remember of it.
    """

    change: ClassVar[str] = "abandon"

    nonce: str
    key: RetiringKey | None = None
    failure: Failure | None = None

    def apply(self, ledger: Ledger) -> Ledger:
        """Remember the nonce, list its key for removal, end the claim."""
        others = tuple(each for each in ledger.abandoned if each != self.nonce)
        ledger = replace(
            ledger,
            abandoned=(*others, self.nonce)[-ABANDONED_KEPT:],
            pending=None,
            failure=self.failure or ledger.failure,
        )
        return ledger.with_entry(self.key) if self.key is not None else ledger


@dataclass(frozen=True, slots=True)
class RetireKeys:
    """Keys that no ledger entry knew get one, with a full grace; the claim ends.

    Attributes:
        keys: the new entries.
        restart: where set, the served key's age counts from there.
        failure: what to remember of it.
    """

    change: ClassVar[str] = "retire_keys"

    keys: tuple[RetiringKey, ...]
    restart: datetime | None = None
    failure: Failure | None = None

    def apply(self, ledger: Ledger) -> Ledger:
        """Add the entries and end the claim."""
        for key in self.keys:
            if not ledger.knows(key.hash):
                ledger = ledger.with_entry(key)
        if self.restart is not None and ledger.served is not None:
            ledger = replace(ledger, served=replace(ledger.served, due_from=self.restart))
        return replace(ledger, pending=None, failure=self.failure or ledger.failure)


def _failure_left(ledger: Ledger, entry: RetiringKey | None) -> Failure | None:
    """Return the failure that a removal leaves in the ledger.

    To clean up after a failed rotation is no success: its wait must stand.
    """
    cleaned_up = entry is not None and entry.why is Reason.NEVER_SERVED
    return ledger.failure if cleaned_up else None


@dataclass(frozen=True, slots=True)
class KeyDisabled:
    """A retiring key was disabled, or found so; the claim ends."""

    change: ClassVar[str] = "disabled"

    key: str
    at: datetime

    def apply(self, ledger: Ledger) -> Ledger:
        """Start its quarantine."""
        entry = ledger.entry(self.key)
        ledger = replace(ledger, pending=None, failure=_failure_left(ledger, entry))
        if entry is None:
            return ledger
        return ledger.with_entry(replace(entry, disabled_at=self.at, enabled_by_hand=False))


@dataclass(frozen=True, slots=True)
class KeyRemoved:
    """A retiring key is gone from OpenRouter; the claim ends."""

    change: ClassVar[str] = "removed"

    key: str

    def apply(self, ledger: Ledger) -> Ledger:
        """Drop its entry, and remember it for the day on which its value is put back."""
        entry = ledger.entry(self.key)
        failure = _failure_left(ledger, entry)
        ledger = replace(ledger.without_entry(self.key), pending=None, failure=failure)
        if entry is None or entry.why is Reason.NEVER_SERVED:
            return ledger
        others = tuple(each for each in ledger.deleted if each.hash != self.key)
        return replace(ledger, deleted=(*others, entry)[-DELETED_KEPT:])


@dataclass(frozen=True, slots=True)
class ServedThere:
    """A retiring key of a path that is configured no more is served there; the claim ends."""

    change: ClassVar[str] = "left_behind"

    key: str

    def apply(self, ledger: Ledger) -> Ledger:
        """Leave the key alone from now on; it is reported."""
        ledger = replace(ledger, pending=None)
        entry = ledger.entry(self.key)
        if entry is None:
            return ledger
        return ledger.with_entry(replace(entry, why=Reason.LEFT_BEHIND))


@dataclass(frozen=True, slots=True)
class LookRecorded:
    """What a look at a retiring key said of its use."""

    change: ClassVar[str] = "look"

    key: str
    at: datetime
    last_used_at: datetime | None
    usage: float | None
    quiet_since: datetime | None

    def apply(self, ledger: Ledger) -> Ledger:
        """Set the entry's evidence."""
        entry = ledger.entry(self.key)
        if entry is None:
            return ledger
        return ledger.with_entry(
            replace(
                entry,
                looked_at=self.at,
                last_used_at=self.last_used_at,
                usage=self.usage,
                quiet_since=self.quiet_since,
            )
        )


@dataclass(frozen=True, slots=True)
class EnabledByHand:
    """A retiring key in quarantine was found enabled again by a person."""

    change: ClassVar[str] = "enabled_by_hand"

    key: str

    def apply(self, ledger: Ledger) -> Ledger:
        """Mark the entry; it is reported, and not deleted."""
        entry = ledger.entry(self.key)
        if entry is None:
            return ledger
        return ledger.with_entry(replace(entry, enabled_by_hand=True))


@dataclass(frozen=True, slots=True)
class GraceAfresh:
    """A retiring key may have been served again for a while; the claim ends.

    Whoever rolled back wanted the key to work and may have enabled it, so neither an
    earlier disable nor an earlier reason to hurry counts any longer.
    """

    change: ClassVar[str] = "grace_afresh"

    key: str
    at: datetime
    failure: Failure | None = None

    def apply(self, ledger: Ledger) -> Ledger:
        """Start the key's grace period anew."""
        ledger = replace(ledger, pending=None, failure=self.failure or ledger.failure)
        entry = ledger.entry(self.key)
        if entry is None:
            return ledger
        why = Reason.MAYBE_SERVED if entry.why in AT_ONCE else entry.why
        return ledger.with_entry(
            replace(
                entry,
                since=self.at,
                why=why,
                quiet_since=None,
                disabled_at=None,
                enabled_by_hand=False,
            )
        )
