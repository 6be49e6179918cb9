"""Who does what a command asks for: the process that holds the lease, or the command itself.

While a lease lives, its holder acts, audits and answers, and the command waits for that.
Without one the command does the same by itself, in the same way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import click

from rotator.cli.common import fill, operator, spread_over
from rotator.cli.output import warn
from rotator.config import Config
from rotator.core.durations import parse_duration
from rotator.core.ledger import ClaimKind, Ledger
from rotator.core.reasons import Reason
from rotator.core.request import Answer, Arguments, Request, Result, Verb
from rotator.core.target import Target
from rotator.engine.asking import Asked, Asking, Ending, Wish, living_leader
from rotator.engine.observe import ledger_seen
from rotator.engine.outcomes import Outcome, Verdict, proved_key
from rotator.engine.reconcile import cause_of
from rotator.engine.world import World, ledger_name
from rotator.errors import ServiceError
from rotator.wiring import Services

C = TypeVar("C", bound=Callable[..., Any])

_SHORTEST = 5.0
"""Seconds that a command has at least, once it finds that it must act itself after all."""

_DONE = {
    Verb.ROTATE: Verdict.ROTATED,
    Verb.ROLLBACK: Verdict.ROLLED_BACK,
    Verb.ADOPT: Verdict.ADOPTED,
}

_VERDICT = {
    Result.UNCHANGED: Verdict.UNCHANGED,
    Result.HELD: Verdict.HELD,
    Result.ATTENTION: Verdict.ATTENTION,
    Result.FAILED: Verdict.FAILED,
}


def _seconds(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Read ``--timeout``."""
    del ctx, parameter
    if value is None:
        return None
    try:
        return parse_duration(value).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def timeout_option(command: C) -> C:
    """Give a command the option ``--timeout``, in seconds, or None where it is not given."""
    return click.option(
        "--timeout",
        callback=_seconds,
        metavar="DURATION",
        help="How long to try, such as 90s.  [default: twice claim_timeout]",
    )(command)


