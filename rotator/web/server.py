"""The sockets: one thread that serves small answers and cannot be kept busy by slow clients.

Each connection serves one request and lives for a limited time; where there are too many, the
oldest is closed. So neither an idle nor a trickling client keeps a probe out. Of uvicorn only
the HTTP protocol is used, which parses requests within limits of its own.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from rotator.errors import AddressUnavailable
from rotator.web.answers import Answer, Request

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol

_log = logging.getLogger(__name__)

LONGEST = 15.0
"""Seconds that a connection may last."""

MOST = 64
"""How many connections there may be; one more closes the oldest."""

_BACKLOG = 128
_PATIENCE = 5.0


class WebServer:
    """Serves answers on one address, in a thread of its own."""

    def __init__(
        self,
        host: str,
        port: int,
        answers: Callable[[Request], Answer],
        *,
        longest: float = LONGEST,
        most: int = MOST,
    ) -> None:
        """Take the address; from here on connections wait to be served.

        Args:
            host: an address, or a name that leads to one of this machine.
            port: 0 takes any free one.
            answers: called in the server's thread; it must not wait.
            longest: seconds that a connection may last.
            most: how many connections there may be.

        Raises:
            AddressUnavailable: the address cannot be taken.
        """
        self._answers = answers
        self._longest = longest
        self._most = most
        self._socket = _listening(host, port)
        self._open: dict[H11Protocol, asyncio.Transport] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """The address and port that were taken."""
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Serve. Returns at once; requests that come before the thread is ready wait."""
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._thread.ident is not None and self._begun.wait(_PATIENCE):
            assert self._loop is not None  # noted before `_begun`
            assert self._stopping is not None
            with suppress(RuntimeError):  # the loop has ended by itself, and has said so
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_PATIENCE)
        self._socket.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - it is told; probes notice by themselves
            _log.critical("the web server ended by %s", type(error).__name__, exc_info=True)
        finally:
            self._begun.set()

    async def _serve(self) -> None:
        """Run uvicorn's protocol without its server, whose loop wakes ten times a second."""
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._begun.set()
        server = await self._loop.create_server(self._protocol_factory(), sock=self._socket)
        host, port = self.address
        _log.info("serving HTTP", extra={"address": f"{host}:{port}"})
        await self._stopping.wait()
        server.close()
        for transport in list(self._open.values()):
            transport.abort()

    def _protocol_factory(self) -> Callable[[], H11Protocol]:
        """Return what makes a protocol object for each connection."""
        import uvicorn
        from uvicorn.protocols.http.h11_impl import H11Protocol
        from uvicorn.server import ServerState

        config = uvicorn.Config(
            self._application,
            interface="asgi3",
            http=H11Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=1,
        )
        config.load()
        known = self._open
        most, longest = self._most, self._longest

        class Limited(H11Protocol):
            """A connection that ends in time."""

            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                while len(known) >= most:
                    known.pop(next(iter(known))).abort()
                known[self] = transport
                self._deadline = self.loop.call_later(longest, transport.abort)

            def connection_lost(self, exc: Exception | None) -> None:
                self._deadline.cancel()
                known.pop(self, None)
                super().connection_lost(exc)

        return partial(Limited, config=config, server_state=ServerState(), app_state={})

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request (an ASGI application)."""
        del receive  # no request has a body that matters
        if scope["type"] != "http":
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        request = Request(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            host=hosts[0].decode("latin-1") if len(hosts) == 1 else "",
        )
        answer = self._answers(request)
        headers = [(b"connection", b"close")]
        headers += [(k.lower().encode(), v.encode()) for k, v in answer.all_headers().items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        AddressUnavailable: it cannot.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        # asyncio sets TCP_NODELAY only where the protocol is named.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise AddressUnavailable(f"http.listen: cannot listen on {where}: {error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise AddressUnavailable(f"http.listen: cannot listen on {where}: {why}") from None
    return listener
