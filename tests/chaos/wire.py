"""A TCP proxy that balances over servers, and that can be cut, reset or stalled at any time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Self

CHUNK = 65536


class Line(StrEnum):
    """How a wire is."""

    OPEN = "open"
    CUT = "cut"
    """Connections end, and new ones do as soon as they are made."""
    RESET = "reset"
    """The same, by a TCP reset."""
    STALLED = "stalled"
    """Nothing moves; what was sent meanwhile arrives when the wire is open again."""


class Wire:
    """Serves on a free loopback port while its context lasts.

    Args:
        servers: gives host and port of every server that takes calls now, as a load balancer
            knows them from its health checks.
        seed: of the choice among them.
    """

    def __init__(self, servers: Callable[[], list[tuple[str, int]]], seed: int = 0) -> None:
        self._servers = servers
        self._random = random.Random(seed)
        self._line = Line.OPEN
        self._open: set[asyncio.StreamWriter] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._loop = asyncio.new_event_loop()
        self._moving = asyncio.Event()
        self._moving.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)

    @property
    def url(self) -> str:
        """The base URL by which the servers are reached through this wire."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def set(self, line: Line) -> None:
        """Change how the wire is, from any thread."""
        self._loop.call_soon_threadsafe(self._set, line)

    def _set(self, line: Line) -> None:
        self._line = line
        if line is Line.STALLED:
            self._moving.clear()
        else:
            self._moving.set()
        if line in (Line.CUT, Line.RESET):
            for writer in list(self._open):
                self._end(writer)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        if self._line is Line.RESET:
            with contextlib.suppress(OSError):
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            if self._line in (Line.CUT, Line.RESET):
                return
            found = await self._connect()
            if found is None:
                return
            back, upstream = found
            self._open.add(upstream)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, upstream))
                both.create_task(self._pump(back, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for each in (writer, upstream):
                if each is not None:
                    self._open.discard(each)
                    self._end(each)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        servers = self._servers()
        self._random.shuffle(servers)
        for host, port in servers:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(host, port)
        return None

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Move bytes until one side ends, and end the other side with it."""
        while data := await reader.read(CHUNK):
            await self._moving.wait()
            writer.write(data)
            await writer.drain()
        await self._moving.wait()
        writer.close()

    def __enter__(self) -> Self:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, sock=self._listener), self._loop
        )
        self._server = started.result(10)
        return self

    def __exit__(self, *_: object) -> None:
        async def stop() -> None:
            self._server.close()
            self._moving.set()
            for writer in list(self._open):
                writer.transport.abort()
            for _ in range(10):  # let every connection's task see its end
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
