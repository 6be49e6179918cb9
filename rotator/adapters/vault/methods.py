"""The ways to log in: AppRole, Kubernetes, JWT and TLS certificate.

Each obtains a token of our own, which is renewed for as long as Vault renews it in full, and
replaced by another login after that.
"""

from __future__ import annotations

import re
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import hvac.api
import hvac.api.auth_methods
import hvac.utils

from rotator.adapters.vault.failures import SERVICE, read_failure
from rotator.adapters.vault.login import (
    REDIRECTS,
    Connect,
    Grant,
    credential,
    ends_soon,
    granted,
    prolonged,
    unchanging,
)
from rotator.adapters.vault.transport import Answer, Outcome
from rotator.errors import Refused, Unauthorised
from rotator.secret import Secret

LOGIN_PACE = 10.0
"""Seconds between two logins that a 403 asks for; each costs Vault a lease."""

COUNTED_BY_LOCKOUT = "invalid role or secret ID"
"""What Vault 1.21 says of a login that counts towards its lockout."""

LOCKOUT_PATIENCE = 300.0
"""Seconds between two logins by a secret id that is refused.

Vault locks a role for 15 minutes after five such logins within 15 minutes, also for the true one:
https://developer.hashicorp.com/vault/docs/concepts/user-lockout
"""


class OwnToken:
    """What the methods share: a token that Vault made for us, and that we can have anew."""

    __slots__ = ()

    @property
    def pace(self) -> float:
        """Return the seconds between two logins after a refusal."""
        return LOGIN_PACE

    def patience(self, refusal: Unauthorised) -> float:  # noqa: ARG002 - whatever it says
        """Return zero: most methods may be tried as often as one likes."""
        return 0.0

    def acquire(self, connect: Connect, refused: Secret | None) -> Grant | None:  # noqa: ARG002 - a new one each time
        """Log in."""
        return self.log_in(connect)

    def renew(self, connect: Connect, grant: Grant) -> Grant | None:
        """Prolong the token; log in where that is refused, or its last end comes near."""
        renewed = prolonged(connect, grant)
        if renewed is None or ends_soon(grant, renewed):
            return self.log_in(connect)
        return renewed

    @abstractmethod
    def log_in(self, connect: Connect) -> Grant:
        """Read the credentials and log in.

        Raises:
            Unauthorised: the credential is refused or cannot be read.
            Transient: Vault did not answer, or cannot now.
        """


@dataclass(frozen=True, slots=True)
class AppRoleAuth(OwnToken):
    """Vault's AppRole method.

    Attributes:
        role_id: reads the role's id, at every login.
        secret_id: reads the secret id, at every login.
        mount: where the method is mounted under ``auth/``.
        stamp: tells whether one of the two was written anew, which asks for a login.
        wrapping: unwraps what `secret_id` reads; None where it is the secret id itself.
    """

    role_id: Callable[[], Secret]
    secret_id: Callable[[], Secret]
    mount: str = "approle"
    stamp: Callable[[], object] = unchanging
    wrapping: Unwrapping | None = None

    def patience(self, refusal: Unauthorised) -> float:
        """Return what keeps Vault from locking the role, where it is the secret id that is wrong."""
        return LOCKOUT_PATIENCE if COUNTED_BY_LOCKOUT in refusal.detail else 0.0

    def log_in(self, connect: Connect) -> Grant:
        """Log in."""
        role_id = credential(self.role_id, "role_id")
        secret_id = credential(self.secret_id, "secret_id")
        if self.wrapping is not None:
            secret_id = self.wrapping.unwrap(connect, secret_id, self.mount)
        outcome: Outcome = hvac.api.auth_methods.AppRole(connect(None)).login(
            role_id.reveal(), secret_id.reveal(), use_token=False, mount_point=self.mount
        )
        return granted("log in by approle", outcome)


