"""What leaves the adapter: our errors and values, and in them nothing of httpx and no secret."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rotator.adapters.openrouter import OpenRouterIssuer, OpenRouterSettings
from rotator.core.keys import CallerKey, IssuedKey, NewKey
from rotator.errors import (
    ConfigurationError,
    OutcomeUnknown,
    RotatorError,
    ServiceError,
    Transient,
)
from rotator.ports import MintedKey
from rotator.secret import Secret
from tests.adapters.loopback import Reply, hang_up
from tests.adapters.openrouter.conftest import (
    HASH,
    MANAGEMENT,
    PLAINTEXT,
    IssuerFor,
    StillClock,
    shown,
)
from tests.adapters.openrouter.raw_server import RawServer, answer, cut, error

BASE = "https://openrouter.invalid/api/v1"

CALLS: dict[str, Callable[[OpenRouterIssuer], object]] = {
    "create": lambda issuer: issuer.create(NewKey(name="a key")),
    "list": lambda issuer: issuer.list_keys("w"),
    "workspaces": lambda issuer: issuer.list_workspaces(),
    "get": lambda issuer: issuer.get(HASH),
    "disable": lambda issuer: issuer.set_disabled(HASH, True),
    "enable": lambda issuer: issuer.set_disabled(HASH, False),
    "delete": lambda issuer: issuer.delete(HASH),
    "whoami": lambda issuer: issuer.whoami(Secret(PLAINTEXT)),
    "whoami_management": lambda issuer: issuer.whoami_management(),
}


def exceptions_of(module: Any) -> Iterator[type[Exception]]:
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Exception):
            yield value


HTTPX = sorted(set(exceptions_of(httpx)), key=lambda kind: kind.__name__)
BEFORE_SENDING = {
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ProxyError",
    "UnsupportedProtocol",
    "InvalidURL",
}


def raised(kind: type[Exception], request: httpx.Request) -> Exception:
    """An exception as httpx would raise it: with the request, and its header in the message."""
    message = f"Illegal header value b'{request.headers['authorization']}'"
    if issubclass(kind, httpx.HTTPStatusError):
        return kind(message, request=request, response=httpx.Response(500, request=request))
    if issubclass(kind, httpx.RequestError):
        return kind(message, request=request)
    if kind in {
        httpx.StreamConsumed,
        httpx.StreamClosed,
        httpx.ResponseNotRead,
        httpx.RequestNotRead,
    }:
        return kind()
    return kind(message)


class Breaks(httpx.SyncByteStream):
    """A body that ends with an exception."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"data": '
        raise self.failure


