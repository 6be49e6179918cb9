"""A loopback server that says exactly the bytes that a test wants said."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass(slots=True)
class Loopback:
    """Listens on a port of its own, and serves each connection in a thread, until it is left."""

    stopping: threading.Event = field(default_factory=threading.Event)
    _listener: socket.socket = field(default_factory=socket.socket)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def host_and_port(self) -> str:
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def serve(self, connection: socket.socket) -> None:
        """Read what is asked and answer it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
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
                self._start(self._serve_quietly, self._listener.accept()[0])

    def _serve_quietly(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.serve(connection)


@dataclass(frozen=True, slots=True)
class Message:
    """A request as it arrived: its method, its target as it was written, headers in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def read_message(connection: socket.socket) -> Message | None:
    """Read one request; None where the caller hung up before it was whole."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return None
        data += more
    top, _, body = data.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    method, target, _ = first.split(" ")
    return Message(method, target, headers, body)


Reply = Callable[[Loopback, socket.socket], None]


def raw(data: bytes, *, reset: bool = False) -> Reply:
    """Send these bytes, then close the connection (in order, or by a reset)."""

    def send(_server: Loopback, connection: socket.socket) -> None:
        connection.sendall(data)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return send


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the first line and the headers of an answer."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{n}: {v}" for n, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def hang_up() -> Reply:
    return raw(b"")


def silence() -> Reply:
    """Answer nothing until the caller gives up."""

    def wait(server: Loopback, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not server.stopping.is_set() and connection.recv(1):
                pass

    return wait


def drip(data: bytes, then: bytes) -> Reply:
    """Send `data`, then the bytes of `then` for ever, one at a time, until the caller goes away."""

    def send(server: Loopback, connection: socket.socket) -> None:
        connection.sendall(data)
        number = 0
        while not server.stopping.wait(0.005):
            connection.sendall(then[number % len(then)].to_bytes())
            number += 1

    return send
