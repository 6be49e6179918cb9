"""An operator takes the key that is served under management as it is.

Keys of the account are taken over by themselves, as soon as they are seen. What `adopt`
adds is a second look at a value that no key explained when it was first seen, and a
schedule that begins now, where the key would be replaced at once for its age.
"""

from __future__ import annotations

from datetime import datetime

from rotator.core.checks import key_served_twice
from rotator.core.hand_edits import Adopt
from rotator.core.reasons import Reason
from rotator.core.rotation import due
from rotator.core.snapshot import Snapshot
from rotator.core.steps import Finding, Plan, Record

_FOR_ITS_AGE = frozenset({Reason.EVERY, Reason.CRON, Reason.MAX_AGE, Reason.ADOPTED})


def plan_adoption(snapshot: Snapshot, now: datetime) -> Plan:
    """Plan nothing but, where need be, that the served key's age counts from now.

    Called where nothing else is to be settled first, and the value was compared with the
    account's keys once more. A finding says why there is no key to be taken.
    """
    book = snapshot.book
    if book.foreign is not None:
        name = snapshot.target.name
        sentence = (
            f"At {snapshot.target.secret}. It waits for one of two: a key of the account that has "
            f"this value (look whether it was made in another account), or "
            f"`rotator rotate {name} --overwrite-foreign`."
        )
        return _refuse(Finding(Reason.FOREIGN_VALUE, sentence, attention=True))
    if book.served is None:
        return _refuse(Finding(Reason.NOTHING_TO_ADOPT))
    if twice := key_served_twice(snapshot, now):
        return _refuse(twice)
    when = due(snapshot, now)
    aged = when is not None and when.reason in _FOR_ITS_AGE
    overdue = when is not None and (when.at <= now or when.reason is Reason.ADOPTED)
    if book.served.minted_by_us or not (aged and overdue):
        return Plan(Reason.NOT_DUE)
    at = snapshot.late_now(now)
    return Plan(Reason.NOT_DUE, (Record(Adopt(book.served.hash, at)),))


def _refuse(finding: Finding) -> Plan:
    """Return a plan that changes nothing and says why."""
    return Plan(finding.reason, findings=(finding,))
