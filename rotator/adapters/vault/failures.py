"""What an outcome means: the one place where Vault's answers become this program's errors.

Statuses are those of Vault's API documentation ("HTTP Status Codes",
https://developer.hashicorp.com/vault/api-docs#http-status-codes), the texts those that Vault
1.21 was seen to send.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rotator.adapters.vault.transport import Answer, NoAnswer, Outcome
from rotator.errors import (
    CheckAndSetConflict,
    OutcomeUnknown,
    Refused,
    ServiceError,
    Transient,
    Unauthorised,
)

SERVICE = "vault"
CAS_MISMATCH = "check-and-set parameter did not match the current version"

_NOTHING_HAPPENED = frozenset({412, 429, 472, 473, 501, 503})
"""Not caught up, over a rate limit, standby, uninitialised, sealed: said before anything is done."""

_LONGEST_MESSAGE = 300


def permission_denied(outcome: Outcome) -> bool:
    """Tell whether Vault itself, not something before it, refuses the token or its rights."""
    return (
        isinstance(outcome, Answer) and outcome.status in {401, 403} and outcome.errors is not None
    )


def absent(outcome: Outcome) -> bool:
    """Tell whether Vault says that nothing stands at the path.

    A 404 with a message is something else (no engine is mounted there), and a proxy's 404 is
    no answer of Vault's at all. A deleted version is a 404 with metadata, and not absent.
    """
    return isinstance(outcome, Answer) and outcome.status == 404 and outcome.errors == ()


def read_failure(
    operation: str, outcome: Outcome, secrets: Iterable[str] = ()
) -> ServiceError | None:
    """Return the error that an outcome of a read is, or None for a success.

    Whatever was not understood changed nothing, so it is `Transient`.

    Args:
        operation: what was asked.
        outcome: what came of it.
        secrets: texts that were sent and must not be repeated, should Vault repeat them.
    """
    if isinstance(outcome, NoAnswer):
        return Transient(SERVICE, operation, outcome.detail)
    if outcome.ok:
        return None
    return _definite(operation, outcome, secrets) or Transient(
        SERVICE,
        operation,
        _not_understood(outcome, secrets),
        status=outcome.status,
        retry_after=outcome.retry_after,
    )


def write_failure(
    operation: str, outcome: Outcome, secrets: Iterable[str] = ()
) -> ServiceError | None:
    """Return the error that an outcome of a write is, or None for a success.

    Args:
        operation: what was asked.
        outcome: what came of it.
        secrets: texts that were sent and must not be repeated, should Vault repeat them.

    Returns:
        `OutcomeUnknown` where it may have been done, which the caller settles first.
    """
    if isinstance(outcome, NoAnswer):
        kind = OutcomeUnknown if outcome.sent else Transient
        return kind(SERVICE, operation, outcome.detail)
    if outcome.ok:
        return None
    return _definite(operation, outcome, secrets) or OutcomeUnknown(
        SERVICE, operation, _not_understood(outcome, secrets), status=outcome.status
    )


def _definite(operation: str, answer: Answer, secrets: Iterable[str]) -> ServiceError | None:
    """Return the error of an answer after which it is certain that nothing happened."""
    status = answer.status
    if 300 <= status < 400:
        where = answer.redirect or "another place"
        return Refused(
            SERVICE,
            operation,
            f"redirected to {where}; redirects are not followed, so that no token goes astray: "
            "set vault.address to the active node or to a load balancer that finds it",
            status=status,
        )
    if answer.errors is None:
        return None
    told = said(answer.errors, secrets)
    if status in _NOTHING_HAPPENED:
        return Transient(
            SERVICE,
            operation,
            told or f"not ready ({status})",
            status=status,
            retry_after=answer.retry_after,
            pauses_writes=status == 429,
        )
    if status == 400 and any(CAS_MISMATCH in error for error in answer.errors):
        return CheckAndSetConflict(SERVICE, operation, CAS_MISMATCH, status=status)
    if status == 401:
        return Unauthorised(SERVICE, operation, told or "not authorised", status=status)
    if 400 <= status < 500:
        return Refused(SERVICE, operation, told or f"refused ({status})", status=status)
    return None


def _not_understood(answer: Answer, secrets: Iterable[str]) -> str:
    if answer.errors is not None:
        return said(answer.errors, secrets) or f"failed ({answer.status})"
    return f"answered {answer.status} with something that is not Vault's JSON"


def said(errors: Iterable[str], secrets: Iterable[str]) -> str:
    """Return Vault's messages as one clean line, or a remark where they repeat what was sent."""
    line = " ".join("".join(c if c.isprintable() else " " for c in " ".join(errors)).split())
    if any(_repeats(line, secret) for secret in secrets):
        return "its message repeats what was sent and is withheld"
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "…"


def _repeats(line: str, secret: str) -> bool:
    """Shorter texts than four characters are in every sentence."""
    escaped = json.dumps(secret)[1:-1]
    return len(secret) >= 4 and (secret in line or escaped in line)


def texts_in(value: Any) -> Iterable[str]:
    """Yield every text inside a JSON value, names of fields aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)
