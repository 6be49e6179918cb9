"""The rules of OpenRouter's management API: what is sent once, repeated, or settled by a read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import stamina
import stamina.instrumentation

from rotator.adapters.openrouter import failures, listing
from rotator.adapters.openrouter.failures import SERVICE, Context
from rotator.adapters.openrouter.reading import (
    KeyReader,
    creation_body,
    is_hash,
    success,
    workspaces_in,
)
from rotator.adapters.openrouter.text import clean
from rotator.adapters.openrouter.wire import (
    PAGE,
    Call,
    Exchange,
    NoAnswer,
    OpenRouterSettings,
    Wire,
    sendable,
)
from rotator.core.keys import CallerKey, IssuedKey, NewKey
from rotator.errors import Refused, ServiceError, Transient, Unauthorised
from rotator.ports import Clock, MintedKey
from rotator.secret import Secret

if TYPE_CHECKING:
    import httpx

# stamina's hooks would log the cause of every retry. They are process-wide, and no part of
# this program wants them.
stamina.instrumentation.set_on_retry_hooks(())

_TRIES = 3


class _AgainError(Exception):
    """Tells stamina to wait and try again; it never leaves this module."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """What came of a call that may have been repeated.

    Attributes:
        last: what came back of the last try.
        lingering: whether an earlier try may yet have its effect.
    """

    last: Exchange
    lingering: bool

    @property
    def is_definite_no(self) -> bool:
        """Whether it is certain that nothing happened, and will not."""
        unsent = isinstance(self.last, NoAnswer) and not self.last.sent
        return not self.lingering and (unsent or failures.is_definite_no(self.last))


class OpenRouterIssuer:
    """OpenRouter's management API (`rotator.ports.KeyIssuer`); threads may share one.

    The create is sent once. All other calls get two quick retries on connection errors
    and 5xx. A call takes no longer than the configured time-out, retries included, and
    a method that changes something no longer than two of them.
    """

    def __init__(
        self,
        settings: OpenRouterSettings,
        management_key: Callable[[], Secret],
        clock: Clock,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Connect nothing yet.

        Args:
            settings: where the API is, and how long to wait.
            management_key: called before each call, so that a key replaced by the
                operator is used at once; what it raises passes through.
            clock: for deadlines, and for delays that the API gives as instants.
            transport: instead of the network, in tests.

        Raises:
            ConfigurationError: the certificates or the proxy cannot be used.
        """
        self._wire = Wire(settings, transport)
        self._timeout = settings.timeout.total_seconds()
        self._retry_wait = settings.retry_wait
        self._management_key = management_key
        self._clock = clock
        self._reader = KeyReader()

    def close(self) -> None:
        """Close the client's connections."""
        self._wire.close()

    def create(self, new: NewKey) -> MintedKey:
        """Create a key (see `rotator.ports.KeyIssuer.create`)."""
        operation = "create key"
        body = creation_body(new)
        if isinstance(body, str):
            raise Refused(SERVICE, operation, f"not sent: {body}")
        credential = self._credential(operation)
        result = self._create(operation, new, Call("POST", "/keys", body=body), credential)
        if isinstance(result, ServiceError):
            raise result from None
        return result

    def _create(
        self, operation: str, new: NewKey, call: Call, credential: Secret
    ) -> MintedKey | ServiceError:
        """Send the create. The answer stays here, out of the frame from which errors are raised."""
        answer = self._wire.exchange(call, credential, self._timeout)
        minted = self._reader.minted(answer, new)
        if minted is not None:
            return minted
        context = replace(self._context(operation, credential), makes_key=True)
        return failures.create_failure(answer, context)

    def list_keys(self, workspace: str | None) -> tuple[IssuedKey, ...]:
        """Return all keys of one workspace, each once; None is the default workspace.

        See `rotator.ports.KeyIssuer.list_keys`, and `listing` for how the pages are joined.
        """
        operation = f"list keys of workspace {clean(workspace)}" if workspace else "list keys"
        keys = listing.gather(partial(self._page, operation, workspace))
        if isinstance(keys, listing.NoListing):
            raise Transient(SERVICE, operation, keys.why)
        return tuple(keys.values())

    def _page(self, operation: str, workspace: str | None, offset: int) -> listing.Page:
        query = {"include_disabled": "true", "include_expired": "true", "offset": str(offset)}
        if workspace is not None:
            query["workspace_id"] = workspace
        credential = self._credential(operation)
        sent = self._send(Call("GET", "/keys", query=query, most=PAGE), credential)
        page = self._reader.page_in(sent.last)
        if page is None:
            raise failures.read_failure(sent.last, self._context(operation, credential))
        return page

    def list_workspaces(self) -> frozenset[str]:
        """Return the ids of the account's workspaces (``GET /workspaces``), a page at a time.

        The end is a page with none that is new: a page may be shorter than was asked for.
        """
        operation, found = "list workspaces", frozenset[str]()
        for _ in range(listing.MOST_PAGES):
            query = {"limit": str(listing.FULL), "offset": str(len(found))}
            credential = self._credential(operation)
            sent = self._send(Call("GET", "/workspaces", query=query, most=PAGE), credential)
            page = workspaces_in(sent.last)
            if page is None:
                raise failures.read_failure(sent.last, self._context(operation, credential))
            if page <= found:
                return found
            found |= page
        raise Transient(SERVICE, operation, f"the list exceeds {listing.MOST_PAGES} pages")

    def get(self, key_hash: str) -> IssuedKey | None:
        """Return one key, or None where OpenRouter itself answers 404."""
        operation = "get key"
        found = self._look(operation, _path(operation, key_hash), self._credential(operation))
        if isinstance(found, ServiceError):
            raise found from None
        return found

    def set_disabled(self, key_hash: str, disabled: bool) -> IssuedKey:  # noqa: FBT001 - the port's signature
        """Disable or enable a key and return it (see `rotator.ports.KeyIssuer.set_disabled`)."""
        operation = "disable key" if disabled else "enable key"
        call = Call("PATCH", _path(operation, key_hash), body={"disabled": disabled})
        credential = self._credential(operation)
        sent = self._send(call, credential)
        answered = self._reader.key_in(sent.last, key_hash)
        if answered is not None and answered.disabled is disabled:
            return answered
        context = self._context(operation, credential)
        found = self._settle(sent, context, call.path, credential)
        if found is None:
            raise Refused(SERVICE, operation, "there is no such key", status=404)
        if isinstance(found, ServiceError):
            raise found from None
        if found.disabled is disabled:
            return found
        if answered is not None and not sent.lingering:
            state = "disabled" if found.disabled else "enabled"
            raise Refused(SERVICE, operation, f"answered as done, but the key is still {state}")
        raise _not_done(sent, context)

    def delete(self, key_hash: str) -> None:
        """Delete a key for good (see `rotator.ports.KeyIssuer.delete`)."""
        operation = "delete key"
        call = Call("DELETE", _path(operation, key_hash))
        credential = self._credential(operation)
        sent = self._send(call, credential)
        answered = (success(sent.last) or {}).get("deleted")
        if answered is True:
            return
        context = self._context(operation, credential)
        found = self._settle(sent, context, call.path, credential)
        if found is None:
            return
        if isinstance(found, ServiceError):
            raise found from None
        if answered is False and not sent.lingering:
            raise Refused(SERVICE, operation, "answered that the key was not deleted")
        raise _not_done(sent, context)

    def whoami(self, secret: Secret) -> CallerKey | None:
        """Ask, with the given key as the credential, about that key.

        Returns None where OpenRouter itself answers 401, and for a text that no header
        can carry, which is no key's.
        """
        if not sendable(secret):
            return None
        sent = self._send(Call("GET", "/key"), secret)
        caller = self._reader.caller_in(sent.last, manages=False)
        if caller is not None or failures.is_said(sent.last, 401):
            return caller
        error = failures.read_failure(sent.last, self._context("check key", secret))
        if isinstance(error, Unauthorised):  # a 401 that something in between wrote
            raise Transient(SERVICE, error.operation, error.detail, status=401)
        raise error

    def whoami_management(self) -> CallerKey:
        """Ask, with the management key, about itself.

        Raises:
            Unauthorised: it is refused, by 401, or by a 403 that OpenRouter itself wrote.
        """
        operation = "check management key"
        credential = self._credential(operation)
        sent = self._send(Call("GET", "/key"), credential)
        caller = self._reader.caller_in(sent.last, manages=True)
        if caller is not None:
            return caller
        error = failures.read_failure(sent.last, self._context(operation, credential))
        if failures.is_said(sent.last, 403):
            raise Unauthorised(SERVICE, operation, error.detail, status=403)
        raise error

    def _credential(self, operation: str) -> Secret:
        secret = self._management_key()
        if not sendable(secret):
            raise Unauthorised(SERVICE, operation, "the management key is no text for a header")
        return secret

    def _context(self, operation: str, credential: Secret) -> Context:
        return Context(operation, self._clock.now(), (credential,))

    def _send(self, call: Call, credential: Secret) -> _Sent:
        """Send a call that may be repeated, with two quick retries, all within one time-out."""
        deadline = self._clock.monotonic() + self._timeout
        tries: list[Exchange] = []
        with contextlib.suppress(_AgainError):  # raised after the last try, which stands
            for attempt in stamina.retry_context(
                on=_AgainError,
                attempts=_TRIES,
                timeout=None,
                wait_initial=self._retry_wait,
                wait_max=self._retry_wait * 3,
                wait_jitter=self._retry_wait,
            ):
                with attempt:
                    self._try(call, credential, deadline, tries)
        return _Sent(tries[-1], any(failures.may_act_later(earlier) for earlier in tries[:-1]))

    def _try(self, call: Call, credential: Secret, deadline: float, tries: list[Exchange]) -> None:
        """Send a call once more if there is time, and ask for another try where it may help."""
        left = deadline - self._clock.monotonic()
        if tries and left <= 0:
            return
        tries.append(self._wire.exchange(call, credential, left))
        if failures.worth_repeating(tries[-1], self._clock.now()):
            raise _AgainError

    def _look(
        self, operation: str, path: str, credential: Secret
    ) -> IssuedKey | ServiceError | None:
        sent = self._send(Call("GET", path), credential)
        key = self._reader.key_in(sent.last, path.rpartition("/")[2])
        if key is not None or failures.is_said(sent.last, 404):
            return key
        return failures.read_failure(sent.last, self._context(operation, credential))

    def _settle(
        self, sent: _Sent, context: Context, path: str, credential: Secret
    ) -> IssuedKey | ServiceError | None:
        """Read the key after a change whose answer was no clean success.

        With the same credential: to fetch another could fail, and hide what was sent.
        The read is spared where it could not tell anything: the call was never sent, or
        the API refused the management key or asked to be left alone.
        """
        status = None if isinstance(sent.last, NoAnswer) else sent.last.status
        if sent.is_definite_no and status in {None, 401, 429}:
            return failures.read_failure(sent.last, context)
        found = self._look(f"{context.operation}, then get key", path, credential)
        if not isinstance(found, ServiceError):
            return found
        if sent.is_definite_no and status == 404:
            return found  # the read was to confirm the absence; nothing was changed
        if sent.is_definite_no:
            return failures.read_failure(sent.last, context)
        return failures.unknown(sent.last, context)


def _not_done(sent: _Sent, context: Context) -> ServiceError:
    """Return the error for a change that a read shows not to have happened (yet)."""
    if sent.lingering or failures.may_act_later(sent.last):
        return failures.unknown(sent.last, context)
    return failures.read_failure(sent.last, context)


def _path(operation: str, key_hash: str) -> str:
    if not is_hash(key_hash):
        raise Refused(SERVICE, operation, "not sent: not the hash of a key")
    return f"/keys/{key_hash}"
