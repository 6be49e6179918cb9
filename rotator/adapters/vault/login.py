"""What a login is, and the plainest one: a token that somebody else obtained.

The other methods are in `rotator.adapters.vault.methods`; `rotator.adapters.vault.keeper` keeps
the token that any of them obtains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import hvac.api.auth_methods

from rotator.adapters.vault.failures import SERVICE, permission_denied, read_failure
from rotator.adapters.vault.transport import Answer, CallAdapter, Outcome
from rotator.core.durations import LONGEST
from rotator.errors import Refused, Transient, Unauthorised
from rotator.secret import Secret

NEARLY_ALL = 0.9
"""A renewal that gives less than this share of the last lease shows that the token's end is near."""

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

    def patience(self, refusal: Unauthorised) -> float:
        """Return the seconds before the same credential is tried again after a refusal."""
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

    def stamp(self) -> object:
        """Return what changes when the credential is written anew, such as a file's identity."""
        ...


def unchanging() -> None:
    """Return the stamp of a credential that is read at each login, and at no other time."""


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """A token that somebody else obtains, such as an agent that keeps it in a file.

    Attributes:
        token: reads it; called at the start, when its stamp changed, and whenever Vault refuses
            the one in hand.
        stamp: tells whether it was written anew.
    """

    token: Callable[[], Secret]
    stamp: Callable[[], object] = unchanging

    @property
    def pace(self) -> float:
        """Return zero: reading a file costs Vault nothing."""
        return 0.0

    def patience(self, refusal: Unauthorised) -> float:  # noqa: ARG002 - whatever it says
        """Return zero, for the same reason."""
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
        return Grant(token, lifetime(data.get("ttl")), data.get("renewable") is True)

    def renew(self, connect: Connect, grant: Grant) -> Grant | None:
        """Prolong the token; where that is refused, see whether there is another by now."""
        return prolonged(connect, grant) or self.acquire(connect, grant.token)


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


def prolonged(connect: Connect, grant: Grant) -> Grant | None:
    """Renew a token; None where Vault does not renew it.

    Raises:
        Transient: Vault did not answer, or cannot now.
    """
    if not grant.renewable:
        return None
    outcome: Outcome = hvac.api.auth_methods.Token(connect(grant.token)).renew_self()
    if isinstance(read_failure("renew own token", outcome), Refused | Unauthorised):
        return None
    return granted("renew own token", outcome, grant.token)


def ends_soon(grant: Grant, renewed: Grant) -> bool:
    """Tell whether a renewal gave so little that the token has come near its last end."""
    return (
        grant.ttl is not None and renewed.ttl is not None and renewed.ttl < grant.ttl * NEARLY_ALL
    )


def granted(operation: str, outcome: Outcome, token: Secret | None = None) -> Grant:
    """Return the grant of a login's or renewal's answer.

    A login whose answer was lost changed nothing that matters, so it is judged as a read.

    Args:
        operation: what was asked, in a few words.
        outcome: what came of it.
        token: the token that was renewed; None for a login, whose answer brings one.

    Raises:
        Unauthorised: refused.
        Transient, Refused: as for every read; Refused only for a redirect.
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
    held = token if token is not None else credential(lambda: Secret(text), "token from Vault")
    return Grant(held, lifetime(auth.get("lease_duration")), auth.get("renewable") is True)


def lifetime(seconds: object) -> float | None:
    """Return for how long a token lives; None for ever, which Vault says by 0, or unknown."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return float(seconds) if 0 < seconds <= LONGEST.total_seconds() else None
