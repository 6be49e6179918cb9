"""A loopback server that talks as Vault does, except where a test wants other bytes said."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.adapters.loopback import Loopback, Message, Reply, head, raw, read_message

DATE = "Wed, 04 Mar 2026 12:00:00 GMT"
CREATED = "2026-03-04T11:59:59.123456789Z"


class Asked(Message):
    """A request as Vault would read it."""

    __slots__ = ()

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path).removeprefix("/v1/")

    @property
    def call(self) -> str:
        """Such as ``GET secret/data/a?version=2``."""
        query = urlsplit(self.target).query
        return f"{self.method} {self.path}" + (f"?{query}" if query else "")


def answer(status: int, body: Any = None, **headers: str | None) -> Reply:
    """Send a whole answer; bytes are sent as they are, anything else as JSON.

    Headers are named with underscores; None leaves one out.
    """
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {
        "Date": DATE,
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),
        "Connection": "close",
        **{name.replace("_", "-").title(): value for name, value in headers.items()},
    }
    return raw(head(status, {n: v for n, v in named.items() if v is not None}) + data)


def errors(status: int, *messages: str, **headers: str | None) -> Reply:
    """Refuse as Vault does."""
    return answer(status, {"errors": list(messages)}, **headers)


def page(status: int, **headers: str | None) -> Reply:
    """Send a page of HTML, as a proxy in between does."""
    return answer(status, b"<html><h1>Oh no</h1></html>", content_type="text/html", **headers)


def value(version: int, data: Mapping[str, Any] | None, **headers: str | None) -> Reply:
    """Send one version of a secret; without data it is a deleted one."""
    metadata = {
        "version": version,
        "created_time": CREATED,
        "deletion_time": "",
        "destroyed": False,
    }
    return answer(
        404 if data is None else 200, {"data": {"data": data, "metadata": metadata}}, **headers
    )


def written(version: int, **headers: str | None) -> Reply:
    """Confirm a write."""
    return answer(200, {"data": {"version": version, "created_time": CREATED}}, **headers)


def cut(status: int, body: Any) -> Reply:
    """Announce a body, send all but its last bytes, and close."""
    data = json.dumps(body).encode()
    return raw(head(status, {"Date": DATE, "Content-Length": str(len(data))}) + data[:-5])


def usual(asked: Asked) -> Reply:
    """What a Vault with KV v2 at ``secret/`` and a valid token says to what goes before a call."""
    if asked.path == "auth/token/lookup-self":
        return answer(200, {"data": {"ttl": 0, "renewable": False, "policies": ["rotator"]}})
    if asked.path.startswith("sys/internal/ui/mounts/"):
        return answer(200, {"data": {"path": "secret/", "type": "kv", "options": {"version": "2"}}})
    return errors(404)


@dataclass(slots=True)
class RawVault(Loopback):
    """Answers as `usual`, but from `replies` in their order to all that `scripted` matches.

    The last reply is given again and again. With `respond`, that decides instead.
    """

    replies: list[Reply] = field(default_factory=list)
    scripted: Callable[[Asked], bool] = lambda asked: asked.path.startswith("secret/")
    respond: Callable[[Asked], Reply] | None = None
    asked: list[Asked] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        return f"http://{self.host_and_port}"

    @property
    def calls(self) -> list[str]:
        """What was asked of the script so far."""
        return [asked.call for asked in self.asked if self.scripted(asked)]

    def will(self, *replies: Reply) -> None:
        """Forget what was asked, and reply like this from now on."""
        self.replies = list(replies)
        self.asked.clear()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            message = read_message(connection)
            if message is None:
                return
            asked = Asked(message.method, message.target, message.headers, message.body)
            with self._lock:
                self.asked.append(asked)
                if self.respond is not None:
                    reply = self.respond(asked)
                elif not self.scripted(asked) or not self.replies:
                    reply = usual(asked)
                else:
                    reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            reply(self, connection)
            # Without this, closing with unread bytes resets the connection and eats the answer.
            connection.shutdown(socket.SHUT_WR)
