"""Looking at one key, and asking a key about itself."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rotator.adapters.openrouter import OpenRouterIssuer
from rotator.core.keys import CallerKey, IssuedKey
from rotator.errors import Refused, ServiceError, Transient, Unauthorised
from rotator.secret import Secret
from tests.adapters.loopback import Reply, drip, hang_up, head, raw
from tests.adapters.openrouter.conftest import HASH, MANAGEMENT, PLAINTEXT, IssuerFor, shown
from tests.adapters.openrouter.raw_server import RawServer, answer, cut, error, page


def data(**other: Any) -> Reply:
    return answer(200, {"data": shown(**other)})


def found(issuer: OpenRouterIssuer) -> IssuedKey:
    key = issuer.get(HASH)
    assert key is not None
    return key


def test_a_key_is_read_in_full(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(data(disabled=True, expires_at="2026-06-01T00:00:00Z", creator_user_id="user_1"))
    assert issuer.get(HASH) == IssuedKey(
        hash=HASH,
        name="a key",
        disabled=True,
        created_at=datetime(2026, 3, 1, 10, tzinfo=UTC),
        expires_at=datetime(2026, 6, 1, tzinfo=UTC),
        last_used_at=datetime(2026, 3, 4, 20, tzinfo=UTC),
        usage=39.0,
        limit=50.0,
        limit_remaining=12.5,
        limit_reset="monthly",
        include_byok_in_limit=False,
        limits_known=True,
        workspace_id="0d4c4f4e-0000-4000-8000-000000000001",
        creator_user_id="user_1",
    )
    assert server.calls == [f"GET /keys/{HASH}"]


def test_an_unlimited_key_has_known_limits(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(data(limit=None, limit_remaining=None, limit_reset=None))
    assert found(issuer).limits_known
    assert found(issuer).limit is None


@pytest.mark.parametrize(
    "odd",
    [
        {"limit": "50"},
        {"limit": True},
        {"limit": -1},
        {"limit": 10**350},
        {"limit": 10**400},
        {"limit_remaining": None},
        {"limit_remaining": "x"},
        {"limit_reset": "hourly"},
        {"limit_reset": ["daily"]},
        {"include_byok_in_limit": None},
    ],
    ids=str,
)
def test_limits_of_an_unknown_shape_are_not_known(
    server: RawServer, issuer: OpenRouterIssuer, odd: dict[str, Any]
) -> None:
    server.will(data(**odd))
    assert not found(issuer).limits_known


def test_a_limit_that_is_left_out_is_not_unlimited(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    body = shown()
    del body["limit"]
    server.will(answer(200, {"data": body}))
    assert not found(issuer).limits_known


def test_fields_of_an_unknown_shape_are_unknown(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(
        data(
            name=None,
            created_at=1,
            expires_at="soon",
            last_used_at={},
            usage="much",
            workspace_id=5,
            creator_user_id="",
        )
    )
    key = found(issuer)
    assert (key.name, key.created_at, key.expires_at, key.last_used_at) == ("", None, None, None)
    assert (key.usage, key.workspace_id, key.creator_user_id) == (None, None, None)


def test_a_time_without_a_zone_is_in_utc(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(data(last_used_at="2026-03-04T20:00:00", created_at="2026-03-04T20:00:00+02:00"))
    assert found(issuer).last_used_at == datetime(2026, 3, 4, 20, tzinfo=UTC)
    assert found(issuer).created_at == datetime(2026, 3, 4, 18, tzinfo=UTC)


def test_a_hash_in_capitals_is_the_same_hash(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(data(hash=HASH.upper()))
    assert found(issuer).hash == HASH


def test_a_name_cannot_drive_the_terminal_nor_become_a_marker(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(data(name="rotator/\x1b[2J\u202eprod\n" + "x" * 1000))
    name = found(issuer).name
    assert name.startswith("rotator/\ufffd[2J\ufffdprod\ufffdxxx")
    assert len(name) == 256


def test_a_name_that_looks_like_a_key_is_left_whole(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    marker = f"rotator/prod/{'a' * 16}/sk-or-v1-billing-production-key/{'b' * 16}"
    server.will(data(name=marker))
    assert found(issuer).name == marker


def test_drift_is_logged_once_by_name_and_never_by_value(
    server: RawServer, issuer: OpenRouterIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    server.will(data(limit="a secret value"))
    with caplog.at_level(logging.DEBUG, "rotator"):
        for _ in range(3):
            issuer.get(HASH)
    assert len([line for line in caplog.messages if " limit " in line]) == 1
    assert "a secret value" not in caplog.text


ABSENT = error(404, "Resource not found")


def test_a_404_of_the_api_is_absence(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(ABSENT)
    assert issuer.get(HASH) is None


NO_PROOF: dict[str, Reply] = {
    "html": page(404),
    "cut": cut(404, {"error": {"code": 404, "message": "Resource not found"}}),
    "another code": answer(404, {"error": {"code": 500, "message": "x"}}),
    "a code that is text": answer(404, {"error": {"code": "404", "message": "x"}}),
    "no message": answer(404, {"error": {"code": 404}}),
    "plain json": answer(404, {"message": "no route"}),
    "nothing": answer(404, b""),
}


@pytest.mark.parametrize("case", NO_PROOF)
def test_any_other_404_proves_nothing(
    server: RawServer, issuer: OpenRouterIssuer, case: str
) -> None:
    server.will(NO_PROOF[case])
    with pytest.raises(Transient):
        issuer.get(HASH)


MAPPED: dict[str, tuple[Reply, type[ServiceError], int]] = {
    "401": (error(401), Unauthorised, 1),
    "401 of a proxy": (page(401), Unauthorised, 1),
    "400": (error(400), Refused, 1),
    "403": (error(403), Refused, 1),
    "408": (error(408), Transient, 1),
    "429": (error(429), Transient, 1),
    "500": (error(500), Transient, 3),
    "502 of a proxy": (page(502), Transient, 3),
    "503 with a short delay": (error(503, headers={"retry-after": "1"}), Transient, 3),
    "503 with a long delay": (error(503, headers={"retry-after": "20"}), Transient, 1),
    "redirect": (answer(302, {}, {"location": "/login"}), Transient, 1),
    "html instead": (page(200), Transient, 1),
    "another key": (data(hash="ab" * 32), Transient, 1),
    "no hash": (data(hash=None), Transient, 1),
    "disabled or not is not said": (data(disabled=None), Transient, 1),
    "cut": (cut(200, {"data": shown()}), Transient, 3),
    "hang-up": (hang_up(), Transient, 3),
    "too large": (answer(200, b'{"data":"' + b"x" * 2_000_000), Transient, 3),
    "no HTTP": (raw(b"hello\r\n\r\n"), Transient, 3),
}


@pytest.mark.parametrize("case", MAPPED)
def test_a_failed_look_is_told_by_type_and_repeated_only_where_that_may_help(
    server: RawServer, issuer: OpenRouterIssuer, case: str
) -> None:
    reply, kind, tries = MAPPED[case]
    server.will(reply)
    with pytest.raises(ServiceError) as caught:
        issuer.get(HASH)
    assert type(caught.value) is kind
    assert len(server.calls) == tries


def test_a_quick_retry_that_succeeds_is_no_failure(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(hang_up(), error(500), data())
    assert found(issuer).hash == HASH
    assert len(server.calls) == 3


def test_a_long_delay_goes_back_to_the_caller(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(error(503, headers={"retry-after": "20"}))
    with pytest.raises(Transient) as caught:
        issuer.get(HASH)
    assert (caught.value.retry_after, caught.value.pauses_writes) == (20.0, False)


def test_an_answer_that_drips_does_not_outlast_the_time_out(
    server: RawServer, impatient: OpenRouterIssuer
) -> None:
    server.will(drip(head(200, {"content-length": "1000000"}), b" "))
    with pytest.raises(Transient):
        impatient.get(HASH)


OWN = {"label": "sk-or-v1-0e6...c96", "is_management_key": False, "expires_at": None}


def own(**other: Any) -> Reply:
    return answer(200, {"data": {**OWN, **other}})


def test_a_key_is_asked_about_itself_with_itself(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(own(expires_at="2026-06-01T00:00:00Z"))
    caller = issuer.whoami(Secret(PLAINTEXT))
    assert caller is not None
    assert caller.is_management_key is False
    assert caller.expires_at == datetime(2026, 6, 1, tzinfo=UTC)
    assert server.calls == ["GET /key"]
    assert server.asked[0].headers["authorization"] == f"Bearer {PLAINTEXT}"


def test_the_management_key_is_asked_about_itself(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(own(is_management_key=True, label="sk-or-mgmt-123...456"))
    assert issuer.whoami_management().is_management_key is True
    assert server.asked[0].headers["authorization"] == f"Bearer {MANAGEMENT}"


def test_a_caller_whose_kind_is_not_told_is_taken_for_what_it_is_used_as(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(answer(200, {"data": {}}))
    assert issuer.whoami(Secret(PLAINTEXT)) == CallerKey(is_management_key=False)
    assert issuer.whoami_management() == CallerKey(is_management_key=True)
    server.will(answer(200, {"data": {"is_provisioning_key": True}}))
    assert issuer.whoami(Secret(PLAINTEXT)) == CallerKey(is_management_key=True)


def test_a_key_that_the_api_refuses_is_none(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(error(401, "User not found."))
    assert issuer.whoami(Secret(PLAINTEXT)) is None
    with pytest.raises(Unauthorised):
        issuer.whoami_management()


def test_a_401_of_something_in_between_does_not_condemn_a_key(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    for reply in (page(401), cut(401, {"error": {"code": 401, "message": "x"}})):
        server.will(reply)
        with pytest.raises(Transient):
            issuer.whoami(Secret(PLAINTEXT))


def test_a_403_about_the_management_key_itself_means_that_it_is_refused(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(error(403, "IP address is not allowed"))
    with pytest.raises(Unauthorised) as caught:
        issuer.whoami_management()
    assert caught.value.status == 403
    with pytest.raises(Refused):
        issuer.whoami(Secret(PLAINTEXT))
    server.will(page(403))
    with pytest.raises(Refused):
        issuer.whoami_management()


@pytest.mark.parametrize("value", ["", " ", "two\nlines", "é", "a b", "\x00", "\ud800"])
def test_a_value_that_no_header_can_carry_is_no_key(
    server: RawServer, issuer: OpenRouterIssuer, value: str
) -> None:
    server.will(own())
    assert issuer.whoami(Secret(value)) is None
    assert server.calls == []


def test_a_management_key_that_no_header_can_carry_is_refused_before_anything_is_sent(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(data())
    issuer._management_key = lambda: Secret("sk-or-mgmt-x\n")
    with pytest.raises(Unauthorised):
        issuer.get(HASH)
    assert server.calls == []


def test_after_close_calls_fail_as_ours(server: RawServer, issuer_for: IssuerFor) -> None:
    server.will(data())
    issuer = issuer_for(server.url, timeout=timedelta(seconds=1))
    issuer.close()
    with pytest.raises(Transient):
        issuer.get(HASH)
    assert server.calls == []


def test_a_spending_without_end_is_unknown(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(data(usage=1.7e308, byok_usage=1.7e308))
    assert found(issuer).usage is None


@pytest.mark.parametrize(
    "instant",
    ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "1969-12-31"],
)
def test_an_instant_that_no_wait_could_be_added_to_is_unknown(
    server: RawServer, issuer: OpenRouterIssuer, instant: str
) -> None:
    server.will(data(created_at=instant, expires_at=instant, last_used_at=instant))
    key = found(issuer)
    assert (key.created_at, key.expires_at, key.last_used_at) == (None, None, None)
