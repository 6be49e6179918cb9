"""The holder's side of requests: what commands have asked for, done, audited and answered.

A request stands in its target's ledger (`rotator.core.request`). It is found by whoever
reads the ledger; the pulse only says where to look. Everything that is done for it goes
through the same attempts as in a command that acts itself, so that it ends the same way.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from rotator.core import hand_edits
from rotator.core.asked import rotation_demand
from rotator.core.edits import Edit
from rotator.core.ledger import Failure, Hold, Ledger
from rotator.core.reasons import Reason
from rotator.core.request import Answer, Request, Result, Verb
from rotator.core.snapshot import Demand
from rotator.core.target import Target
from rotator.engine.attempts import Adoption, Attempt, Rotation, WayBack
from rotator.engine.hand import StepFailed
from rotator.engine.observe import Observation, observe
from rotator.engine.operate import change, note_command, retirable
from rotator.engine.outcomes import Outcome, UnknownKey, Verdict, wait_after
from rotator.engine.reconcile import Report, reconcile
from rotator.engine.world import World, log
from rotator.errors import AuditUnavailable, ServiceError

_RESULT = {
    Verdict.DONE: Result.DONE,
    Verdict.ROTATED: Result.DONE,
    Verdict.ROLLED_BACK: Result.DONE,
    Verdict.ADOPTED: Result.DONE,
    Verdict.UNCHANGED: Result.UNCHANGED,
    Verdict.HELD: Result.HELD,
    Verdict.ATTENTION: Result.ATTENTION,
    Verdict.FAILED: Result.FAILED,
}

_ID = re.compile(r"[0-9a-f]{16}")

_AGAIN = timedelta(seconds=5)


@dataclass(slots=True)
class _InHand:
    """A request that this process has begun with.

    Attributes:
        id: the request's.
        attempt: what is tried for it.
    """

    id: str
    attempt: Attempt


@dataclass(slots=True)
class _Looks:
    """What this process has seen of a target's ledger.

    Attributes:
        begun: how many looks at it have begun.
        last: which of them the request is from, counted from 1; 0 before the first has ended.
        request: the id of the request that stood there, or None.
    """

    begun: int = 0
    last: int = 0
    request: str | None = None


@dataclass(slots=True)
class Desk:
    """What this process has in hand of the requests, by target. Safe to use from several threads.

    Nothing is lost with it: another process begins anew with what stands in the ledger,
    and does not repeat what shows there as done.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looks: dict[str, _Looks] = field(default_factory=dict)
    _in_hand: dict[str, _InHand] = field(default_factory=dict)

    def looks(self, target: str) -> int:
        """Return how many looks at a target's ledger for requests have begun."""
        with self._lock:
            return self._looks_at(target).begun

    def is_gone(self, target: str, request: str, since: int) -> bool:
        """Tell whether a look has shown that a request stands in a target's ledger no more.

        Args:
            target: the target's name.
            request: the request's id.
            since: how many looks had begun when it stood there; these do not count, since
                they may have read the ledger before.
        """
        with self._lock:
            seen = self._looks_at(target)
            return seen.last > since and seen.request != request

    def attend(
        self,
        world: World,
        target: Target,
        *,
        demand: Demand | None = None,
        earlier: Failure | None = None,
    ) -> Report:
        """Reconcile one target, with what was asked for it; without a request as always.

        For use in place of `reconcile` by the one process that answers requests.

        Args:
            world: the ports.
            target: what is configured.
            demand: a rotation of all targets that this process was asked for, or None.
            earlier: the failure of the last call, where the ledger could not keep it.

        Returns:
            The report; failures are in it, not raised.
        """
        look = self._begin(target)
        try:
            observation = observe(world, target, demand=demand)
        except ServiceError:
            # It is met again there, and told and counted as always.
            return reconcile(world, target, demand=demand, earlier=earlier)
        book = observation.snapshot.ledger.ledger
        request = book.request if book is not None else None
        if not target.configured:
            request = None  # let go: whoever asks for it asks by another configuration
        self._saw(target, look, request.id if request is not None else None)
        if request is None or book is None:
            self._forget(target)
            return reconcile(world, target, demand=demand, observation=observation, earlier=earlier)
        try:
            case = _Case(world, target, request, demand, earlier, look)
            return self._serve(case, observation, book)
        except (ServiceError, AuditUnavailable, StepFailed) as error:
            log.warning("target %s: the request to %s: %s", target.name, request.verb, error)
            report = reconcile(world, target, demand=demand, earlier=earlier)
            return _soon(report, _AGAIN)

    def _serve(self, case: _Case, observation: Observation, book: Ledger) -> Report:
        """Do what was asked for, as far as it can be done now."""
        request, snapshot = case.request, observation.snapshot
        if snapshot.vault_now >= request.until:
            detail = "its time was over before it could be answered"
            case.answer(Result.FAILED, Reason.TIMED_OUT, detail)
            return case.go_on()
        if request.verb in _EDITS:
            case.note()
            _EDITS[request.verb](case, book)
            self._saw(case.target, case.look, None)
            return case.go_on()
        attempt = self._attempt(case)
        try:
            report, outcome = attempt.once(case.earlier, observation)
        except UnknownKey as error:
            case.answer(Result.FAILED, Reason.NO_OLDER_KEY, str(error))
            return case.go_on()
        if outcome is None:
            return _soon(report, timedelta(seconds=wait_after(case.world, report)))
        case.answer_with(outcome)
        self._saw(case.target, case.look, None)
        self._forget(case.target)
        return report

    def _looks_at(self, target: str) -> _Looks:
        """Return what was seen of a target; the lock is held."""
        return self._looks.setdefault(target, _Looks())

    def _begin(self, target: Target) -> int:
        """Note that a look at a target's ledger begins, and return its number."""
        with self._lock:
            seen = self._looks_at(target.name)
            seen.begun += 1
            return seen.begun

    def _saw(self, target: Target, look: int, request: str | None) -> None:
        """Note which request stands in a target's ledger, as a look has shown."""
        with self._lock:
            seen = self._looks_at(target.name)
            seen.last, seen.request = look, request

    def _attempt(self, case: _Case) -> Attempt:
        """Return the attempt that is under way for a request, or begin one."""
        with self._lock:
            known = self._in_hand.get(case.target.name)
        if known is not None and known.id == case.request.id:
            if known.attempt.target == case.target:
                known.attempt.world = case.world  # a reload may have changed its limits
                return known.attempt
        else:
            case.note()
        attempt = case.begin()
        with self._lock:
            self._in_hand[case.target.name] = _InHand(case.request.id, attempt)
        return attempt

    def _forget(self, target: Target) -> None:
        """Drop what was in hand for a target: answered, or withdrawn."""
        with self._lock:
            self._in_hand.pop(target.name, None)


