"""How what an operator asked for ended, how that is proved, and how long to wait meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rotator.core.ledger import Ledger
from rotator.core.reasons import MEANING, Reason
from rotator.core.target import Target
from rotator.engine.observe import ledger_seen, secret_of
from rotator.engine.reconcile import Report
from rotator.engine.world import World, ledger_name
from rotator.errors import RotatorError, ServiceError

_NAP = 0.2
_SHORTEST_WAIT = 0.5

LONGEST_WAIT = 5.0
"""Seconds between two tries: a person waits, and the pace of writes is kept by the engine."""

CLAIM_POLL = 2.0
"""Seconds between two looks whether another process has ended its claim."""

NO_FAILURE = frozenset({Reason.CONFLICT, Reason.STOPPING, Reason.CLAIMED, Reason.STANDING_BY})
"""Why a target may be left for later without anything having failed."""


class UnknownKey(RotatorError):  # noqa: N818 - says what was asked for
    """No key of the target has such a hash, or more than one."""


class Verdict(StrEnum):
    """How what was asked for ended."""

    DONE = "done"
    ROTATED = "rotated"
    ROLLED_BACK = "rolled_back"
    ADOPTED = "adopted"
    UNCHANGED = "unchanged"
    HELD = "held"
    ATTENTION = "attention"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How what was asked for ended.

    Attributes:
        name: the target's.
        verdict: in one word.
        old: hash of the key that was served before, or None.
        new: hash of the key that Vault serves now, where that was done.
        version: the secret's version that serves it.
        reason: a stable code where it was not done.
        detail: one line on that.
        keys: hashes of the keys that were told to go, where that was asked for.
    """

    name: str
    verdict: Verdict
    old: str | None = None
    new: str | None = None
    version: int | None = None
    reason: Reason | None = None
    detail: str = ""
    keys: tuple[str, ...] = ()


def served_before(world: World, target: Target) -> str | None:
    """Return the hash of the key that a target serves as far as its ledger knows, or None.

    What a person put there since, no process has looked at, and no operator was shown.

    Raises:
        ServiceError: the ledger could not be read.
    """
    book = ledger_seen(world.ledgers.read(ledger_name(target.name))).ledger
    return book.served.hash if book is not None and book.served is not None else None


def proved(
    world: World, target: Target, book: Ledger, old: str | None, verdict: Verdict
) -> Outcome:
    """Read the secret once more and compare it with the key that is to be served.

    Returns the outcome with that verdict, or a failure where another value is served.
    """
    served = book.served
    assert served is not None  # that is what is to be proved
    return proved_key(world, target, (served.hash, served.value_sha256), old, verdict)


def proved_key(
    world: World, target: Target, key: tuple[str, str], old: str | None, verdict: Verdict
) -> Outcome:
    """Do the same for a key of a given hash and SHA-256 of its plaintext."""
    name, (key_hash, digest) = target.name, key
    try:
        read = world.secrets.read(target.secret.path)
    except ServiceError as error:
        detail = f"done, but the secret could not be read back: {error}"
        return Outcome(name, Verdict.FAILED, old, key_hash, None, Reason.UNAVAILABLE, detail)
    text = secret_of(read.fields, target.secret)
    if text is None or text.sha256() != digest:
        detail = f"done, but version {read.version} of the secret holds another value by now"
        return Outcome(name, Verdict.FAILED, old, key_hash, None, Reason.FIELD_CHANGED, detail)
    return Outcome(name, verdict, old, key_hash, read.version)


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
    ends = world.clock.monotonic() + seconds
    while not world.stopping() and (left := ends - world.clock.monotonic()) > 0:
        world.clock.sleep(min(_NAP, left))


def whole_hash(target: Target, book: Ledger, prefix: str, *, served: bool = True) -> str:
    """Return the one key of the target whose hash begins so.

    Args:
        target: which.
        book: its ledger.
        prefix: how the hash begins.
        served: whether the served key may be meant, too.

    Raises:
        UnknownKey: there is none, or more than one.
    """
    known = {entry.hash for entry in book.retiring}
    if served and book.served is not None:
        known.add(book.served.hash)
    found = [each for each in known if each.startswith(prefix.lower())]
    if len(found) != 1:
        kind = "key" if served else "retiring key"
        many = f"no {kind}" if not found else f"more than one {kind}"
        raise UnknownKey(f"{target.name} has {many} whose hash begins with {prefix!r}")
    return found[0]
