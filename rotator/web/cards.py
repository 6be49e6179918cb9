"""One target as the status page shows it: a key, an age, a next time, and sentences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rotator.core.ledger import Failure
from rotator.core.reasons import MEANING, Reason
from rotator.core.view import State, TargetView
from rotator.core.words import in_future, in_past, span
from rotator.web.fleet import Row, Tone
from rotator.web.timeline import Timeline, timeline

HASH = 12
"""How many digits of a hash are shown."""

_LATE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Card:
    """A target as the page shows it.

    Attributes:
        name: of the target.
        secret: where it is served.
        state: in one word.
        tone: how much that matters.
        key: the served key's hash, shortened, or "".
        age: of the served key, or "".
        next: when it is replaced, in words, or "".
        late: whether that has passed some time ago.
        due: when it is replaced, or None.
        why: sentences, the gravest first.
        seen: when it was last looked at, in words.
        line: the life of its keys, or None.
    """

    name: str
    secret: str
    state: str
    tone: Tone
    key: str
    age: str
    next: str
    late: bool
    due: datetime | None
    why: tuple[str, ...]
    seen: str
    line: Timeline | None


def card(row: Row, now: datetime) -> Card:
    """Return a target as the page shows it."""
    seen = row.seen
    served = seen.served if seen is not None else None
    due = seen.next_due if seen is not None else None
    late = due is not None and now - due > _LATE
    words = ""
    if due is not None:
        words = f"{span((now - due).total_seconds())} late" if late else in_future(due, now)
    return Card(
        name=row.target.name,
        secret=str(row.target.secret),
        state=row.state,
        tone=row.tone,
        key=served.hash[:HASH] if served is not None else "",
        age=span((now - served.minted_at).total_seconds()) if served is not None else "",
        next=words,
        late=late,
        due=due,
        why=tuple(_why(row, seen, now)),
        seen=in_past(row.at, now),
        line=timeline(seen, now) if seen is not None else None,
    )


def _why(row: Row, seen: TargetView | None, now: datetime) -> list[str]:
    """Return the sentences that explain a target's state, each once."""
    told: list[str] = []
    failure = row.failure if row.tone is Tone.BAD else None
    if row.state == State.OVERDUE or (
        seen is not None and seen.max_age_at is not None and seen.max_age_at < now
    ):
        told.append(MEANING[Reason.MAX_AGE])
    if failure is not None:
        told += [MEANING[failure.reason], failure.detail, _failing(failure, now)]
        told += [seen.safe] if seen is not None else []
    for each in seen.findings if seen is not None else ():
        if failure is None or each.reason is not Reason.BACKING_OFF:
            told.append(each.sentence)
    return [each for each in dict.fromkeys(told) if each]


def _failing(failure: Failure, now: datetime) -> str:
    """Say what failed, how often, and when it is tried again."""
    times = "Once" if failure.count == 1 else f"{failure.count} times in a row"
    since = span((now - failure.since).total_seconds())
    again = in_future(failure.next_try, now)
    return f"{times}, for {since}. Tried again {again}."