@dataclass(frozen=True, slots=True)
class _Case:
    """One request at one turn of its target."""

    world: World
    target: Target
    request: Request
    demand: Demand | None
    earlier: Failure | None
    look: int

    def note(self) -> None:
        """Write into the audit trail who asked, before anything is done for it."""
        request, arguments = self.request, self.request.arguments
        flags = {
            "--compromised": arguments.compromised,
            "--overwrite-foreign": arguments.overwrite_foreign,
        }
        words = [flag for flag, given in flags.items() if given]
        words += arguments.keys
        note_command(
            self.world,
            self.target,
            command=str(request.verb),
            by=request.by,
            detail=arguments.why or " ".join(words),
            key=self.one_key(),
            request=request.id if _ID.fullmatch(request.id) else None,
        )

    def one_key(self) -> str | None:
        """Return the key that is meant where that is a single one, or None."""
        keys = self.request.arguments.keys
        return keys[0] if len(keys) == 1 else None

    def begin(self) -> Attempt:
        """Return a new attempt at what takes more than an edit."""
        world, target, request = self.world, self.target, self.request
        if request.verb is Verb.ROLLBACK:
            return WayBack(world, target, self.one_key(), lambda _: None, request.served)
        if request.verb is Verb.ADOPT:
            return Adoption(world, target, request.served)
        return Rotation(
            world, target, rotation_demand(request.arguments, request.before), request.served
        )

    def answer_with(self, outcome: Outcome) -> None:
        """Answer with the outcome of an attempt."""
        keys = (outcome.new,) if outcome.new is not None else ()
        self.answer(_RESULT[outcome.verdict], outcome.reason, outcome.detail, keys)

    def answer(
        self,
        result: Result,
        reason: Reason | None = None,
        detail: str = "",
        keys: tuple[str, ...] = (),
        edit: Edit | None = None,
    ) -> None:
        """Put an answer in the request's place, and make an edit with the same write.

        Raises:
            StepFailed, ServiceError, AuditUnavailable: it could not be written.
        """
        world = self.world
        by, at = world.identity.holder, world.clock.now()
        answer = Answer(self.request.id, result, reason, detail, keys, by, at)
        change(world, self.target, hand_edits.Answered(answer, edit))
        log.info(
            "target %s: %s, asked for by %s: %s",
            self.target.name,
            self.request.verb,
            self.request.by,
            result,
        )

    def go_on(self) -> Report:
        """Reconcile as always, now that the request is out of the way."""
        return reconcile(self.world, self.target, demand=self.demand, earlier=self.earlier)


def _hold(case: _Case, book: Ledger) -> None:
    del book
    request, at = case.request, case.world.clock.now()
    held = Hold(Reason.HELD, request.arguments.why, request.by, at)
    case.answer(Result.DONE, edit=hand_edits.SetHold(held))


def _release(case: _Case, book: Ledger) -> None:
    del book
    case.answer(Result.DONE, edit=hand_edits.Release())


def _retire(case: _Case, book: Ledger) -> None:
    wanted = frozenset(case.request.arguments.keys)
    keys = retirable(book) & wanted
    unknown = wanted - {each.hash for each in (*book.retiring, *book.deleted)}
    if unknown and not keys:
        detail = f"{' '.join(sorted(unknown))} is not retiring there"
        case.answer(Result.FAILED, Reason.NO_OLDER_KEY, detail)
        return
    told = tuple(sorted(keys))
    case.answer(Result.DONE, keys=told, edit=hand_edits.RetireByHand(keys) if keys else None)


_EDITS: dict[Verb, Callable[[_Case, Ledger], None]] = {
    Verb.HOLD: _hold,
    Verb.RELEASE: _release,
    Verb.RETIRE: _retire,
}


def _soon(report: Report, wait: timedelta) -> Report:
    """Return a report that asks for the next pass at the latest after a while."""
    at = report.at + wait
    wake = at if report.wake_at is None else min(at, report.wake_at)
    return replace(report, wake_at=wake)
