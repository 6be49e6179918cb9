"""One HTTP call to OpenRouter, turned into a value whatever becomes of it.

httpx's exceptions keep the request with its Authorization header, so none may travel:
they end here, as a `NoAnswer` or as an `Answer` that is not whole. A value is also what
keeps secrets out of tracebacks, since nothing is raised from a frame that holds them.
"""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import logging
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import certifi
import httpx

from rotator import __version__
from rotator.adapters.openrouter.text import clean
from rotator.errors import ConfigurationError
from rotator.secret import Secret

# At DEBUG httpcore logs the headers of answers, which may repeat what was sent; at INFO httpx
# logs a line for each call, where the audit trail has a better one.
for _library in ("httpx", "httpcore"):
    logging.getLogger(_library).setLevel(logging.WARNING)

SMALL = 1024 * 1024
"""Bytes that the answer to any call but a listing may have."""
PAGE = 16 * 1024 * 1024
"""Bytes that one page of a listing may have (100 keys are about 100 KiB)."""

_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
"""What httpx raises before the first byte of a call is sent. All else may come after it."""


@dataclass(frozen=True, slots=True)
class OpenRouterSettings:
    """Where OpenRouter is, and how long to wait for it.

    Attributes:
        base_url: the API's root, such as ``https://openrouter.ai/api/v1``.
        timeout: how long one call may take from its start to the last byte of its
            answer, its quick retries included. A read that settles an unclear answer
            is a call of its own, so no method that changes something takes longer
            than twice this.
        proxy: URL of an HTTP proxy, or None; the environment's is never used.
        ca_cert: file of the only certificate authorities to trust (PEM), or None for
            the public ones.
        retry_wait: wait before the first quick retry; the second waits twice as long.
            Up to as much again is added at random.
    """

    base_url: str = "https://openrouter.ai/api/v1"
    timeout: timedelta = timedelta(seconds=60)
    proxy: str | None = field(default=None, repr=False)
    ca_cert: Path | None = None
    retry_wait: timedelta = timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True)
class Call:
    """What to send.

    Attributes:
        method: the HTTP method.
        path: below the API's root, with a leading slash.
        query: the query's names and values.
        body: the JSON object to send, or None.
        most: bytes of the answer's body that are read at most.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    most: int = SMALL


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose status line and headers arrived; its body may be cut.

    Attributes:
        status: the HTTP status.
        headers: the headers by their lower-case names.
        body: as much of the body as arrived.
        whole: whether all of the body arrived. A body that only the end of the
            connection delimits is whole where it is JSON: a cut looks the same.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    whole: bool

    def json(self) -> Any:
        """Return the body as JSON, or None where it is none.

        Bytes that are no UTF-8 and numbers without end do not cost the rest of the answer.
        """
        try:
            return json.loads(self.body.decode("utf-8-sig", "replace"), parse_int=_integer)
        except (ValueError, RecursionError):
            return None


def _integer(digits: str) -> int | float:
    """Read a JSON integer; Python refuses thousands of digits, which are infinite here."""
    return int(digits) if len(digits) < 400 else float(digits)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Not even a status line arrived.

    Attributes:
        why: the cause in one line, without any secret.
        sent: whether the call, or a part of it, may have been sent.
    """

    why: str
    sent: bool


Exchange = Answer | NoAnswer


def sendable(secret: Secret) -> bool:
    """Tell whether a plaintext can stand in an Authorization header at all."""
    value = secret.reveal()
    return bool(value) and value.isascii() and value.isprintable() and " " not in value


class _Watchdog:
    """Cuts one call's connection when its time is up.

    httpx's time-outs count anew with every byte that drips in, so they bound no call.
    This does: the call's socket is shut down, and whoever waits on it is woken.
    """

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._stream: Any = None
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self.expired = False

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Learn the connection: httpcore calls this at each step (its "trace" extension)."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            with self._lock:
                self._stream = info.get("return_value")
                if self.expired:
                    self._cut()

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            self._cut()

    def _cut(self) -> None:
        raw = None if self._stream is None else self._stream.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):
                # Not `raw.shutdown`: a TLS socket's own would pull its state away from
                # under the thread that reads.
                socket.socket.shutdown(raw, socket.SHUT_RDWR)


