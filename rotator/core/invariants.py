"""The promises, asserted over every step of every plan, independently of how it was made.

The planner may be wrong; this module is written against the promises, not against
the planner, and looks at nothing but the snapshot and the steps. In short:

* only a claim's holder mints, publishes, disables, deletes or fences;
* a key is published only after it was minted or recalled, and verified, on the version
  that the claim names, and promoted only after it was published;
* only a retiring key is recalled, from a version seen to hold it, whose delete was never
  claimed, and that serves nowhere else; besides served keys only that one is enabled;
* additions come before removals, and nothing is removed in a plan that adds;
* no key is disabled or deleted that its own or another target serves, that no ledger
  entry names, whose grace, drain or quarantine is not over, while the value is
  foreign, while there is no live version, or while the clocks disagree;
* a key is deleted only where a look shows it disabled;
* a ledger that cannot be used is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rotator.core.edits import (
    Abandon,
    DropClaim,
    GraceAfresh,
    KeyDisabled,
    KeyRemoved,
    Promote,
    RetireKeys,
)
from rotator.core.ledger import Claim, ClaimKind, PolicyDurations, RetiringKey
from rotator.core.retirement import AT_ONCE, Stage, standing
from rotator.core.snapshot import Snapshot
from rotator.core.steps import (
    CreateLedger,
    Delete,
    Disable,
    Enable,
    Fence,
    MakeClaim,
    Mint,
    PromoteMinted,
    PromoteRecalled,
    Publish,
    Recall,
    Record,
    RecordDisabled,
    Step,
    TakeOverClaim,
    Verify,
)
from rotator.errors import InvariantViolation


@dataclass(slots=True)
class _Progress:
    """What the steps so far would have brought about."""

    claim: Claim | None
    ours: bool = False
    minted: bool = False
    recalled: str | None = None
    enabled: bool = False
    verified: bool = False
    published: bool = False
    fenced: bool = False
    disabled: bool = False

    def end_claim(self) -> None:
        """Note that the outcome was written: what comes next needs a claim of its own."""
        self.claim, self.ours, self.fenced, self.recalled = None, False, False, None


def assert_safe(snapshot: Snapshot, steps: tuple[Step, ...], now: datetime) -> None:
    """Check every step against the promises.

    Raises:
        InvariantViolation: a step would break one; names target, step and promise.
    """
    if steps and snapshot.ledger.trouble is not None:
        raise InvariantViolation(f"{snapshot.target.name}: steps on a ledger that is not usable")
    progress = _Progress(claim=snapshot.claim)
    for step in steps:
        broken = _broken_promise(snapshot, progress, step, now)
        if broken is not None:
            name = type(step).__name__
            raise InvariantViolation(f"{snapshot.target.name}: {name}: {broken}")


def _broken_promise(
    snapshot: Snapshot, progress: _Progress, step: Step, now: datetime
) -> str | None:
    """Return the promise that a step would break, or None; moves `progress` on."""
    match step:
        case MakeClaim(claim):
            if progress.claim is not None:
                return "a claim stands already"
            progress.claim, progress.ours = claim, True
        case TakeOverClaim():
            if progress.claim is None or snapshot.vault_now < snapshot.claim_expires_at():
                return "there is no expired claim to take over"
            progress.ours = True
        case CreateLedger():
            return "there is a ledger already" if snapshot.ledger.ledger is not None else None
        case Recall():
            return _recall_step(snapshot, progress, step)
        case Mint() | Verify() | Publish() | PromoteMinted() | PromoteRecalled():
            return _rotation_step(snapshot, progress, step)
        case Fence():
            if not progress.ours or not snapshot.secret.live:
                return "a fence needs a claim of ours and a live version"
            progress.fenced = True
        case Enable(key):
            return _enable_step(snapshot, progress, key)
        case Disable(key) | Delete(key):
            return _removal_step(snapshot, progress, step, key, now)
        case Record() | RecordDisabled():
            return _record_step(snapshot, progress, step)
    return None


def _recall_step(snapshot: Snapshot, progress: _Progress, step: Recall) -> str | None:
    """Check that a recalled key is one that may be served again."""
    book = snapshot.ledger.ledger
    entry = book.entry(step.key) if book is not None else None
    if book is None or entry is None or progress.minted:
        return "only a retiring key is recalled"
    if snapshot.versions.get(step.version) != entry.value_sha256:
        return "only a version that was seen to hold the key is recalled"
    if entry.delete_claimed:
        return "a delete of this key was claimed once"
    if snapshot.served_elsewhere(step.key):
        return "another target serves this key"
    if book.foreign is not None or not snapshot.secret.live:
        return "nothing is recalled over a foreign value or without a live version"
    progress.recalled = step.key
    return None


def _rotation_step(snapshot: Snapshot, progress: _Progress, step: Step) -> str | None:
    """Check minting, verifying, publishing and promoting, of a new key or a recalled one."""
    claim = progress.claim
    back = progress.recalled is not None
    kind = ClaimKind.ROLLBACK if back else ClaimKind.ROTATE
    if claim is None or not progress.ours or claim.kind is not kind:
        return "no claim of ours to roll back" if back else "no claim of ours to rotate"
    if back and (claim.key != progress.recalled or isinstance(step, Mint | PromoteMinted)):
        return "a rollback serves the key that it claimed"
    if progress.disabled:
        return "additions come before removals"
    match step:
        case Mint():
            if progress.minted:
                return "a claim mints once"
            progress.minted = True
        case Verify():
            if not (progress.minted or back):
                return "nothing to verify"
            progress.verified = True
        case Publish():
            if not progress.verified or (back and not _enabled(snapshot, progress)):
                return "only a key that was proven to work is published"
            progress.published = True
        case PromoteRecalled(key) if key != progress.recalled:
            return "a rollback serves the key that it claimed"
        case _:
            if not progress.published:
                return "only a published key is promoted"
            progress.end_claim()
    return None


def _enabled(snapshot: Snapshot, progress: _Progress) -> bool:
    """Tell whether the recalled key was seen enabled, or was enabled by a step before."""
    look = snapshot.looks.get(progress.recalled or "")
    seen = look is not None and look.key is not None and not look.key.disabled
    return seen or progress.enabled


def _enable_step(snapshot: Snapshot, progress: _Progress, key: str) -> str | None:
    """Check that only a served key is enabled, or one that a claim of ours goes back to."""
    claim = progress.claim
    if claim is not None and progress.ours and key in (claim.key, progress.recalled):
        rollback = claim.kind is ClaimKind.ROLLBACK and claim.key == progress.recalled
        progress.enabled = rollback
        return None if rollback else "only a recalled key is enabled under a claim"
    book = snapshot.ledger.ledger
    served = book is not None and book.served is not None and book.served.hash == key
    entry = book.entry(key) if book is not None else None
    value = snapshot.secret.value
    read = entry is not None and value is not None and value.sha256 == entry.value_sha256
    return None if served or read else "only a served key is enabled"


def _removal_step(
    snapshot: Snapshot, progress: _Progress, step: Step, key: str, now: datetime
) -> str | None:
    """Check disabling and deleting a key."""
    claim, book = progress.claim, snapshot.ledger.ledger
    kind = ClaimKind.DISABLE if isinstance(step, Disable) else ClaimKind.DELETE
    entry = book.entry(key) if book is not None else None
    if claim is None or not progress.ours or claim.kind is not kind or claim.key != key:
        return f"no claim of ours to {kind} this key"
    if progress.minted or book is None:
        return "nothing is removed in a plan that adds"
    if entry is None or (book.served is not None and book.served.hash == key):
        return "only a retiring key is removed"
    value = snapshot.secret.value
    if value is not None and value.sha256 == entry.value_sha256:
        return "the target serves this key"
    if snapshot.served_elsewhere(key):
        return "another target serves this key"
    if book.foreign is not None or not snapshot.secret.live:
        return "nothing is removed under a foreign value or without a live version"
    if snapshot.clocks_disagree(now):
        return "nothing is removed while the clocks disagree"
    progress.disabled = True
    return _not_yet(snapshot, entry, step, now)


def _not_yet(snapshot: Snapshot, entry: RetiringKey, step: Step, now: datetime) -> str | None:
    """Check that the rules of grace, drain and quarantine allow a removal."""
    target = snapshot.target
    policy = PolicyDurations.of(target.policy) if target.configured else snapshot.book.policy
    safe = snapshot.safe_now(now)
    asked = snapshot.looks.get(entry.hash)
    key = asked.key if asked is not None else None
    if isinstance(step, Delete):
        if key is None or not key.disabled:
            return "only a key that a look shows disabled is deleted"
        if entry.disabled_at is None or entry.enabled_by_hand:
            return "its quarantine has not begun"
        if standing(entry, policy, safe).stage is not Stage.DELETE:
            return "its quarantine is not over"
        return None
    if entry.why in AT_ONCE:
        return None
    if safe < entry.since + policy.grace:
        return "its grace period is not over"
    if standing(entry, policy, safe, key).stage is not Stage.DISABLE:
        return "there is no proof that it went quiet"
    return None


def _record_step(
    snapshot: Snapshot, progress: _Progress, step: Record | RecordDisabled
) -> str | None:
    """Check that a record claims only what the steps before it brought about."""
    if isinstance(step, RecordDisabled):
        progress.end_claim()
        return None if progress.disabled else "nothing was disabled"
    match step.edit:
        case Promote(served):
            value = snapshot.secret.value
            if value is None or value.sha256 != served.value_sha256:
                return "only a key that the secret was seen to hold is promoted"
        case Abandon():
            if not progress.fenced:
                return "a nonce is abandoned only behind a fence"
        case RetireKeys() | DropClaim() | KeyDisabled() | KeyRemoved() | GraceAfresh():
            pass
        case _:
            return None
    progress.end_claim()
    return None
