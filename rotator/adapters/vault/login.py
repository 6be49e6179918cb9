"""How a token is obtained and kept fresh.

`Login` is the door for further methods (Kubernetes, JWT, certificate): each says how to obtain a
`Grant`, and `TokenKeeper` does the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import hvac.api.auth_methods

from rotator.adapters.vault.failures import SERVICE, permission_denied, read_failure
from rotator.adapters.vault.transport import Answer, CallAdapter, Outcome
from rotator.errors import Refused, ServiceError, Transient, Unauthorised
from rotator.ports import Clock
from rotator.secret import Secret

RETRY_RENEWAL = 10.0
"""Seconds after which a renewal that failed is tried again, while the token still lives."""

SHORTEST_REFRESH = 1.0
"""Seconds between two renewals at least; close to a token's last end its lease shrinks to nothing."""

LOGIN_PACE = 10.0
"""Seconds between two logins that a 403 asks for; each costs Vault a lease."""

REDIRECTS = range(300, 400)
"""Answers that say nothing about a credential."""

Connect = Callable[[Secret | None], CallAdapter]
"""Makes what hvac's methods send through, with a token or (for a login) without."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, and how long it lives.

    Attributes:
        token: the token.
        ttl: seconds it has left, or None where it never ends or that is not known.
        renewable: whether Vault prolongs it on request.
    """

    token: Secret
    ttl: float | None
    renewable: bool


class Login(Protocol):
    """One way to a token.

    Attributes:
        pace: seconds between two acquisitions that a refused token asks for.
    """

    @property
    def pace(self) -> float:
        """Return the seconds."""
        ...

    def acquire(self, connect: Connect, refused: Secret | None) -> Grant | None:
        """Obtain a token; None where there is no other than the `refused` one.

        Raises:
            Unauthorised: the credential is refused or cannot be read.
            Transient: Vault did not answer, or cannot now.
        """
        ...

    def renew(self, connect: Connect, grant: Grant) -> Grant | None:
        """Prolong or replace a token that lives yet; None where that is not possible.

        Raises as `acquire` does.
        """
        ...


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """A token that somebody else obtains, such as an agent that keeps it in a file.

    Attributes:
        token: reads it; called at the start and whenever Vault refuses the one in hand.
    """

    token: Callable[[], Secret]

    @property
    def pace(self) -> float:
        """Return zero: reading a file costs Vault nothing."""
        return 0.0

    def acquire(self, connect: Connect, refused: Secret | None) -> Grant | None:
        """Read the token, and ask Vault how long it lives."""
        token = credential(self.token, "token")
        if refused is not None and token.sha256() == refused.sha256():
            return None
        outcome: Outcome = hvac.api.auth_methods.Token(connect(token)).lookup_self()
        if permission_denied(outcome):
            # Not in its policies, or the token is dead: the first real call tells which.
            return Grant(token, None, renewable=False)
        failure = read_failure("look up own token", outcome)
        if failure is not None:
            raise failure
        assert isinstance(outcome, Answer)
        data = outcome.data
        return Grant(token, _lifetime(data.get("ttl")), data.get("renewable") is True)

    def renew(self, connect: Connect, grant: Grant) -> Grant | None:
        """Prolong the token; where that is refused, see whether there is another by now."""
        if not grant.renewable:
            return self.acquire(connect, grant.token)
        outcome: Outcome = hvac.api.auth_methods.Token(connect(grant.token)).renew_self()
        failure = read_failure("renew own token", outcome)
        if isinstance(failure, Refused | Unauthorised):
            return self.acquire(connect, grant.token)
        return _granted("renew own token", outcome, grant.token)


@dataclass(frozen=True, slots=True)
class AppRoleAuth:
    """Vault's AppRole method.

    Attributes:
        role_id: reads the role's id, at every login.
        secret_id: reads the secret id, at every login.
        mount: where the method is mounted under ``auth/``.
    """

    role_id: Callable[[], Secret]
    secret_id: Callable[[], Secret]
    mount: str = "approle"

    @property
    def pace(self) -> float:
        """Return the seconds between two logins after a refusal."""
        return LOGIN_PACE

    def acquire(self, connect: Connect, refused: Secret | None) -> Grant | None:  # noqa: ARG002 - a new one each time
        """Log in."""
        role_id = credential(self.role_id, "role_id")
        secret_id = credential(self.secret_id, "secret_id")
        outcome: Outcome = hvac.api.auth_methods.AppRole(connect(None)).login(
            role_id.reveal(), secret_id.reveal(), use_token=False, mount_point=self.mount
        )
        return _granted("log in by approle", outcome, None)

    def renew(self, connect: Connect, grant: Grant) -> Grant | None:  # noqa: ARG002 - a new one each time
        """Log in again: it needs no more rights than the first time, and has no last end."""
        return self.acquire(connect, None)


