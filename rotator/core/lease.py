"""The lease: which of several replicas acts, so that the others need not.

It only saves work. Nothing is right because of it: two processes that both believe that
they hold it are kept apart by check-and-set on ledger and secret, as any two processes
are. So whatever is odd about the document, one of them acts, and soon.

Its age is judged by Vault's own clock: Vault writes down when the version was made, and
says in every answer what time it is now (`Date`, whole seconds).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from rotator.core.snapshot import VAULT_SECOND

SCHEMA = 1
"""The version of both documents' format, lease and pulse, that this program reads and writes."""

LONGEST_TERM = timedelta(hours=1)
"""A lease that says that it is good for longer is good for this long."""

PARTS = 3
"""A lease is renewed in each third of it, so that one renewal that fails costs nothing."""


@dataclass(frozen=True, slots=True)
class PublicState:
    """What the holder says of itself, for whoever asks for the status.

    Attributes:
        version: of this program.
        config_sha256: of the configuration file's bytes.
        reload_error: why the configuration on disk is not the one in force, or None.
        resynced_at: when it last compared everything with the account, or None.
    """

    version: str
    config_sha256: str
    reload_error: str | None = None
    resynced_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease's document.

    Attributes:
        holder: the process that holds it, unique for each start.
        acquired_at: since when, by Vault's clock.
        term: for how long it is good after each writing.
        released: whether the holder gave it up in good order.
        state: what the holder says of itself.
    """

    holder: str
    acquired_at: datetime
    term: timedelta
    released: bool
    state: PublicState


@dataclass(frozen=True, slots=True)
class LeaseSeen:
    """The lease as read.

    Attributes:
        version: its version in Vault, 0 where there never was one.
        renewed_at: when Vault wrote that version, or None.
        lease: its content, or None where there is none or it is not understood.
        vault_now: Vault's clock at the read.
        unreadable: whether there is a document that is not understood.
    """

    version: int
    renewed_at: datetime | None
    lease: Lease | None
    vault_now: datetime
    unreadable: bool = False


class Standing(StrEnum):
    """Whose a lease is."""

    FREE = "free"
    OURS = "ours"
    ANOTHERS = "anothers"


def expires_at(seen: LeaseSeen, own_term: timedelta) -> datetime | None:
    """Return until when the lease is held, by Vault's clock, or None where nobody holds it.

    A document that is not understood, such as a newer version's, counts as held for our
    own term: then it is overwritten, since somebody has to act. One that was written in
    Vault's future, by more than a term, is nobody's: Vault's clock was set back since, and a
    holder that lives would have renewed it. The servers of one Vault may differ by less.
    """
    if seen.renewed_at is None or (seen.lease is None and not seen.unreadable):
        return None
    if seen.lease is not None and seen.lease.released:
        return None
    term = min(seen.lease.term, LONGEST_TERM) if seen.lease is not None else own_term
    if seen.renewed_at - seen.vault_now > term + VAULT_SECOND:
        return None
    return seen.renewed_at + term


def is_live(seen: LeaseSeen, own_term: timedelta) -> bool:
    """Tell whether somebody holds the lease."""
    until = expires_at(seen, own_term)
    return until is not None and seen.vault_now < until


def standing(seen: LeaseSeen, holder: str, own_term: timedelta) -> Standing:
    """Tell whose the lease is, as seen by one process."""
    if seen.lease is not None and seen.lease.holder == holder and not seen.lease.released:
        return Standing.OURS
    return Standing.ANOTHERS if is_live(seen, own_term) else Standing.FREE


def look_again_after(seen: LeaseSeen, own_term: timedelta) -> timedelta:
    """Return after how long a process that stands by looks at the lease again.

    That is the moment at which it would expire, so that taking over waits for nothing
    else; and each third of it, since a lease may be given up before.
    """
    until = expires_at(seen, own_term)
    if until is None:
        return timedelta()
    return min(max(timedelta(), until - seen.vault_now) + VAULT_SECOND, own_term / PARTS)


@dataclass(frozen=True, slots=True)
class Open:
    """One open request.

    Attributes:
        target: in whose ledger it stands.
        id: the request's.
    """

    target: str
    id: str


@dataclass(frozen=True, slots=True)
class Pulse:
    """Which targets have open requests: a hint where to look, for the holder's heartbeat.

    The requests themselves stand in the ledgers. One that this document does not name
    is found when its target is next looked at.
    """

    requests: tuple[Open, ...] = ()

    def naming(self, more: tuple[Open, ...]) -> Pulse:
        """Return a pulse that names these as well; a target is named once, its last request."""
        targets = {each.target for each in more}
        return Pulse((*(each for each in self.requests if each.target not in targets), *more))

    def without(self, done: frozenset[Open]) -> Pulse:
        """Return a pulse that names none of these any more."""
        return Pulse(tuple(each for each in self.requests if each not in done))
