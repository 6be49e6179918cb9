"""The account behind the simulated OpenRouter API, without HTTP."""

from __future__ import annotations

import hashlib
import random
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rotator.sandbox.openrouter_account import OpenRouterAccount
from rotator.sandbox.openrouter_requests import ApiError
from tests.sandbox.conftest import StillClock


class Caller:
    """An account with a management key, and the words to use it briefly."""

    def __init__(self, clock: StillClock) -> None:
        self.account = OpenRouterAccount(now=clock, rng=random.Random(7))
        self.management = f"Bearer {self.account.add_management_key()}"

    def create(self, **fields: Any) -> tuple[str, dict[str, Any]]:
        """Return the `Authorization` of a new key, and its object."""
        answer = self.account.create_key(self.management, {"name": "a key", **fields})
        return f"Bearer {answer['key']}", answer["data"]

    def look(self, key: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.account.get_key(self.management, key["hash"])["data"]
        return found

    def update(self, key: dict[str, Any], **fields: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.account.update_key(self.management, key["hash"], fields)
        return answer["data"]  # type: ignore[no-any-return]

    def names(self, **query: Any) -> list[str]:
        rows = self.account.list_keys(self.management, **query)["data"]
        return [row["name"] for row in rows]


@pytest.fixture
def caller(clock: StillClock) -> Caller:
    return Caller(clock)


def refusal(act: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        act()
    return caught.value.status, caught.value.message


def test_a_new_key_is_named_by_the_hash_of_its_plaintext(caller: Caller) -> None:
    authorization, key = caller.create()
    plaintext = authorization.removeprefix("Bearer ")

    assert re.fullmatch(r"sk-or-v1-[0-9a-f]{64}", plaintext)
    assert key["hash"] == hashlib.sha256(plaintext.encode()).hexdigest()


def test_the_plaintext_is_in_no_later_answer_and_nowhere_in_the_account(caller: Caller) -> None:
    authorization, key = caller.create()
    secret = authorization.removeprefix("Bearer sk-or-v1-")

    kept = repr(vars(caller.account)) + repr(caller.account.all_keys())
    assert secret not in kept
    assert secret not in repr([caller.look(key), caller.update(key, name="b")])
    assert key["label"] == f"sk-or-v1-{secret[:3]}...{secret[-3:]}"


def test_the_same_seed_makes_the_same_keys(clock: StillClock) -> None:
    assert Caller(clock).create()[0] == Caller(clock).create()[0]


def test_a_listing_is_100_a_page_and_newest_first(caller: Caller, clock: StillClock) -> None:
    for number in range(101):
        caller.create(name=f"key {number}")
        if number % 2:
            clock.advance(seconds=1)

    first, second = caller.names(), caller.names(offset=100)
    assert first == [f"key {number}" for number in range(100, 0, -1)]
    assert second == ["key 0"]
    assert caller.names(offset=101) == []


def test_disabled_and_expired_keys_are_listed_only_on_request(
    caller: Caller, clock: StillClock
) -> None:
    caller.create(name="plain")
    caller.update(caller.create(name="disabled")[1], disabled=True)
    caller.create(name="expired", expires_at="2026-03-04T12:00:10Z")
    both = caller.create(name="both", expires_at="2026-03-04T12:00:10Z")[1]
    caller.update(both, disabled=True)
    clock.advance(seconds=10)

    assert caller.names() == ["plain"]
    assert caller.names(include_disabled=True) == ["disabled", "plain"]
    assert caller.names(include_expired=True) == ["expired", "plain"]
    assert len(caller.names(include_disabled=True, include_expired=True)) == 4


def test_a_listing_shows_one_workspace_and_a_look_reaches_all(caller: Caller) -> None:
    other = caller.account.add_workspace("Production", "production")
    caller.create(name="in default")
    key = caller.create(name="in production", workspace_id=other)[1]

    assert caller.names() == ["in default"]
    assert caller.names(workspace_id=other) == ["in production"]
    assert caller.look(key)["workspace_id"] == other
    rows = caller.account.list_workspaces(caller.management)
    assert [row["slug"] for row in rows["data"]] == ["default", "production"]
    assert rows["total_count"] == 2


def test_a_key_moves_to_another_workspace_by_a_patch(caller: Caller) -> None:
    other = caller.account.add_workspace("Production", "production")
    key = caller.create(name="mover")[1]
    caller.update(key, workspace_id=other)

    assert caller.names() == []
    assert caller.names(workspace_id=other) == ["mover"]


def test_an_unknown_workspace_is_refused(caller: Caller) -> None:
    nowhere = "0df9e665-d932-5740-b2c7-b52af166bc11"

    assert refusal(lambda: caller.create(workspace_id=nowhere))[0] == 400
    assert refusal(lambda: caller.create(workspace_id="x"))[0] == 400
    assert refusal(lambda: caller.names(workspace_id=nowhere))[0] == 404


def test_management_keys_are_never_listed_and_cannot_be_reached_by_hash(caller: Caller) -> None:
    hash_ = caller.account.all_keys()[0]["hash"]

    assert caller.names(include_disabled=True, include_expired=True) == []
    assert refusal(lambda: caller.account.get_key(caller.management, hash_))[0] == 404
    assert refusal(lambda: caller.account.delete_key(caller.management, hash_))[0] == 404


def test_only_a_working_management_key_may_manage(caller: Caller) -> None:
    account = caller.account
    inference = caller.create()[0]

    assert refusal(lambda: account.list_keys(None)) == (401, "Missing Authentication header")
    assert refusal(lambda: account.list_keys("Basic eDp5")) == (
        401,
        "Missing Authentication header",
    )
    assert refusal(lambda: account.list_keys("Bearer sk-or-mgmt-unknown")) == (
        401,
        "User not found.",
    )
    assert refusal(lambda: account.list_keys(inference)) == (
        403,
        "Only management keys can perform this operation",
    )


def test_an_expired_management_key_is_refused(caller: Caller, clock: StillClock) -> None:
    soon = clock() + timedelta(hours=1)
    short = f"Bearer {caller.account.add_management_key(expires_at=soon)}"
    shown = caller.account.current_key(short)["data"]
    clock.advance(hours=1)

    assert shown["expires_at"] == "2026-03-04T13:00:00Z"
    assert refusal(lambda: caller.account.list_keys(short))[0] == 401


def test_a_disabled_expired_or_deleted_key_is_refused_on_use_in_the_same_words(
    caller: Caller, clock: StillClock
) -> None:
    account = caller.account
    disabled, key = caller.create()
    caller.update(key, disabled=True)
    deleted, key = caller.create()
    account.delete_key(caller.management, key["hash"])
    expired, _ = caller.create(expires_at="2026-03-04T12:00:01.5Z")
    account.complete(expired)
    clock.advance(seconds=2)

    for authorization in (disabled, deleted, expired):
        assert refusal(lambda a=authorization: account.complete(a)) == (401, "User not found.")  # type: ignore[misc]
        assert refusal(lambda a=authorization: account.current_key(a))[0] == 401  # type: ignore[misc]


def test_a_key_that_is_enabled_again_works_again(caller: Caller) -> None:
    authorization, key = caller.create()
    caller.update(key, disabled=True)
    caller.update(key, disabled=False)

    assert caller.account.complete(authorization) > 0
    assert caller.account.works(key["hash"])


def test_a_deleted_key_is_gone_for_good(caller: Caller) -> None:
    account, (_, key) = caller.account, caller.create()

    assert account.delete_key(caller.management, key["hash"]) == {"deleted": True}
    for act in (account.get_key, account.delete_key):
        assert refusal(lambda act=act: act(caller.management, key["hash"]))[0] == 404  # type: ignore[misc]
    assert refusal(lambda: caller.update(key, disabled=False))[0] == 404
    assert account.all_keys()[-1]["deleted"] is True


def test_usage_is_counted_by_utc_day_monday_week_and_month(
    caller: Caller, clock: StillClock
) -> None:
    _, key = caller.create()
    spent: dict[str, tuple[float, ...]] = {}
    for moment in (
        datetime(2026, 3, 1, 23, 59, tzinfo=UTC),  # Sunday, the last minute of a week
        datetime(2026, 3, 2, 0, 0, tzinfo=UTC),  # Monday
        datetime(2026, 3, 8, 23, 59, tzinfo=UTC),  # Sunday of the same week
        datetime(2026, 4, 1, 0, 0, tzinfo=UTC),  # Wednesday, a new month
    ):
        clock.time = moment
        caller.account.spend(key["hash"], 1.0, byok=0.5)
        shown = caller.look(key)
        assert shown["byok_usage_weekly"] == shown["usage_weekly"] / 2
        names = ("usage_daily", "usage_weekly", "usage_monthly", "usage")
        spent[moment.date().isoformat()] = tuple(shown[name] for name in names)

    assert spent == {
        "2026-03-01": (1, 1, 1, 1),
        "2026-03-02": (1, 1, 2, 2),
        "2026-03-08": (1, 2, 3, 3),
        "2026-04-01": (1, 1, 1, 4),
    }
    clock.time = datetime(2026, 5, 1, tzinfo=UTC)
    shown = caller.look(key)
    assert (shown["usage_daily"], shown["usage_monthly"], shown["usage"]) == (0, 0, 4)


@pytest.mark.parametrize(
    ("reset", "remaining"), [("daily", 10), ("weekly", 10), ("monthly", 7), (None, 7)]
)
def test_what_remains_of_a_limit_is_that_of_its_own_window(
    caller: Caller, clock: StillClock, reset: str | None, remaining: float
) -> None:
    clock.time = datetime(2026, 3, 7, tzinfo=UTC)  # Saturday
    _, key = caller.create(limit=10, limit_reset=reset)
    caller.account.spend(key["hash"], 3.0)
    assert caller.look(key)["limit_remaining"] == 7

    clock.advance(days=3)  # Tuesday
    assert caller.look(key)["limit_remaining"] == remaining


def test_byok_spending_counts_against_a_limit_only_where_the_key_says_so(caller: Caller) -> None:
    _, without = caller.create(limit=10)
    _, counted = caller.create(limit=10, include_byok_in_limit=True)
    for key in (without, counted):
        caller.account.spend(key["hash"], 1.0, byok=4.0)

    assert caller.look(without)["limit_remaining"] == 9
    assert caller.look(counted)["limit_remaining"] == 5


def test_a_key_without_a_limit_has_nothing_remaining_to_name(caller: Caller) -> None:
    _, key = caller.create()
    assert (key["limit"], key["limit_remaining"], key["limit_reset"]) == (None, None, None)


def test_a_spent_limit_is_a_403_until_it_is_raised_or_its_window_ends(
    caller: Caller, clock: StillClock
) -> None:
    authorization, key = caller.create(limit=1, limit_reset="daily")
    caller.account.spend(key["hash"], 1.0)
    status, message = refusal(lambda: caller.account.complete(authorization))
    assert status == 403
    assert message.startswith("Key limit exceeded (daily limit)")
    assert caller.account.current_key(authorization)["data"]["limit_remaining"] == 0

    caller.update(key, limit=2)
    assert caller.account.complete(authorization) > 0
    caller.update(key, limit=1)
    clock.advance(days=1)
    assert caller.account.complete(authorization) > 0


def test_a_limit_of_zero_lets_nothing_through(caller: Caller) -> None:
    authorization, _ = caller.create(limit=0)
    assert refusal(lambda: caller.account.complete(authorization))[0] == 403


def test_use_moves_last_used_at_and_a_change_moves_updated_at(
    caller: Caller, clock: StillClock
) -> None:
    authorization, key = caller.create()
    assert (key["last_used_at"], key["updated_at"]) == (None, None)
    clock.advance(minutes=5)
    caller.account.complete(authorization)
    clock.advance(minutes=5)
    shown = caller.update(key, name="renamed")

    assert shown["created_at"] == "2026-03-04T12:00:00.000000+00:00"
    assert shown["last_used_at"] == "2026-03-04T12:05:00.000000+00:00"
    assert shown["updated_at"] == "2026-03-04T12:10:00.000000+00:00"


def test_looking_is_no_use(caller: Caller) -> None:
    authorization, key = caller.create()
    caller.account.current_key(authorization)
    assert caller.look(key)["last_used_at"] is None


def test_the_callers_own_key_shows_no_hash_and_no_name(caller: Caller) -> None:
    authorization, _ = caller.create(creator_user_id="user_1")
    own = caller.account.current_key(authorization)["data"]
    management = caller.account.current_key(caller.management)["data"]

    assert not {"hash", "name", "disabled"} & set(own)
    assert (own["is_management_key"], own["creator_user_id"]) == (False, "user_1")
    assert management["is_management_key"] is management["is_provisioning_key"] is True


@pytest.mark.parametrize(
    "expires_at",
    [
        "2027-12-31T23:59Z",
        "2027-12-31T23:59:59",
        "2027-12-31T23:59:59+00:00",
        "2027-12-31T23:59:59+02:00",
        "2027-12-31",
        "2027-13-31T23:59:59Z",
        "2026-03-04T12:00:00Z",
        1798761599,
    ],
)
def test_an_expiry_that_is_not_utc_with_seconds_and_ahead_is_refused(
    caller: Caller, expires_at: object
) -> None:
    assert refusal(lambda: caller.create(expires_at=expires_at))[0] == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": None},
        {"limit": "10"},
        {"limit": True},
        {"limit_reset": "yearly"},
        {"include_byok_in_limit": None},
        {"creator_user_id": ""},
        {"workspace_id": None},
    ],
)
def test_a_create_with_a_bad_field_makes_nothing(caller: Caller, fields: dict[str, Any]) -> None:
    assert refusal(lambda: caller.create(**fields))[0] == 400
    assert caller.names(include_disabled=True) == []


def test_a_patch_ignores_unknown_fields_and_refuses_one_that_names_nothing(caller: Caller) -> None:
    _, key = caller.create()

    assert refusal(lambda: caller.update(key)) == (400, "No update fields provided")
    assert refusal(lambda: caller.update(key, expires_at=None, hidden=True)) == (
        400,
        "No update fields provided",
    )
    assert caller.update(key, name="b", hidden=True)["name"] == "b"
    assert refusal(lambda: caller.update(key, disabled=None))[0] == 400


def test_a_patch_that_names_null_clears_and_one_that_leaves_out_keeps(caller: Caller) -> None:
    _, key = caller.create(limit=5, limit_reset="weekly")

    assert caller.update(key, disabled=True)["limit"] == 5
    shown = caller.update(key, limit=None, limit_reset=None)
    assert (shown["limit"], shown["limit_reset"], shown["disabled"]) == (None, None, True)


def test_a_patch_cannot_disable_and_fail_halfway(caller: Caller) -> None:
    _, key = caller.create()

    assert refusal(lambda: caller.update(key, disabled=True, limit="much"))[0] == 400
    assert caller.look(key)["disabled"] is False


def test_writes_above_the_rate_wait_for_the_oldest_of_the_minute(
    caller: Caller, clock: StillClock
) -> None:
    caller.account.settings.writes_per_minute = 2
    _, key = caller.create()
    clock.advance(seconds=20)
    caller.update(key, name="b")
    with pytest.raises(ApiError) as caught:
        caller.create()

    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "40"})
    assert caller.look(key)["name"] == "b"  # reads go on
    clock.advance(seconds=40)
    assert caller.create(name="c")[1]["name"] == "c"


