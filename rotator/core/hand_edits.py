"""Changes of a ledger that follow a person's hand: on the secret, the configuration or a command.

They are edits like those of `rotator.core.edits`, and can be applied again to a newer
version of the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from rotator.core.edits import Edit, retire_served
from rotator.core.ledger import ANSWERS_KEPT, ForeignValue, Hold, Ledger, PutBack, ServedKey
from rotator.core.reasons import Reason
from rotator.core.request import Answer, Request
from rotator.core.target import SecretRef


@dataclass(frozen=True, slots=True)
class ValueSeen:
    """The secret moved by another hand: what is served now, and what that means for the rest.

    Attributes:
        served: the key that the value is, or None.
        foreign: set where the value is no key of the account.
        why: why the former served key retires, if it is another.
        at: when it was noticed.
        fresh_grace: hashes of retiring keys that were served in between.
        put_back: where a known key was put back.
        hold: where that happened twice within one period.
        nonce: from the served key's marker; it is not abandoned any longer.
    """

    change: ClassVar[str] = "value_seen"

    served: ServedKey | None
    foreign: ForeignValue | None
    why: Reason
    at: datetime
    fresh_grace: frozenset[str] = frozenset()
    put_back: PutBack | None = None
    hold: Hold | None = None
    nonce: str | None = None

    def apply(self, ledger: Ledger) -> Ledger:
        """Follow the secret."""
        before = ledger.served
        if before is not None and (self.served is None or self.served.hash != before.hash):
            ledger = retire_served(ledger, since=self.at, why=self.why)
        if self.served is not None:
            ledger = ledger.without_entry(self.served.hash)
        for entry in ledger.retiring:
            if entry.hash in self.fresh_grace:
                # What was served cannot be called never served, and gets its grace as any other.
                never = entry.why is Reason.NEVER_SERVED
                why = Reason.MAYBE_SERVED if never else entry.why
                since = max(entry.since, self.at)
                ledger = ledger.with_entry(replace(entry, since=since, why=why, quiet_since=None))
        return replace(
            ledger,
            served=self.served,
            foreign=self.foreign,
            put_back=self.put_back or ledger.put_back,
            hold=ledger.hold or self.hold,
            abandoned=tuple(each for each in ledger.abandoned if each != self.nonce),
        )


@dataclass(frozen=True, slots=True)
class Moved:
    """The configuration names another path or field; what was served at the old one stays there."""

    change: ClassVar[str] = "moved"

    secret: SecretRef
    at: datetime

    def apply(self, ledger: Ledger) -> Ledger:
        """Leave the served key behind and start with nothing served."""
        ledger = retire_served(ledger, since=self.at, why=Reason.LEFT_BEHIND)
        return replace(ledger, secret=self.secret, foreign=None, put_back=None)


@dataclass(frozen=True, slots=True)
class SetHold:
    """An operator holds the target."""

    change: ClassVar[str] = "hold"

    hold: Hold

    def apply(self, ledger: Ledger) -> Ledger:
        """Set the hold."""
        return replace(ledger, hold=self.hold)


@dataclass(frozen=True, slots=True)
class Release:
    """An operator releases the target; failures are forgotten with it."""

    change: ClassVar[str] = "release"

    def apply(self, ledger: Ledger) -> Ledger:
        """Clear hold, paste-back history and failure."""
        return replace(ledger, hold=None, put_back=None, failure=None)


@dataclass(frozen=True, slots=True)
class RetireByHand:
    """An operator retires old keys now, without waiting for grace or proof.

    One that a person had enabled again is disabled once more, and its quarantine starts anew.
    """

    change: ClassVar[str] = "retire"

    keys: frozenset[str]

    def apply(self, ledger: Ledger) -> Ledger:
        """Mark the entries."""
        for entry in ledger.retiring:
            if entry.hash in self.keys:
                disabled_at = None if entry.enabled_by_hand else entry.disabled_at
                ledger = ledger.with_entry(
                    replace(
                        entry,
                        why=Reason.RETIRED,
                        enabled_by_hand=False,
                        disabled_at=disabled_at,
                    )
                )
        return ledger


@dataclass(frozen=True, slots=True)
class Adopt:
    """An operator takes a key under management as it is: its age counts from now."""

    change: ClassVar[str] = "adopt"

    key: str
    at: datetime

    def apply(self, ledger: Ledger) -> Ledger:
        """Start the schedule afresh, unless another key is served by now."""
        if ledger.served is None or ledger.served.hash != self.key:
            return ledger
        return replace(ledger, served=replace(ledger.served, due_from=self.at))


@dataclass(frozen=True, slots=True)
class Ask:
    """A command asks the process that holds the lease for something."""

    change: ClassVar[str] = "request"

    request: Request

    def apply(self, ledger: Ledger) -> Ledger:
        """Set the request; the answers to the last ones stay to be read."""
        return replace(ledger, request=self.request)


@dataclass(frozen=True, slots=True)
class Withdraw:
    """A command no longer waits for what it asked for."""

    change: ClassVar[str] = "withdraw"

    id: str

    def apply(self, ledger: Ledger) -> Ledger:
        """Clear that request, and no other."""
        if ledger.request is None or ledger.request.id != self.id:
            return ledger
        return replace(ledger, request=None)


@dataclass(frozen=True, slots=True)
class Answered:
    """A request is answered; where all that it asks for is one edit, together with that.

    Where the request was withdrawn meanwhile the ledger stays as it is, edit and all:
    nobody waits for it, and whoever withdrew it was told that nothing was done.
    """

    change: ClassVar[str] = "answer"

    answer: Answer
    edit: Edit | None = None

    def apply(self, ledger: Ledger) -> Ledger:
        """Clear the request, and put its answer behind the last ones."""
        if ledger.request is None or ledger.request.id != self.answer.id:
            return ledger
        if self.edit is not None:
            ledger = self.edit.apply(ledger)
        answers = (*ledger.answers, self.answer)[-ANSWERS_KEPT:]
        return replace(ledger, request=None, answers=answers)
