"""The targets in the order in which a person wants to see them, from the daemon's reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from rotator.core.ledger import Failure
from rotator.core.reasons import Reason
from rotator.core.target import Target
from rotator.core.view import FAILED, NEEDS_A_PERSON, State, TargetView, view
from rotator.engine.outcomes import NO_FAILURE
from rotator.engine.reconcile import Report

UNSEEN = "unseen"
"""What stands for a state as long as a target was not looked at."""

_WEIGHT = {state: index for index, state in enumerate(State)}


class Tone(StrEnum):
    """How much a state matters to a person."""

    BAD = "bad"
    WAIT = "wait"
    BUSY = "busy"
    FINE = "fine"


_TONES: dict[str, Tone] = (
    {str(state): Tone.BAD for state in NEEDS_A_PERSON | FAILED}
    | {str(s): Tone.WAIT for s in (State.DISABLED, State.HELD, State.CHANGED, State.DUE)}
    | {str(s): Tone.BUSY for s in (State.CHANGING, State.NEW)}
    | {str(State.OK): Tone.FINE, UNSEEN: Tone.BUSY}
)

STATES = (*(str(state) for state in State), UNSEEN)
"""Every state that a target can be shown in, the gravest first."""


def tone_of(state: str) -> Tone:
    """Return how much a state matters."""
    return _TONES[state]


@dataclass(frozen=True, slots=True)
class Row:
    """One target as the page and the metrics show it.

    Attributes:
        target: what is configured.
        state: one of `STATES`.
        seen: what people are shown, or None where it could not be observed.
        failure: what failed last, or None.
        at: when it was last looked at, or None.
    """

    target: Target
    state: str
    seen: TargetView | None
    failure: Failure | None
    at: datetime | None

    @property
    def tone(self) -> Tone:
        """How much its state matters."""
        return _TONES[self.state]

    @property
    def due(self) -> datetime | None:
        """When the key is replaced, or None where no time can be told."""
        return self.seen.next_due if self.seen is not None else None

    @property
    def held(self) -> bool:
        """Whether a person holds it."""
        return self.seen is not None and self.seen.hold is not None


@dataclass(slots=True)
class _Kept:
    report: Report
    seen: TargetView | None
    state: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """All targets, in order and counted.

    Attributes:
        rows: the gravest first, then by name.
        counts: how many are in each state, with a zero where there are none.
        bad: those that need a person or fail, in the same order.
        rest: all others: what waits for something first, then what is rotated soonest.
        coming: the row that is rotated next, or None.
        causes: how many of the bad ones have each code, the most frequent first.
    """

    rows: tuple[Row, ...]
    counts: Mapping[str, int]
    bad: tuple[Row, ...]
    rest: tuple[Row, ...]
    coming: Row | None
    causes: tuple[tuple[str, int], ...]


class Views:
    """Turns reports into rows; what a report says is worked out once.

    A report is judged by the time at which it was made, since what it saw of the outside is
    of that time. Only what passes by the clock alone is judged anew, when it passes.
    """

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._kept: dict[str, _Kept] = {}
        self._from: tuple[tuple[Target, ...], Mapping[str, Report]] = ((), {})
        self._valid: tuple[datetime, datetime] = (_FAR, _FAR)
        self._fleet = _ordered([], _FAR)

    def fleet(
        self, targets: tuple[Target, ...], reports: Mapping[str, Report], now: datetime
    ) -> Fleet:
        """Return all targets in order."""
        since, until = self._valid
        known_targets, known = self._from
        if since <= now < until and targets == known_targets and known == reports:
            return self._fleet
        rows = self._rows(targets, reports, now)
        self._fleet = _ordered(rows, now)
        self._from = targets, dict(reports)
        self._valid = now, _unchanged_until(rows, now)
        return self._fleet

    def _rows(
        self, targets: Iterable[Target], reports: Mapping[str, Report], now: datetime
    ) -> list[Row]:
        kept: dict[str, _Kept] = {}
        rows = []
        for target in targets:
            report = reports.get(target.name)
            if report is None:
                rows.append(Row(target, UNSEEN, None, None, None))
                continue
            known = self._kept.get(target.name)
            if known is None or known.report is not report:
                known = _judged(report)
            kept[target.name] = known
            state = _by_now(known, now)
            rows.append(Row(target, state, known.seen, report.failure, report.at))
        self._kept = kept
        rows.sort(key=_rank)
        return rows


_FAR = datetime.max.replace(tzinfo=UTC)
_TONE_RANK = {tone: index for index, tone in enumerate(Tone)}


def _ordered(rows: list[Row], now: datetime) -> Fleet:
    rest = [row for row in rows if row.tone is not Tone.BAD]
    moving = [row for row in rows if row.due is not None and row.due > now and not row.held]
    counts = Counter(row.state for row in rows)
    bad = tuple(row for row in rows if row.tone is Tone.BAD)
    return Fleet(
        rows=tuple(rows),
        counts={state: counts[state] for state in STATES},
        bad=bad,
        rest=tuple(sorted(rest, key=lambda row: (_TONE_RANK[row.tone], row.due or _FAR))),
        coming=min(moving, key=lambda row: row.due or _FAR, default=None),
        causes=tuple(Counter(code for row in bad for code in codes(row)).most_common()),
    )


def _unchanged_until(rows: Iterable[Row], now: datetime) -> datetime:
    """Return when the clock alone changes a row's state at the earliest."""
    instants = (
        instant
        for row in rows
        if row.seen is not None
        for instant in (row.seen.next_due, row.seen.max_age_at)
        if instant is not None and instant > now
    )
    return min(instants, default=_FAR)


_RANK = {state: index for index, state in enumerate(STATES)}


def _rank(row: Row) -> tuple[int, str]:
    return _RANK[row.state], row.target.name


def _judged(report: Report) -> _Kept:
    """Return what a report says, by the time at which it was made."""
    seen = None
    if report.snapshot is not None and report.plan is not None:
        seen = view(report.snapshot, report.plan, report.at)
    if report.failure is not None and report.failure.reason not in NO_FAILURE:
        state = State.FAILING if seen is not None else State.UNREACHABLE
        if seen is not None and _WEIGHT[seen.state] < _WEIGHT[state]:
            state = seen.state
        return _Kept(report, seen, str(state))
    return _Kept(report, seen, str(seen.state) if seen is not None else str(State.CHANGING))


def _by_now(known: _Kept, now: datetime) -> str:
    """Return a state, in which what has passed since the report counts."""
    seen, state = known.seen, known.state
    if seen is None:
        return state
    weight = _WEIGHT[State(state)]
    overdue = seen.max_age_at is not None and now > seen.max_age_at
    if overdue and weight > _WEIGHT[State.OVERDUE]:
        return str(State.OVERDUE)
    if seen.next_due is not None and seen.next_due <= now and weight > _WEIGHT[State.DUE]:
        return str(State.DUE)
    return state


def codes(row: Row) -> set[str]:
    """Return the codes of what is wrong with a target."""
    found = {str(row.failure.reason)} if row.failure is not None else set()
    if row.seen is not None:
        found |= {str(each.reason) for each in row.seen.findings if each.attention}
        found |= {str(each.why) for each in row.seen.retiring if each.why is Reason.BLOCKED}
    if row.state == State.OVERDUE:
        found.add(str(Reason.MAX_AGE))
    return found
