"""What the executor holds while it carries out one plan, and how it writes the ledger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from rotator.core.codec import encode_ledger
from rotator.core.edits import Edit
from rotator.core.ledger import Claim, Ledger, PolicyDurations
from rotator.core.reasons import Reason
from rotator.core.snapshot import LedgerSeen, SecretSeen, Snapshot
from rotator.engine.acting import act
from rotator.engine.observe import Observation, ledger_seen
from rotator.engine.world import World, ledger_name
from rotator.errors import CheckAndSetConflict, RotatorError
from rotator.events import Event, LedgerChange, Phase
from rotator.ports import MintedKey, Written

E = TypeVar("E", bound=Event)

SHARE_OF_CLAIM = 0.75
"""A holder sends nothing that acts in the last quarter of its claim."""

_TRIES = 5


class StepFailed(RotatorError):  # noqa: N818 - says what happened to the step
    """A step did not succeed; the plan stops here.

    Attributes:
        reason: a stable code.
        detail: one line, without secrets.
        retry_after: seconds to wait at least, or None.
        ending: an edit that ends the claim truthfully, or None where it must expire.
        quiet: whether this is ordinary (somebody else was first) and no failure to remember.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        *,
        retry_after: float | None = None,
        ending: Edit | None = None,
        quiet: bool = False,
    ) -> None:
        """Keep the parts."""
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        self.ending = ending
        self.quiet = quiet


@dataclass(slots=True)
class Hand:
    """The state of one plan being carried out.

    Attributes:
        world: the ports.
        observation: what the plan was made from.
        ledger: the ledger as it now stands, as far as we know.
        op: names the change in the audit trail.
        reason: why, for the audit trail.
        claim: our claim, once it was written.
        claimed_at: monotonic time before the claim was last written.
        minted: the key in hand, once it was created, or recalled from an older version.
        published: the version of the secret that serves it, once it was written.
        secret: the secret as we left it, where we wrote it.
        touched: hashes of keys that were changed at OpenRouter.
        disabled_by: a time by Vault's clock at which the key of this plan was disabled
            already, once it was.
    """

    world: World
    observation: Observation
    ledger: LedgerSeen
    op: str
    reason: Reason
    claim: Claim | None = None
    claimed_at: float = 0.0
    minted: MintedKey | None = None
    published: Written | None = None
    secret: SecretSeen | None = None
    touched: tuple[str, ...] = ()
    disabled_by: datetime | None = None

    @property
    def snapshot(self) -> Snapshot:
        """What the plan was made from."""
        return self.observation.snapshot

    @property
    def in_hand(self) -> MintedKey:
        """The key in hand, in steps that come after its making."""
        assert self.minted is not None
        return self.minted

    @property
    def our_claim(self) -> Claim:
        """Our claim, in steps that come after it was written."""
        assert self.claim is not None
        return self.claim

    def step_op(self, step: str) -> str:
        """Return the audit trail's name of a step of this change."""
        return f"{self.op}/{step}"

    def intent(self, kind: type[E], step: str, **fields: Any) -> E:
        """Return the intent event of a step of this change.

        Args:
            kind: the event's type in the catalogue.
            step: the step's name.
            fields: the type's own fields, and those that differ from the usual.
        """
        usual = {"target": self.snapshot.target.name, "reason": self.reason}
        return kind(phase=Phase.INTENT, op=self.step_op(step), **(usual | fields))

    def held_for(self) -> float:
        """Return for how many seconds our claim has stood."""
        return self.world.clock.monotonic() - self.claimed_at

    def time_left(self, share: float = SHARE_OF_CLAIM) -> float:
        """Return for how many more seconds something may be sent under our claim."""
        timeout = self.snapshot.limits.claim_timeout.total_seconds()
        return timeout * share - self.held_for()

    def assert_time_left(self) -> None:
        """Refuse to act in the last quarter of our claim.

        Raises:
            StepFailed: there is no claim of ours, or too little of it is left.
        """
        if self.claim is None or self.time_left() <= 0:
            raise StepFailed(Reason.CLAIM_RUNNING_OUT)

    def patience(self) -> float:
        """Return for how long a failing audit trail is waited for: only with a key in hand."""
        return self.time_left() if self.minted is not None else 0.0


def create_ledger(hand: Hand, ledger: Ledger) -> None:
    """Write a target's first ledger.

    Raises:
        StepFailed: another process was first.
        ServiceError: as the write raised it.
    """
    _write(hand, ledger, "create")


def change_ledger(hand: Hand, edit: Edit) -> None:
    """Apply an edit to the ledger by check-and-set.

    Where somebody else wrote a version meanwhile (a hold, a request) and our claim
    still stands in it, the edit is applied to that one.

    Raises:
        StepFailed: the ledger changed under us, and our claim is not in it.
        ServiceError: as the write raised it.
    """
    for _ in range(_TRIES):
        assert hand.ledger.ledger is not None  # an edit follows an observed ledger
        started = hand.world.clock.monotonic()
        try:
            _write(hand, edit.apply(hand.ledger.ledger), edit.change)
        except CheckAndSetConflict:
            _reread(hand)
            continue
        if hand.ledger.ledger.pending is not None and hand.claim is not None:
            hand.claim, hand.claimed_at = hand.ledger.ledger.pending, started
        return
    raise StepFailed(Reason.CONFLICT, quiet=True)


def _reread(hand: Hand) -> None:
    """Read the ledger that won, and go on only where our own claim still stands in it."""
    name = hand.snapshot.target.name
    seen = ledger_seen(hand.world.ledgers.read(ledger_name(name)))
    theirs = seen.ledger.pending if seen.ledger is not None else None
    ours = hand.claim
    if ours is None or theirs is None or (theirs.op, theirs.holder) != (ours.op, ours.holder):
        raise StepFailed(Reason.CONFLICT, "another process changed the ledger", quiet=True)
    hand.ledger = seen


def _write(hand: Hand, ledger: Ledger, change: str) -> None:
    """Write one version of the ledger, with the audit chain's head and the policy in force."""
    world, snapshot = hand.world, hand.snapshot
    cas = hand.ledger.version
    event = hand.intent(
        LedgerChange,
        change,
        change=change,
        base_version=cas,
        key_hash=hand.minted.key.hash if hand.minted is not None else None,
    )

    def write() -> Written:
        nonlocal ledger
        ledger = replace(ledger, audit_head=world.audit.head())
        if snapshot.target.configured:
            ledger = replace(ledger, policy=PolicyDurations.of(snapshot.target.policy))
        return world.ledgers.write(ledger_name(snapshot.target.name), encode_ledger(ledger), cas)

    written = act(
        world,
        event,
        write,
        patience=hand.patience(),
        tell=lambda done: {"version": done.version},
    )
    hand.ledger = LedgerSeen(written.version, written.created_time, ledger)
