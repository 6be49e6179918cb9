"""What a command asks of the process that holds the lease, and what that one answers.

Both stand in the target's ledger, so that they are written by the same check-and-set as
everything else that is known of the target, and outlive the processes at both ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rotator.core.reasons import Reason


class Verb(StrEnum):
    """What can be asked for; each is the name of a command."""

    ROTATE = "rotate"
    ROLLBACK = "rollback"
    HOLD = "hold"
    RELEASE = "release"
    RETIRE = "retire"
    ADOPT = "adopt"


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a request says beside its verb.

    Attributes:
        named: whether the target was named, and not only swept up with all others (rotate).
        compromised: skip all waits, and disable all predecessors (rotate).
        overwrite_foreign: overwrite a value that no key explains (rotate).
        keys: whole hashes of the keys that are meant: one or none (rollback), or all that
            were old when the command was given (retire), so that a key that is replaced
            meanwhile keeps its grace.
        why: the operator's words (hold), or an empty text.
    """

    named: bool = True
    compromised: bool = False
    overwrite_foreign: bool = False
    keys: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Before:
    """What a ledger said when a rotation was asked for: by that it is told when it was done.

    Attributes:
        served: hash of the key that was served, or None.
        claimed: when the rotation was claimed that was under way, or None; its key does
            not count as the one that was asked for.
    """

    served: str | None = None
    claimed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A command waits for this to be done.

    What a rotation has to replace is told by facts of the ledger in which the request
    was written, not by a time: the clocks of two machines would have to agree for that.

    Attributes:
        id: random hex; the answer names it.
        verb: what is asked for.
        arguments: what more is to be said of it.
        by: who asked, as ``account@host``.
        at: when, by Vault's clock.
        until: after which nothing is begun for it any more, by Vault's clock.
        served: hash of the key that was served when it was written, or None.
        claimed: when the rotation was claimed that was under way then, or None.
    """

    id: str
    verb: Verb
    arguments: Arguments
    by: str
    at: datetime
    until: datetime
    served: str | None = None
    claimed: datetime | None = None

    @property
    def before(self) -> Before:
        """What the ledger said when it was written."""
        return Before(self.served, self.claimed)


class Result(StrEnum):
    """How a request ended."""

    DONE = "done"
    UNCHANGED = "unchanged"
    HELD = "held"
    ATTENTION = "attention"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request.

    Attributes:
        id: the request's.
        result: in one word.
        reason: a stable code where it was not done, or None.
        detail: one line on that, without secrets.
        keys: hashes of the keys that it is about: the one that is served now (rotate,
            rollback, adopt), or those that retire (retire).
        by: the process that answered.
        at: when, by that process's clock.
    """

    id: str
    result: Result
    reason: Reason | None
    detail: str
    keys: tuple[str, ...]
    by: str
    at: datetime
