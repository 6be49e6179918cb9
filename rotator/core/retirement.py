"""The life of an old key: grace, drain, disable, quarantine, delete.

`standing` answers both "where is it" and "what may be done with it now", for the
planner and for what operators are shown alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rotator.core.keys import IssuedKey
from rotator.core.ledger import PolicyDurations, RetiringKey
from rotator.core.reasons import Reason
from rotator.core.target import AfterDeadline, Evidence

AT_ONCE = frozenset({Reason.NEVER_SERVED, Reason.COMPROMISED, Reason.RETIRED})
"""Keys retiring for these reasons are disabled without grace and without proof of quiet."""


class Stage(StrEnum):
    """Where a retiring key is.

    The stages in which something may be done now are LOOK, DISABLE and DELETE.
    """

    GRACE = "grace"
    DRAIN = "drain"
    BLOCKED = "blocked"
    LOOK = "look"
    DISABLE = "disable"
    QUARANTINE = "quarantine"
    DELETE = "delete"
    ENABLED_BY_HAND = "enabled_by_hand"
    LEFT_BEHIND = "left_behind"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a retiring key is, and until when.

    Attributes:
        stage: where it is.
        until: when the stage ends or is looked at again, or None where that takes a person.
        why: what allows or prevents the next stage.
    """

    stage: Stage
    until: datetime | None
    why: Reason


def standing(
    entry: RetiringKey, policy: PolicyDurations, now: datetime, look: IssuedKey | None = None
) -> Standing:
    """Return where a retiring key is.

    Args:
        entry: what the ledger says of it.
        policy: the durations in force.
        now: the time by which waits are judged.
        look: what OpenRouter says of it in this pass, or None where it was not asked.
    """
    if entry.why is Reason.LEFT_BEHIND:
        return Standing(Stage.LEFT_BEHIND, None, Reason.LEFT_BEHIND)
    if entry.disabled_at is not None:
        return _disabled(entry, entry.disabled_at, policy, now)
    if entry.why in AT_ONCE:
        return Standing(Stage.DISABLE, now, entry.why)
    grace_ends = entry.since + policy.grace
    if now < grace_ends:
        return Standing(Stage.GRACE, grace_ends, entry.why)
    if look is not None:
        return _looked_at(entry, look, policy, now)
    if entry.looked_at is None or entry.looked_at < grace_ends:
        return Standing(Stage.LOOK, now, entry.why)
    return _between_looks(entry, policy, now)


def _disabled(
    entry: RetiringKey, disabled_at: datetime, policy: PolicyDurations, now: datetime
) -> Standing:
    """Place a key that was disabled."""
    if entry.enabled_by_hand:
        return Standing(Stage.ENABLED_BY_HAND, None, Reason.ENABLED_BY_HAND)
    ends = max(disabled_at, entry.since) + policy.quarantine
    if entry.why is Reason.NEVER_SERVED or now >= ends:
        return Standing(Stage.DELETE, now, Reason.QUARANTINE_OVER)
    return Standing(Stage.QUARANTINE, ends, entry.why)


def _looked_at(
    entry: RetiringKey, look: IssuedKey, policy: PolicyDurations, now: datetime
) -> Standing:
    """Place a key whose use was looked at in this pass."""
    if look.disabled or is_quiet(entry, look, policy, now):
        return Standing(Stage.DISABLE, now, Reason.DRAINED)
    deadline = entry.since + policy.grace + policy.deadline
    if now < deadline:
        return Standing(Stage.DRAIN, deadline, Reason.STILL_USED)
    if policy.then is AfterDeadline.DISABLE and entry.minted_by_us:
        return Standing(Stage.DISABLE, now, Reason.DEADLINE)
    return Standing(Stage.BLOCKED, None, Reason.BLOCKED)


def _between_looks(entry: RetiringKey, policy: PolicyDurations, now: datetime) -> Standing:
    """Place a key that was looked at in an earlier pass."""
    deadline = entry.since + policy.grace + policy.deadline
    again = next_look_at(entry, policy)
    if policy.then is AfterDeadline.DISABLE and entry.minted_by_us:
        again = min(again, deadline) if now <= deadline else now
    if now >= again:
        return Standing(Stage.LOOK, now, Reason.STILL_USED)
    if now < deadline:
        return Standing(Stage.DRAIN, again, Reason.STILL_USED)
    return Standing(Stage.BLOCKED, again, Reason.BLOCKED)


def next_look_at(entry: RetiringKey, policy: PolicyDurations) -> datetime:
    """Return when the key can be quiet at the earliest, but not before half of ``quiet_for``.

    The caller has made sure that the key was looked at before.
    """
    assert entry.looked_at is not None
    soonest = entry.looked_at + policy.quiet_for / 2
    seen = entry.quiet_since if policy.evidence is Evidence.USAGE else entry.last_used_at
    # A use in the future is a clock's mistake, and must not put the next look off for years.
    return soonest if seen is None else max(soonest, min(seen, entry.looked_at) + policy.quiet_for)


def is_quiet(entry: RetiringKey, look: IssuedKey, policy: PolicyDurations, now: datetime) -> bool:
    """Tell whether a look proves that the key is no longer used.

    No evidence is not quiet. A recorded last use is proof where it is old enough, and so
    is an expiry, after which there can be no use. A spending counter that does not move
    proves nothing for free models, so it counts only where the policy accepts it.
    """
    if look.expires_at is not None and now - look.expires_at >= policy.quiet_for:
        return True
    if look.last_used_at is not None and now - look.last_used_at >= policy.quiet_for:
        return True
    if policy.evidence is not Evidence.USAGE:
        return False
    since = quiet_since(entry, look, now)
    return since is not None and now - since >= policy.quiet_for


def quiet_since(entry: RetiringKey, look: IssuedKey, now: datetime) -> datetime | None:
    """Return since when the spending counter has stood still, as far as looks tell."""
    if look.usage is None:
        return None
    if entry.usage == look.usage and entry.quiet_since is not None:
        return entry.quiet_since
    return now
