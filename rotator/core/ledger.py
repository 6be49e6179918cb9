"""The ledger: what this program remembers of one target, as frozen values.

One document per target in Vault, written only by check-and-set and never holding
plaintext. It is checked against Vault's secret and OpenRouter's keys before it is
believed. Instants are aware and in UTC; `rotator.core.codec` turns it into JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from rotator.core.reasons import Reason
from rotator.core.request import Answer, Request
from rotator.core.target import AfterDeadline, Evidence, LimitReset, Policy, SecretRef

SCHEMA = 1
"""The version of the document's format that this program reads and writes."""

ABANDONED_KEPT = 20
"""How many abandoned nonces are remembered."""

DELETED_KEPT = 5
"""How many deleted predecessors are remembered."""

ANSWERS_KEPT = 5
"""How many answers are kept, so that a command finds its own after others had theirs."""


class ClaimKind(StrEnum):
    """What a claim is for."""

    ROTATE = "rotate"
    ROLLBACK = "rollback"
    DISABLE = "disable"
    DELETE = "delete"
    FENCE = "fence"


@dataclass(frozen=True, slots=True)
class Claim:
    """The one change in progress: written before anything is done, ended by its outcome.

    Attributes:
        kind: what it is for.
        op: random hex; every step's ``op`` in the audit trail begins with it.
        holder: the process that holds it.
        started_at: when the holder took it, by its own clock.
        reason: why.
        base_version: the secret's version on which the change is based.
        base_created_time: when Vault wrote that version, None for version 0.
        nonce: of the key to be created (kind rotate).
        key: hash of the key that it is about (kinds rollback, disable, delete), or of
            the created key where its hash is not its plaintext's SHA-256.
        value_sha256: of the created key's plaintext, only where it differs from its hash.
        workspace: the workspace in which a key is created, None for the default one.
    """

    kind: ClaimKind
    op: str
    holder: str
    started_at: datetime
    reason: Reason
    base_version: int
    base_created_time: datetime | None
    nonce: str | None = None
    key: str | None = None
    value_sha256: str | None = None
    workspace: str | None = None

    def is_based_on(self, version: int, created_time: datetime | None) -> bool:
        """Tell whether a version of the secret is the one that the change is based on."""
        return (version, created_time) == (self.base_version, self.base_created_time)


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key was made with, remembered for the day on which it can no longer be asked.

    Attributes:
        limit: spending cap in US dollars, None for unlimited.
        limit_reset: when the cap starts afresh, None for never.
        include_byok_in_limit: whether spending on own provider keys counts.
        creator_user_id: the member it belongs to, or None.
    """

    limit: float | None
    limit_reset: LimitReset | None
    include_byok_in_limit: bool
    creator_user_id: str | None


@dataclass(frozen=True, slots=True)
class ServedKey:
    """The key that the target serves, as last read.

    Attributes:
        hash: its identity at OpenRouter.
        value_sha256: of its plaintext; the same, unless OpenRouter says otherwise.
        minted_by_us: whether this program made it.
        workspace: its workspace, None for the default one or unknown.
        minted_at: when it was made, by OpenRouter's clock.
        claimed_at: when the rotation that made it was claimed, None where not by us.
        published_at: when it became served, by Vault's clock.
        due_from: from when its age counts: made, or later put back.
        secret_version: the secret's version in which it was last seen.
        secret_created_time: when Vault wrote that version.
        expires_at: when it stops working by itself, None for never.
        terms: what it was made with, None where unknown.
        disable_claimed: whether a disable was ever claimed for it.
        delete_claimed: whether a delete was ever claimed for it.
        compromised: whether it had been called that before its value was put back.
    """

    hash: str
    value_sha256: str
    minted_by_us: bool
    workspace: str | None
    minted_at: datetime
    claimed_at: datetime | None
    published_at: datetime
    due_from: datetime
    secret_version: int
    secret_created_time: datetime | None
    expires_at: datetime | None = None
    terms: KeyTerms | None = None
    disable_claimed: bool = False
    delete_claimed: bool = False
    compromised: bool = False


@dataclass(frozen=True, slots=True)
class RetiringKey:
    """A key on its way out, with a clock of its own.

    Attributes:
        hash: its identity at OpenRouter.
        value_sha256: of its plaintext.
        minted_by_us: whether this program made it; others are disabled on proof only.
        workspace: its workspace, None for the default one or unknown.
        minted_at: when it was made, None where unknown.
        secret: where it was served.
        since: when its grace period began.
        why: why it is retiring.
        looked_at: when its use was last looked at.
        last_used_at: what that look said of its last use.
        usage: what that look said of its spending, in US dollars.
        quiet_since: since when the spending has not moved.
        disabled_at: when it was disabled; its quarantine counts from there.
        enabled_by_hand: whether it was seen enabled again in its quarantine.
        disable_claimed: whether a disable was ever claimed for it.
        delete_claimed: whether a delete was ever claimed for it.
        terms: what it was made with, None where unknown.
        expires_at: when it stops working by itself, None for never.
    """

    hash: str
    value_sha256: str
    minted_by_us: bool
    workspace: str | None
    minted_at: datetime | None
    secret: SecretRef
    since: datetime
    why: Reason
    looked_at: datetime | None = None
    last_used_at: datetime | None = None
    usage: float | None = None
    quiet_since: datetime | None = None
    disabled_at: datetime | None = None
    enabled_by_hand: bool = False
    disable_claimed: bool = False
    delete_claimed: bool = False
    terms: KeyTerms | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ForeignValue:
    """A value that no key of the account explains; nothing of the value is kept.

    Attributes:
        secret_version: the secret's version in which it was seen.
        secret_created_time: when Vault wrote that version.
        since: when it was first seen.
    """

    secret_version: int
    secret_created_time: datetime | None
    since: datetime


@dataclass(frozen=True, slots=True)
class PutBack:
    """A known key's value was put back by hand.

    Attributes:
        hash: of that key.
        at: when it was noticed.
    """

    hash: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """Scheduled rotation, disable and delete are stopped until a release.

    Attributes:
        reason: held (by an operator) or contested.
        why: the operator's words, or a sentence of ours.
        by: who, or the program itself.
        at: since when.
    """

    reason: Reason
    why: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failure, kept so that a restart neither forgets nor storms.

    Attributes:
        reason: a stable code.
        detail: one line of cause, without secrets.
        since: when the present run of failures began.
        count: how many there were in a row.
        next_try: when it is tried again.
    """

    reason: Reason
    detail: str
    since: datetime
    count: int
    next_try: datetime