def test_the_list_of_httpx_exceptions_is_the_librarys() -> None:
    assert len(HTTPX) > 25
    assert {"ReadTimeout", "RemoteProtocolError", "DecodingError"} <= {
        kind.__name__ for kind in HTTPX
    }
    assert {kind.__name__ for kind in HTTPX} >= BEFORE_SENDING


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", HTTPX, ids=lambda kind: kind.__name__)
def test_no_httpx_exception_escapes(
    issuer_for: IssuerFor, kind: type[Exception], call: str
) -> None:
    sent: list[httpx.Request] = []

    def fail(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        raise raised(kind, request)

    with pytest.raises(ServiceError) as caught:
        CALLS[call](issuer_for(BASE, transport=httpx.MockTransport(fail)))
    before = kind.__name__ in BEFORE_SENDING
    changes = call in {"create", "disable", "enable", "delete"}
    assert type(caught.value) is (OutcomeUnknown if changes and not before else Transient)
    assert_clean(caught.value)
    if call == "create":
        assert len(sent) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", HTTPX, ids=lambda kind: kind.__name__)
def test_no_httpx_exception_escapes_from_the_middle_of_a_body(
    issuer_for: IssuerFor, kind: type[Exception], call: str
) -> None:
    sent: list[httpx.Request] = []

    def fail(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, stream=Breaks(raised(kind, request)))

    with pytest.raises(ServiceError) as caught:
        CALLS[call](issuer_for(BASE, transport=httpx.MockTransport(fail)))
    changes = call in {"create", "disable", "enable", "delete"}
    assert type(caught.value) is (OutcomeUnknown if changes else Transient)
    assert_clean(caught.value)
    if call == "create":
        assert len(sent) == 1


CANARIES = ("CANARYmanagement", "CANARYplaintext")


def values_in(value: object, seen: set[int], depth: int = 0) -> Iterator[object]:
    """Everything that a value holds, as a crash reporter would walk it."""
    if id(value) in seen or depth > 6:
        return
    seen.add(id(value))
    yield value
    if isinstance(value, dict):
        parts: list[object] = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = list(value)
    elif type(value).__module__.startswith("rotator.errors"):
        parts = [vars(value), value.args]  # type: ignore[attr-defined]
    else:
        parts = []
    for part in parts:
        yield from values_in(part, seen, depth + 1)


def frames_of(trace: TracebackType | None) -> Iterator[dict[str, Any]]:
    """The locals of every frame that lies in the adapter."""
    while trace is not None:
        if "rotator/adapters" in trace.tb_frame.f_code.co_filename:
            yield trace.tb_frame.f_locals
        trace = trace.tb_next


def assert_clean(failure: BaseException) -> None:
    """One line, and no canary and nothing of httpx in an exception or in what hangs on it."""
    assert str(failure).isprintable()
    assert failure.__cause__ is None
    assert failure.__context__ is None or failure.__suppress_context__
    assert failure.__context__ is None or isinstance(failure.__context__, RotatorError)
    text = "".join(traceback.format_exception(failure)) + repr(failure) + str(failure)
    for held in values_in(failure, set()):
        assert not type(held).__module__.startswith(("httpx", "httpcore", "http."))
        text += repr(held)
    for frame in frames_of(failure.__traceback__):
        for held in values_in(frame, set()):
            assert not type(held).__module__.startswith(("httpx", "httpcore"))
            text += repr(held)
    for canary in CANARIES:
        assert canary not in text


ECHO = f"You sent Bearer {MANAGEMENT} and {PLAINTEXT} and hvs.CAESIJtokentokentokentoken"
FAULTS: dict[str, Reply] = {
    "a message that repeats the keys": error(403, ECHO),
    "a 401 that repeats the keys": error(401, ECHO),
    "a 429 that repeats the keys": error(429, ECHO),
    "a 500 that repeats the keys": error(500, ECHO),
    "a redirect to a key": answer(302, {}, {"location": f"https://x.example/{MANAGEMENT}"}),
    "a plaintext that is cut": cut(201, {"key": PLAINTEXT}),
    "a plaintext in the wrong place": answer(201, {"data": {"key": PLAINTEXT}}),
    "a plaintext as html": answer(201, f"<p>{PLAINTEXT}</p>"),
    "a plaintext in a refusal": answer(400, {"key": PLAINTEXT}),
    "a hang-up": hang_up(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_secret_is_in_an_exception_or_in_what_hangs_on_it(
    server: RawServer,
    issuer: OpenRouterIssuer,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    call: str,
) -> None:
    server.will(FAULTS[fault])
    try:
        with caplog.at_level(logging.DEBUG):
            result = CALLS[call](issuer)
    except ServiceError as failed:
        assert_clean(failed)
        result = str(failed)
    for secret in (*CANARIES, "hvs.CAESIJ"):
        assert secret not in repr(result)
        assert secret not in caplog.text


def test_a_secret_of_any_shape_is_masked_where_the_answer_repeats_it(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(error(403, "no such key as plainpassword99"))
    with pytest.raises(ServiceError) as caught:
        issuer.whoami(Secret("plainpassword99"))
    assert "plainpassword99" not in str(caught.value)
    assert "no such key as" in str(caught.value)


def test_a_new_key_of_any_shape_is_masked_where_a_failed_create_quotes_it(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(error(500, 'Internal error after {"key": "another-kind-of-key-0123456789abcdef"}'))
    with pytest.raises(OutcomeUnknown, match="Internal error after") as caught:
        issuer.create(NewKey(name="a key"))
    assert "another-kind" not in str(caught.value)


def test_nothing_prints_the_management_key_or_the_proxys_password(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(answer(201, {"key": PLAINTEXT, "data": shown()}))
    minted = issuer.create(NewKey(name="a"))
    settings = OpenRouterSettings(proxy="http://user:CANARYplaintext@127.0.0.1:1")
    printed = repr((issuer, vars(issuer), issuer._wire, vars(issuer._wire), minted, settings))
    for canary in CANARIES:
        assert canary not in printed


def test_an_error_message_is_one_line_of_bounded_length(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(error(403, "\x1b[31mred\nline\u202e" + "x" * 10_000))
    with pytest.raises(ServiceError) as caught:
        issuer.get(HASH)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


class Counts(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_a_retry_is_not_logged(server: RawServer, issuer: OpenRouterIssuer) -> None:
    handler = Counts()
    logging.getLogger("stamina").addHandler(handler)
    try:
        server.will(hang_up(), answer(200, {"data": shown()}))
        issuer.get(HASH)
    finally:
        logging.getLogger("stamina").removeHandler(handler)
    assert len(server.calls) == 2
    assert handler.lines == []


def test_an_unusable_proxy_or_certificate_is_a_configuration_error_without_its_password(
    tmp_path: Path,
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    unusable: list[dict[str, Any]] = [
        {"proxy": "gopher://user:CANARYplaintext@127.0.0.1:1"},
        {"proxy": "http://user:CANARYplaintext@[::1"},
        {"proxy": "socks5://user:CANARYplaintext@127.0.0.1:1"},
        {"ca_cert": tmp_path / "ca.pem"},
        {"ca_cert": tmp_path / "absent.pem"},
    ]
    for each in unusable:
        with pytest.raises(ConfigurationError) as caught:
            OpenRouterIssuer(OpenRouterSettings(**each), lambda: Secret(MANAGEMENT), StillClock())
        assert_clean(caught.value)


def test_the_environment_sets_no_proxy(
    server: RawServer, issuer_for: IssuerFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer() as proxy:
        proxy.will(error(403, "I am a proxy"))
        for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/api/v1"))
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        server.will(answer(200, {"data": shown()}))
        assert issuer_for(server.url).get(HASH) is not None
        assert proxy.calls == []


def test_a_configured_proxy_is_used(server: RawServer, issuer_for: IssuerFor) -> None:
    server.will(answer(200, {"data": shown()}))
    issuer = issuer_for("http://127.0.0.1:9/api/v1", proxy=server.url.removesuffix("/api/v1"))
    assert issuer.get(HASH) is not None
    assert server.asked[0].headers["host"] == "127.0.0.1:9"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from([*shown(), "key", "data", "error", "deleted", "is_management_key"])
KEYS = st.dictionaries(FIELDS, JSON | st.just(HASH), max_size=8) | st.builds(
    lambda other: shown(**other), st.dictionaries(FIELDS, JSON, max_size=3)
)
ERRORS = st.fixed_dictionaries(
    {
        "error": st.fixed_dictionaries(
            {"code": st.integers(399, 504) | JSON, "message": st.text() | JSON},
            optional={"metadata": JSON},
        )
    }
)
BODIES = st.one_of(
    st.binary(max_size=40),
    st.one_of(
        JSON,
        ERRORS,
        st.fixed_dictionaries(
            {}, optional={"key": st.text() | st.just(PLAINTEXT), "data": KEYS | JSON}
        ),
        st.fixed_dictionaries({"data": st.lists(KEYS, max_size=3)}),
    ).map(lambda value: json.dumps(value).encode()),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["retry-after", "x-ratelimit-reset", "location", "content-encoding", "set-cookie"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
    | st.sampled_from(["gzip", "1e999", "-1", "Wed, 04 Mar 2026 22:01:00 +9999"]),
    max_size=3,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    status=st.integers(200, 599), headers=HEADERS, body=BODIES, call=st.sampled_from(sorted(CALLS))
)
def test_whatever_is_answered_gives_a_value_or_one_of_our_errors(
    issuer_for: IssuerFor, status: int, headers: dict[str, str], body: bytes, call: str
) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, content=body))
    issuer = issuer_for(BASE, transport=transport, timeout=timedelta(seconds=5))
    try:
        result = CALLS[call](issuer)
    except ServiceError as failed:
        assert_clean(failed)
    else:
        assert result is None or isinstance(result, IssuedKey | MintedKey | CallerKey | tuple)
    finally:
        issuer.close()
