"""What people and programs are shown of a target: one value for every command."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rotator.core.ledger import ClaimKind, Failure, Hold, RetiringKey
from rotator.core.reasons import Reason
from rotator.core.removal import durations
from rotator.core.request import Request
from rotator.core.retirement import Stage, standing
from rotator.core.rotation import due
from rotator.core.snapshot import Snapshot
from rotator.core.steps import Finding, Plan
from rotator.core.words import moment


class State(StrEnum):
    """In one word, how a target is. The order is that of weight, the gravest first."""

    UNREACHABLE = "unreachable"
    UNREADABLE = "unreadable"
    FOREIGN = "foreign"
    DISABLED = "disabled"
    CONTESTED = "contested"
    FAILING = "failing"
    ATTENTION = "attention"
    OVERDUE = "overdue"
    BLOCKED = "blocked"
    HELD = "held"
    CHANGED = "changed"
    CHANGING = "changing"
    DUE = "due"
    NEW = "new"
    OK = "ok"


NEEDS_A_PERSON = frozenset(
    {
        State.UNREADABLE,
        State.FOREIGN,
        State.CONTESTED,
        State.ATTENTION,
        State.OVERDUE,
        State.BLOCKED,
    }
)
"""States for which a command ends with exit code 3. What a person holds is no failure."""

FAILED = frozenset({State.UNREACHABLE, State.FAILING})
"""States for which a command ends with exit code 1."""


@dataclass(frozen=True, slots=True)
class ServedView:
    """The key that a target serves.

    Attributes:
        hash: its identity at OpenRouter.
        minted_at: when it was made.
        secret_version: the secret's version in which it was last seen.
        minted_by_us: whether this program made it.
        expires_at: when it stops working by itself, or None for never.
    """

    hash: str
    minted_at: datetime
    secret_version: int
    minted_by_us: bool
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class RetiringView:
    """A key on its way out.

    Attributes:
        hash: its identity at OpenRouter.
        stage: where it is (`rotator.core.retirement.Stage`).
        until: when that stage ends or is looked at again, or None where it takes a person.
        why: what allows or prevents the next stage.
        since: when its grace period began.
        minted_at: when it was made, or None where unknown.
        grace_ends: when its grace period ends, or ended.
        disabled_at: when its quarantine began, or None before that.
    """

    hash: str
    stage: Stage
    until: datetime | None
    why: Reason
    since: datetime
    minted_at: datetime | None
    grace_ends: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A change in progress, or one that was interrupted.

    Attributes:
        kind: what it is for (`rotator.core.ledger.ClaimKind`).
        holder: the process that holds it.
        since: when that process took it, by its own clock.
        until: when it ends by Vault's clock; from then on whoever comes settles it.
    """

    kind: ClaimKind
    holder: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class TargetView:
    """A target as people are shown it.

    Attributes:
        name: of the target.
        secret: ``mount/path#field``.
        state: in one word.
        served: the key that it serves, or None.
        next_due: when it is rotated next, or None where no time can be told.
        due_why: why it is due then, or None.
        max_age_at: when the served key reaches the policy's `max_age`, or None.
        retiring: its predecessors.
        hold: what holds it, or None.
        claim: the change in progress, or None.
        request: what a command asks the process that acts for, not answered yet, or None.
        failure: the last failure, or None after a success.
        safe: what consumers are served meanwhile, in one sentence, as far as that is known.
        findings: what a person should see.
    """

    name: str
    secret: str
    state: State
    served: ServedView | None
    next_due: datetime | None
    due_why: Reason | None
    max_age_at: datetime | None
    retiring: tuple[RetiringView, ...]
    hold: Hold | None
    claim: ClaimView | None
    request: Request | None
    failure: Failure | None
    safe: str
    findings: tuple[Finding, ...]


def view(snapshot: Snapshot, plan: Plan, now: datetime) -> TargetView:
    """Return how a target is, from a snapshot and the plan that was made from it."""
    book = snapshot.ledger.ledger
    served = book.served if book is not None else None
    when = due(snapshot, now) if book is not None and snapshot.target.configured else None
    return TargetView(
        name=snapshot.target.name,
        secret=str(snapshot.target.secret),
        state=_state(snapshot, plan, when.at if when is not None else None, now),
        served=None
        if served is None
        else ServedView(
            served.hash,
            served.minted_at,
            served.secret_version,
            served.minted_by_us,
            served.expires_at,
        ),
        next_due=when.at if when is not None else None,
        due_why=when.reason if when is not None else None,
        max_age_at=_max_age_at(snapshot),
        retiring=tuple(
            _retiring(snapshot, entry, now) for entry in (book.retiring if book else ())
        ),
        hold=book.hold if book is not None else None,
        claim=_claim(snapshot),
        request=book.request if book is not None else None,
        failure=book.failure if book is not None else None,
        safe=_safe(snapshot, now),
        findings=plan.findings,
    )


