"""What a plan is made from: everything observed of one target, as one frozen value.

Only `rotator.engine.observe` builds snapshots. What was not looked at is absent, and
a planner that needs it says so by a `Need`; absence of a thing itself is a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from rotator.core.keys import IssuedKey
from rotator.core.ledger import Claim, Ledger
from rotator.core.marker import Marker, parse_marker
from rotator.core.reasons import Reason
from rotator.core.request import Before
from rotator.core.target import Target

VAULT_SECOND = timedelta(seconds=1)
"""What Vault's ``Date`` may lack, since it has whole seconds: a wait that it judges ends by so
much later, and waking then saves a pass that finds nothing due."""

MAX_CLOCK_DIFFERENCE = timedelta(minutes=5)
"""How far this machine's clock and Vault's may differ before nothing destructive is done."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is acting.

    Attributes:
        instance: the configuration's ``instance``.
        installation: 16 hex digits, drawn once for the state prefix in Vault.
        holder: this process's name in claims, unique for each start.
    """

    instance: str
    installation: str
    holder: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings of the whole process that decisions depend on.

    Attributes:
        claim_timeout: after which an unchanged claim is an accident.
        adopt_over: over how long overdue targets are spread when first seen.
        max_dead: how many served keys may be found dead before everything stops.
    """

    claim_timeout: timedelta
    adopt_over: timedelta
    max_dead: int


@dataclass(frozen=True, slots=True)
class Draft:
    """Random identifiers drawn for a claim that this plan may make.

    Attributes:
        op: names the change in the audit trail.
        nonce: names the attempt in the key's name.
    """

    op: str
    nonce: str


@dataclass(frozen=True, slots=True)
class LedgerSeen:
    """The ledger as read.

    Attributes:
        version: its version in Vault, 0 where there never was one.
        created_time: when Vault wrote that version.
        ledger: its content, or None where there is none or it cannot be used.
        trouble: why it cannot be used, or None.
        detail: one line on the trouble.
    """

    version: int
    created_time: datetime | None
    ledger: Ledger | None
    trouble: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ValueSeen:
    """What the target's field holds, without its plaintext.

    Attributes:
        sha256: of the text, or None where the field is absent or not a string.
        odd: whether it holds something that is not a string.
    """

    sha256: str | None
    odd: bool = False

    @property
    def absent(self) -> bool:
        """Whether the field is not there at all."""
        return self.sha256 is None and not self.odd


@dataclass(frozen=True, slots=True)
class SecretSeen:
    """A secret as observed.

    Attributes:
        version: the current version, 0 where there never was one.
        created_time: when Vault wrote that version.
        live: whether it can be read.
        value: what the field holds, or None where it was not read.
    """

    version: int
    created_time: datetime | None
    live: bool
    value: ValueSeen | None = None

    def same_version(self, version: int, created_time: datetime | None) -> bool:
        """Tell whether this is still that version, and not a recreated one of the same number."""
        return self.version == version and self.created_time == created_time