def test_the_daily_quota_ends_at_midnight_utc_and_counts_changes_only(
    caller: Caller, clock: StillClock
) -> None:
    caller.account.settings.modifies_per_day = 2
    _, key = caller.create()
    caller.look(key)
    caller.account.delete_key(caller.management, key["hash"])
    with pytest.raises(ApiError) as caught:
        caller.create()

    assert caught.value.status == 429
    assert caught.value.headers["Retry-After"] == str(12 * 3600)
    assert "keys-modify-api-rpd-v2" in caught.value.message
    clock.advance(hours=12)
    assert caller.create()[1]["disabled"] is False


def test_a_fresh_key_may_lag(caller: Caller, clock: StillClock) -> None:
    caller.account.settings.fresh_key_lag = timedelta(seconds=30)
    authorization, key = caller.create()

    assert refusal(lambda: caller.account.current_key(authorization))[0] == 401
    assert caller.look(key)["disabled"] is False
    clock.advance(seconds=30)
    assert caller.account.current_key(authorization)["data"]["label"] == key["label"]


def test_management_keys_do_no_inference_and_spent_credits_are_a_402(caller: Caller) -> None:
    authorization, _ = caller.create()
    caller.account.settings.total_credits = caller.account.complete(authorization)

    assert refusal(lambda: caller.account.complete(caller.management))[0] == 403
    assert refusal(lambda: caller.account.complete(authorization))[0] == 402
    credits_ = caller.account.credits(caller.management)["data"]
    assert credits_["total_usage"] == credits_["total_credits"]