@dataclass(frozen=True, slots=True)
class Acting:
    """What a command acts with, or asks with.

    Attributes:
        services: what was opened for it.
        world: the ports.
        limit: seconds that it may take.
        index: whether it may disable a key, and so must know first what others serve.
    """

    services: Services
    world: World
    limit: float
    index: bool = True
    _begun: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, services: Services, timeout: float | None, *, index: bool = True) -> Acting:
        """Reach Vault.

        Raises:
            ServiceError: it cannot be asked.
        """
        limit = timeout or 2 * services.config.daemon.claim_timeout.total_seconds()
        return cls(services, services.world(), limit, index)

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.services.config

    def begin(self) -> None:
        """Announce in the audit trail that this process acts, and learn what others serve; once.

        Raises:
            AuditUnavailable: it could not be written.
            ServiceError: a ledger could not be read.
        """
        with self._lock:
            if not self._begun.is_set():
                self.services.announce(self.world)
                if self.index:
                    fill(self.world, self.config)
                self._begun.set()

    def end(self) -> None:
        """Say goodbye in the audit trail, where this process acted.

        Raises:
            AuditUnavailable: it could not be written.
        """
        if self._begun.is_set():
            self.services.say_goodbye(self.world)

    def book(self, target: Target) -> Ledger | None:
        """Read a target's ledger; None where there is none that can be used.

        Raises:
            ServiceError: Vault cannot be asked.
        """
        return ledger_seen(self.world.ledgers.read(ledger_name(target.name))).ledger

    def leader_acts(self) -> bool:
        """Tell whether another process holds the lease, and so acts on requests.

        Raises:
            ServiceError: Vault cannot be asked.
        """
        seen = living_leader(self.world, self.config.daemon.lease)
        if seen is None or seen.lease is None:
            return False
        if seen.lease.state.config_sha256 != self.config.sha256:
            warn(
                f"{seen.lease.holder} acts by another configuration than {self.config.source}: "
                "what it does may differ"
            )
        return True

    def carry_out(
        self,
        targets: Iterable[Target],
        wish: Callable[[Target], tuple[Verb, Arguments]],
        act: Callable[[Target, Request | None, float], Outcome],
        tell: Callable[[Outcome], None] = lambda _: None,
    ) -> list[Outcome]:
        """Have something done for each target, by whoever acts.

        Args:
            targets: which.
            wish: what to ask for.
            act: does it in this process, with the request that was made for it before the
                process that acted was gone, if any, and so many seconds.
            tell: is told each outcome as soon as there is one.

        Raises:
            ServiceError, AuditUnavailable: it cannot even begin.
        """
        targets = tuple(targets)
        threads = self.config.daemon.workers

        def alone(target: Target, request: Request | None, limit: float) -> Outcome:
            self.begin()
            return act(target, request, limit)

        if not self.leader_acts():
            self.begin()

            def do(target: Target) -> Outcome:
                outcome = alone(target, None, self.limit)
                tell(outcome)
                return outcome

            return spread_over(threads, do, targets)
        askings = {target.name: self._asking(target, wish(target)) for target in targets}
        at_once = dict(zip(askings, spread_over(threads, _place, askings.values()), strict=True))
        placed = [askings[name] for name, stands in at_once.items() if stands]
        if placed:
            placed[0].announce(tuple(placed[1:]))

        def finish(target: Target) -> Outcome:
            asking = askings[target.name]
            try:
                asked = self._asked(asking, at_once[target.name])
                if asked.ending is Ending.LEADERLESS:
                    warn(f"{target.name}: {asked.detail}; it is done here instead")
                    outcome = alone(target, asked.request, max(_SHORTEST, asking.left()))
                else:
                    outcome = self._outcome(target, asked)
            except ServiceError as error:
                outcome = _broken_off(asking, error)
            tell(outcome)
            return outcome

        return spread_over(threads, finish, targets)

    def _asked(self, asking: Asking, stands: bool) -> Asked:  # noqa: FBT001 - one of two ways
        """Wait for an answer; where the request could not be written at once, write it before."""
        if not stands:
            early = asking.place()
            if early is not None:
                return early
            asking.announce()
        return asking.wait()

    def _asking(self, target: Target, wish: tuple[Verb, Arguments]) -> Asking:
        term: timedelta = self.config.daemon.lease
        asked = Wish(*wish, by=operator(), limit=self.limit)
        return Asking(self.world, target, asked, term, warn)

    def _outcome(self, target: Target, asked: Asked) -> Outcome:
        """Return what an answer, or its absence, means for the command."""
        request, answer, name = asked.request, asked.answer, target.name
        if answer is not None and request is not None:
            return self._answered(target, request, answer)
        old = request.served if request is not None else None
        failed = {
            Ending.TIMED_OUT: (Reason.TIMED_OUT, f"not done within {self.limit:.0f} s: "),
            Ending.STOPPED: (Reason.WITHDRAWN_REQUEST, "asked to stop: "),
            Ending.NO_LEDGER: (Reason.NO_LEDGER, ""),
        }
        reason, why = failed.get(asked.ending, (Reason.UNANSWERED, ""))
        detail = f"{why}{asked.detail}"
        if asked.ending is Ending.TIMED_OUT:
            detail += self._met(target)
        return Outcome(name, Verdict.FAILED, old, reason=reason, detail=detail)

    def _met(self, target: Target) -> str:
        """Return what hinders a look of our own: the process that acts meets it as well."""
        try:
            self.world.secrets.metadata(target.secret.path)
        except ServiceError as error:
            return f"; {error}"
        return ""

    def _answered(self, target: Target, request: Request, answer: Answer) -> Outcome:
        """Return the outcome that an answer tells of, proved where a key is served for it."""
        verdict = _VERDICT.get(answer.result) or _DONE.get(request.verb, Verdict.DONE)
        good = answer.result in (Result.DONE, Result.UNCHANGED)
        if not good or request.verb not in _DONE or not answer.keys:
            return Outcome(
                target.name,
                verdict,
                request.served,
                reason=answer.reason,
                detail=answer.detail,
                keys=answer.keys,
            )
        key, book = answer.keys[0], self.book(target)
        served = book.served if book is not None else None
        digest = served.value_sha256 if served is not None and served.hash == key else key
        outcome = proved_key(self.world, target, (key, digest), request.served, verdict)
        if outcome.reason is Reason.FIELD_CHANGED and self._is_replaced(target, key):
            # The holder proved it; another request's rotation has come after it.
            return replace(outcome, verdict=verdict, reason=None, detail="")
        return outcome

    def _is_replaced(self, target: Target, key: str) -> bool:
        """Tell whether a key that was served is being replaced, or has been, by rotator itself."""
        book = self.book(target)
        if book is None:
            return False
        begun = book.pending is not None and book.pending.kind in (
            ClaimKind.ROTATE,
            ClaimKind.ROLLBACK,
        )
        return begun or book.entry(key) is not None


def _place(asking: Asking) -> bool:
    """Write a request where nothing is to be waited for; false where it does not stand yet."""
    try:
        return asking.place_now()
    except ServiceError as error:
        warn(f"{asking.target.name}: it could not be asked for yet: {error}")
        return False


def _broken_off(asking: Asking, error: ServiceError) -> Outcome:
    """Return the outcome for a target that Vault could not be asked about: others go on."""
    detail = str(error)
    if asking.request is not None:
        detail += f"; what was asked for may stand until {asking.request.until:%H:%M:%SZ}"
    name = asking.target.name
    return Outcome(name, Verdict.FAILED, reason=cause_of(error).reason, detail=detail)
