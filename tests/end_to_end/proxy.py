"""A reverse proxy in front of one service: it counts, and it can do harm.

What arrives here is what arrives at the server, so its record is the count that tests judge by. A
test may put a function of its own between the two, to end a process, to answer in the server's
place, or to spoil its answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

IDLE = 20.0
"""Seconds after which a connection is opened anew: servers close idle ones."""

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


def digest(text: str) -> str:
    """The SHA-256 by which a plaintext is named."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Request:
    """One call as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def route(self) -> str:
        """The path without its query."""
        return self.path.partition("?")[0]

    @property
    def bearer(self) -> str | None:
        """The key that the caller shows, where it shows one."""
        scheme, _, text = self.headers.get("authorization", "").partition(" ")
        return text if scheme.lower() == "bearer" else None

    @property
    def json(self) -> Any:
        """The body, where it is JSON; else None."""
        return _json(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: `cut` ends it after so many bytes of its body, `start` is its status line."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut: int | None = None
    start: str | None = None

    @property
    def json(self) -> Any:
        """The body, where it is JSON; else None."""
        return _json(self.body)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call, its answer (None: the connection was dropped), and when it was over (UTC seconds)."""

    at: float
    request: Request
    answer: Answer | None


Forward = Callable[..., Answer]
"""Hands the call on, or another in its place where one is given."""

Meddler = Callable[[Request, Forward], Answer | None]
"""Gets a call and a function that hands it on; returns what the caller gets, None for no answer."""


def honest(_request: Request, forward: Forward) -> Answer | None:
    """Hand the call on and its answer back."""
    return forward()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


class Proxy:
    """Serves on a free loopback port while its context lasts. `url` takes the server's place.

    Args:
        upstream: the server's base URL.
        record: whether `exchanges` keeps what was said; a long run has no room for it.
    """

    def __init__(self, upstream: str, *, record: bool = True) -> None:
        parts = urlsplit(upstream)
        self._host, self._port, self._base = parts.hostname or "", parts.port or 80, parts.path
        self._record = record
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []
        self._open: set[socket.socket] = set()
        self.meddle: Meddler = honest
        self._server = _Server(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        """The base URL by which the server is reached through this proxy."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{self._base}"

    def exchanges(self) -> list[Exchange]:
        """Everything so far, in the order in which it was answered."""
        with self._lock:
            return list(self._exchanges)

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="proxy", daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            still_open = list(self._open)
        for each in still_open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _note(self, exchange: Exchange) -> None:
        if not self._record:
            return
        with self._lock:
            self._exchanges.append(exchange)

    def _forward(self, upstream: http.client.HTTPConnection, request: Request) -> Answer:
        headers = {
            name: text for name, text in request.headers.items() if name not in HOP_BY_HOP
        } | {"Content-Length": str(len(request.body))}
        upstream.request(request.method, request.path, request.body, headers)
        response = upstream.getresponse()
        body = response.read()
        kept = {
            name: text for name, text in response.getheaders() if name.lower() not in HOP_BY_HOP
        }
        return Answer(response.status, kept, body)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                self.upstream = http.client.HTTPConnection(proxy._host, proxy._port, timeout=30)
                self.used_at = time.monotonic()
                with proxy._lock:
                    proxy._open.add(self.connection)

            def finish(self) -> None:
                with proxy._lock:
                    proxy._open.discard(self.connection)
                self.upstream.close()
                with contextlib.suppress(OSError):
                    super().finish()

            def handle(self) -> None:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    super().handle()

            def serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                request = Request(
                    self.command,
                    self.path,
                    {name.lower(): text for name, text in self.headers.items()},
                    self.rfile.read(length),
                )
                if time.monotonic() - self.used_at > IDLE:
                    self.upstream.close()
                self.used_at = time.monotonic()
                try:
                    answer = proxy.meddle(
                        request,
                        lambda instead=request: proxy._forward(self.upstream, instead),
                    )
                except (OSError, http.client.HTTPException):
                    answer = None  # The server is away: the caller's connection ends as well.
                    self.upstream.close()
                proxy._note(Exchange(time.time(), request, answer))
                if answer is None:
                    self.close_connection = True
                    return
                self.reply(answer)

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):  # http.server asks for a method by this name
                    return self.serve
                raise AttributeError(name)

            def reply(self, answer: Answer) -> None:
                lines = [answer.start or f"HTTP/1.1 {answer.status} Answer"]
                lines += [f"{name}: {text}" for name, text in answer.headers.items()]
                if answer.status != 204:
                    lines.append(f"Content-Length: {len(answer.body)}")
                head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
                body = answer.body if answer.cut is None else answer.body[: answer.cut]
                self.wfile.write(head + body)
                if answer.cut is not None:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A caller that was ended is no error."""


@dataclass(slots=True)
class Guillotine:
    """Calls `strike` at the first call that is a certain step: before it is handed on, or answered.

    `step_of` names the step that a call is, or returns None. After the stroke nobody is answered.
    """

    step_of: Callable[[Request], str | None]
    fatal: str | None
    after: bool
    strike: Callable[[], None]
    seen: list[str] = field(default_factory=list)
    fell: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request, forward: Forward) -> Answer | None:
        with self._lock:
            if self.fell:
                return None
            step = self.step_of(request)
            if step is not None:
                self.seen.append(step)
            if step is None or step != self.fatal:
                return forward()
            if self.after:
                forward()
            self.fell = True
        self.strike()
        return None