def test_a_person_disables_and_deletes_in_the_console(caller: Caller) -> None:
    authorization, key = caller.create()
    caller.account.set_disabled(key["hash"], disabled=True)
    assert caller.look(key)["disabled"] is True
    assert caller.account.works(key["hash"]) is False
    caller.account.set_disabled(key["hash"], disabled=False)
    assert caller.account.complete(authorization) > 0
    caller.account.set_deleted(key["hash"])
    assert refusal(lambda: caller.look(key))[0] == 404


def test_names_are_not_unique(caller: Caller) -> None:
    caller.create(name="twin")
    caller.create(name="twin")
    assert caller.names() == ["twin", "twin"]


def test_no_call_of_many_threads_is_lost(caller: Caller) -> None:
    authorization, key = caller.create()

    def work() -> None:
        for _ in range(50):
            caller.create()
            caller.account.complete(authorization)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    cost = caller.account.settings.completion_cost
    assert caller.look(key)["usage"] == pytest.approx(400 * cost)
    assert len(caller.account.all_keys()) == 402
    hashes = {row["hash"] for row in caller.account.all_keys()}
    assert len(hashes) == 402


def test_the_creator_and_the_partners_user_are_kept(caller: Caller) -> None:
    external = {"user": "customer-1", "api_key": "k" * 32}
    _, key = caller.create(creator_user_id="user_1", external=external)
    caller.account.settings.default_creator = "user_2"
    _, without = caller.create()

    assert (key["creator_user_id"], key["external_user"]) == ("user_1", "customer-1")
    assert (without["creator_user_id"], without["external_user"]) == ("user_2", None)
