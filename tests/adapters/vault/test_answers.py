"""What each answer of Vault, of a proxy and of nobody means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rotator.adapters.vault import VaultSecretStore
from rotator.adapters.vault.kv import same_json
from rotator.errors import (
    CheckAndSetConflict,
    OutcomeUnknown,
    Refused,
    ServiceError,
    Transient,
)
from rotator.secret import SecretFields
from tests.adapters.loopback import Reply, drip, hang_up, head, raw, silence
from tests.adapters.vault.conftest import VALUE, Connect
from tests.adapters.vault.raw_vault import (
    CREATED,
    DATE,
    RawVault,
    answer,
    cut,
    errors,
    page,
    value,
    written,
)

MISMATCH = "check-and-set parameter did not match the current version"
NO_ROUTE = 'no handler for route "secret/data/a". route entry not found.'
FIELDS = SecretFields({"KEY": VALUE})

NOT_UNDERSTOOD: dict[str, Reply] = {
    "nothing at all": hang_up(),
    "a cut answer": cut(200, {"data": {"version": 3, "created_time": CREATED}}),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "silence": silence(),
    "a dripping body": drip(head(200, {"Date": DATE, "Content-Length": "999999"}), b" "),
    "dripping headers": drip(b"HTTP/1.1 200 OK\r\nDate: " + DATE.encode() + b"\r\nX: ", b"x"),
    "a dripping chunk": drip(head(200, {"Transfer-Encoding": "chunked"}) + b"fffff\r\n", b" "),
    "endless headers": raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000),
    "a page with 200": page(200),
    "a page with 403": page(403),
    "a page with 404": page(404),
    "a page with 429": page(429),
    "a page with 503": page(503),
    "another API's 404": answer(404, {"message": "no Route matched with those values"}),
    "another API's 200": answer(200, {"message": "hello"}),
    "a 200 without data": answer(200, {"data": None}),
    "versions without their times": answer(
        200, {"data": {"current_version": 1, "versions": {"1": {}}, "metadata": {"version": 1}}}
    ),
    "an empty 200": answer(200, b""),
    "a list": answer(200, [1, 2]),
    "broken compression": answer(200, b"not gzip", content_encoding="gzip"),
    "deeply nested JSON": answer(200, b"[" * 100_000),
    "a failure": errors(500, "internal error"),
    "a bad gateway": errors(502, "bad gateway"),
    "a gateway timeout": page(504),
}


@pytest.mark.parametrize("reply", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_a_read_that_was_not_understood_is_transient_and_never_an_absence(
    vault: RawVault, store: VaultSecretStore, reply: Reply
) -> None:
    vault.will(reply)
    with pytest.raises(Transient):
        store.read("secret/a")
    with pytest.raises(Transient):
        store.metadata("secret/a")
    assert vault.calls == ["GET secret/data/a", "GET secret/metadata/a"]


@pytest.mark.parametrize("reply", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_a_write_that_was_not_understood_is_settled_by_one_read_and_never_sent_again(
    vault: RawVault, store: VaultSecretStore, reply: Reply
) -> None:
    vault.will(reply, value(3, {"KEY": VALUE}))
    done = store.write("secret/a", FIELDS, cas=2)
    assert done.version == 3
    assert done.created_time == datetime(2026, 3, 4, 11, 59, 59, 123456, tzinfo=UTC)
    assert vault.calls == ["POST secret/data/a", "GET secret/data/a"]


@pytest.mark.parametrize("reply", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_a_write_that_was_not_understood_and_is_not_to_be_seen_is_unknown(
    vault: RawVault, store: VaultSecretStore, reply: Reply
) -> None:
    vault.will(reply, value(2, {"KEY": "as before"}))
    with pytest.raises(OutcomeUnknown):
        store.write("secret/a", FIELDS, cas=2)
    assert vault.calls == ["POST secret/data/a", "GET secret/data/a"]


NOTHING_HAPPENED: dict[str, tuple[Reply, type[ServiceError]]] = {
    "another version": (errors(400, MISMATCH), CheckAndSetConflict),
    "a bad request": (errors(400, "no data provided"), Refused),
    "too large": (errors(413, "request body too large"), Refused),
    "a method not allowed": (errors(405), Refused),
    "no mount": (errors(404, NO_ROUTE), Refused),
    "a stale replica": (errors(412, "required index state not present"), Transient),
    "too many": (errors(429, "rate limit quota exceeded", retry_after="7"), Transient),
    "a secondary": (errors(472), Transient),
    "a performance standby": (errors(473), Transient),
    "not initialised": (errors(501, "Vault is not initialized"), Transient),
    "sealed": (errors(503, "Vault is sealed"), Transient),
    "a redirect": (answer(307, b"", location="http://127.0.0.1:1/v1/x?y=z"), Refused),
    "a redirect in JSON": (errors(302, location="/ui"), Refused),
}


@pytest.mark.parametrize(("reply", "kind"), NOTHING_HAPPENED.values(), ids=NOTHING_HAPPENED)
def test_a_definite_no_is_told_as_such_to_readers_and_writers(
    vault: RawVault, store: VaultSecretStore, reply: Reply, kind: type[ServiceError]
) -> None:
    for act in (
        lambda: store.write("secret/a", FIELDS, cas=2),
        lambda: store.read("secret/a"),
        lambda: store.metadata("secret/a"),
    ):
        vault.will(reply)
        with pytest.raises(ServiceError) as caught:
            act()
        assert type(caught.value) is kind
        assert len(vault.calls) == 1


def test_how_long_to_wait_is_passed_on(vault: RawVault, store: VaultSecretStore) -> None:
    vault.will(errors(429, "rate limit quota exceeded", retry_after="7"))
    with pytest.raises(Transient) as limited:
        store.write("secret/a", FIELDS, cas=0)
    assert (limited.value.retry_after, limited.value.pauses_writes) == (7.0, True)

    vault.will(errors(503, "Vault is sealed", retry_after="Wed, 04 Mar 2026 12:00:00 GMT"))
    with pytest.raises(Transient) as sealed:
        store.write("secret/a", FIELDS, cas=0)
    assert (sealed.value.retry_after, sealed.value.pauses_writes) == (None, False)
    assert sealed.value.status == 503


def test_a_redirect_names_where_it_points_and_takes_nothing_there(
    vault: RawVault, store: VaultSecretStore, connect: Connect
) -> None:
    with RawVault() as elsewhere:
        vault.will(answer(307, b"", location=f"{elsewhere.address}/v1/secret/data/a"))
        with pytest.raises(Refused) as caught:
            store.write("secret/a", FIELDS, cas=0)
        assert elsewhere.address in str(caught.value)
        assert elsewhere.asked == []
    assert vault.calls == ["POST secret/data/a"]


def test_an_answer_without_end_is_given_up(
    vault: RawVault, store: VaultSecretStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotator.adapters.vault.transport.MAX_BODY", 1000)
    vault.will(answer(200, b" " * 1001))
    with pytest.raises(Transient, match="longer than"):
        store.read("secret/a")


def test_a_connection_that_was_never_made_leaves_no_doubt_about_a_write(
    vault: RawVault, connect: Connect
) -> None:
    store = VaultSecretStore(connect(vault.address))
    assert store.read("secret/a").version == 0
    vault.__exit__(None, None, None)
    with pytest.raises(Transient, match="connection refused"):
        store.write("secret/a", FIELDS, cas=0)


def test_an_answer_without_a_date_is_not_believed_where_it_would_be_judged_by(
    vault: RawVault, store: VaultSecretStore
) -> None:
    for reply in (value(1, {"KEY": VALUE}, date=None), errors(404, date="yesterday")):
        vault.will(reply)
        with pytest.raises(Transient, match="no Date header"):
            store.read("secret/a")


def test_a_write_confirmed_without_a_date_takes_its_own_time_for_vaults(
    vault: RawVault, store: VaultSecretStore
) -> None:
    vault.will(written(1, date=None))
    assert store.write("secret/a", FIELDS, cas=0).vault_time == datetime(
        2026, 3, 4, 11, 59, 59, tzinfo=UTC
    )
    assert vault.calls == ["POST secret/data/a"]


SETTLED: dict[str, tuple[list[Reply], type[ServiceError] | None, list[str]]] = {
    "ours stands": ([value(3, {"KEY": VALUE})], None, [""]),
    "ours was overwritten": (
        [value(5, {"KEY": "later"}), value(3, {"KEY": VALUE})],
        None,
        ["", "?version=3"],
    ),
    "another writer made it": ([value(3, {"KEY": "theirs"})], CheckAndSetConflict, [""]),
    "another writer made it long ago": (
        [value(4, {"KEY": VALUE}), value(3, {"KEY": "theirs"})],
        CheckAndSetConflict,
        ["", "?version=3"],
    ),
    "not yet there": ([value(2, {"KEY": "before"})], OutcomeUnknown, [""]),
    "deleted since": ([value(3, None)], OutcomeUnknown, [""]),
    "dropped since": (
        [value(20, {"KEY": "later"}), errors(404)],
        OutcomeUnknown,
        ["", "?version=3"],
    ),
    "gone altogether": ([errors(404)], OutcomeUnknown, [""]),
    "made anew": ([value(1, {"KEY": VALUE})], OutcomeUnknown, [""]),
    "the read fails": ([errors(503, "Vault is sealed")], OutcomeUnknown, [""]),
    "the read is cut": ([hang_up()], OutcomeUnknown, [""]),
    "the read has no date": ([value(3, {"KEY": VALUE}, date=None)], OutcomeUnknown, [""]),
}


@pytest.mark.parametrize(("reads", "kind", "queries"), SETTLED.values(), ids=SETTLED)
def test_a_lost_answer_is_settled_by_who_made_the_version(
    vault: RawVault,
    store: VaultSecretStore,
    reads: list[Reply],
    kind: type[ServiceError] | None,
    queries: list[str],
) -> None:
    vault.will(hang_up(), *reads)
    if kind is None:
        assert store.write("secret/a", FIELDS, cas=2).version == 3
    else:
        with pytest.raises(ServiceError) as caught:
            store.write("secret/a", FIELDS, cas=2)
        assert type(caught.value) is kind
    assert vault.calls == ["POST secret/data/a", *(f"GET secret/data/a{q}" for q in queries)]


@pytest.mark.parametrize(
    "reply",
    [
        written(7),
        answer(200, {"data": {"version": 3}}),
        answer(200, {"data": None}),
        answer(204, b""),
    ],
    ids=["another number", "no time", "no data", "no content"],
)
def test_a_confirmation_that_does_not_fit_is_settled_too(
    vault: RawVault, store: VaultSecretStore, reply: Reply
) -> None:
    vault.will(reply, value(2, {"KEY": "before"}))
    with pytest.raises(OutcomeUnknown):
        store.write("secret/a", FIELDS, cas=2)
    assert len(vault.calls) == 2


@pytest.mark.parametrize(
    ("deletion_time", "destroyed", "live"),
    [
        ("", False, True),
        ("2026-03-04T11:00:00.5Z", False, False),
        ("2026-03-04T12:00:00.999Z", False, False),
        ("2026-03-04T12:00:01Z", False, True),
        ("2026-03-04T14:00:00+02:00", False, False),
        ("", True, False),
    ],
)
def test_a_version_is_live_until_its_deletion_time(
    vault: RawVault, store: VaultSecretStore, deletion_time: str, destroyed: bool, live: bool
) -> None:
    version = {
        "created_time": CREATED,
        "deletion_time": deletion_time,
        "destroyed": destroyed,
    }
    vault.will(answer(200, {"data": {"current_version": 4, "versions": {"4": version}}}))
    metadata = store.metadata("secret/a")
    assert (metadata.version, metadata.live) == (4, live)
    assert metadata.vault_time == datetime(2026, 3, 4, 12, tzinfo=UTC)


def test_metadata_that_was_made_before_any_version_counts_as_none(
    vault: RawVault, store: VaultSecretStore
) -> None:
    vault.will(answer(200, {"data": {"current_version": 0, "versions": {}}}))
    metadata = store.metadata("secret/a")
    assert (metadata.version, metadata.created_time, metadata.live) == (0, None, False)


@pytest.mark.parametrize("fields", [{"a": float("nan")}, {"a": "\ud800"}, {"a": object()}])
def test_what_is_not_json_is_refused_before_anything_is_sent(
    vault: RawVault, store: VaultSecretStore, fields: dict[str, object]
) -> None:
    with pytest.raises(Refused, match="not JSON"):
        store.write("secret/a", SecretFields(fields), cas=0)
    assert vault.asked == []


def test_a_mount_of_version_1_is_noticed_by_its_answers_where_vault_does_not_name_it(
    vault: RawVault, store: VaultSecretStore
) -> None:
    vault.scripted = lambda asked: "lookup-self" not in asked.path
    vault.will(
        errors(403, "preflight capability check returned 403"),
        answer(200, {"data": {"KEY": VALUE}}),
    )
    with pytest.raises(Refused, match="KV version 1"):
        store.read("secret/a")


@pytest.mark.parametrize("odd", [10**400, 1e308, -1, True, "1h", None])
def test_a_token_that_is_described_oddly_counts_as_one_that_lives_for_ever(
    vault: RawVault, connect: Connect, odd: object
) -> None:
    vault.scripted = lambda _: True
    told = {"ttl": odd, "policies": [[None], "a", 7], "identity_policies": None}
    vault.will(answer(200, {"data": told}))
    facts = connect(vault.address).token()
    assert (facts.policies, facts.ttl, facts.renewable) == (frozenset({"a"}), None, False)


@pytest.mark.parametrize(
    ("read", "sent", "same"),
    [
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, True),
        (50, 50.0, True),
        (9007199254740992, 9007199254740993, True),
        (9007199254740992, 9007199254740994, False),
        (10**400, 1.0, False),
        (1, True, False),
        (0, False, False),
        ("1", 1, False),
        (None, False, False),
        ([1, 2], [1], False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": None}, {"b": None}, False),
        ([], {}, False),
    ],
)
def test_data_is_compared_as_vault_keeps_it(read: object, sent: object, same: bool) -> None:
    assert same_json(read, sent) is same
