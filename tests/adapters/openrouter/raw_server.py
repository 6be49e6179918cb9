"""OpenRouter's side of a call: replies in the order that a test gives, and what was asked."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.adapters.loopback import Loopback, Message, Reply, head, raw, read_message


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


def reset() -> Reply:
    return raw(b"", reset=True)


@dataclass(slots=True)
class RawServer(Loopback):
    """Replies in the order given; the last one again and again."""

    replies: list[Reply] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    _news: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.host_and_port}/api/v1"

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

    def serve(self, connection: socket.socket) -> None:
        with self._wrapped(connection) as whole:
            message = read_message(whole)
            if message is None:
                return
            with self._news:
                self.asked.append(_asked(message))
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                self._news.notify_all()
            reply(self, whole)

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        if self.tls is None:
            return connection
        return self.tls.wrap_socket(connection, server_side=True)


def _asked(message: Message) -> Asked:
    parts = urlsplit(message.target)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    path = parts.path.removeprefix("/api/v1")
    body = json.loads(message.body) if message.body else None
    return Asked(message.method, path, query, message.headers, body)
