"""A loopback HTTP server that says exactly the bytes that a test wants said, and keeps what it was sent."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any

    @property
    def call(self) -> str:
        return f"{self.method} {self.path}"


Reply = Callable[["RawServer", socket.socket], None]


def raw(data: bytes, *, reset: bool = False) -> Reply:
    """Send these bytes, then close the connection (in order, or by a reset)."""

    def send(_server: RawServer, connection: socket.socket) -> None:
        connection.sendall(data)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return send


def head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} Whatever",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def answer(status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
    """Send a whole answer; a str or bytes is sent as it stands, anything else as JSON."""
    data = body if isinstance(body, bytes) else b""
    if isinstance(body, str):
        data = body.encode()
    elif not isinstance(body, bytes):
        data = json.dumps(body).encode()
    length = {"content-length": str(len(data))}
    return raw(
        head(status, {"content-type": "application/json", **length, **(headers or {})}) + data
    )


def error(
    status: int, message: str = "No.", headers: Mapping[str, str] | None = None, **metadata: Any
) -> Reply:
    """Send an error in the API's own shape."""
    body: dict[str, Any] = {"error": {"code": status, "message": message}}
    if metadata:
        body["error"]["metadata"] = metadata
    return answer(status, body, headers)


def page(status: int, headers: Mapping[str, str] | None = None) -> Reply:
    """Send a page of HTML, as a proxy in between does."""
    return answer(
        status, "<html><h1>Oh no</h1></html>", {"content-type": "text/html", **(headers or {})}
    )


def cut(status: int, body: Any) -> Reply:
    """Announce a body, send all but its last bytes, and close."""
    data = json.dumps(body).encode()
    return raw(head(status, {"content-length": str(len(data))}) + data[:-5])


def hang_up() -> Reply:
    return raw(b"")


def reset() -> Reply:
    return raw(b"", reset=True)


def silence() -> Reply:
    """Answer nothing until the caller gives up."""

    def wait(server: RawServer, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not server.stopping.is_set() and connection.recv(1):
                pass

    return wait


def drip(data: bytes, then: bytes) -> Reply:
    """Send `data`, then the bytes of `then` for ever, one at a time, until the caller goes away."""

    def send(server: RawServer, connection: socket.socket) -> None:
        connection.sendall(data)
        number = 0
        while not server.stopping.wait(0.005):
            connection.sendall(then[number % len(then)].to_bytes())
            number += 1

    return send


@dataclass(slots=True)
class RawServer:
    """Replies in the order given; the last one again and again."""

    replies: list[Reply] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _listener: socket.socket = field(default_factory=socket.socket)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def url(self) -> str:
        host, port = self._listener.getsockname()
        return f"http{'s' if self.tls else ''}://{host}:{port}/api/v1"

    @property
    def calls(self) -> list[str]:
        """What was asked so far, as "GET /keys"."""
        return [asked.call for asked in self.asked]

    def heard(self, count: int) -> list[str]:
        """The same, once so many requests were read: a caller may give up before the server reads."""
        with self._news:
            self._news.wait_for(lambda: len(self.asked) >= count, timeout=30)
        return self.calls

    def will(self, *replies: Reply) -> None:
        """Forget what was asked, and reply like this from now on."""
        self.replies = list(replies)
        self.asked.clear()

    def __enter__(self) -> Self:
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(16)
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), self._wrapped(plain) as connection:
            asked = self._read(connection)
            if asked is None:
                return
            with self._news:
                self.asked.append(asked)
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                self._news.notify_all()
            reply(self, connection)

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        if self.tls is None:
            return connection
        return self.tls.wrap_socket(connection, server_side=True)

    def _read(self, connection: socket.socket) -> Asked | None:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65536)):
                return None
            data += more
        top, _, body = data.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        while len(body) < int(headers.get("content-length", "0")):
            body += connection.recv(65536)
        method, target, _ = first.split(" ")
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = parts.path.removeprefix("/api/v1")
        return Asked(method, path, query, headers, json.loads(body) if body else None)
