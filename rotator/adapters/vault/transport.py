"""One call to Vault over HTTP: bounded in time and size, and never an exception.

hvac (2.4.0) is used for what it knows, the API's paths and parameters; sending is done here,
because its own adapter follows redirects with the token and the body, throws the status and the
headers of an answer away, and lets exceptions through that hold the request. What a call came
to is returned as a value, `Answer` or `NoAnswer`, so that no library's exception travels.
"""

from __future__ import annotations

import http.client
import http.cookiejar
import io
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import hvac.adapters
import hvac.exceptions
import requests
import requests.adapters
import urllib3
import urllib3.connection
import urllib3.exceptions

from rotator.adapters.vault.reasons import (
    http_date,
    origin,
    reason_of,
    repeats,
    seconds_to_wait,
    texts_in,
)
from rotator.adapters.vault.settings import VaultSettings, tls_context, tls_stamp
from rotator.errors import ConfigurationError
from rotator.ports import Clock
from rotator.secret import Secret

MAX_BODY = 16 * 1024 * 1024
"""Bytes of an answer that are read; a KV secret has at most 1 MiB (raft's limit of an entry)."""

EXPECTED: tuple[type[Exception], ...] = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    hvac.exceptions.VaultError,
    http.client.HTTPException,
    OSError,
    ValueError,
)
"""What a call may raise below this module: each becomes a `NoAnswer`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, whatever its status.

    Attributes:
        status: the HTTP status.
        document: the JSON object of the body, or None where it is anything else. It may hold
            plaintext, so it is not printed.
        date: the server's clock (``Date``, aware, UTC), or None where it did not say.
        retry_after: seconds to wait (``Retry-After``), or None.
        redirect: scheme, host and port that a 3xx points to, or None.
        repeats_request: whether Vault's messages hold the token or a text of the body that was
            sent, so that they must not be told.
    """

    status: int
    document: Mapping[str, Any] | None = field(repr=False)
    date: datetime | None = None
    retry_after: float | None = None
    redirect: str | None = None
    repeats_request: bool = False

    @property
    def ok(self) -> bool:
        """Whether the call succeeded and was answered with a JSON object."""
        return 200 <= self.status < 300 and self.document is not None

    @property
    def data(self) -> Mapping[str, Any]:
        """The ``data`` of Vault's envelope, empty where there is none."""
        data = (self.document or {}).get("data")
        return data if isinstance(data, dict) else {}

    @property
    def errors(self) -> tuple[str, ...] | None:
        """The messages of Vault's ``errors`` list; None where this is no error answer of Vault's.

        It may be empty. A proxy's own page, even a JSON one, has no such list.
        """
        errors = (self.document or {}).get("errors")
        if not isinstance(errors, list):
            return None
        return tuple(error for error in errors if isinstance(error, str))


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No whole answer came.

    Attributes:
        sent: whether any of the request may have reached the server.
        detail: why, in a few words that hold nothing of the request.
    """

    sent: bool
    detail: str


Outcome = Answer | NoAnswer


class _Call(threading.local):
    """The call that this thread has under way; urllib3 has no other way to tell a connection."""

    monotonic: Callable[[], float]
    deadline: float = 0.0
    sent: bool = False


_CALL = _Call()


class _UntilDeadline(io.RawIOBase):
    """The bytes of one answer, each read given only what is left of the whole call's time.

    A socket's own timeout counts from byte to byte: a server that sends one at a time would hold
    a call for hours (seen with requests, timeout=1: 3.6 s for a short answer).
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = _CALL.deadline - _CALL.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not end in time")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedSocket:
    """What `http.client.HTTPResponse` wants of a socket: something to read from."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_UntilDeadline(self._sock))


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(_BoundedSocket(sock), *args, **kwargs)  # type: ignore[arg-type]


class _Watched(http.client.HTTPConnection):
    """Notes that bytes left, which tells a connection never made from an answer lost."""

    response_class = _Response

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        left = _CALL.deadline - _CALL.monotonic()
        if left <= 0:
            raise TimeoutError("the request was not sent in time")
        self.sock.settimeout(left)
        _CALL.sent = True
        super().send(data)


class _Connection(_Watched, urllib3.connection.HTTPConnection):
    pass


class _SecureConnection(_Watched, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _HttpAdapter(requests.adapters.HTTPAdapter):
    """Pools the connections above, under one TLS context and without any retry."""

    def __init__(self, tls: ssl.SSLContext, connections: int) -> None:
        self._tls = tls
        super().__init__(pool_connections=1, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the context alone: requests would add the public authorities to the given ones."""


