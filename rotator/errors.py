"""Every error this program raises on purpose, in one tree.

Adapters translate what their client library raises into one of these, once, at
the edge, so that the engine can decide by type and no library's exception (which
may carry a request with a token in it) travels further::

    RotatorError
    |-- ConfigurationError        the configuration cannot be used; holds every problem found
    |-- InvariantViolation        a plan would have broken a promise: a defect of this program
    |-- AddressUnavailable        the address of `[http]` cannot be listened on, for now
    |-- AuditUnavailable          the audit trail cannot be written, so nothing may act
    |-- Stopping                  the process was asked to stop before the next step began
    `-- ServiceError              a call to OpenRouter or Vault did not succeed
        |-- Transient             nothing happened; the same call may succeed later (`retry_after`)
        |-- Refused               a definite no; nothing happened
        |   `-- CheckAndSetConflict   another writer was first
        |-- Unauthorised          our own credential is refused
        `-- OutcomeUnknown        it may have happened, now or later

Messages are one line, hold nothing secret, and are fit for a terminal.
"""

from __future__ import annotations


class RotatorError(Exception):
    """The root of every error that this program raises on purpose."""


class ConfigurationError(RotatorError):
    """The configuration cannot be used.

    Attributes:
        problems: every problem found, one line each, with its place and a hint.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        """Keep all problems, so that one run reports them together."""
        super().__init__("\n".join(problems))
        self.problems = problems


class AddressUnavailable(RotatorError):  # noqa: N818 - the field's word
    """An address cannot be listened on: taken by another process, or not this machine's (yet)."""


class InvariantViolation(RotatorError):  # noqa: N818 - a violation is what it is
    """A plan would have broken one of the promises; it is not carried out."""


class AuditUnavailable(RotatorError):  # noqa: N818 - the field's word
    """The audit trail could not be written, so the step it was to record must not act."""


class Stopping(RotatorError):  # noqa: N818 - not a failure
    """The process was asked to stop; the next step is left to a later process."""


class ServiceError(RotatorError):
    """A call to an outside service did not succeed.

    Attributes:
        service: ``"openrouter"`` or ``"vault"``.
        operation: what was asked, in a few words (``"create key"``), without any secret.
        detail: the cause in one line, cleaned of control characters and secrets.
        status: the HTTP status of the answer, or None where there was none.
    """

    def __init__(
        self, service: str, operation: str, detail: str, *, status: int | None = None
    ) -> None:
        """Build the one-line message from the parts."""
        super().__init__(f"{service}: {operation}: {detail}")
        self.service = service
        self.operation = operation
        self.detail = detail
        self.status = status


class Transient(ServiceError):  # noqa: N818 - the field's word
    """Nothing happened, and the same call may succeed later.

    For a call that changes nothing this also covers an answer that was lost or
    not understood. For one that changes something it is only raised where the
    service is known not to have acted.

    Attributes:
        retry_after: seconds to wait before the next try, or None where the
            service did not say.
        pauses_writes: whether the service limits this process's writes as a whole
            (HTTP 429), so that no other write should be sent before then either.
    """

    def __init__(
        self,
        service: str,
        operation: str,
        detail: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        pauses_writes: bool = False,
    ) -> None:
        """Keep the delay beside the message."""
        super().__init__(service, operation, detail, status=status)
        self.retry_after = retry_after
        self.pauses_writes = pauses_writes


class Refused(ServiceError):  # noqa: N818 - the field's word
    """The service answered a definite no, whole; nothing happened."""


class CheckAndSetConflict(Refused):
    """A check-and-set write met another version than the one it was based on."""


class Unauthorised(ServiceError):  # noqa: N818 - the field's word
    """The credential of this program itself (management key, Vault token) is refused."""


class OutcomeUnknown(ServiceError):  # noqa: N818 - the field's word
    """The call was sent and may have had its effect, or may yet have it."""