class Unwrapping:
    """Opens a response-wrapped secret id, once, and remembers what was in it.

    A wrapping token can be used one time only; the logins after the first take the secret id
    from memory, until another wrapping token is put in its place.
    https://developer.hashicorp.com/vault/docs/concepts/response-wrapping
    """

    def __init__(self, namespace: str | None = None) -> None:
        """Nothing is unwrapped yet; the namespace is the one that is sent with every call."""
        self._made_in = f"{namespace.strip('/')}/" if namespace else ""
        self._lock = threading.Lock()
        self._opened: tuple[str, Secret] | None = None

    def unwrap(self, connect: Connect, token: Secret, mount: str) -> Secret:
        """Return the secret id that a wrapping token holds.

        Before it is used, Vault is asked where it was made: a token that was made elsewhere
        than at the role's own path was put there by somebody who had opened the true one.

        Raises:
            Unauthorised: it is used or expired, or was not made by AppRole at this mount.
            Transient: Vault did not answer, or cannot now.
        """
        with self._lock:
            if self._opened is not None and self._opened[0] == token.sha256():
                return self._opened[1]
            shown = {"token": token.reveal()}
            outcome: Outcome = connect(None).post("/v1/sys/wrapping/lookup", json=shown)
            made_at = _told("look up the wrapping token", outcome).get("creation_path")
            # Before it may stand our namespace, and nothing else: every token may write what it
            # likes below `cubbyhole/`, and have that wrapped.
            here = f"({re.escape(self._made_in)})?auth/{re.escape(mount)}"
            path = rf"{here}/role/[^/]+/(custom-)?secret-id"
            if not isinstance(made_at, str) or not re.fullmatch(path, made_at):
                raise Unauthorised(
                    SERVICE,
                    "unwrap secret_id",
                    f"the wrapping token was not made at auth/{mount}/role/ROLE/secret-id: "
                    "somebody may have opened the true one; find out, and make another",
                )
            outcome = hvac.api.SystemBackend(connect(token)).unwrap()
            text = _told("unwrap secret_id", outcome).get("secret_id")
            secret_id = credential(lambda: Secret(str(text or "")), "wrapped secret_id")
            self._opened = token.sha256(), secret_id
            return secret_id


def _told(operation: str, outcome: Outcome) -> Mapping[str, object]:
    """Return what Vault says of a wrapping token, or raise what its refusal means."""
    failure = read_failure(operation, outcome)
    if isinstance(failure, Refused | Unauthorised) and failure.status not in REDIRECTS:
        raise Unauthorised(
            SERVICE,
            operation,
            "the wrapping token is used, expired or unknown: if it was not this program that "
            "used it, somebody else has the secret id; find out, and make another",
            status=failure.status,
        )
    if failure is not None:
        raise failure
    assert isinstance(outcome, Answer)
    return outcome.data


@dataclass(frozen=True, slots=True)
class JwtAuth(OwnToken):
    """Vault's Kubernetes and JWT methods, which differ in who judges the token.

    Attributes:
        method: ``kubernetes`` (its API server is asked) or ``jwt`` (its signature is checked).
        role: the role at that method.
        jwt: reads the token, at every login, since whoever issues it replaces it in time.
        mount: where the method is mounted under ``auth/``.
        stamp: tells whether a login is due because the token was written anew; it is not, unless
            given, because a projected token is replaced every hour.
    """

    method: Literal["kubernetes", "jwt"]
    role: str
    jwt: Callable[[], Secret]
    mount: str
    stamp: Callable[[], object] = unchanging

    def log_in(self, connect: Connect) -> Grant:
        """Log in."""
        jwt = credential(self.jwt, "jwt")
        # Both methods take the same: hvac has one function for each.
        outcome: Outcome = hvac.api.auth_methods.Kubernetes(connect(None)).login(
            self.role, jwt.reveal(), use_token=False, mount_point=self.mount
        )
        return granted(f"log in by {self.method}", outcome)


@dataclass(frozen=True, slots=True)
class CertAuth(OwnToken):
    """Vault's TLS certificate method: the client certificate of the connection is the credential.

    Attributes:
        role: the role to log in at; None for any that the certificate fits.
        mount: where the method is mounted under ``auth/``.
        stamp: tells whether a login is due because the certificate was written anew. Connections
            take a new one at once; the token stays, and is replaced when its renewal is refused.
    """

    role: str | None = None
    mount: str = "cert"
    stamp: Callable[[], object] = unchanging

    def log_in(self, connect: Connect) -> Grant:
        """Log in."""
        # hvac's own method reads the certificate's files and judges them by its adapter's options.
        url = hvac.utils.format_url("/v1/auth/{mount}/login", mount=self.mount)
        body = {"name": self.role} if self.role is not None else {}
        outcome: Outcome = connect(None).login(url, json=body)
        return granted("log in by cert", outcome)
