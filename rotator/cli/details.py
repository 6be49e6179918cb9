"""One target in full, as ``status NAME`` prints it: what is served, what retires, what failed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rotator.cli.output import say
from rotator.core.ledger import Failure
from rotator.core.reasons import MEANING
from rotator.core.view import RetiringView, TargetView
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
    if seen.failure is not None:
        yield "failing", failing(seen.failure, now)
    for finding in seen.findings:
        yield "note", finding.sentence


def _retiring(entry: RetiringView, now: datetime) -> str:
    """Say where an old key is and what it waits for."""
    until = f", until {_when(entry.until, now)}" if entry.until is not None else ""
    return f"{entry.hash}, {entry.stage}{until}. {MEANING[entry.why]}"


def failing(failure: Failure, now: datetime) -> str:
    """Say what failed, since when, what is safe, and when it is tried again."""
    times = "once" if failure.count == 1 else f"{failure.count} times in a row"
    return (
        f"{times} since {moment(failure.since)}: {MEANING[failure.reason]} {failure.detail} "
        f"The served key goes on; tried again {in_future(failure.next_try, now)}."
    )


def _when(at: datetime, now: datetime) -> str:
    """Return an instant with how far off it is."""
    return f"{moment(at)} ({in_future(at, now)})"
