"""The wire does to a connection what the chaos asks of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.chaos.wire import Line, Wire


class Server:
    """Says its name to whoever connects, and repeats what it hears."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.heard = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def at(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()
        return host, port

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(self._name)
            while said := connection.recv(100):
                self.heard.set()
                connection.sendall(said)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with contextlib.closing(Server(b"one")) as running:
        yield running


def connected(wire: Wire) -> socket.socket:
    parts = urlsplit(wire.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)


def test_an_open_wire_hands_on_what_both_sides_say(server: Server) -> None:
    with Wire(lambda: [server.at]) as wire, connected(wire) as client:
        assert client.recv(100) == b"one"
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


def test_a_wire_passes_over_a_server_that_takes_no_connection(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()
    with Wire(lambda: [nobody, server.at]) as wire:
        for _ in range(8):
            with connected(wire) as client:
                assert client.recv(100) == b"one"


def test_a_wire_without_servers_ends_the_connection() -> None:
    with Wire(list) as wire:
        assert _refused(wire)


@pytest.mark.parametrize("line", [Line.CUT, Line.RESET])
def test_a_wire_that_is_cut_ends_old_and_new_connections_until_it_is_open(
    server: Server, line: Line
) -> None:
    with Wire(lambda: [server.at]) as wire:
        with connected(wire) as client:
            assert client.recv(100) == b"one"
            wire.set(line)
            assert _ended(client)
        assert _refused(wire)
        wire.set(Line.OPEN)
        with connected(wire) as client:
            assert client.recv(100) == b"one"


def test_a_wire_that_is_reset_says_so_to_its_client(server: Server) -> None:
    with Wire(lambda: [server.at]) as wire, connected(wire) as client:
        assert client.recv(100) == b"one"
        wire.set(Line.RESET)
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_what_was_said_while_a_wire_was_stalled_arrives_though_the_client_has_gone(
    server: Server,
) -> None:
    with Wire(lambda: [server.at]) as wire:
        with connected(wire) as client:
            assert client.recv(100) == b"one"
            wire.set(Line.STALLED)
            client.sendall(b"late")
        assert not server.heard.is_set()
        wire.set(Line.OPEN)
        assert server.heard.wait(30)


def _refused(wire: Wire) -> bool:
    """Whether a new connection ends at once; a reset may come while it is being made."""
    try:
        with connected(wire) as client:
            return client.recv(100) == b""
    except ConnectionResetError:
        return True


def _ended(client: socket.socket) -> bool:
    try:
        return client.recv(100) == b""
    except ConnectionResetError:
        return True