@dataclass(slots=True)
class _Received:
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    finished: bool = False

    def answer(self) -> Answer:
        cut = Answer(self.status, self.headers, bytes(self.body), whole=False)
        marks = {"content-length", "transfer-encoding"}
        delimited = self.status in {204, 304} or not marks.isdisjoint(self.headers)
        whole = self.finished and (delimited or cut.json() is not None)
        return Answer(self.status, self.headers, cut.body, whole=whole)


class Wire:
    """A client that sends each call once, on a connection of its own, and follows nothing.

    A kept connection may have been closed by the other side at the moment at which it is
    used again; a create would then be of unknown outcome for no good reason.
    """

    def __init__(
        self, settings: OpenRouterSettings, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Build the client.

        Raises:
            ConfigurationError: the certificates or the proxy cannot be used.
        """
        self._base = settings.base_url.rstrip("/")
        self._client = _client(settings, transport)

    def close(self) -> None:
        """Close the client; a later call is a `NoAnswer`."""
        self._client.close()

    def exchange(self, call: Call, credential: Secret, seconds: float) -> Exchange:
        """Send a call once and return what came back within the given time; never raises."""
        received = _Received()
        watchdog = _Watchdog(max(seconds, 0.001))
        try:
            with watchdog:
                self._receive(call, credential, seconds, watchdog, received)
        except _BEFORE_SENDING as error:
            missing = NoAnswer(_cause(error), sent=False)
        except Exception as error:  # noqa: BLE001 - total: what may have been sent must be reported so
            missing = NoAnswer(_cause(error), sent=True)
        else:
            return received.answer()
        if received.status:
            return received.answer()
        if watchdog.expired:
            late = "no answer" if missing.sent else "no connection"
            return NoAnswer(f"{late} within {seconds:.3g} s", sent=missing.sent)
        return missing

    def _receive(
        self,
        call: Call,
        credential: Secret,
        seconds: float,
        watchdog: _Watchdog,
        received: _Received,
    ) -> None:
        headers = {"Authorization": f"Bearer {credential.reveal()}"}
        content = None
        if call.body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(call.body, allow_nan=False).encode()
        request = self._client.build_request(
            call.method,
            self._base + call.path,
            params=call.query or None,
            headers=headers,
            content=content,
            timeout=seconds,
            extensions={"trace": watchdog.trace},
        )
        response = self._client.send(request, stream=True)
        try:
            received.headers = {name.lower(): value for name, value in response.headers.items()}
            received.status = response.status_code
            for chunk in response.iter_bytes():
                received.body += chunk[: call.most - len(received.body)]
                if len(received.body) >= call.most:
                    return
            received.finished = True
        finally:
            response.close()


def _client(settings: OpenRouterSettings, transport: httpx.BaseTransport | None) -> httpx.Client:
    no_cookies = http.cookiejar.DefaultCookiePolicy(allowed_domains=())
    try:
        trusted = _tls_context(settings.ca_cert)
        return httpx.Client(
            transport=transport,
            verify=trusted,
            proxy=_proxy(settings.proxy, trusted),
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_keepalive_connections=0),
            cookies=http.cookiejar.CookieJar(policy=no_cookies),
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"rotator/{__version__}",
            },
        )
    except (OSError, ssl.SSLError) as error:
        problem = f"openrouter.ca_cert: cannot be used: {clean(str(error))}"
    except (ValueError, ImportError, httpx.InvalidURL):
        # The message would quote the URL, which may hold a password.
        problem = "openrouter.proxy: cannot be used as the URL of an HTTP proxy"
    raise ConfigurationError((problem,))


def _proxy(url: str | None, trusted: ssl.SSLContext) -> httpx.Proxy | None:
    """Return the proxy; one that is itself reached by TLS is judged as OpenRouter is."""
    if url is None:
        return None
    return httpx.Proxy(url, ssl_context=trusted if url.startswith("https://") else None)


def _tls_context(authorities: Path | None) -> ssl.SSLContext:
    """Return the TLS rules of a connection: verified, TLS 1.2 or newer, explicit authorities.

    It is made by hand because the libraries' helpers read ``SSLKEYLOGFILE``, by which the keys
    of every connection would end in a file, and for a proxy ``SSL_CERT_FILE``.

    Raises:
        OSError: the certificates cannot be read or used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=str(authorities or certifi.where()))
    return context


def _cause(error: Exception) -> str:
    """Name a cause. Only messages that cannot quote the request are repeated."""
    if isinstance(error, httpx.TimeoutException):
        return f"timed out ({type(error).__name__})"
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return f"cannot connect: {clean(str(error))}"
    return f"the connection failed ({type(error).__name__})"
