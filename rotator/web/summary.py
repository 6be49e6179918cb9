"""What the status page says before anything else: of the whole process, and of all targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rotator.core.view import State
from rotator.core.words import in_future, span, targets
from rotator.web.fleet import UNSEEN, Fleet, Tone, tone_of
from rotator.web.recorder import AuditState
from rotator.web.state import Process, Role

_KEY_ENDS_SOON = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about the whole process that a person should see."""

    tone: Tone
    title: str
    text: str


def headline(
    fleet: Fleet, process: Process, seen: Iterable[Notice], *, ready: bool
) -> tuple[Tone, str]:
    """Return the one sentence that says how everything is.

    Args:
        fleet: the targets.
        process: the process.
        seen: the notices about it; a bad one is the sentence where no target is worse off.
        ready: whether Vault has let us in.
    """
    stopped = next((each.title for each in seen if each.tone is Tone.BAD), None)
    if not ready and stopped is None:
        return Tone.WAIT, "Waiting for Vault"
    if stopped is not None and not fleet.bad:
        return Tone.BAD, stopped
    if process.role is Role.STANDBY:
        leader = f": {process.leader} acts" if process.leader else ""
        return Tone.WAIT, f"This replica stands by{leader}"
    rows, bad = fleet.rows, len(fleet.bad)
    if not rows:
        return Tone.WAIT, "No target is configured"
    unseen = fleet.counts[UNSEEN]
    if bad == len(rows):
        whole = "All" if bad > 1 else "The"
        return Tone.BAD, f"{whole} {targets(bad)} {_needs(bad)} attention"
    if bad:
        return Tone.BAD, f"{bad:,} of {len(rows):,} targets {_needs(bad)} attention"
    if unseen:
        return Tone.BUSY, f"{unseen:,} of {len(rows):,} targets are yet to be looked at"
    if fleet.counts[State.OK] < len(rows):
        return Tone.FINE, "No target needs attention"
    if len(rows) == 1:
        return Tone.FINE, "The one target is in order"
    return Tone.FINE, f"All {len(rows):,} targets are in order"


def _needs(count: int) -> str:
    return "needs" if count == 1 else "need"


def coming(fleet: Fleet, now: datetime) -> str:
    """Say which target is rotated next."""
    row = fleet.coming
    return f"Next rotation: {row.target.name} {in_future(row.due, now)}." if row else ""


def notices(process: Process, heard: AuditState, *, ready: bool, now: datetime) -> list[Notice]:
    """Return what a person should see of the whole process, the gravest first."""
    found = []
    if process.key_refused is not None:
        told = f"No key is changed until it is accepted again. {process.key_refused}"
        found.append(Notice(Tone.BAD, "OpenRouter refuses the management key", told))
    if heard.failing is not None and process.role is not Role.STANDBY:
        told = f"Nothing is changed until it can. {heard.failing}"
        found.append(Notice(Tone.BAD, "The audit trail cannot be written", told))
    for each in process.busy:
        if each.late:
            told = f"{each.task}: {each.call or 'between two calls'} for {span(each.seconds)}."
            found.append(Notice(Tone.BAD, "A thread is wedged", told))
    if not ready:
        told = "Nothing is known of the targets before it does."
        found.append(Notice(Tone.WAIT, "Vault has not let us in yet", told))
    if ready and process.role is Role.UNKNOWN:
        told = "Vault does not tell who holds the lease. Nothing is rotated, and this is as it was."
        found.append(Notice(Tone.BAD, "No replica is known to act", told))
    if process.reload_error is not None:
        told = f"The one before it stays in force. {process.reload_error}"
        found.append(Notice(Tone.WAIT, "The configuration file was refused", told))
    if process.resync_error is not None:
        told = f"Keys that are lost or foreign are not noticed meanwhile. {process.resync_error}"
        found.append(Notice(Tone.WAIT, "The account could not be compared in full", told))
    if process.key_expires_at is not None and process.key_expires_at - now < _KEY_ENDS_SOON:
        told = "Give it a longer life or another key in time: without it nothing is rotated."
        when = in_future(process.key_expires_at, now)
        found.append(Notice(Tone.WAIT, f"The management key expires {when}", told))
    return found


def shares(counts: Mapping[str, int], total: int) -> list[tuple[Tone, float, float]]:
    """Return the parts of the bar that shows all targets: tone, start and width in percent."""
    by_tone = Counter[Tone]()
    for state, count in counts.items():
        by_tone[tone_of(state)] += count
    parts, at = [], 0.0
    for tone in Tone:
        if by_tone[tone]:
            width = 100 * by_tone[tone] / total
            parts.append((tone, round(at, 3), round(width, 3)))
            at += width
    return parts