@dataclass(frozen=True, slots=True)
class Look:
    """What a GET of one key said; `key` is None where OpenRouter does not know it."""

    key: IssuedKey | None


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete listing of the keys of some workspaces.

    Attributes:
        keys: by hash.
        fresh: whether it was begun after this snapshot's ledger was read.
        workspaces: the workspaces that it holds beside the default one, which it always
            holds. That a key of another workspace is not in it proves nothing.
    """

    keys: Mapping[str, IssuedKey]
    fresh: bool
    workspaces: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rollback:
    """An operator wants an older key served again.

    Attributes:
        key: its hash; None asks only for what must be settled before one can be chosen.
    """

    key: str | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """An operator asks for a rotation now, or for the way back from one.

    Attributes:
        named: whether the target was named, and not only swept up with all others;
            a held target follows only then.
        compromised: skip all waits, and disable all predecessors.
        overwrite_foreign: overwrite a value that no key explains.
        before: what the ledger said when it was asked for; by that, and by no clock, it is
            told whether it was done. None until the ledger is read for it.
        rollback: set where an older key shall be served again, and no new one made.
        adopt: set where the key that is served shall be taken as it is, and nothing rotated.
    """

    named: bool = True
    compromised: bool = False
    overwrite_foreign: bool = False
    before: Before | None = None
    rollback: Rollback | None = None
    adopt: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything observed of one target.

    Attributes:
        target: what is configured.
        identity: who is acting.
        limits: settings of the process.
        draft: random identifiers for a claim.
        vault_now: Vault's clock at the last read.
        ledger: our own memory.
        secret: the target's secret.
        versions: digests of the field in older versions that were read; None where
            such a version cannot be read or lacks the field.
        looks: keys that were asked for, by hash.
        listing: of the whole account, where one was made.
        served_works: whether the served value, asked by ``GET /key``, is accepted;
            None where it was not asked.
        served_by: names of the configured targets that serve a hash, as last known.
        dead: names of the other targets found dead since the last resync began.
        unlisted: workspaces that targets name and that OpenRouter did not know when the
            account was listed last.
        demand: an operator's request, or None.
        may_read_values: False where values must not be read (`status` and `plan`).
    """

    target: Target
    identity: Identity
    limits: Limits
    draft: Draft
    vault_now: datetime
    ledger: LedgerSeen
    secret: SecretSeen
    versions: Mapping[int, str | None] = field(default_factory=lambda: MappingProxyType({}))
    looks: Mapping[str, Look] = field(default_factory=lambda: MappingProxyType({}))
    listing: Listing | None = None
    served_works: bool | None = None
    served_by: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    dead: frozenset[str] = frozenset()
    unlisted: frozenset[str] = frozenset()
    demand: Demand | None = None
    may_read_values: bool = True

    @property
    def book(self) -> Ledger:
        """The ledger, where the planner has already made sure that there is one."""
        assert self.ledger.ledger is not None
        return self.ledger.ledger

    @property
    def claim(self) -> Claim | None:
        """The change in progress, or None."""
        return self.ledger.ledger.pending if self.ledger.ledger else None

    def workspaces(self) -> frozenset[str]:
        """Return every workspace that the target's configuration and ledger name."""
        found = {self.target.key.workspace_id}
        book = self.ledger.ledger
        if book is not None:
            found |= {entry.workspace for entry in book.retiring}
            found.add(book.served.workspace if book.served else None)
            found.add(book.pending.workspace if book.pending else None)
        return frozenset(each for each in found if each is not None)

    def lists_all(self) -> bool:
        """Tell whether a key of this target that the listing lacks does not exist.

        It does not say so where it was begun before the ledger was read, nor where it leaves
        out a workspace that the target names.
        """
        listing = self.listing
        return listing is not None and listing.fresh and self.workspaces() <= listing.workspaces

    def claim_expires_at(self) -> datetime:
        """When the standing claim ends, by Vault's clock."""
        assert self.ledger.created_time is not None
        return self.ledger.created_time + self.limits.claim_timeout

    def safe_now(self, now: datetime) -> datetime:
        """Return the earlier of the local clock and Vault's, by which waits are judged."""
        return min(now, self.vault_now)

    def late_now(self, now: datetime) -> datetime:
        """Return the later of the two clocks, from which waits begin.

        Begun by a clock that is behind, a wait would be cut short once that is corrected.
        """
        return max(now, self.vault_now)

    def clocks_disagree(self, now: datetime) -> bool:
        """Tell whether the two clocks differ by more than is believable."""
        return abs(now - self.vault_now) > MAX_CLOCK_DIFFERENCE

    def look(self, key_hash: str) -> Look | None:
        """Return what is known of a key from a GET, or from the listing, or None."""
        if key_hash in self.looks:
            return self.looks[key_hash]
        if self.listing is not None and key_hash in self.listing.keys:
            return Look(self.listing.keys[key_hash])
        return None

    def served_elsewhere(self, key_hash: str) -> frozenset[str]:
        """Return the names of the other targets that serve a key."""
        return self.served_by.get(key_hash, frozenset()) - {self.target.name}

    def version_moved(self) -> bool:
        """Tell whether the secret is another version, or value, than the ledger last saw."""
        book, value = self.book, self.secret.value
        if book.served is not None:
            if value is not None and value.sha256 != book.served.value_sha256:
                return True
            return not self.secret.same_version(
                book.served.secret_version, book.served.secret_created_time
            )
        if book.foreign is not None:
            return not self.secret.same_version(
                book.foreign.secret_version, book.foreign.secret_created_time
            )
        return self.secret.live

    def marker_of(self, key: IssuedKey) -> Marker | None:
        """Return the key's marker where it names this installation and target, else None."""
        marker = parse_marker(key.name)
        if marker is None or marker.installation != self.identity.installation:
            return None
        return marker if marker.target == self.target.name else None
