"""Every kind of fault, as it arrives on the wire: raw sockets see what a client library would hide."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from rotator.sandbox.faults import Fault, FaultKind, Faults
from rotator.sandbox.server import Sandbox


class Wire:
    """One raw connection to the OpenRouter API of a sandbox."""

    def __init__(self, sandbox: Sandbox, timeout: float = 10.0) -> None:
        address = urlsplit(sandbox.openrouter_url)
        assert address.hostname is not None
        self.sandbox = sandbox
        self.socket = socket.create_connection((address.hostname, address.port or 0), timeout)
        self.pieces: list[bytes] = []

    def send(self, method: str, path: str, body: Any = None) -> None:
        payload = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} /api/v1{path} HTTP/1.1\r\nHost: sandbox\r\n"
            f"Authorization: Bearer {self.sandbox.management_key}\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + payload)

    def read_to_end(self) -> bytes:
        """Return everything until the server closes; ConnectionResetError where it resets."""
        while piece := self.socket.recv(65536):
            self.pieces.append(piece)
        return b"".join(self.pieces)

    def read_answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and the whole body of one answer."""
        answer = http.client.HTTPResponse(self.socket)
        answer.begin()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


@pytest.fixture
def wire(sandbox: Sandbox) -> Any:
    opened = Wire(sandbox)
    yield opened
    opened.socket.close()


def names(sandbox: Sandbox) -> list[str]:
    """The names of the keys that were ever made by a call."""
    return [key["name"] for key in sandbox.account.all_keys() if not key["management"]]


def on_create(kind: FaultKind, **fields: Any) -> Fault:
    """A fault that strikes the next creation of a key."""
    return Fault(kind=kind, path="/api/v1/keys", method="POST", api="openrouter", **fields)


