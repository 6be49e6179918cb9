"""One target rotated on demand: tried until it is done, cannot be done, or the time is up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from rotator.core.ledger import Ledger
from rotator.core.reasons import MEANING, Reason
from rotator.core.snapshot import Demand
from rotator.core.target import Target
from rotator.engine.observe import secret_of
from rotator.engine.reconcile import Report, reconcile
from rotator.engine.world import World
from rotator.errors import ServiceError

_NAP = 0.2
_SHORTEST_WAIT = 0.5

LONGEST_WAIT = 5.0
"""Seconds between two tries: a person waits, and the pace of writes is kept by the engine."""

CLAIM_POLL = 2.0
"""Seconds between two looks whether another process has ended its claim."""

NO_FAILURE = frozenset({Reason.CONFLICT, Reason.STOPPING, Reason.CLAIMED})
"""Why a target may be left for later without anything having failed."""

_HELD = frozenset({Reason.HELD, Reason.DISABLED_BY_HAND})
"""What a person means to be left alone: a sweep over all targets passes by."""

HOPELESS = frozenset(
    {
        Reason.MINT_REFUSED,
        Reason.NOT_AS_ORDERED,
        Reason.REFUSED,
        Reason.UNAUTHORISED,
        Reason.AUDIT_UNAVAILABLE,
    }
)
"""Failures that the same command would meet again at once: a definite no is told, not repeated."""


class Verdict(StrEnum):
    """How a rotation or a rollback on demand ended."""

    ROTATED = "rotated"
    ROLLED_BACK = "rolled_back"
    UNCHANGED = "unchanged"
    HELD = "held"
    ATTENTION = "attention"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rotation or a rollback on demand ended.

    Attributes:
        name: the target's.
        verdict: in one word.
        old: hash of the key that was served before, or None.
        new: hash of the key that Vault serves now, where that was done.
        version: the secret's version that serves it.
        reason: a stable code where it was not done.
        detail: one line on that.
    """

    name: str
    verdict: Verdict
    old: str | None = None
    new: str | None = None
    version: int | None = None
    reason: Reason | None = None
    detail: str = ""


def rotate_one(
    world: World, target: Target, demand: Demand, limit: float, tell: Callable[[str], None]
) -> Outcome:
    """Rotate one target.

    Args:
        world: the ports.
        target: which.
        demand: the request.
        limit: seconds after which it is given up.
        tell: prints a line of progress, when there is something to wait for.
    """
    give_up = world.clock.monotonic() + limit
    old: str | None = None
    failure, first, told = None, True, ""
    while True:
        before = served_before(world, target) if first else old
        old, first = before, False
        report = reconcile(world, target, demand=demand, earlier=failure)
        failure = report.failure
        book = _book(report)
        if book is not None and _done(book, demand):
            return proved(world, target, book, old, Verdict.ROTATED)
        ended = _ended(report, demand, old)
        if ended is not None:
            return ended
        wait = wait_after(world, report)
        why = why_of(report)
        if world.stopping() or world.clock.monotonic() + wait > give_up:
            when = "asked to stop" if world.stopping() else f"not done within {limit:.0f} s"
            reason = failure.reason if failure is not None else None
            detail = f"{when}: {why}"
            return Outcome(target.name, Verdict.FAILED, old, reason=reason, detail=detail)
        if why != told:
            told = why
            tell(f"{target.name}: waiting: {why}")
        sleep(world, wait)


def served_before(world: World, target: Target) -> str | None:
    """Return the hash of the key that the index says the target serves."""
    for key_hash, names in world.fleet.served_by().items():
        if target.name in names:
            return key_hash
    return None


def _book(report: Report) -> Ledger | None:
    return report.snapshot.ledger.ledger if report.snapshot is not None else None


def _done(book: Ledger, demand: Demand) -> bool:
    """Tell whether the target serves a key claimed after the demand, and old ones are stopped."""
    served = book.served
    if served is None or served.claimed_at is None or served.claimed_at < demand.at:
        return False
    stopped = all(each.disabled_at is not None for each in book.retiring)
    return stopped or not demand.compromised


def proved(
    world: World, target: Target, book: Ledger, old: str | None, verdict: Verdict
) -> Outcome:
    """Read the secret once more and compare it with the key that is to be served.

    Returns the outcome with that verdict, or a failure where another value is served.
    """
    served = book.served
    assert served is not None  # that is what is to be proved
    failed = Outcome(target.name, Verdict.FAILED, old, served.hash)
    try:
        read = world.secrets.read(target.secret.path)
    except ServiceError as error:
        detail = f"done, but the secret could not be read back: {error}"
        return _with(failed, Reason.UNAVAILABLE, detail)
    text = secret_of(read.fields, target.secret)
    if text is None or text.sha256() != served.value_sha256:
        detail = f"done, but version {read.version} of the secret holds another value by now"
        return _with(failed, Reason.FIELD_CHANGED, detail)
    return Outcome(target.name, verdict, old, served.hash, read.version)


def _with(outcome: Outcome, reason: Reason, detail: str) -> Outcome:
    return Outcome(outcome.name, outcome.verdict, outcome.old, outcome.new, None, reason, detail)


def _ended(report: Report, demand: Demand, old: str | None) -> Outcome | None:
    """Return the outcome where trying again would change nothing, or None."""
    failure = report.failure
    if failure is not None:
        if failure.reason not in HOPELESS:
            return None
        detail = why_of(report)
        return Outcome(report.target, Verdict.FAILED, old, reason=failure.reason, detail=detail)
    chosen = report.plan
    if chosen is None or chosen.reason in (Reason.CLAIMED, Reason.BACKING_OFF):
        return None
    stops = [each for each in chosen.findings if each.attention or each.reason in _HELD]
    for finding in stops:
        held = finding.reason in _HELD and not demand.named
        verdict = Verdict.HELD if held else Verdict.ATTENTION
        return Outcome(report.target, verdict, old, reason=finding.reason, detail=finding.sentence)
    return None


def why_of(report: Report) -> str:
    """Return in one line what stands in the way."""
    if report.failure is not None:
        return f"{MEANING[report.failure.reason]} {report.failure.detail}".strip()
    chosen = report.plan
    if chosen is None:
        return "nothing could be observed"
    return chosen.findings[0].sentence if chosen.findings else MEANING[chosen.reason]


def wait_after(world: World, report: Report) -> float:
    """Return seconds until it makes sense to try again."""
    if report.wake_at is None:
        return _SHORTEST_WAIT
    longest = LONGEST_WAIT if report.failure is not None else CLAIM_POLL
    left = (report.wake_at - world.clock.now()).total_seconds()
    return min(longest, max(_SHORTEST_WAIT, left))


def sleep(world: World, seconds: float) -> None:
    """Wait in naps, so that a stop is noticed."""
    until = world.clock.monotonic() + seconds
    while not world.stopping() and (left := until - world.clock.monotonic()) > 0:
        world.clock.sleep(min(_NAP, left))
