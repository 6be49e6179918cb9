"""A small world in which plans are carried out: one target, its secret, its ledger, one account.

Nothing here fails or lags; a run can be cut after any step, as if the process had died.
The world knows what the planner can only infer: when each key was last served, and
what a person did. `carry_out` checks by that knowledge, not by the planner's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from rotator.core import edits
from rotator.core.asked import anchored
from rotator.core.keys import IssuedKey
from rotator.core.ledger import Ledger, ServedKey
from rotator.core.marker import parse_marker
from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.recovery import terms_of
from rotator.core.snapshot import (
    Demand,
    Draft,
    LedgerSeen,
    Listing,
    Look,
    SecretSeen,
    Snapshot,
    ValueSeen,
)
from rotator.core.steps import (
    CreateLedger,
    Delete,
    Disable,
    Enable,
    Fence,
    MakeClaim,
    Mint,
    Need,
    NeedListing,
    NeedLook,
    NeedProbe,
    NeedValue,
    NeedVersions,
    Plan,
    PromoteMinted,
    Publish,
    Record,
    RecordDisabled,
    Step,
    TakeOverClaim,
)
from rotator.core.target import Target
from tests.core.builders import IDENTITY, INSTALLATION, LIMITS, NOW, h

BY_WORD = frozenset({Reason.RETIRED, Reason.COMPROMISED})
"""Why a key may go without its grace: an operator said so."""


class Cut(Exception):  # noqa: N818 - says what happened
    """The process died here."""


@dataclass(frozen=True)
class Version:
    """One version of the secret: when it was written, and the digest of our field."""

    created: datetime
    digest: str | None
    readable: bool = True


@dataclass
class World:
    """Everything that exists, and what a person did to it."""

    target: Target
    now: datetime = NOW
    keys: dict[str, IssuedKey] = field(default_factory=dict)
    versions: list[Version] = field(default_factory=list)
    ledger: Ledger | None = None
    ledger_version: int = 0
    ledger_created: datetime | None = None
    last_served: dict[str, datetime] = field(default_factory=dict)
    hands_on: set[str] = field(default_factory=set)
    memory_lost: bool = False
    demand: Demand | None = None
    steps_left: int | None = None
    drawn: int = 0
    done: list[str] = field(default_factory=list)
    _minted: str | None = None

    # What a reader sees.

    @property
    def live(self) -> bool:
        """Whether the secret can be read."""
        return bool(self.versions) and self.versions[-1].readable

    @property
    def value(self) -> str | None:
        """The digest that consumers are served, if any."""
        return self.versions[-1].digest if self.live else None

    def draw(self, kind: str) -> str:
        """Sixteen hex digits that were never drawn before."""
        self.drawn += 1
        return h(f"{kind} {self.drawn}")[:16]

    def observe(self) -> Snapshot:
        """Ledger and metadata, and no more."""
        created = self.versions[-1].created if self.versions else None
        self.demand = anchored(self.demand, self.ledger)
        return Snapshot(
            target=self.target,
            identity=IDENTITY,
            limits=LIMITS,
            draft=Draft(self.draw("op"), self.draw("nonce")),
            vault_now=self.now,
            ledger=LedgerSeen(self.ledger_version, self.ledger_created, self.ledger),
            secret=SecretSeen(len(self.versions), created, self.live),
            demand=self.demand,
        )

    def satisfy(self, snapshot: Snapshot, need: Need) -> Snapshot:
        """The snapshot with what was asked for."""
        match need:
            case NeedValue():
                value = ValueSeen(self.value)
                return replace(snapshot, secret=replace(snapshot.secret, value=value))
            case NeedVersions(versions):
                read = {n: self.versions[n - 1].digest for n in versions}
                return replace(snapshot, versions={**snapshot.versions, **read})
            case NeedLook(key):
                looks: Mapping[str, Look] = {**snapshot.looks, key: Look(self.keys.get(key))}
                return replace(snapshot, looks=looks)
            case NeedListing():
                return replace(snapshot, listing=self._listing(snapshot))
            case NeedProbe():
                return replace(snapshot, served_works=self.works(self.value))

    def _listing(self, snapshot: Snapshot) -> Listing:
        """Return a listing of every workspace that the target names."""
        return Listing(dict(self.keys), fresh=True, workspaces=snapshot.workspaces())

    def works(self, key_hash: str | None) -> bool:
        """Whether OpenRouter accepts a key."""
        key = self.keys.get(key_hash or "")
        return key is not None and not key.disabled

    # What is done to it.

    def write_secret(self, digest: str | None, *, readable: bool = True) -> None:
        """Write a version; the key that was served until now was so until now."""
        self.tick()
        self.versions.append(Version(self.now, digest, readable))
        self.tick()

    def write_ledger(self, ledger: Ledger | None) -> None:
        """Write, or lose, the ledger."""
        self.ledger = ledger
        self.ledger_version += 1
        self.ledger_created = self.now

    def tick(self, by: timedelta = timedelta(microseconds=1)) -> None:
        """Let time pass; whoever is served is used."""
        self.now += by
        if self.value is not None:
            self.last_served[self.value] = self.now
            if self.value in self.keys:
                used = replace(self.keys[self.value], last_used_at=self.now)
                self.keys[self.value] = used

    def run(self, *, listing: bool = False) -> Plan:
        """Observe, plan and act until there is nothing to do; the last plan is returned."""
        for _ in range(40):
            snapshot = self.observe()
            if listing:
                snapshot = self.satisfy(snapshot, NeedListing(frozenset()))
            chosen = self.settle(snapshot)
            if not chosen.steps:
                return chosen
            base = len(self.versions)
            for step in chosen.steps:
                if self.steps_left is not None:
                    if self.steps_left == 0:
                        raise Cut
                    self.steps_left -= 1
                self.carry_out(step, base)
                base = len(self.versions) if isinstance(step, Fence) else base
                self.done.append(type(step).__name__)
        raise AssertionError(f"no end of plans: {self.done[-12:]}")

    def settle(self, snapshot: Snapshot) -> Plan:
        """Plan, observing what is asked for."""
        for _ in range(12):
            chosen = plan(snapshot, self.now)
            if not chosen.needs:
                return chosen
            for need in chosen.needs:
                snapshot = self.satisfy(snapshot, need)
        raise AssertionError(f"no end of needs: {chosen}")

    def record(self, edit: edits.Edit) -> None:
        """Apply an edit to the ledger."""
        assert self.ledger is not None
        self.write_ledger(edit.apply(self.ledger))

    def carry_out(self, step: Step, base: int) -> None:
        """Carry out one step, and check what it does to the world."""
        match step:
            case CreateLedger(ledger):
                self.write_ledger(ledger)
            case Record(edit):
                self.record(edit)
            case MakeClaim(claim):
                self.record(edits.TakeClaim(claim))
            case TakeOverClaim(at):
                self.record(edits.TakeOver(IDENTITY.holder, at))
            case Fence():
                assert self.live
                self.write_secret(self.value)
                self.record(edits.RenewClaim(len(self.versions), self.versions[-1].created))
            case Mint(new):
                self._minted = h(f"key {self.draw('key')}")
                self.keys[self._minted] = IssuedKey(
                    self._minted, new.name, disabled=False, created_at=self.now
                )
            case Publish():
                assert len(self.versions) == base
                self.write_secret(self._minted)
            case PromoteMinted(compromised):
                self.record(edits.Promote(self.promoted(), compromised=compromised))
            case Enable(key):
                assert key == self.value, "only what is served is enabled"
                self.keys[key] = replace(self.keys[key], disabled=False)
                self.hands_on.discard(key)
            case Disable(key):
                self.check_removal(key)
                self.keys[key] = replace(self.keys[key], disabled=True)
                self.hands_on.discard(key)
            case RecordDisabled(key):
                self.record(edits.KeyDisabled(key, self.now))
            case Delete(key):
                self.check_removal(key)
                assert self.keys[key].disabled, "only a disabled key is deleted"
                del self.keys[key]
            case _:
                pass

    def promoted(self) -> ServedKey:
        """The record of the key that was just published."""
        assert self._minted is not None
        assert self.ledger is not None
        assert self.ledger.pending is not None
        key = self.keys[self._minted]
        return ServedKey(
            hash=key.hash,
            value_sha256=key.hash,
            minted_by_us=True,
            workspace=None,
            minted_at=self.now,
            claimed_at=self.ledger.pending.started_at,
            published_at=self.versions[-1].created,
            due_from=self.now,
            secret_version=len(self.versions),
            secret_created_time=self.versions[-1].created,
            terms=terms_of(key),
        )

    def check_removal(self, key_hash: str) -> None:
        """Check, by what the world knows, that a key may be disabled or deleted now."""
        assert self.ledger is not None
        assert key_hash != self.value, "a served key is removed"
        assert self.live, "a key is removed while nothing can be read"
        key, entry = self.keys[key_hash], self.ledger.entry(key_hash)
        assert entry is not None, "a key is removed that no entry names"
        known = parse_marker(key.name) is not None or key_hash in self.last_served
        assert known, "a foreign key is removed"
        served_until = self.last_served.get(key_hash)
        if served_until is None or entry.why in BY_WORD:
            return
        policy = self.target.policy
        assert self.now - served_until >= policy.grace, "a grace is cut short"
        quiet = (
            key.last_used_at is not None and self.now - key.last_used_at >= policy.drain.quiet_for
        )
        assert quiet or key.disabled, "a key in use is disabled"


def ours(world: World) -> list[IssuedKey]:
    """The keys of the account that bear this installation's marker."""
    found = []
    for key in world.keys.values():
        marker = parse_marker(key.name)
        if marker is not None and marker.installation == INSTALLATION:
            found.append(key)
    return found
