"""One target in full, as ``status NAME`` prints it: what is served, what retires, what failed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rotator.cli.output import say
from rotator.core.ledger import Failure
from rotator.core.reasons import MEANING
from rotator.core.request import Request
from rotator.core.view import ClaimView, RetiringView, TargetView
from rotator.core.words import in_future, moment, span


def print_details(seen: TargetView, now: datetime) -> None:
    """Print everything that is known of a target, a line for each thing.

    Args:
        seen: the target.
        now: the local time, from which ages are counted.
    """
    say(f"{seen.name}: {seen.state}")
    for name, text in _lines(seen, now):
        say(f"  {name:<9} {text}")


def _lines(seen: TargetView, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield a heading and a text for each line."""
    yield "secret", seen.secret
    if seen.served is None:
        yield "serves", "no key that is known"
    else:
        age = span((now - seen.served.minted_at).total_seconds())
        yield "serves", f"{seen.served.hash}, {age} old, version {seen.served.secret_version}"
        if seen.served.expires_at is not None:
            yield "expires", _when(seen.served.expires_at, now)
    if seen.next_due is not None and seen.due_why is not None:
        yield "next", f"{_when(seen.next_due, now)}. {MEANING[seen.due_why]}"
    for entry in seen.retiring:
        yield "retiring", _retiring(entry, now)
    if seen.hold is not None:
        yield "held", f"by {seen.hold.by} since {moment(seen.hold.at)}: {seen.hold.why}"
    if seen.claim is not None:
        yield "changing", _changing(seen.claim, now)
    if seen.request is not None:
        yield "asked", _asked(seen.request)
    if seen.failure is not None:
        yield "failing", failing(seen.failure, seen.safe, now)
    for finding in seen.findings:
        yield "note", finding.sentence


def _retiring(entry: RetiringView, now: datetime) -> str:
    """Say where an old key is and what it waits for."""
    until = f", until {_when(entry.until, now)}" if entry.until is not None else ""
    return f"{entry.hash}, {entry.stage}{until}. {MEANING[entry.why]}"


def _changing(claim: ClaimView, now: datetime) -> str:
    """Say what is being changed, and what becomes of it where its process is gone."""
    begun = f"{claim.kind} by {claim.holder} since {moment(claim.since)}"
    if claim.until <= now:
        return f"{begun}, interrupted. The next pass settles it."
    return f"{begun}. If that was interrupted, it is settled {in_future(claim.until, now)}."


def _asked(request: Request) -> str:
    """Say what a command asks for that was not answered yet."""
    said, since = request.arguments, moment(request.at)
    flags = {"--compromised": said.compromised, "--overwrite-foreign": said.overwrite_foreign}
    words = [str(request.verb), *(flag for flag, given in flags.items() if given)]
    words += said.keys
    why = f": {said.why}" if said.why else ""
    until = moment(request.until)
    return f"{' '.join(words)} by {request.by} since {since}{why}. It stands until {until}."


def failing(failure: Failure, safe: str, now: datetime) -> str:
    """Say what failed, since when, what is safe, and when it is tried again.

    Args:
        failure: what failed last.
        safe: what consumers are served meanwhile (`rotator.core.view.TargetView.safe`).
        now: the local time.
    """
    times = "once" if failure.count == 1 else f"{failure.count} times in a row"
    again = in_future(failure.next_try, now)
    cause = f"{MEANING[failure.reason]} {failure.detail}".rstrip(". ")
    return f"{times} since {moment(failure.since)}: {cause}. {safe} Tried again {again}."


def _when(at: datetime, now: datetime) -> str:
    """Return an instant with how far off it is."""
    return f"{moment(at)} ({in_future(at, now)})"
