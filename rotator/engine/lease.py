"""The lease in Vault: who acts, and how the others find out that it is their turn.

See `rotator.core.lease` for what it is, and what it is not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from rotator.core.codec import Undecodable, decode_document, encode_document
from rotator.core.lease import (
    PARTS,
    SCHEMA,
    Lease,
    LeaseSeen,
    PublicState,
    Standing,
    look_again_after,
    standing,
)
from rotator.engine.world import World, log
from rotator.errors import CheckAndSetConflict, OutcomeUnknown, ServiceError
from rotator.ports import LedgerRecord, LedgerStore

DOCUMENT = "lease"
"""The document's name under the state prefix."""

_SHORTEST_WAIT = 0.2
_LONGEST_RETRY = 5.0
_TRIES = 2


def read_lease(ledgers: LedgerStore) -> LeaseSeen:
    """Return the lease as it stands: one read of Vault.

    Raises:
        ServiceError: Vault could not be asked.
    """
    return _seen(ledgers.read(DOCUMENT))


def _seen(record: LedgerRecord) -> LeaseSeen:
    """Decode the document, or note that it is not understood."""
    lease, unreadable = None, False
    if record.document is not None:
        try:
            lease = decode_document(Lease, record.document, SCHEMA)
        except Undecodable as error:
            unreadable = True
            log.warning("the lease cannot be understood: %s", error)
    return LeaseSeen(record.version, record.created_time, lease, record.vault_time, unreadable)


class Leadership:
    """One process's side of the lease. `tick` is for one thread; the rest for any.

    With a term of zero there is no lease: every process acts, nothing is read or written.
    """

    def __init__(self, world: World, term: timedelta, state: Callable[[], PublicState]) -> None:
        """Hold nothing yet.

        Args:
            world: the ports, and who we are.
            term: how long the lease is good after each renewal.
            state: returns what we say of ourselves while we hold it.
        """
        self._clock = world.clock
        self._ledgers = world.ledgers
        self._holder = world.identity.holder
        self._term = term
        self._state = state
        self._lock = threading.Lock()
        self._until: float | None = None
        self._seen: LeaseSeen | None = None
        self._given_up = False

    def leads(self) -> bool:
        """Tell whether this process may begin new work now.

        A lease of ours that could not be renewed counts until its end by our monotonic
        clock, reckoned from before its last renewal was sent.
        """
        if not self._term:
            return True
        with self._lock:
            if self._given_up or self._until is None:
                return False
            return self._clock.monotonic() < self._until

    def seen(self) -> LeaseSeen | None:
        """Return the lease as last read or written, or None."""
        with self._lock:
            return self._seen

    def tick(self) -> float:
        """Renew the lease, take it where it is free, or look whose it is.

        Never raises a `ServiceError`: Vault that is away is asked again.

        Returns:
            Seconds after which to call again.
        """
        third = self._term.total_seconds() / PARTS
        if not self._term:
            return _LONGEST_RETRY
        try:
            # Where another was first, the second look tells who, and until when.
            after = (self._one_tick() or self._one_tick()).total_seconds()
        except ServiceError as error:
            log.warning("the lease could not be read or renewed: %s", error)
            return min(third, _LONGEST_RETRY)
        return max(_SHORTEST_WAIT, after)

    def _one_tick(self) -> timedelta:
        """Read or write once each; nothing is returned where that has settled nothing."""
        known = self.seen()
        ours = known is not None and standing(known, self._holder, self._term) is Standing.OURS
        if known is None or not ours or not self.leads():
            known = read_lease(self._ledgers)
            with self._lock:
                self._seen = known
            if standing(known, self._holder, self._term) is Standing.ANOTHERS:
                self._gone()
                return look_again_after(known, self._term)
        if self._given_up:
            return self._term / PARTS
        if self._write(known, released=False):
            return self._term / PARTS
        with self._lock:
            self._seen = None  # Somebody else was first, or nobody knows: read anew, at once.
        return timedelta()

    def _write(self, known: LeaseSeen, *, released: bool) -> bool:
        """Write the lease as ours on the version that was read; False where that was refused."""
        # One of ours that had run out is held anew: others may have acted in between.
        before = known.lease if released or self.leads() else None
        ours = before is not None and standing(known, self._holder, self._term) is Standing.OURS
        acquired_at = before.acquired_at if before is not None and ours else known.vault_now
        lease = Lease(self._holder, acquired_at, self._term, released, self._state())
        started = self._clock.monotonic()
        try:
            document = encode_document(lease, SCHEMA)
            written = self._ledgers.write(DOCUMENT, document, known.version)
        except CheckAndSetConflict:
            self._gone()
            return False
        except OutcomeUnknown:
            return False
        with self._lock:
            self._until = None if released else started + self._term.total_seconds()
            self._seen = LeaseSeen(written.version, written.created_time, lease, written.vault_time)
        return True

    def _gone(self) -> None:
        """Note that the lease is not ours."""
        with self._lock:
            self._until = None

    def release(self) -> None:
        """Give the lease up, so that another process takes it at once; best effort.

        It is not taken again by a `tick` that is under way in another thread, and given up
        also where that one has written it a moment before.
        """
        known, led = self.seen(), self.leads()
        self._given_up = True
        self._gone()
        if not self._term or (known is None and not led):
            return
        try:
            for _ in range(_TRIES):
                known = known or read_lease(self._ledgers)
                if standing(known, self._holder, self._term) is not Standing.OURS:
                    return
                if self._write(known, released=True):
                    return
                known = None
        except ServiceError as error:
            log.warning("the lease could not be given up, and runs out: %s", error)
