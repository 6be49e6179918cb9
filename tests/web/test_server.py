"""The server over real sockets: limits, slow clients, an address in use."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from rotator.errors import AddressUnavailable
from rotator.web import Answer, Request, WebServer


@contextmanager
def serving(longest: float = 15.0, most: int = 64) -> Iterator[WebServer]:
    def answer(request: Request) -> Answer:
        told = f"{request.method} {request.path} {request.query} {request.host}\n"
        return Answer(200, told.encode() * (20000 if request.path == "/big" else 1))

    server = WebServer("127.0.0.1", 0, answer, longest=longest, most=most)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def connected(server: WebServer) -> socket.socket:
    return socket.create_connection(server.address, timeout=30)


def said(connection: socket.socket) -> bytes:
    """Everything that comes until the other side ends; a reset is an end too."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def asked(server: WebServer, request: bytes) -> bytes:
    with connected(server) as connection:
        connection.sendall(request)
        return said(connection)


def test_a_request_is_answered_and_the_connection_closed() -> None:
    with serving() as server:
        answer = asked(server, b"GET /a%20b?c=d HTTP/1.1\r\nHost: x:1\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in head
    assert b"server:" not in head.lower()
    assert body == b"GET /a b c=d x:1\n"


def test_head_is_answered_without_a_body() -> None:
    with serving() as server:
        answer = asked(server, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: " in answer


def test_two_host_headers_are_no_host() -> None:
    with serving() as server:
        answer = asked(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n")
    assert b"localhost" not in answer


@pytest.mark.parametrize(
    "request_bytes",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000, b"nonsense\r\n\r\n"],
    ids=["tls", "headers without an end", "nonsense"],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_others_are_served(request_bytes: bytes) -> None:
    with serving(longest=4.0) as server:
        with connected(server) as connection:
            with suppress(OSError):
                connection.sendall(request_bytes)
            assert b"200 OK" not in said(connection)
        assert b"200 OK" in asked(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


def test_a_client_that_says_nothing_is_left_after_its_time() -> None:
    with serving(longest=0.2) as server, connected(server) as silent:
        assert said(silent) == b""


def test_a_client_that_does_not_read_is_left_after_its_time() -> None:
    with serving(longest=3.0) as server, connected(server) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in asked(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(1, socket.MSG_PEEK)
        while server._open:
            threading.Event().wait(0.01)


def test_idle_connections_keep_nobody_out() -> None:
    with serving(longest=60.0, most=4) as server:
        idle = [connected(server) for _ in range(12)]
        assert b"200 OK" in asked(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert said(idle[0]) == b""
        for each in idle:
            each.close()


def test_a_stop_closes_what_is_open_and_the_port_can_be_taken_again() -> None:
    with serving() as server:
        idle = connected(server)
        assert b"200 OK" in asked(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        address = server.address
    assert said(idle) == b""
    idle.close()
    again = WebServer(*address, lambda _: Answer(200, b""))
    again.stop()


def test_an_address_in_use_is_a_mistake_in_the_configuration_that_names_it() -> None:
    with serving() as server:
        host, port = server.address
        with pytest.raises(AddressUnavailable, match=rf"http\.listen.*{host}:{port}.*in use"):
            WebServer(host, port, lambda _: Answer(200, b""))


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_one_too(host: str) -> None:
    with pytest.raises(AddressUnavailable, match="cannot listen on"):
        WebServer(host, 0, lambda _: Answer(200, b""))


def test_ipv6_is_served() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        server = WebServer("::1", 0, lambda _: Answer(200, b"six\n"))
    except AddressUnavailable:
        pytest.skip("this machine has no IPv6 loopback")
    server.start()
    assert asked(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"six\n")
    server.stop()