def wait_until(holds: Callable[[], bool]) -> None:
    """Return once something holds that another thread is about to make so."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize(("effect", "made"), [(False, []), (True, ["x"])])
@pytest.mark.parametrize(
    ("kind", "status", "header", "body"),
    [
        (FaultKind.ERROR, 503, None, b'{"error": {"code": 503'),
        (FaultKind.RATE_LIMIT, 429, ("retry-after", "7"), b'{"error": {"code": 429'),
        (FaultKind.HTML, 502, ("content-type", "text/html; charset=utf-8"), b"<!DOCTYPE html>"),
    ],
)
def test_an_answer_is_replaced_before_or_after_the_effect(  # noqa: PLR0917
    sandbox: Sandbox,
    wire: Wire,
    kind: FaultKind,
    status: int,
    header: tuple[str, str] | None,
    body: bytes,
    effect: bool,
    made: list[str],
) -> None:
    sent = 502 if kind is FaultKind.HTML else 503
    sandbox.faults.add(on_create(kind, status=sent, retry_after=7, effect=effect))
    wire.send("POST", "/keys", {"name": "x"})
    got, headers, text = wire.read_answer()

    assert got == status
    assert text.startswith(body)
    assert b"sk-or-v1-" not in text
    assert header is None or headers[header[0]] == header[1]
    assert names(sandbox) == made
    wire.send("POST", "/keys", {"name": "y"})  # the connection lives, the fault is spent
    assert wire.read_answer()[0] == 201


def test_an_error_may_have_a_body_of_its_own(sandbox: Sandbox, wire: Wire) -> None:
    sandbox.faults.add(on_create(FaultKind.ERROR, status=400, body="not json"))
    wire.send("POST", "/keys", {"name": "x"})
    assert wire.read_answer()[::2] == (400, b"not json")


@pytest.mark.parametrize(("effect", "made"), [(False, []), (True, ["x"])])
def test_a_cut_ends_the_connection_without_a_byte(
    sandbox: Sandbox, wire: Wire, effect: bool, made: list[str]
) -> None:
    sandbox.faults.add(on_create(FaultKind.CUT, effect=effect))
    wire.send("POST", "/keys", {"name": "x"})

    assert wire.read_to_end() == b""
    assert names(sandbox) == made


@pytest.mark.parametrize(("effect", "made"), [(False, []), (True, ["x"])])
def test_a_cut_may_be_a_reset(sandbox: Sandbox, wire: Wire, effect: bool, made: list[str]) -> None:
    sandbox.faults.add(on_create(FaultKind.CUT, reset=True, effect=effect))
    wire.send("POST", "/keys", {"name": "x"})

    with pytest.raises(ConnectionResetError):
        wire.read_to_end()
    assert names(sandbox) == made


def test_a_cut_ends_one_connection_only(sandbox: Sandbox, wire: Wire) -> None:
    sandbox.faults.add(on_create(FaultKind.CUT))
    other = Wire(sandbox)
    other.send("GET", "/keys")
    assert other.read_answer()[0] == 200
    wire.send("POST", "/keys", {"name": "x"})
    wire.read_to_end()

    other.send("GET", "/keys")
    assert other.read_answer()[0] == 200
    other.socket.close()


def test_a_truncated_answer_promises_more_than_it_sends(sandbox: Sandbox, wire: Wire) -> None:
    sandbox.faults.add(on_create(FaultKind.TRUNCATE))
    wire.send("POST", "/keys", {"name": "x"})
    with pytest.raises(http.client.IncompleteRead) as caught:
        wire.read_answer()

    assert caught.value.partial
    assert caught.value.expected
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(caught.value.partial)
    assert names(sandbox) == ["x"]


def test_a_drip_sends_the_whole_answer_in_pieces(sandbox: Sandbox, wire: Wire) -> None:
    sandbox.faults.add(on_create(FaultKind.DRIP, seconds=0.3))
    sandbox.faults.add(Fault(kind=FaultKind.CUT, path="/api/v1/key"))
    wire.send("POST", "/keys", {"name": "x"})
    wire.send("GET", "/key")  # its cut tells where the answers end
    answer = wire.read_to_end()

    assert len(wire.pieces) > 8
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body["data"]["name"] == "x"
    assert names(sandbox) == ["x"]


@pytest.mark.parametrize(("effect", "made"), [(False, []), (True, ["x"])])
def test_latency_outlasts_a_caller_before_or_after_the_effect(
    sandbox: Sandbox, effect: bool, made: list[str]
) -> None:
    sandbox.faults.add(Fault(kind=FaultKind.LATENCY, seconds=60, effect=effect))
    wire = Wire(sandbox, timeout=0.3)
    wire.send("POST", "/keys", {"name": "x"})

    with pytest.raises(TimeoutError):
        wire.read_answer()
    wait_until(lambda: names(sandbox) == made)
    wire.socket.close()


def test_an_effect_may_come_after_its_caller_has_gone(sandbox: Sandbox) -> None:
    number = sandbox.faults.add(on_create(FaultKind.LATENCY, seconds=60))
    wire = Wire(sandbox)
    wire.send("POST", "/keys", {"name": "late"})
    wait_until(lambda: sandbox.faults.hits(number) == 1)
    wire.socket.close()
    assert names(sandbox) == []

    sandbox.faults.remove(number)
    wait_until(lambda: names(sandbox) == ["late"])


@pytest.mark.parametrize("effect", [False, True])
def test_a_call_is_held_until_its_fault_is_switched_off(
    sandbox: Sandbox, wire: Wire, effect: bool
) -> None:
    number = sandbox.faults.add(on_create(FaultKind.LATENCY, seconds=60, effect=effect))
    wire.send("POST", "/keys", {"name": "held"})
    wait_until(lambda: sandbox.faults.hits(number) == 1)
    sandbox.faults.clear()

    assert wire.read_answer()[0] == 201
    assert names(sandbox) == ["held"]


def test_latency_and_another_fault_strike_together(sandbox: Sandbox, wire: Wire) -> None:
    sandbox.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.01))
    sandbox.faults.add(on_create(FaultKind.ERROR, status=500, effect=True))
    wire.send("POST", "/keys", {"name": "x"})

    assert wire.read_answer()[0] == 500
    assert [row["hits"] for row in sandbox.faults.listed()] == [1, 1]
    assert names(sandbox) == ["x"]


def test_a_fault_strikes_the_vault_api_too(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(kind=FaultKind.ERROR, status=500, api="vault", effect=True))
    address = urlsplit(sandbox.vault_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    body = json.dumps({"data": {"x": "1"}})
    connection.request("POST", "/v1/secret/data/a", body, {"X-Vault-Token": sandbox.vault_token})
    answer = connection.getresponse()

    assert (answer.status, json.loads(answer.read())) == (500, {"errors": ["injected fault"]})
    assert sandbox.vault.read("secret", "a")["data"] == {"x": "1"}
    connection.close()


# The book of faults itself.


def test_a_fault_strikes_only_what_it_names_and_only_so_often() -> None:
    faults = Faults()
    number = faults.add(
        Fault(kind=FaultKind.CUT, api="vault", method="POST", path="/v1/*/data/apps/*", count=2)
    )
    for api, method, path in (
        ("openrouter", "POST", "/v1/secret/data/apps/a"),
        ("vault", "GET", "/v1/secret/data/apps/a"),
        ("vault", "POST", "/v1/secret/metadata/apps/a"),
    ):
        assert faults.strike(api, method, path) == []
    struck = [bool(faults.strike("vault", "POST", "/v1/s/data/apps/a/b")) for _ in range(3)]

    assert struck == [True, True, False]
    assert faults.hits(number) == 2


def test_a_probability_strikes_the_same_calls_for_the_same_seed() -> None:
    def strikes(seed: int) -> list[bool]:
        faults = Faults()
        faults.add(Fault(kind=FaultKind.CUT, count=None, probability=0.3, seed=seed))
        return [bool(faults.strike("vault", "GET", "/")) for _ in range(1000)]

    assert strikes(1) == strikes(1)
    assert strikes(1) != strikes(2)
    assert 200 < sum(strikes(1)) < 400


def test_faults_are_switched_off_one_by_one_or_all_at_once() -> None:
    faults = Faults()
    first, second = (faults.add(Fault(kind=FaultKind.CUT, count=None)) for _ in "12")
    faults.remove(first)
    assert [row["id"] for row in faults.listed()] == [second]
    faults.clear()
    assert faults.strike("vault", "GET", "/") == []


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"kind": "explode"},
        {"kind": "cut", "pth": "/keys"},
        {"kind": "cut", "probability": 0},
        {"kind": "cut", "count": 0},
        {"kind": "error", "status": 99},
        {"kind": "latency", "seconds": -1},
        {"kind": "latency", "seconds": "1"},
        {"kind": "cut", "count": True},
    ],
)
def test_a_fault_that_could_never_strike_as_meant_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Fault.from_json(value)


def test_a_fault_survives_its_own_json() -> None:
    fault = Fault(kind=FaultKind.RATE_LIMIT, path="/api/v1/keys*", count=None, retry_after=None)
    assert Fault.from_json(json.loads(json.dumps(fault.as_json()))) == fault