def _retiring(snapshot: Snapshot, entry: RetiringKey, now: datetime) -> RetiringView:
    """Return a retiring key as people are shown it."""
    policy = durations(snapshot)
    place = standing(entry, policy, snapshot.safe_now(now))
    return RetiringView(
        entry.hash,
        place.stage,
        place.until,
        place.why,
        entry.since,
        entry.minted_at,
        entry.since + policy.grace,
        entry.disabled_at,
    )


def _claim(snapshot: Snapshot) -> ClaimView | None:
    """Return the change in progress as people are shown it."""
    claim = snapshot.claim
    if claim is None:
        return None
    return ClaimView(claim.kind, claim.holder, claim.started_at, snapshot.claim_expires_at())


def _safe(snapshot: Snapshot, now: datetime) -> str:
    """Say what consumers are served, whatever fails meanwhile."""
    book = snapshot.ledger.ledger
    if book is None:
        return "What is served stays as it is."
    if book.foreign is not None:
        return "The foreign value stays as it is."
    if book.served is None:
        return "No key is served yet, so consumers wait for the first one."
    if book.served.compromised:
        return "The served key was called compromised: it is not enabled, but replaced."
    look, ends = snapshot.look(book.served.hash), book.served.expires_at
    if ends is not None and ends <= snapshot.late_now(now):
        return (
            f"The served key expired at {moment(ends)}: consumers are refused until it is replaced."
        )
    if look is not None and (look.key is None or look.key.disabled):
        return "OpenRouter does not accept the served key: consumers are refused meanwhile."
    if book.failure is not None and book.failure.reason is Reason.OUTAGE:
        return "The served key stays; OpenRouter did not accept it either when it was asked."
    until = f" until {moment(ends)}, when it expires" if ends is not None else ""
    return f"The served key goes on working{until}."


_FINDING_STATES = {
    Reason.LEDGER_UNREADABLE: State.UNREADABLE,
    Reason.LEDGER_NEWER: State.UNREADABLE,
    Reason.FOREIGN_VALUE: State.FOREIGN,
    Reason.DISABLED_BY_HAND: State.DISABLED,
    Reason.CONTESTED: State.CONTESTED,
    Reason.HELD: State.HELD,
    Reason.CHANGED_NOT_READ: State.CHANGED,
    Reason.CLAIMED: State.CHANGING,
    Reason.BLOCKED: State.BLOCKED,
}


def _state(snapshot: Snapshot, plan: Plan, due_at: datetime | None, now: datetime) -> State:
    """Return the gravest state that applies."""
    book = snapshot.ledger.ledger
    found = {
        _FINDING_STATES.get(each.reason, State.ATTENTION)
        for each in plan.findings
        if each.attention or each.reason in _FINDING_STATES
    }
    if book is not None and book.failure is not None:
        found.add(State.FAILING)
    if book is not None and any(
        _retiring(snapshot, entry, now).stage is Stage.BLOCKED for entry in book.retiring
    ):
        found.add(State.BLOCKED)
    if book is None and snapshot.ledger.trouble is None:
        found.add(State.NEW)
    if _past_max_age(snapshot, now):
        found.add(State.OVERDUE)
    if due_at is not None and due_at <= now:
        found.add(State.DUE)
    return next((state for state in State if state in found), State.OK)


def _past_max_age(snapshot: Snapshot, now: datetime) -> bool:
    """Tell whether the served key is older than the policy's `max_age`."""
    ends = _max_age_at(snapshot)
    return ends is not None and now > ends


def _max_age_at(snapshot: Snapshot) -> datetime | None:
    """Return when the served key reaches the policy's `max_age`, or None."""
    book = snapshot.ledger.ledger
    oldest = snapshot.target.policy.max_age
    if book is None or book.served is None or oldest is None:
        return None
    return book.served.due_from + oldest
