"""Disabling, enabling and deleting: quick retries, and a read that settles an unclear answer."""

from __future__ import annotations

from typing import Any

import pytest

from rotator.adapters.openrouter import OpenRouterIssuer
from rotator.errors import OutcomeUnknown, Refused, ServiceError, Transient, Unauthorised
from rotator.secret import Secret
from tests.adapters.loopback import Reply, hang_up, head, raw, silence
from tests.adapters.openrouter.conftest import HASH, IssuerFor, StillClock, shown
from tests.adapters.openrouter.raw_server import RawServer, answer, cut, error, page

PATCH, GET, DELETE = f"PATCH /keys/{HASH}", f"GET /keys/{HASH}", f"DELETE /keys/{HASH}"
GONE = error(404, "Resource not found")
DELETED = answer(200, {"deleted": True})
REDIRECT = answer(307, {}, {"location": "/elsewhere"})


def key(*, disabled: bool, **other: Any) -> Reply:
    return answer(200, {"data": shown(disabled=disabled, **other)})


OFF, ON = key(disabled=True), key(disabled=False)


def outcome(call: Any, *arguments: Any) -> object:
    """What a call returns, or the type of what it raises."""
    try:
        return call(*arguments)
    except ServiceError as failed:
        return type(failed)


def test_a_clean_disable_needs_no_read(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(OFF)
    assert issuer.set_disabled(HASH, True).disabled is True
    assert server.calls == [PATCH]
    assert server.asked[0].body == {"disabled": True}


def test_a_clean_enable_needs_no_read(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(ON)
    assert issuer.set_disabled(HASH, False).disabled is False
    assert server.calls == [PATCH]
    assert server.asked[0].body == {"disabled": False}


SETTLED_AS_DONE: dict[str, list[Reply]] = {
    "the answer shows another state": [ON],
    "the answer shows another key": [key(disabled=True, hash="ab" * 32)],
    "the answer has no data": [answer(200, {})],
    "the answer is html": [page(200)],
    "an empty success": [raw(head(204, {}))],
    "a redirect": [REDIRECT],
    "a refusal": [error(403)],
    "a conflict": [error(409)],
    "a 404": [GONE],
    "a request time-out": [error(408)],
    "three 500": [error(500)] * 3,
    "three hang-ups": [hang_up()] * 3,
    "three cut answers": [cut(200, {"data": shown(disabled=True)})] * 3,
    "a rate limit after a lost answer": [hang_up(), error(429)],
    "a refused management key after a lost answer": [hang_up(), error(401)],
}


@pytest.mark.parametrize("case", SETTLED_AS_DONE)
def test_a_change_that_a_read_shows_is_done(
    server: RawServer, issuer: OpenRouterIssuer, case: str
) -> None:
    replies = SETTLED_AS_DONE[case]
    server.will(*replies, OFF)
    assert issuer.set_disabled(HASH, True).disabled is True
    assert server.calls == [PATCH] * len(replies) + [GET]


@pytest.mark.parametrize("case", SETTLED_AS_DONE)
def test_a_delete_that_a_read_shows_is_done(
    server: RawServer, issuer: OpenRouterIssuer, case: str
) -> None:
    replies = SETTLED_AS_DONE[case]
    server.will(*replies, GONE)
    issuer.delete(HASH)
    assert server.calls == [DELETE] * len(replies) + [GET]


NOT_DONE: dict[str, tuple[list[Reply], type[ServiceError]]] = {
    "the answer is html": ([page(200)], OutcomeUnknown),
    "a redirect": ([REDIRECT], OutcomeUnknown),
    "a refusal": ([error(403)], Refused),
    "a request time-out": ([error(408)], OutcomeUnknown),
    "three 500 of the API itself": ([error(500)] * 3, Transient),
    "three 502": ([error(502)] * 3, OutcomeUnknown),
    "three 503 of a proxy": ([page(503)] * 3, OutcomeUnknown),
    "three hang-ups": ([hang_up()] * 3, OutcomeUnknown),
    "a lost answer, then 500": ([hang_up(), error(500), error(500)], OutcomeUnknown),
    "a lost answer, then a rate limit": ([hang_up(), error(429)], OutcomeUnknown),
    "a lost answer, then a refusal": ([hang_up(), error(403)], OutcomeUnknown),
}


@pytest.mark.parametrize("case", NOT_DONE)
def test_a_change_that_a_read_does_not_show_is_unknown_where_it_may_land_later(
    server: RawServer, issuer: OpenRouterIssuer, case: str
) -> None:
    replies, kind = NOT_DONE[case]
    server.will(*replies, ON)
    assert outcome(issuer.set_disabled, HASH, True) is kind
    server.will(*replies, OFF)
    assert outcome(issuer.delete, HASH) is kind
    assert server.calls == [DELETE] * len(replies) + [GET]


def test_an_answer_that_contradicts_what_was_asked_is_refused_if_a_read_agrees_with_it(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(ON)
    assert outcome(issuer.set_disabled, HASH, True) is Refused
    server.will(answer(200, {"deleted": False}), OFF)
    assert outcome(issuer.delete, HASH) is Refused


def test_an_answer_that_contradicts_what_was_asked_is_no_refusal_after_a_lost_one(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(hang_up(), ON, ON)
    assert outcome(issuer.set_disabled, HASH, True) is OutcomeUnknown
    server.will(hang_up(), answer(200, {"deleted": False}), OFF)
    assert outcome(issuer.delete, HASH) is OutcomeUnknown


def test_the_read_that_settles_is_repeated_too(server: RawServer, issuer: OpenRouterIssuer) -> None:
    server.will(page(200), hang_up(), error(500), OFF)
    assert issuer.set_disabled(HASH, True).disabled is True
    assert server.calls == [PATCH, GET, GET, GET]


UNREADABLE: dict[str, tuple[Reply, object, object]] = {
    "an odd success": (page(200), OutcomeUnknown, OutcomeUnknown),
    "a hang-up": (hang_up(), OutcomeUnknown, OutcomeUnknown),
    "a 500": (error(500), OutcomeUnknown, OutcomeUnknown),
    "a refusal": (error(400), Refused, Refused),
    "a 404": (GONE, Transient, Transient),
    "a 404 of a proxy": (page(404), Transient, Transient),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_where_the_read_fails_as_well_only_a_definite_no_is_certain(
    server: RawServer, issuer: OpenRouterIssuer, case: str
) -> None:
    reply, disabled, deleted = UNREADABLE[case]
    tries = 3 if case in {"a hang-up", "a 500"} else 1
    server.will(*[reply] * tries, error(500))
    assert outcome(issuer.set_disabled, HASH, True) is disabled
    assert server.calls == [PATCH] * tries + [GET] * 3
    server.will(*[reply] * tries, error(500))
    assert outcome(issuer.delete, HASH) is deleted


def test_a_key_that_is_not_there_cannot_be_disabled(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(GONE)
    with pytest.raises(Refused) as caught:
        issuer.set_disabled(HASH, True)
    assert caught.value.status == 404
    assert server.calls == [PATCH, GET]


def test_a_page_that_says_404_does_not_prove_a_delete(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(page(404))
    assert outcome(issuer.delete, HASH) is Transient
    server.will(hang_up(), hang_up(), hang_up(), page(404))
    assert outcome(issuer.delete, HASH) is OutcomeUnknown


def test_a_rate_limit_goes_back_at_once_with_its_delay(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(error(429, headers={"retry-after": "30"}))
    for call, arguments in ((issuer.set_disabled, (HASH, True)), (issuer.delete, (HASH,))):
        server.asked.clear()
        with pytest.raises(Transient) as caught:
            call(*arguments)
        assert (caught.value.retry_after, caught.value.pauses_writes) == (30.0, True)
        assert len(server.calls) == 1


def test_a_refused_management_key_is_told_at_once(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    server.will(error(401))
    assert outcome(issuer.set_disabled, HASH, True) is Unauthorised
    assert outcome(issuer.delete, HASH) is Unauthorised
    assert server.calls == [PATCH, DELETE]


def test_a_change_that_was_never_sent_is_transient_without_a_read(issuer_for: IssuerFor) -> None:
    with RawServer() as gone:
        url = gone.url
    issuer = issuer_for(url)
    assert outcome(issuer.set_disabled, HASH, True) is Transient
    assert outcome(issuer.delete, HASH) is Transient


def test_a_management_key_that_cannot_be_fetched_again_does_not_hide_what_was_sent(
    server: RawServer, issuer: OpenRouterIssuer
) -> None:
    fetched = iter([Secret("sk-or-mgmt-first")])
    issuer._management_key = lambda: next(fetched)
    server.will(page(200), error(503))
    assert outcome(issuer.set_disabled, HASH, True) is OutcomeUnknown
    assert server.calls == [PATCH] + [GET] * 3


def test_quick_retries_end_with_the_time_out(
    server: RawServer, issuer: OpenRouterIssuer, clock: StillClock
) -> None:
    server.will(hang_up(), OFF)
    clock.ticks = [0.0, 0.0, 10.0]  # the deadline, the first try, the second
    assert issuer.set_disabled(HASH, True).disabled is True
    assert server.calls == [PATCH, GET]


def test_a_change_that_times_out_is_settled_by_a_read(
    server: RawServer, impatient: OpenRouterIssuer, clock: StillClock
) -> None:
    server.will(silence())
    clock.ticks = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]  # no time is left for a second try of either
    assert outcome(impatient.delete, HASH) is OutcomeUnknown
    assert server.heard(2) == [DELETE, GET]


@pytest.mark.parametrize("text", ["", "ab", "AB" * 32, "../keys", "ab" * 32 + "\n", "é" * 64])
def test_what_is_no_hash_is_never_sent(
    server: RawServer, issuer: OpenRouterIssuer, text: str
) -> None:
    server.will(GONE)
    assert outcome(issuer.get, text) is Refused
    assert outcome(issuer.set_disabled, text, True) is Refused
    assert outcome(issuer.delete, text) is Refused
    assert server.calls == []
