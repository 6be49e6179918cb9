"""Keeps the one token of all threads fresh: renewed, replaced, and read anew where it changed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from rotator.adapters.vault.failures import SERVICE
from rotator.adapters.vault.login import Connect, Grant, Login
from rotator.errors import Refused, ServiceError, Transient, Unauthorised
from rotator.ports import Clock
from rotator.secret import Secret

RENEW_AT = 2 / 3
"""The share of a token's life after which it is renewed, at the latest."""

JITTER = 1 / 15
"""The share of its life by which a renewal may come earlier, so that replicas do not come at once."""

RETRY_RENEWAL = 10.0
"""Seconds after which a renewal that failed is tried again, while the token still lives."""

SHORTEST_REFRESH = 1.0
"""Seconds between two renewals at least; close to a token's last end its lease shrinks to nothing."""

Spread = Callable[[], float]
"""Returns a number from 0 to 1, another one each time."""

spread_at_random: Spread = random.SystemRandom().random
"""The spread of a process: random."""


@dataclass(frozen=True, slots=True)
class Held:
    """The token in hand.

    Attributes:
        grant: the token and its life.
        number: counts the tokens held, so that threads see whether another one logged in.
        refresh_at: monotonic time from which it is to be renewed, or None for never.
        ends_at: monotonic time at which it ends, or None for never.
        stamp: the credential's stamp as it was when it was read.
    """

    grant: Grant
    number: int
    refresh_at: float | None
    ends_at: float | None
    stamp: object


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last answer to a credential that Vault refuses.

    Attributes:
        error: what it said.
        stamp: the credential's stamp as it was.
        until: monotonic time until which the same credential is not tried again.
    """

    error: Unauthorised
    stamp: object
    until: float


class TokenKeeper:
    """Holds the one token of all threads: obtained, renewed and replaced by one of them at a time.

    There is no thread of its own: a token is renewed by the first call after two thirds of its
    life, or a little before; the daemon's heartbeat counts as one. A token that nobody uses may
    end; the next call then obtains another.
    """

    def __init__(
        self, login: Login, connect: Connect, clock: Clock, spread: Spread = spread_at_random
    ) -> None:
        """Prepare; nothing is sent before the first call."""
        self._login = login
        self._connect = connect
        self._clock = clock
        self._spread = spread
        self._lock = threading.Lock()
        self._held: Held | None = None
        self._replaced_at: float | None = None
        self._reread_from = 0.0
        self._attempts = 0
        self._failure: ServiceError | None = None
        self._refusal: Refusal | None = None

    def current(self) -> Held:
        """Return a token that should be valid.

        Raises:
            Unauthorised: none is to be had.
            Transient: none is to be had now.
        """
        held, attempts = self._held, self._attempts
        now = self._clock.monotonic()
        if held is None or (held.ends_at is not None and now >= held.ends_at):
            with self._lock:
                return self._obtain(held, attempts)
        stamp = self._login.stamp()
        changed = stamp != held.stamp and now >= self._reread_from
        due = held.refresh_at is not None and now >= held.refresh_at
        if not changed and not due:
            return held
        # One thread renews; the others go on with the token, which still lives.
        if not self._lock.acquire(blocking=False):
            return held
        try:
            if self._held is not held:
                return self._held or held
            taken = self._reread(held, stamp) if changed else held
            # A new credential that cannot be used must not keep the old token from being renewed.
            return self._renew(held) if due and taken is held else taken
        finally:
            self._lock.release()

    def replace(self, refused: Held) -> Held | None:
        """Return another token than one that Vault refused, or None where there is none.

        Raises as `current` does.
        """
        with self._lock:
            held = self._held
            if held is not None and held.number != refused.number:
                return held
            now = self._clock.monotonic()
            if self._replaced_at is not None and now - self._replaced_at < self._login.pace:
                return None
            self._replaced_at = now
            stamp = self._login.stamp()
            grant = self._acquire(stamp, refused.grant.token)
            return None if grant is None else self._keep(grant, stamp)

    def _obtain(self, before: Held | None, attempts: int) -> Held:
        """Log in, unless another thread did so while this one waited for its turn.

        Its failure counts as well: threads that queue before a silent server would otherwise
        wait out one timeout after the other.
        """
        if self._held is not None and self._held is not before:
            return self._held
        if self._failure is not None and self._attempts != attempts:
            raise self._failure
        self._attempts += 1
        self._failure = None
        stamp = self._login.stamp()
        try:
            grant = self._acquire(stamp, None)
        except ServiceError as error:
            self._failure = error
            raise
        if grant is None:
            raise Unauthorised(SERVICE, "log in", "there is no token")
        return self._keep(grant, stamp)

    def _acquire(self, stamp: object, refused: Secret | None) -> Grant | None:
        """Log in, but not again and again by a credential that Vault refuses."""
        last, now = self._refusal, self._clock.monotonic()
        if last is not None and last.stamp == stamp and now < last.until:
            raise last.error
        try:
            grant = self._login.acquire(self._connect, refused)
        except Unauthorised as error:
            self._refusal = Refusal(error, stamp, now + self._login.patience(error))
            raise
        self._refusal = None
        return grant

    def _reread(self, held: Held, stamp: object) -> Held:
        """Take up a credential that was written anew; where that fails, the token still lives."""
        try:
            grant = self._acquire(stamp, held.grant.token)
        except (Transient, Unauthorised, Refused):
            self._reread_from = self._clock.monotonic() + RETRY_RENEWAL
            return held
        if grant is not None:
            return self._keep(grant, stamp)
        self._held = replace(held, stamp=stamp)
        return self._held

    def _renew(self, held: Held) -> Held:
        wait = RETRY_RENEWAL
        try:
            grant = self._login.renew(self._connect, held.grant)
        except Unauthorised as error:
            grant, wait = None, max(wait, self._login.patience(error))
        except (Transient, Refused):
            grant = None
        if grant is not None:
            return self._keep(grant, held.stamp)
        self._held = replace(held, refresh_at=self._clock.monotonic() + wait)
        return self._held

    def _keep(self, grant: Grant, stamp: object) -> Held:
        now = self._clock.monotonic()
        number = 1 if self._held is None else self._held.number + 1
        refresh_at = ends_at = None
        if grant.ttl is not None:
            share = RENEW_AT - JITTER * self._spread()
            refresh_at = now + max(grant.ttl * share, SHORTEST_REFRESH)
            ends_at = now + grant.ttl
        self._held = Held(grant, number, refresh_at, ends_at, stamp)
        return self._held
