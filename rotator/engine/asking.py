"""The asking side of requests: a command puts one into the ledger and waits for the answer.

The command writes nothing but the request itself, and writes no audit trail: the process
that acts does. Whatever happens meanwhile, the command says truthfully what is known:
that it was answered, that the request was withdrawn, or that it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from rotator.core import hand_edits
from rotator.core.asked import before_of
from rotator.core.codec import encode_ledger
from rotator.core.edits import Edit
from rotator.core.lease import LeaseSeen, Open, is_live
from rotator.core.ledger import Ledger
from rotator.core.reasons import MEANING
from rotator.core.request import Answer, Arguments, Before, Request, Verb
from rotator.core.snapshot import LedgerSeen
from rotator.core.target import Target
from rotator.engine.lease import read_lease
from rotator.engine.observe import ledger_seen
from rotator.engine.outcomes import sleep
from rotator.engine.pulse import name_in_pulse
from rotator.engine.world import World, ledger_name, log
from rotator.errors import CheckAndSetConflict, OutcomeUnknown, ServiceError

_POLL = 0.3
_LOOK_AT_LEASE = 3.0
_LOOKS = 2
_TRIES = 10


class Ending(StrEnum):
    """How waiting for an answer ended.

    Attributes:
        ANSWERED: there is one.
        NO_LEDGER: there is no ledger in which to ask, or it cannot be understood.
        LEADERLESS: nobody acts any more; the request is withdrawn.
        TIMED_OUT: the command's time is over.
        STOPPED: the command was asked to stop.
        GONE: the request is no longer there, and neither is its answer.
    """

    ANSWERED = "answered"
    NO_LEDGER = "no_ledger"
    LEADERLESS = "leaderless"
    TIMED_OUT = "timed_out"
    STOPPED = "stopped"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking.

    Attributes:
        ending: how the waiting ended.
        request: what was asked, or None where it could not be written.
        answer: the answer, or None.
        detail: one line on what is known, where there is no answer.
        began: whether a change of the target is under way as far as the ledger shows.
    """

    ending: Ending
    request: Request | None = None
    answer: Answer | None = None
    detail: str = ""
    began: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """What a command asks for.

    Attributes:
        verb: the command's name.
        arguments: its arguments.
        by: who gives it.
        limit: seconds for which it waits.
        before: what the ledger said when it was asked for, where that was earlier; None
            for what it says when the request is written.
    """

    verb: Verb
    arguments: Arguments
    by: str
    limit: float
    before: Before | None = None


def living_leader(world: World, term: timedelta) -> LeaseSeen | None:
    """Return the lease where another process holds it and so acts on requests, or None.

    Args:
        world: the ports.
        term: the lease that our own configuration names; zero means that there is none.

    Raises:
        ServiceError: Vault could not be asked.
    """
    if not term:
        return None
    seen = read_lease(world.ledgers)
    return seen if seen.lease is not None and is_live(seen, term) else None


