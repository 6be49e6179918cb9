"""What an outcome means: the one place where Vault's answers become this program's errors.

Statuses are those of Vault's API documentation ("HTTP Status Codes",
https://developer.hashicorp.com/vault/api-docs#http-status-codes), the texts those that Vault
1.21 was seen to send.
"""

from __future__ import annotations

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


def read_failure(operation: str, outcome: Outcome) -> ServiceError | None:
    """Return the error that an outcome of a read is, or None for a success.

    Whatever was not understood changed nothing, so it is `Transient`.
    """
    if isinstance(outcome, NoAnswer):
        return Transient(SERVICE, operation, outcome.detail)
    if outcome.ok:
        return None
    return _definite(operation, outcome) or Transient(
        SERVICE,
        operation,
        _not_understood(outcome),
        status=outcome.status,
        retry_after=outcome.retry_after,
    )


def write_failure(operation: str, outcome: Outcome) -> ServiceError | None:
    """Return the error that an outcome of a write is, or None for a success.

    It is `OutcomeUnknown` where it may have been done, which the caller settles first.
    """
    if isinstance(outcome, NoAnswer):
        kind = OutcomeUnknown if outcome.sent else Transient
        return kind(SERVICE, operation, outcome.detail)
    if outcome.ok:
        return None
    return _definite(operation, outcome) or OutcomeUnknown(
        SERVICE, operation, _not_understood(outcome), status=outcome.status
    )


def _definite(operation: str, answer: Answer) -> ServiceError | None:
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
    told = said(answer)
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


def _not_understood(answer: Answer) -> str:
    if answer.errors is not None:
        return said(answer) or f"failed ({answer.status})"
    return f"answered {answer.status} with something that is not Vault's JSON"


def said(answer: Answer) -> str:
    """Return Vault's messages as one clean line, or a remark where they repeat what was sent."""
    if answer.repeats_request:
        return "its message repeats what was sent and is withheld"
    errors = " ".join(answer.errors or ())
    line = " ".join("".join(c if c.isprintable() else " " for c in errors).split())
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "…"
