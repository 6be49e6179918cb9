"""The outermost layer of both simulated APIs: counts calls, lets faults strike.

A plain ASGI application around another, which also answers `/_sandbox`. To close a connection it
needs the transport under the server's protocol object: `CuttableProtocol` keeps it by the client's
address, which ASGI hands to every call.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from functools import partial
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from rotator.sandbox.faults import Call, Calls, Fault, FaultKind, Faults, Strike

_CONTROL = "/_sandbox/"
_PIECES = 16
_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"

Address = tuple[str, int]


class CuttableProtocol(H11Protocol):
    """uvicorn's protocol, whose transports can be found by the client's address.

    One class is made for each server (`cuttable_protocol`), so that two servers never share a
    table.
    """

    transports: dict[Address, asyncio.Transport]
    lost: dict[Address, asyncio.Event]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the transport."""
        super().connection_made(transport)
        if self.client is not None:
            self.transports[self.client] = transport
            self.lost[self.client] = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the transport."""
        super().connection_lost(exc)
        if self.client is not None:
            self.transports.pop(self.client, None)
            self.lost.pop(self.client).set()


def cuttable_protocol() -> type[CuttableProtocol]:
    """Return a protocol class with a table of its own."""
    return type("CuttableProtocol", (CuttableProtocol,), {"transports": {}, "lost": {}})


@dataclass(slots=True)
class _Answer:
    """What the application inside wanted to send."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = list(message.get("headers", []))
        else:
            self.body += message.get("body", b"")


class Edge:
    """The ASGI application that a sandbox's server runs.

    Args:
        app: the API inside.
        api: its name in counts and faults, `openrouter` or `vault`.
        now: the API's clock, for the `Date` header.
        template_of: the route of a method and path.
        error_body: the API's error body for a status.
        looks: further `/_sandbox/NAME` pages for tests, as functions that return JSON.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        api: str,
        faults: Faults,
        calls: Calls,
        protocol: type[CuttableProtocol],
        now: Callable[[], datetime],
        template_of: Callable[[str, str], str],
        error_body: Callable[[int], Any],
        looks: dict[str, Callable[[], Any]] | None = None,
    ) -> None:
        self._app = app
        self._api = api
        self._faults = faults
        self._calls = calls
        self._protocol = protocol
        self._now = now
        self._template_of = template_of
        self._error_body = error_body
        self._looks = {"stats": self._stats, **(looks or {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        if path.startswith(_CONTROL):
            await self._control(method, path.removeprefix(_CONTROL), receive, send)
            return
        self._calls.add(Call(self._api, method, self._template_of(method, path), path))
        struck = self._faults.strike(self._api, method, path)
        if not struck:
            await self._app(scope, receive, self._dated(send))
            return
        await self._struck(struck, scope, receive, send)

    async def _struck(
        self, struck: list[Strike], scope: Scope, receive: Receive, send: Send
    ) -> None:
        fault = next((one.fault for one in struck if one.fault.kind is not FaultKind.LATENCY), None)
        receive = await _whole(receive)
        await self._wait(struck, effect=False)
        answer = _Answer()
        if _takes_effect(fault):
            await self._app(scope, receive, answer.take)
            await self._wait(struck, effect=True)
        send = self._dated(send)
        if fault is None:
            await _send(send, answer.status, answer.headers, answer.body)
        elif fault.kind is FaultKind.CUT:
            await self._cut(scope, reset=fault.reset)
        elif fault.kind is FaultKind.TRUNCATE:
            await _send_part(send, answer, answer.body[: len(answer.body) // 2])
            await self._cut(scope, reset=False)
        elif fault.kind is FaultKind.DRIP:
            await _send_slowly(send, answer, fault.seconds)
        else:
            await _send(send, *self._instead(fault))

    async def _wait(self, struck: list[Strike], *, effect: bool) -> None:
        loop = asyncio.get_running_loop()
        for one in struck:
            if one.fault.kind is not FaultKind.LATENCY or one.fault.effect is not effect:
                continue
            off = asyncio.Event()
            self._faults.when_off(one.number, partial(_wake, loop, off))
            with suppress(TimeoutError):
                await asyncio.wait_for(off.wait(), one.fault.seconds)

    def _instead(self, fault: Fault) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Return the answer that a fault puts in place of the API's."""
        if fault.kind is FaultKind.HTML:
            page = fault.body or _HTML.format(f"{fault.status} error")
            return fault.status, [(b"content-type", b"text/html; charset=utf-8")], page.encode()
        headers = [(b"content-type", b"application/json")]
        status = fault.status
        if fault.kind is FaultKind.RATE_LIMIT:
            status = 429
            if fault.retry_after is not None:
                headers.append((b"retry-after", str(fault.retry_after).encode()))
        body = fault.body or json.dumps(self._error_body(status))
        return status, headers, body.encode()

    async def _cut(self, scope: Scope, *, reset: bool) -> None:
        transport = self._protocol.transports.get(scope["client"])
        if transport is None:  # The client has gone already.
            return
        if reset:
            linger = struct.pack("ii", 1, 0)
            raw = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()
        else:
            transport.close()
        await self._protocol.lost[scope["client"]].wait()  # else the server would answer 500

    def _dated(self, send: Send) -> Send:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = format_datetime(self._now(), usegmt=True).encode()
                message["headers"] = [*message.get("headers", []), (b"date", date)]
            await send(message)

        return dated

    # The control surface of tests in other processes.

    def _stats(self) -> dict[str, int]:
        return self._calls.by_route(self._api)

    async def _control(self, method: str, page: str, receive: Receive, send: Send) -> None:
        status, answer = 200, None
        if page == "faults":
            status, answer = self._control_faults(method, await _read_body(receive))
        elif page == "stats" and method == "DELETE":
            self._calls.reset()
            answer = {}
        elif page in self._looks and method == "GET":
            answer = self._looks[page]()
        else:
            status, answer = 404, {"error": "no such page of the sandbox"}
        body = json.dumps(answer).encode()
        await _send(send, status, [(b"content-type", b"application/json")], body)

    def _control_faults(self, method: str, body: bytes) -> tuple[int, Any]:
        if method == "DELETE":
            self._faults.clear()
        elif method == "POST":
            try:
                return 201, {"id": self._faults.add(Fault.from_json(json.loads(body)))}
            except ValueError as error:
                return 400, {"error": str(error)}
        elif method != "GET":
            return 405, {"error": "GET, POST or DELETE"}
        return 200, self._faults.listed()


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with suppress(RuntimeError):  # The loop is closed: the server has stopped.
        loop.call_soon_threadsafe(event.set)


def _takes_effect(fault: Fault | None) -> bool:
    if fault is None or fault.kind in {FaultKind.TRUNCATE, FaultKind.DRIP}:
        return True
    return fault.effect


async def _read_body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
    return body


async def _whole(receive: Receive) -> Receive:
    """Read the whole body now and return a `receive` that hands it on."""
    messages: list[Message] = [{"type": "http.request", "body": await _read_body(receive)}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    kept = [pair for pair in headers if pair[0].lower() != b"content-length"]
    if status != 204:
        kept.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": kept})
    await send({"type": "http.response.body", "body": body})


async def _send_part(send: Send, answer: _Answer, part: bytes) -> None:
    """Send an answer whose head announces more than `part`."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def _send_slowly(send: Send, answer: _Answer, seconds: float) -> None:
    size = max(1, -(-len(answer.body) // _PIECES))
    await _send_part(send, answer, b"")
    for start in range(0, len(answer.body), size):
        await asyncio.sleep(seconds / _PIECES)
        piece = answer.body[start : start + size]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