@dataclass(slots=True)
class Asking:
    """One request to one target, from its writing to its end.

    Attributes:
        world: the ports.
        target: which.
        wish: what is asked for.
        term: the lease that our own configuration names.
        tell: prints a line of progress.
        request: the request, once it stands.
    """

    world: World
    target: Target
    wish: Wish
    term: timedelta
    tell: Callable[[str], None]
    request: Request | None = None
    _give_up: float = field(init=False)
    _id: str = field(init=False)
    _vault_now: datetime = field(init=False)
    _holder: str | None = None
    _leaderless: int = 0
    _told: str = ""

    def __post_init__(self) -> None:
        """Count the time from now."""
        self._give_up = self.world.clock.monotonic() + self.wish.limit
        self._id = self.world.draw()
        self._vault_now = self.world.clock.now()  # until it was asked

    def place(self) -> Asked | None:
        """Write the request into the ledger, after another command's has been answered.

        A change that is under way is let end before. Nothing could be begun meanwhile, and
        each new version of the ledger prolongs the claim of a process that died: a command
        that is repeated again and again would put off its recovery for ever.

        Returns:
            None once it stands; else why it does not.

        Raises:
            ServiceError: Vault could not be asked.
        """
        while True:
            seen = self._read()
            book = seen.ledger
            if seen.trouble is not None:
                return Asked(Ending.NO_LEDGER, detail=_no_ledger(seen))
            if book is not None and self._is_in(book):
                return None
            if book is not None and book.request is None and book.pending is None:
                if self._write(seen, hand_edits.Ask(self._new(book))):
                    return None
                continue
            why = _no_ledger(seen) if book is None else _in_front(book)
            self._say(why)
            if (over := self._over()) is not None:
                ending = Ending.NO_LEDGER if book is None else over
                return Asked(ending, detail=f"{why}; nothing was asked for")
            if not self._leader_lives():
                return Asked(Ending.LEADERLESS, detail="nobody holds the lease any more")
            sleep(self.world, _POLL)

    def place_now(self, *, under_claim: bool = False) -> bool:
        """Write the request, where nothing is to be waited for; false where it was not written.

        Args:
            under_claim: whether it is written also while a change is under way.

        Raises:
            ServiceError: Vault could not be asked.
        """
        for _ in range(_TRIES):
            seen = self._read()
            book = seen.ledger
            waits = book is not None and book.pending is not None and not under_claim
            if book is None or book.request is not None or waits or self._is_in(book):
                return book is not None and self._is_in(book)
            if self._write(seen, hand_edits.Ask(self._new(book))):
                return True
        return False

    def announce(self, others: tuple[Asking, ...] = ()) -> None:
        """Name the request in the pulse, together with others of the same command.

        That it could not be named is no failure: it is found when its target is looked at.
        """
        all_of_them = (self, *others)
        opened = tuple(
            Open(each.target.name, each.request.id)
            for each in all_of_them
            if each.request is not None
        )
        try:
            name_in_pulse(self.world.ledgers, self.world.clock, opened)
        except ServiceError as error:
            log.warning("the request could not be announced, and waits to be found: %s", error)

    def wait(self) -> Asked:
        """Wait for the answer; the request stands no more at the end, or it is said that it does."""
        request, look_at = self.request, self.world.clock.monotonic() + _LOOK_AT_LEASE
        assert request is not None  # it was placed
        while True:
            try:
                seen = self._read()
                if (ended := self._ended(request, seen)) is not None:
                    return ended
                if self.world.clock.monotonic() >= look_at:
                    look_at = self.world.clock.monotonic() + _LOOK_AT_LEASE
                    if not self._leader_lives():
                        return self._withdraw(request, Ending.LEADERLESS)
            except ServiceError as error:
                self._say(f"Vault cannot be asked: {error}")
            if (over := self._over()) is not None:
                return self._withdraw(request, over)
            sleep(self.world, _POLL)

    def _is_in(self, book: Ledger) -> bool:
        """Tell whether the request stands in a ledger, or its answer does already.

        Where the answer to its writing was lost, it may have been acted on by now.
        """
        stands = book.request is not None and book.request.id == self._id
        return stands or book.answer_to(self._id) is not None

    def _new(self, book: Ledger) -> Request:
        """Return the request as it is to be written on this version of the ledger."""
        now, said = self._vault_now, self.wish.before or before_of(book)
        self.request = Request(
            id=self._id,
            verb=self.wish.verb,
            arguments=self.wish.arguments,
            by=self.wish.by,
            at=now,
            until=now + timedelta(seconds=max(1.0, self.left())),
            served=said.served,
            claimed=said.claimed,
        )
        return self.request

    def _ended(self, request: Request, seen: LedgerSeen) -> Asked | None:
        """Return what a read of the ledger ends, or None while the request stands in it."""
        book = seen.ledger
        if book is None:
            return Asked(Ending.GONE, request, detail=_no_ledger(seen))
        if (answer := book.answer_to(request.id)) is not None:
            return Asked(Ending.ANSWERED, request, answer)
        if book.request is None or book.request.id != request.id:
            detail = "the request is no longer in the ledger, and neither is its answer"
            return Asked(Ending.GONE, request, detail=detail, began=book.pending is not None)
        if book.failure is not None:
            why = f"{MEANING[book.failure.reason]} {book.failure.detail}".strip()
            self._say(f"waiting: {why}")
        elif book.pending is not None:
            self._say(f"waiting: {book.pending.kind} by {book.pending.holder} is under way")
        else:
            self._say(f"waiting for {self._holder or 'the daemon'}")
        return None

    def _withdraw(self, request: Request, why: Ending) -> Asked:
        """Take the request back, unless it was answered at the last moment."""
        for _ in range(_TRIES):
            try:
                seen = self._read()
                ended = self._ended(request, seen)
                if ended is not None:
                    return ended
                if self._write(seen, hand_edits.Withdraw(request.id)):
                    book = seen.ledger
                    assert book is not None  # the request stood in it
                    began = book.pending is not None
                    return Asked(why, request, detail=_WITHDRAWN[began], began=began)
            except ServiceError as error:
                log.warning("the request could not be withdrawn: %s", error)
        detail = f"the request could not be withdrawn, and stands until {request.until:%H:%M:%SZ}"
        return Asked(why, request, detail=detail, began=True)

    def _over(self) -> Ending | None:
        """Return why to wait no longer, or None."""
        if self.world.stopping():
            return Ending.STOPPED
        return Ending.TIMED_OUT if self.left() <= 0 else None

    def left(self) -> float:
        """Return seconds for which the command still waits."""
        return self._give_up - self.world.clock.monotonic()

    def _leader_lives(self) -> bool:
        """Tell whether somebody acts; false only where two looks in a row show nobody."""
        seen = living_leader(self.world, self.term)
        holder = seen.lease.holder if seen is not None and seen.lease is not None else None
        if holder is None:
            self._leaderless += 1
            self._say(f"{self._holder or 'the process that acted'} is gone: its lease has ended")
            return self._leaderless < _LOOKS
        if self._holder not in (None, holder):
            self._say(f"{holder} has taken over from {self._holder}")
        self._holder, self._leaderless = holder, 0
        return True

    def _read(self) -> LedgerSeen:
        """Read the ledger, and Vault's clock with it."""
        record = self.world.ledgers.read(ledger_name(self.target.name))
        self._vault_now = record.vault_time
        return ledger_seen(record)

    def _write(self, seen: LedgerSeen, edit: Edit) -> bool:
        """Write an edit on the version that was read; false where that is not sure to be done.

        The head of the audit chain stays as it was: it belongs to the process that acts.
        """
        assert seen.ledger is not None  # an edit follows a ledger that was read
        document = encode_ledger(edit.apply(seen.ledger))
        try:
            self.world.ledgers.write(ledger_name(self.target.name), document, seen.version)
        except (CheckAndSetConflict, OutcomeUnknown):
            return False
        return True

    def _say(self, line: str) -> None:
        """Print a line of progress, once."""
        if line != self._told:
            self._told = line
            self.tell(f"{self.target.name}: {line}")


_WITHDRAWN = {
    False: "the request was withdrawn; no change of the target was under way",
    True: "the request was withdrawn, but a change of the target was under way; `rotator status` "
    "shows how it ends",
}


def _in_front(book: Ledger) -> str:
    """Return whose request, or which change that is under way, comes first."""
    other, claim = book.request, book.pending
    if other is None:
        assert claim is not None  # one of the two is what stands in the way
        return f"first ends the {claim.kind} that {claim.holder} has begun"
    return f"first comes the {other.verb} that {other.by} asked for"


def _no_ledger(seen: LedgerSeen) -> str:
    """Return why nothing can be asked."""
    if seen.trouble is not None:
        return f"{MEANING[seen.trouble]} {seen.detail}".strip()
    return "it has no ledger yet: the daemon makes one when it has looked at the target once"
