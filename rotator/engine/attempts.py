"""What an operator asks for, tried pass by pass until it is done or cannot be done.

One attempt belongs to one target and one request. `once` makes one pass and judges it;
who calls it again, and when, is the caller's matter: a command that acts itself waits in
its own thread (`until`), the holder of the lease comes back at the target's next turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from rotator.core.asked import anchored, is_rotated
from rotator.core.ledger import Failure, Ledger
from rotator.core.reasons import Reason
from rotator.core.rollback import choose
from rotator.core.snapshot import Demand, Rollback
from rotator.core.steps import Finding
from rotator.core.target import Target
from rotator.engine.observe import Observation
from rotator.engine.outcomes import (
    Outcome,
    Verdict,
    proved,
    sleep,
    wait_after,
    whole_hash,
    why_of,
)
from rotator.engine.reconcile import Report, reconcile
from rotator.engine.world import World

_HELD = frozenset({Reason.HELD, Reason.DISABLED_BY_HAND})
"""What a person means to be left alone: a sweep over all targets passes by."""

_HOPELESS = frozenset(
    {
        Reason.MINT_REFUSED,
        Reason.NOT_AS_ORDERED,
        Reason.REFUSED,
        Reason.UNAUTHORISED,
        Reason.AUDIT_UNAVAILABLE,
    }
)
"""Failures that the same command would meet again at once: a definite no is told, not repeated."""

_NO_WAY_BACK = _HOPELESS | {
    Reason.OLD_KEY_GONE,
    Reason.OLD_KEY_REFUSED,
    Reason.VALUE_GONE,
    Reason.FIELD_CHANGED,
}


class Attempt(Protocol):
    """One thing asked of one target."""

    world: World
    target: Target
    old: str | None

    def once(
        self, earlier: Failure | None, observation: Observation | None = None
    ) -> tuple[Report, Outcome | None]:
        """Make one pass.

        Args:
            earlier: the failure of the last one, where the ledger could not keep it.
            observation: where the target was observed just now.

        Returns:
            The pass's report, and the outcome once there is one.
        """


def until(attempt: Attempt, limit: float, tell: Callable[[str], None]) -> Outcome:
    """Try until there is an outcome, or so many seconds are over.

    Args:
        attempt: what is asked for.
        limit: seconds after which it is given up.
        tell: prints a line of progress, when there is something to wait for.
    """
    world, name = attempt.world, attempt.target.name
    give_up = world.clock.monotonic() + limit
    failure, told = None, ""
    while True:
        report, outcome = attempt.once(failure)
        if outcome is not None:
            return outcome
        failure = report.failure
        wait, why = wait_after(world, report), why_of(report)
        if world.stopping() or world.clock.monotonic() + wait > give_up:
            when = "asked to stop" if world.stopping() else f"not done within {limit:.0f} s"
            reason = failure.reason if failure is not None else None
            detail = f"{when}: {why}"
            return Outcome(name, Verdict.FAILED, attempt.old, reason=reason, detail=detail)
        if why != told:
            told = why
            tell(f"{name}: waiting: {why}")
        sleep(world, wait)


@dataclass(slots=True)
class Rotation:
    """A rotation on demand.

    Attributes:
        world: the ports.
        target: which.
        demand: the request.
        old: the key that was served when it began.
    """

    world: World
    target: Target
    demand: Demand
    old: str | None

    def once(
        self, earlier: Failure | None, observation: Observation | None = None
    ) -> tuple[Report, Outcome | None]:
        """Make one pass; see `Attempt`."""
        report = _pass(self.world, self.target, self.demand, earlier, observation)
        book, seen = _book(report), report.snapshot
        if seen is not None and seen.demand is not None:
            self.demand = seen.demand  # what the ledger said at first is asked for ever after
        if book is not None and self._done(book):
            return report, proved(self.world, self.target, book, self.old, Verdict.ROTATED)
        return report, self._ended(report)

    def _done(self, book: Ledger) -> bool:
        """Tell whether a key made for the demand is served, and old ones are stopped.

        One that was left behind serves at another path, which is no matter of this rotation.
        """
        if not is_rotated(book, self.demand.before):
            return False
        here = (each for each in book.retiring if each.why is not Reason.LEFT_BEHIND)
        return not self.demand.compromised or all(each.disabled_at is not None for each in here)

    def _ended(self, report: Report) -> Outcome | None:
        """Return the outcome where trying again would change nothing, or None."""
        failure = report.failure
        if failure is not None:
            if failure.reason not in _HOPELESS:
                return None
            return _not_done(self, Verdict.FAILED, failure.reason, why_of(report))
        chosen = report.plan
        if chosen is None or chosen.reason in (Reason.CLAIMED, Reason.BACKING_OFF):
            return None
        # What was left behind at another path stands in nobody's way.
        here = (each for each in chosen.findings if each.reason is not Reason.LEFT_BEHIND)
        stops = next((each for each in here if each.attention or each.reason in _HELD), None)
        if stops is None:
            return None
        held = stops.reason in _HELD and not self.demand.named
        verdict = Verdict.HELD if held else Verdict.ATTENTION
        return _not_done(self, verdict, stops.reason, stops.sentence)


@dataclass(slots=True)
class WayBack:
    """One rollback: what is open is settled, the key is chosen, and then it is tried.

    Attributes:
        world: the ports.
        target: which.
        prefix: how the wanted key's hash begins, or None for the one that was served last.
        note: is told the key's hash once it is chosen, before anything is changed for it.
        old: the key that was served when the command began.
        key: the chosen key, once there is one.
        stale: the failure that the ledger remembered before anything was tried.
    """

    world: World
    target: Target
    prefix: str | None
    note: Callable[[str], None]
    old: str | None
    key: str | None = None
    stale: Failure | None = None

    def once(
        self, earlier: Failure | None, observation: Observation | None = None
    ) -> tuple[Report, Outcome | None]:
        """Make one pass, and a second one where the first has only chosen the key.

        Raises:
            UnknownKey: no key's hash begins as the operator says, or more than one.
        """
        chosen = self.key
        report = self._pass(earlier, observation)
        outcome = self._ended(report)
        if outcome is None and self.key != chosen:
            report = self._pass(None, None)  # a failure stands in the ledger, where the pass rests
            outcome = self._ended(report)
        return report, outcome

    def _pass(self, earlier: Failure | None, observation: Observation | None) -> Report:
        demand = Demand(rollback=Rollback(self.key))
        return _pass(self.world, self.target, demand, earlier, observation)

    def _ended(self, report: Report) -> Outcome | None:
        """Return the outcome, or None where more is to be done; chooses the key where it can."""
        chosen, snapshot = report.plan, report.snapshot
        rests = chosen is not None and snapshot is not None and not chosen.steps
        if rests and chosen is not None and chosen.reason is not Reason.CLAIMED:
            assert snapshot is not None  # it rests
            if chosen.findings:
                return self._refused(chosen.findings[0])
            if self.key is None:
                return self._choose(snapshot.book)
            return proved(self.world, self.target, snapshot.book, self.old, Verdict.ROLLED_BACK)
        failure = report.failure if report.failure != self.stale else None
        if failure is not None and failure.reason in _NO_WAY_BACK:
            return _not_done(self, Verdict.FAILED, failure.reason, why_of(report))
        return None

    def _choose(self, book: Ledger) -> Outcome | None:
        """Choose the key, now that nothing is open any more."""
        served = book.served.hash if book.served is not None else None
        if self.prefix is not None:
            self.key = whole_hash(self.target, book, self.prefix)
            if self.key == served:
                return proved(self.world, self.target, book, self.old, Verdict.UNCHANGED)
        elif served != self.old:
            detail = (
                "Another key is served than when the command began. "
                "Look at `rotator status` and ask again."
            )
            return _not_done(self, Verdict.ATTENTION, Reason.VALUE_MOVED, detail)
        else:
            found = choose(book)
            if isinstance(found, Finding):
                return self._refused(found)
            self.key = found.hash
        self.stale = book.failure
        self.note(self.key)
        return None

    def _refused(self, finding: Finding) -> Outcome:
        """Return the outcome of a rollback that the planner refuses."""
        verdict = Verdict.ATTENTION if finding.attention else Verdict.FAILED
        return _not_done(self, verdict, finding.reason, finding.sentence)


@dataclass(slots=True)
class Adoption:
    """A hand-made key is taken under management, and not rotated for that.

    Attributes:
        world: the ports.
        target: which.
        old: the key that was served when it began.
    """

    world: World
    target: Target
    old: str | None

    def once(
        self, earlier: Failure | None, observation: Observation | None = None
    ) -> tuple[Report, Outcome | None]:
        """Make one pass; see `Attempt`."""
        demand = Demand(adopt=True)
        report = _pass(self.world, self.target, demand, earlier, observation)
        chosen, book = report.plan, _book(report)
        if chosen is None or chosen.steps or chosen.reason is Reason.CLAIMED or book is None:
            return report, self._failed(report)
        if report.failure != book.failure:  # else it is an earlier one, which the ledger remembers
            return report, self._failed(report)
        if chosen.findings:
            finding = chosen.findings[0]
            verdict = Verdict.ATTENTION if finding.attention else Verdict.FAILED
            return report, _not_done(self, verdict, finding.reason, finding.sentence)
        assert book.served is not None  # else there is a finding
        made = book.served.minted_by_us
        verdict = Verdict.UNCHANGED if made else Verdict.ADOPTED
        return report, proved(self.world, self.target, book, self.old, verdict)

    def _failed(self, report: Report) -> Outcome | None:
        """Return the outcome where a definite no was the answer, or None."""
        failure = report.failure
        if failure is None or failure.reason not in _HOPELESS:
            return None
        return _not_done(self, Verdict.FAILED, failure.reason, why_of(report))


def _not_done(attempt: Attempt, verdict: Verdict, reason: Reason | None, detail: str) -> Outcome:
    """Return the outcome where what was asked for is not done."""
    return Outcome(attempt.target.name, verdict, attempt.old, reason=reason, detail=detail)


def _pass(
    world: World,
    target: Target,
    demand: Demand,
    earlier: Failure | None,
    observation: Observation | None,
) -> Report:
    """Reconcile once with a demand."""
    if observation is not None:
        snapshot = observation.snapshot
        asked = anchored(demand, snapshot.ledger.ledger)
        observation.snapshot = replace(snapshot, demand=asked)
    return reconcile(world, target, demand=demand, observation=observation, earlier=earlier)


def _book(report: Report) -> Ledger | None:
    return report.snapshot.ledger.ledger if report.snapshot is not None else None
