"""Ledgers as JSON: what was written is read back, and what is not understood whole is refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from rotator.core.codec import (
    Undecodable,
    _decoder,
    decode_document,
    decode_ledger,
    encode_document,
    encode_ledger,
)
from rotator.core.durations import LONGEST
from rotator.core.lease import Open, Pulse
from rotator.core.ledger import SCHEMA, ClaimKind, Ledger, PutBack
from tests.core.builders import (
    FAILURE,
    HELD,
    NONCE,
    NOW,
    A,
    B,
    C,
    D,
    claim,
    ledger,
    quarantined,
    retiring,
)
from tests.core.strategies import ledgers


@pytest.fixture(autouse=True)
def _decoders_made_anew() -> None:
    """They are made once in a process, and these tests are about how they are made."""
    _decoder.cache_clear()


FULL = ledger(
    pending=claim(ClaimKind.DISABLE),
    retiring=(retiring(B, usage=1.5), quarantined(C)),
    abandoned=(NONCE,),
    deleted=(quarantined(D),),
    put_back=PutBack(B, NOW),
    hold=HELD,
    failure=FAILURE,
    audit_head="c" * 64,
)
"""A ledger in which every part is there."""


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(ledgers())
def test_every_ledger_is_read_back_as_it_was_written(book: Ledger) -> None:
    document = json.loads(json.dumps(encode_ledger(book), allow_nan=False))
    assert decode_ledger(document) == book


def test_instants_are_rfc_3339_in_utc_and_durations_are_seconds() -> None:
    document = encode_ledger(FULL)
    assert document["first_seen"] == "2026-03-02T12:00:00Z"
    assert document["policy"]["grace"] == 86400.0
    assert document["schema"] == SCHEMA


def test_an_instant_of_another_zone_is_the_same_instant_in_utc() -> None:
    document = encode_ledger(ledger())
    document["first_seen"] = "2026-03-02T13:00:00+01:00"
    first_seen = decode_ledger(document).first_seen
    assert (first_seen, first_seen.tzinfo) == (datetime(2026, 3, 2, 12, tzinfo=UTC), UTC)
    elsewhere = FULL.first_seen.astimezone(timezone(timedelta(hours=5)))
    assert encode_ledger(ledger(first_seen=elsewhere)) == encode_ledger(ledger())


def test_a_ledger_holds_nothing_but_what_the_format_names() -> None:
    assert set(encode_ledger(FULL)) == {
        "schema", "audit_head", "secret", "policy", "first_seen", "pending", "served", "foreign",
        "retiring", "abandoned", "deleted", "put_back", "hold", "failure", "request", "answers",
    }  # fmt: skip


def changed(path: str, value: Any) -> dict[str, Any]:
    """The full document with the value at a dotted path replaced."""
    document = copy.deepcopy(encode_ledger(FULL))
    part: Any = document
    *parents, last = path.split(".")
    for parent in parents:
        part = part[int(parent)] if parent.isdigit() else part[parent]
    part[int(last) if last.isdigit() else last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("first_seen", "yesterday", "ledger.first_seen is not a datetime"),
        ("first_seen", "2026-03-02T12:00:00", "ledger.first_seen is not a datetime"),
        ("first_seen", 7, "ledger.first_seen is not a datetime"),
        ("first_seen", None, "ledger.first_seen is not a datetime"),
        ("audit_head", 7, "ledger.audit_head is not a str"),
        ("secret", "secret/apps/billing", "ledger.secret is not what it should be"),
        ("secret", None, "ledger.secret is not what it should be"),
        ("secret.path", ["secret"], "ledger.secret.path is not a str"),
        ("policy.grace", "1d", "ledger.policy.grace is not a timedelta"),
        ("policy.grace", True, "ledger.policy.grace is not a timedelta"),
        ("policy.grace", 1e30, "ledger.policy.grace is not a timedelta"),
        ("policy.grace", float("nan"), "ledger.policy.grace is not a timedelta"),
        ("policy.then", "explode", "ledger.policy.then is not a AfterDeadline"),
        ("policy.then", ["keep"], "ledger.policy.then is not a AfterDeadline"),
        ("policy.then", {}, "ledger.policy.then is not a AfterDeadline"),
        ("served.minted_by_us", 1, "ledger.served.minted_by_us is not a bool"),
        ("served.secret_version", True, "ledger.served.secret_version is not a int"),
        ("served.secret_version", 3.0, "ledger.served.secret_version is not a int"),
        ("served.terms.limit", "50", "ledger.served.terms.limit is not a float"),
        ("served.terms.limit_reset", "hourly", "limit_reset is not what it should be"),
        ("served.terms.limit_reset", ["daily"], "limit_reset is not what it should be"),
        ("retiring", {}, "ledger.retiring is not what it should be"),
        ("retiring", None, "ledger.retiring is not what it should be"),
        ("retiring.0", None, "ledger.retiring[] is not what it should be"),
        ("retiring.0.why", "boredom", "ledger.retiring[].why is not a Reason"),
        ("retiring.0.usage", False, "ledger.retiring[].usage is not a float"),
        ("abandoned", "a1", "ledger.abandoned is not what it should be"),
        ("abandoned.0", 7, "ledger.abandoned[] is not a str"),
        ("pending.kind", "merge", "ledger.pending.kind is not a ClaimKind"),
        ("failure.count", "3", "ledger.failure.count is not a int"),
        ("failure", [], "ledger.failure is not what it should be"),
    ],
)
def test_a_wrong_type_is_refused_with_its_place(path: str, value: Any, place: str) -> None:
    with pytest.raises(Undecodable) as raised:
        decode_ledger(changed(path, value))
    assert place in str(raised.value)
    assert not raised.value.newer


@pytest.mark.parametrize("path", ["extra", "served.extra", "retiring.0.extra", "pending.extra"])
def test_an_unknown_field_is_refused(path: str) -> None:
    with pytest.raises(Undecodable, match="lacks or adds: extra"):
        decode_ledger(changed(path, None))


def test_a_missing_field_is_refused() -> None:
    document = encode_ledger(FULL)
    del document["served"]["due_from"]
    with pytest.raises(Undecodable, match=r"ledger\.served lacks or adds: due_from"):
        decode_ledger(document)


def test_what_came_later_may_be_missing() -> None:
    document = encode_ledger(FULL)
    for later in ("request", "answers", "deleted"):
        del document[later]
    del document["served"]["compromised"]
    assert decode_ledger(document) == replace(FULL, deleted=())


def test_a_newer_schema_says_so_even_where_the_rest_is_not_understood() -> None:
    with pytest.raises(Undecodable) as raised:
        decode_ledger({"schema": SCHEMA + 1, "all": "different"})
    assert raised.value.newer


@pytest.mark.parametrize("schema", [0, -1, "1", None, 1.5, True, [1]])
def test_a_schema_that_never_was_is_unreadable_not_newer(schema: Any) -> None:
    with pytest.raises(Undecodable) as raised:
        decode_ledger({**encode_ledger(FULL), "schema": schema})
    assert not raised.value.newer


@pytest.mark.parametrize("document", [{}, {"key": "value"}])
def test_a_document_of_something_else_is_unreadable(document: dict[str, Any]) -> None:
    with pytest.raises(Undecodable, match="no known schema"):
        decode_ledger(document)


def test_what_is_refused_is_not_repeated_in_full() -> None:
    """A document that is not ours could hold anything; little of it is shown."""
    with pytest.raises(Undecodable) as raised:
        decode_ledger({**encode_ledger(FULL), "x" * 5000: "sk-or-v1-secret"})
    assert len(str(raised.value)) < 300
    assert "sk-or" not in str(raised.value)
    assert A not in str(raised.value)


YEAR_9999 = "9999-12-31T23:59:59.999999Z"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("first_seen",), YEAR_9999),
        (("first_seen",), "0001-01-01T00:00:00Z"),
        (("served", "due_from"), YEAR_9999),
        (("served", "expires_at"), "0001-01-01T00:00:00Z"),
        (("served", "secret_version"), -(10**30)),
        (("served", "secret_version"), 10**30),
        (("retiring", 0, "since"), YEAR_9999),
        (("retiring", 1, "disabled_at"), YEAR_9999),
        (("retiring", 0, "usage"), float("nan")),
        (("retiring", 0, "usage"), 10**400),
        (("policy", "grace"), -86399999913600.0),
        (("policy", "grace"), 86399999999999.0),
        (("policy", "quarantine"), float("inf")),
        (("failure", "count"), -1),
        (("pending", "base_version"), -(10**30)),
        (("pending", "key"), None),
    ],
)
def test_what_no_plan_could_reckon_with_is_refused(place: tuple[Any, ...], value: Any) -> None:
    document = json.loads(json.dumps(encode_ledger(FULL)))
    within = document
    for part in place[:-1]:
        within = within[part]
    assert place[-1] in within
    within[place[-1]] = value
    with pytest.raises(Undecodable, match=str(place[-1])):
        decode_ledger(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("policy.grace", 0.0),
        ("policy.grace", LONGEST.total_seconds()),
        ("served.secret_version", 0),
        ("served.secret_version", 2**53),
    ],
)
def test_the_least_and_the_most_of_each_kind_are_read(path: str, value: Any) -> None:
    document = changed(path, value)
    assert encode_ledger(decode_ledger(document)) == document


def test_a_refusal_names_what_is_too_much_and_too_little_and_stops_at_two_hundred() -> None:
    document = {**encode_ledger(FULL), "b": 1, "a": 1}
    del document["served"]
    with pytest.raises(Undecodable) as raised:
        decode_ledger(document)
    assert str(raised.value) == "ledger lacks or adds: a, b, served"
    with pytest.raises(Undecodable) as raised:
        decode_ledger({**encode_ledger(FULL), "x" * 5000: 1})
    assert str(raised.value) == "ledger lacks or adds: " + "x" * 200


# Documents other than ledgers.

PULSE = Pulse((Open("app", "4711"), Open("billing", "0815")))


def test_a_document_bears_its_schema_beside_its_fields_and_is_read_back() -> None:
    document = encode_document(PULSE, 3)
    assert document == {
        "schema": 3,
        "requests": [{"target": "app", "id": "4711"}, {"target": "billing", "id": "0815"}],
    }
    assert decode_document(Pulse, document, 3) == PULSE


@pytest.mark.parametrize(
    ("document", "error", "newer"),
    [
        ({"schema": 4, "requests": []}, "schema 4 is newer than 3", True),
        ({"schema": 2, "requests": []}, "no known schema", False),
        ({"requests": []}, "no known schema", False),
        ({"schema": 3}, "pulse lacks or adds: requests", False),
        ({"schema": 3, "requests": [], "more": 1}, "pulse lacks or adds: more", False),
        ({"schema": 3, "requests": [{"target": 7, "id": "a"}]}, "pulse.requests[].target", False),
    ],
)
def test_a_document_of_another_kind_or_schema_is_refused(
    document: dict[str, Any], error: str, newer: bool
) -> None:
    with pytest.raises(Undecodable) as raised:
        decode_document(Pulse, document, 3)
    assert str(raised.value).startswith(error)
    assert raised.value.newer is newer
