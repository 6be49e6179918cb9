"""The one call that is never repeated."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from rotator.adapters.openrouter import OpenRouterIssuer
from rotator.core.keys import NewKey
from rotator.errors import OutcomeUnknown, Refused, ServiceError, Transient, Unauthorised
from tests.adapters.loopback import Reply, drip, hang_up, head, raw, silence
from tests.adapters.openrouter.conftest import HASH, MANAGEMENT, PLAINTEXT, IssuerFor, shown
from tests.adapters.openrouter.raw_server import RawServer, answer, cut, error, page, reset

NEW = NewKey(name="a key")
WHOLE = {"key": PLAINTEXT, "data": shown()}


def test_a_clean_answer_gives_the_plaintext_and_the_facts(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(answer(201, WHOLE))
    minted = issuer.create(NEW)
    assert minted.secret.reveal() == PLAINTEXT
    assert minted.key.hash == HASH
    assert minted.key.limits_known
    assert minted.key.created_at == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert server.calls == ["POST /keys"]


def test_what_is_sent_is_complete_and_strict(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(answer(201, WHOLE, {"set-cookie": "session=1; Path=/"}))
    issuer.create(
        NewKey(
            name="rotator:x",
            limit=0.0,
            limit_reset="weekly",
            include_byok_in_limit=True,
            expires_at=datetime(2026, 5, 1, 2, 3, 4, 567, tzinfo=timezone(timedelta(hours=2))),
            workspace_id="w",
            creator_user_id="u",
        )
    )
    issuer.create(NEW)
    full, bare = server.asked
    assert full.body == {
        "name": "rotator:x",
        "limit": 0.0,
        "limit_reset": "weekly",
        "include_byok_in_limit": True,
        "expires_at": "2026-05-01T00:03:04Z",
        "workspace_id": "w",
        "creator_user_id": "u",
    }
    assert bare.body == {
        "name": "a key",
        "limit": None,
        "limit_reset": None,
        "include_byok_in_limit": False,
    }
    assert full.headers["authorization"] == f"Bearer {MANAGEMENT}"
    assert full.headers["accept"] == "application/json"
    assert full.headers["user-agent"].startswith("rotator/")
    assert "cookie" not in bare.headers


@pytest.mark.parametrize(
    "new",
    [
        NewKey(name=""),
        NewKey(name="a", limit=float("nan")),
        NewKey(name="a", limit=float("inf")),
        NewKey(name="a", limit=-1.0),
        NewKey(name="a", limit_reset="hourly"),  # type: ignore[arg-type]
        NewKey(name="a", expires_at=datetime(2026, 5, 1)),  # noqa: DTZ001 - that is the point
    ],
    ids=["no name", "no number", "infinite", "negative", "unknown reset", "no time zone"],
)
def test_a_request_that_the_api_could_misread_is_not_sent(
    server: RawServer, issuer: OpenRouterIssuer, new: NewKey
) -> None:
    server.will(answer(201, WHOLE))
    with pytest.raises(Refused, match="not sent"):
        issuer.create(new)
    assert server.calls == []


ODD: dict[str, tuple[Reply, str]] = {
    "200 instead of 201": (answer(200, WHOLE), HASH),
    "no data": (answer(201, {"key": PLAINTEXT}), HASH),
    "data is null": (answer(201, {"key": PLAINTEXT, "data": None}), HASH),
    "data is a list": (answer(201, {"key": PLAINTEXT, "data": [1]}), HASH),
    "a hash that is none": (answer(201, {"key": PLAINTEXT, "data": {"hash": 7}}), HASH),
    "the hash of something else": (
        answer(201, {"key": PLAINTEXT, "data": {"hash": "ab" * 32}}),
        "ab" * 32,
    ),
    "every field of a wrong type": (
        answer(201, {"key": PLAINTEXT, "data": {field: [{}] for field in shown()}}),
        HASH,
    ),
    "an error beside it": (answer(201, {**WHOLE, "error": {"code": 500, "message": "x"}}), HASH),
    "bytes that are no text": (
        answer(
            201, b'{"key": "' + PLAINTEXT.encode() + b'", "data": {"name": "\xff"}, "x": "\xff"}'
        ),
        HASH,
    ),
    "a number without end": (
        answer(
            201, b'{"key": "' + PLAINTEXT.encode() + b'", "data": {"limit": ' + b"9" * 9000 + b"}}"
        ),
        HASH,
    ),
    "a byte order mark": (answer(201, b"\xef\xbb\xbf" + json.dumps(WHOLE).encode()), HASH),
    "not announced as json": (answer(201, WHOLE, {"content-type": "text/html"}), HASH),
    "cut behind the body": (
        raw(head(201, {"content-length": "9999"}) + b'{"key": "' + PLAINTEXT.encode() + b'"}'),
        HASH,
    ),
    "ended by the connection": (
        raw(head(201, {}) + b'{"key": "' + PLAINTEXT.encode() + b'"}'),
        HASH,
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_the_plaintext_is_kept_however_odd_the_rest_is(
    server: RawServer, issuer: OpenRouterIssuer, odd: str
) -> None:
    reply, key_hash = ODD[odd]
    server.will(reply)
    minted = issuer.create(NEW)
    assert minted.secret.reveal() == PLAINTEXT
    assert minted.key.hash == key_hash
    assert minted.key.name in {"a key", "\ufffd"}
    assert minted.key.disabled is False
    assert server.calls == ["POST /keys"]


def test_limits_that_the_answer_does_not_show_are_not_known(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(answer(201, {"key": PLAINTEXT, "data": {"hash": HASH}}))
    minted = issuer.create(NEW)
    assert not minted.key.limits_known
    assert minted.key.created_at is None


FAULTS: dict[str, tuple[Reply, type[ServiceError]]] = {
    "400": (error(400), Refused),
    "402": (error(402), Refused),
    "403": (error(403), Refused),
    "404": (error(404), Refused),
    "409": (error(409), Refused),
    "403 from a proxy": (page(403), Refused),
    "401": (error(401), Unauthorised),
    "429": (error(429), Transient),
    "408": (error(408), OutcomeUnknown),
    "500": (error(500), OutcomeUnknown),
    "502 from a proxy": (page(502), OutcomeUnknown),
    "503 with a delay": (error(503, headers={"retry-after": "5"}), OutcomeUnknown),
    "301": (answer(301, {}, {"location": "https://elsewhere.example/keys"}), OutcomeUnknown),
    "302": (answer(302, {}, {"location": "/api/v1/keys"}), OutcomeUnknown),
    "307": (answer(307, {}, {"location": "/api/v1/keys"}), OutcomeUnknown),
    "308": (answer(308, {}, {"location": "/api/v1/keys"}), OutcomeUnknown),
    "201 without a key": (answer(201, {"data": {**shown(), "key": PLAINTEXT}}), OutcomeUnknown),
    "201 with an empty key": (answer(201, {"key": ""}), OutcomeUnknown),
    "201 with a key of two lines": (answer(201, {"key": "sk-or-v1-a\nb"}), OutcomeUnknown),
    "201 with half a surrogate": (answer(201, b'{"key": "\\ud800"}'), OutcomeUnknown),
    "201 that is a list": (answer(201, [WHOLE]), OutcomeUnknown),
    "201 that is nothing": (answer(201, b""), OutcomeUnknown),
    "201 that is html": (page(201), OutcomeUnknown),
    "201 nested without end": (answer(201, b'{"key":' + b"[" * 200_000), OutcomeUnknown),
    "204": (raw(head(204, {})), OutcomeUnknown),
    "201 cut": (cut(201, WHOLE), OutcomeUnknown),
    "403 cut": (cut(403, {"error": {"code": 403, "message": "x"}}), OutcomeUnknown),
    "403 ended by the connection": (raw(head(403, {}) + b'{"error":'), OutcomeUnknown),
    "429 cut": (cut(429, {"error": {"code": 429, "message": "x"}}), OutcomeUnknown),
    "201 that is compressed badly": (
        answer(201, b"no gzip at all", {"content-encoding": "gzip"}),
        OutcomeUnknown,
    ),
    "201 too large": (answer(201, b'{"key":"' + b"x" * 2_000_000), OutcomeUnknown),
    "a hang-up": (hang_up(), OutcomeUnknown),
    "a reset": (reset(), OutcomeUnknown),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH\r\n\r\n"), OutcomeUnknown),
    "half a header": (raw(b"HTTP/1.1 201 Crea"), OutcomeUnknown),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_create_is_sent_once_whatever_happens(
    server: RawServer, issuer: OpenRouterIssuer, fault: str
) -> None:
    reply, kind = FAULTS[fault]
    server.will(reply)
    with pytest.raises(ServiceError) as caught:
        issuer.create(NEW)
    assert type(caught.value) is kind
    assert server.calls == ["POST /keys"]


SLOW: dict[str, Reply] = {
    "silence": silence(),
    "a body that drips": drip(head(201, {"content-length": "100000"}) + b'{"key": "', b"x"),
    "headers that drip": drip(b"HTTP/1.1 201 Created\r\n", b"a: b\r\n"),
    "a status line that drips": drip(b"", b"H"),
}


@pytest.mark.parametrize("slow", SLOW)
def test_a_timed_out_create_is_reported_as_unknown_and_never_sent_again(
    server: RawServer, impatient: OpenRouterIssuer, slow: str
) -> None:
    server.will(SLOW[slow])
    with pytest.raises(OutcomeUnknown):
        impatient.create(NEW)
    assert server.heard(1) == ["POST /keys"]


def test_a_create_that_finds_nobody_listening_was_not_sent(issuer_for: IssuerFor) -> None:
    with RawServer() as gone:
        url = gone.url
    with pytest.raises(Transient) as caught:
        issuer_for(url).create(NEW)
    assert not caught.value.pauses_writes


def test_a_refused_create_carries_its_status(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(error(403, "Only management keys can perform this operation"))
    with pytest.raises(Refused, match="Only management keys") as caught:
        issuer.create(NEW)
    assert caught.value.status == 403


def test_a_redirect_is_named_without_its_query(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(answer(302, {}, {"location": "https://u:p@login.example/page?token=x"}))
    with pytest.raises(OutcomeUnknown, match="302") as caught:
        issuer.create(NEW)
    assert "https://login.example/page" in str(caught.value)
    assert "token" not in str(caught.value)


def test_a_redirect_to_nowhere_is_a_redirect_all_the_same(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(answer(302, {}, {"location": "http://[nowhere"}))
    with pytest.raises(OutcomeUnknown, match="unreadable address"):
        issuer.create(NEW)


def test_a_rate_limited_create_says_for_how_long_writes_pause(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(error(429, headers={"retry-after": "17"}))
    with pytest.raises(Transient) as caught:
        issuer.create(NEW)
    assert (caught.value.retry_after, caught.value.pauses_writes) == (17.0, True)


def test_the_answer_may_hold_what_no_caller_asked_for(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    extra: dict[str, Any] = {**WHOLE, "new": 1, "data": shown(new_field={"a": 1})}
    server.will(answer(201, extra))
    assert issuer.create(NEW).key.limit == 50.0


def test_threads_may_share_one_adapter(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(*(answer(201, {"key": f"sk-or-v1-{number}"}) for number in range(33)))
    with ThreadPoolExecutor(8) as pool:
        minted = list(pool.map(lambda _: issuer.create(NEW), range(32)))
    assert len({each.key.hash for each in minted}) == 32
    assert all(each.key.hash == each.secret.sha256() for each in minted)
    assert len(server.calls) == 32