class Transport:
    """The connections to one Vault, shared by all threads."""

    def __init__(self, settings: VaultSettings, clock: Clock, connections: int) -> None:
        """Prepare; nothing is connected yet.

        Args:
            settings: where and how.
            clock: measures each call's time.
            connections: how many idle connections are kept; as many as threads is best.

        Raises:
            ConfigurationError: an unusable address, certificate or key.
        """
        self.base_url = settings.base_url
        self.timeout = settings.timeout.total_seconds()
        self._clock = clock
        self._settings = settings
        self._connections = connections
        self._opening = threading.Lock()
        self._stamp = tls_stamp(settings)
        self.session = self._open()
        self._headers = {
            "User-Agent": "openrouter-rotator",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            # Vault's own guard against forged requests from a server on its host.
            "X-Vault-Request": "true",
        }
        if settings.namespace:
            self._headers["X-Vault-Namespace"] = settings.namespace

    def _open(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        adapter = _HttpAdapter(tls_context(self._settings), self._connections)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session

    def _current(self) -> requests.Session:
        """Return the connections, made anew where a certificate or key was written anew.

        Files that do not fit together (a new certificate beside the old key) are left until they
        do. The old connections serve the calls that are under way, and go with the last of them.
        """
        stamp = tls_stamp(self._settings)
        if stamp != self._stamp and self._opening.acquire(blocking=False):
            try:
                self.session = self._open()
                self._stamp = stamp
            except ConfigurationError:
                pass
            finally:
                self._opening.release()
        return self.session

    def send(
        self,
        method: str,
        path: str,
        token: Secret | None,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Send one request, once, and return what came of it. Never raises an `Exception`.

        Args:
            method: HTTP method.
            path: absolute path, already quoted (``/v1/secret/data/x``).
            token: sent as ``X-Vault-Token``; None for calls that need none.
            body: JSON value to send, or None.
            query: parameters of the URL.
        """
        headers = dict(self._headers)
        if token is not None:
            headers["X-Vault-Token"] = token.reveal()
        _CALL.monotonic = self._clock.monotonic
        _CALL.deadline = self._clock.monotonic() + self.timeout
        _CALL.sent = False
        try:
            response = self._current().request(
                method.upper(),
                self.base_url + path,
                headers=headers,
                json=body,
                params=query,
                timeout=(self.timeout, self.timeout),
                allow_redirects=False,
                verify=True,
                stream=True,
            )
            with closing(response):
                text = self._body(response)
        except EXPECTED as error:
            return NoAnswer(_CALL.sent, reason_of(error, self.timeout))
        if text is None:
            return NoAnswer(True, f"the answer is longer than {MAX_BODY} bytes")
        answer = Answer(
            response.status_code,
            _json_object(text),
            http_date(response.headers.get("Date")),
            seconds_to_wait(response.headers.get("Retry-After")),
            origin(response.headers.get("Location")),
        )
        sent = [*texts_in(body), token.reveal() if token else ""]
        return replace(answer, repeats_request=repeats(answer.errors or (), sent))

    @staticmethod
    def _body(response: requests.Response) -> bytes | None:
        parts = bytearray()
        for part in response.iter_content(64 * 1024):
            parts += part
            if len(parts) > MAX_BODY:
                return None
        return bytes(parts)


class CallAdapter(hvac.adapters.Adapter):  # type: ignore[misc]  # hvac has no types
    """What hvac's API classes send through: one token, and outcomes instead of exceptions.

    Made anew for each call, so that threads share no token that one of them might change.
    """

    def __init__(self, transport: Transport, token: Secret | None) -> None:
        """Bind a token, or none, to the shared connections."""
        super().__init__(
            base_uri=transport.base_url,
            session=transport.session,
            allow_redirects=False,
            timeout=transport.timeout,
        )
        self._transport = transport
        self._bearer = token

    def request(self, method: str, url: str, **kwargs: Any) -> Outcome:
        """Send what an hvac method built: its ``json`` and ``params``."""
        return self._transport.send(
            method, url, self._bearer, body=kwargs.get("json"), query=kwargs.get("params")
        )

    def login(self, url: str, **kwargs: Any) -> Outcome:
        """Send a login and return its outcome; the token is kept by the caller."""
        return self.request("post", url, **kwargs)

    def get_login_token(self, response: Any) -> str:
        """Not used: the token of a login is taken from its outcome."""
        raise NotImplementedError


def _json_object(text: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