@dataclass(frozen=True, slots=True)
class PolicyDurations:
    """The policy's durations last in force, for the day on which the target is no longer configured.

    Attributes:
        grace: how long after the publish consumers may still use the old key.
        quiet_for: how long ago its last use must be.
        deadline: how long after the grace period to wait for that.
        then: what happens after the deadline.
        evidence: what counts as proof.
        quarantine: how long a disabled key is kept.
    """

    grace: timedelta
    quiet_for: timedelta
    deadline: timedelta
    then: AfterDeadline
    evidence: Evidence
    quarantine: timedelta

    @classmethod
    def of(cls, policy: Policy) -> PolicyDurations:
        """Return the durations of a policy."""
        return cls(
            grace=policy.grace,
            quiet_for=policy.drain.quiet_for,
            deadline=policy.drain.deadline,
            then=policy.drain.then,
            evidence=policy.drain.evidence,
            quarantine=policy.quarantine,
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that is remembered of one target.

    Attributes:
        secret: path and field last in force.
        policy: durations last in force.
        first_seen: when the target was first seen.
        schema: the format's version.
        audit_head: the audit chain's head when this version was written.
        pending: the change in progress, or None.
        served: the key that is served, or None.
        foreign: set where the field holds a value that no key explains.
        retiring: predecessors, each with its own clock.
        abandoned: the last nonces whose key can never have been served.
        deleted: the last predecessors that are gone; one whose value is put back all the
            same is a served key that is dead, and no foreign value.
        put_back: the last paste-back of a known key.
        hold: set while the target is held.
        failure: the last failure, or None after a success.
        request: what a command waits for, or None.
        answers: what became of the last requests, the latest at the end.
    """

    secret: SecretRef
    policy: PolicyDurations
    first_seen: datetime
    schema: int = SCHEMA
    audit_head: str | None = None
    pending: Claim | None = None
    served: ServedKey | None = None
    foreign: ForeignValue | None = None
    retiring: tuple[RetiringKey, ...] = ()
    abandoned: tuple[str, ...] = ()
    deleted: tuple[RetiringKey, ...] = ()
    put_back: PutBack | None = None
    hold: Hold | None = None
    failure: Failure | None = None
    request: Request | None = None
    answers: tuple[Answer, ...] = ()

    def entry(self, key_hash: str) -> RetiringKey | None:
        """Return the retiring key with the given hash, or None."""
        return next((each for each in self.retiring if each.hash == key_hash), None)

    def answer_to(self, request_id: str) -> Answer | None:
        """Return what became of the request of an id, or None."""
        return next((each for each in self.answers if each.id == request_id), None)

    def with_entry(self, entry: RetiringKey) -> Ledger:
        """Return a copy in which the entry replaces the one of its hash, or is added."""
        if self.entry(entry.hash) is None:
            return replace(self, retiring=(*self.retiring, entry))
        kept = tuple(entry if each.hash == entry.hash else each for each in self.retiring)
        return replace(self, retiring=kept)

    def without_entry(self, key_hash: str) -> Ledger:
        """Return a copy without the retiring key of that hash."""
        return replace(
            self, retiring=tuple(each for each in self.retiring if each.hash != key_hash)
        )

    def knows(self, key_hash: str) -> bool:
        """Tell whether the key is served or retiring here."""
        return (self.served is not None and self.served.hash == key_hash) or (
            self.entry(key_hash) is not None
        )