def credential(read: Callable[[], Secret], name: str) -> Secret:
    """Read a credential from where the configuration says.

    Raises:
        Unauthorised: it cannot be read, is empty, or holds what no header may hold.
    """
    try:
        secret = read()
    except (OSError, ValueError) as error:
        # A decoding error holds the bytes, so only the kind of error is told.
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
    else:
        value = secret.reveal()
        if value and value.isascii() and value.isprintable() and " " not in value:
            return secret
        why = "it holds a character that is not allowed" if value else "it is empty"
    raise Unauthorised(SERVICE, "log in", f"the {name} cannot be used: {why}")


def _granted(operation: str, outcome: Outcome, token: Secret | None) -> Grant:
    """Return the grant of a login's or renewal's answer.

    A login whose answer was lost changed nothing that matters, so it is judged as a read.
    """
    failure = read_failure(operation, outcome)
    if isinstance(failure, Refused) and failure.status not in REDIRECTS:
        raise Unauthorised(SERVICE, operation, failure.detail, status=failure.status)
    if failure is not None:
        raise failure
    assert isinstance(outcome, Answer)
    auth = (outcome.document or {}).get("auth")
    text = auth.get("client_token") if isinstance(auth, dict) else None
    if not isinstance(auth, dict) or not isinstance(text, str):
        raise Transient(SERVICE, operation, "the answer holds no token", status=outcome.status)
    granted = token if token is not None else credential(lambda: Secret(text), "token from Vault")
    return Grant(granted, _lifetime(auth.get("lease_duration")), auth.get("renewable") is True)


def _lifetime(seconds: object) -> float | None:
    """Vault says 0 for a token that never ends."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return float(seconds) if seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Held:
    """The token in hand.

    Attributes:
        grant: the token and its life.
        number: counts the tokens held, so that threads see whether another one logged in.
        refresh_at: monotonic time from which it is to be renewed, or None for never.
        ends_at: monotonic time at which it ends, or None for never.
    """

    grant: Grant
    number: int
    refresh_at: float | None
    ends_at: float | None


class TokenKeeper:
    """Holds the one token of all threads: obtained, renewed and replaced by one of them at a time.

    There is no thread of its own: a token is renewed by the first call after two thirds of its
    life. A token that nobody uses may end; the next call then obtains another.
    """

    def __init__(self, login: Login, connect: Connect, clock: Clock) -> None:
        """Prepare; nothing is sent before the first call."""
        self._login = login
        self._connect = connect
        self._clock = clock
        self._lock = threading.Lock()
        self._held: Held | None = None
        self._replaced_at: float | None = None
        self._attempts = 0
        self._failure: ServiceError | None = None

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
        if held.refresh_at is None or now < held.refresh_at:
            return held
        # One thread renews; the others go on with the token, which still lives.
        if not self._lock.acquire(blocking=False):
            return held
        try:
            return self._renew(held)
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
            grant = self._login.acquire(self._connect, refused.grant.token)
            return None if grant is None else self._keep(grant)

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
        try:
            grant = self._login.acquire(self._connect, None)
        except ServiceError as error:
            self._failure = error
            raise
        if grant is None:
            raise Unauthorised(SERVICE, "log in", "there is no token")
        return self._keep(grant)

    def _renew(self, held: Held) -> Held:
        if self._held is not held:
            return self._held or held
        try:
            grant = self._login.renew(self._connect, held.grant)
        except (Transient, Unauthorised, Refused):
            grant = None
        if grant is not None:
            return self._keep(grant)
        later = self._clock.monotonic() + RETRY_RENEWAL
        self._held = Held(held.grant, held.number, later, held.ends_at)
        return self._held

    def _keep(self, grant: Grant) -> Held:
        now = self._clock.monotonic()
        number = 1 if self._held is None else self._held.number + 1
        refresh_at = ends_at = None
        if grant.ttl is not None:
            refresh_at = now + max(grant.ttl * 2 / 3, SHORTEST_REFRESH)
            ends_at = now + grant.ttl
        self._held = Held(grant, number, refresh_at, ends_at)
        return self._held
