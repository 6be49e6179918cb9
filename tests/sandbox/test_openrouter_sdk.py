"""The official SDK drives the simulated OpenRouter API, and the published document judges it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from openrouter import OpenRouter, errors

from rotator.sandbox.server import Sandbox
from tests.sandbox.conftest import StillClock
from tests.sandbox.published import Published

# The SDK warns of deprecated fields while it reads an answer that holds them.
pytestmark = pytest.mark.filterwarnings("ignore:.*DEPRECATED:DeprecationWarning")


def client(sandbox: Sandbox, key: str | None = None) -> OpenRouter:
    return OpenRouter(
        api_key=key or sandbox.management_key, server_url=sandbox.openrouter_url, retry_config=None
    )


@pytest.fixture
def sdk(sandbox: Sandbox) -> Iterator[OpenRouter]:
    with client(sandbox) as opened:
        yield opened


def test_the_sdk_creates_reads_changes_and_deletes_a_key(sdk: OpenRouter) -> None:
    made = sdk.api_keys.create(
        name="billing",
        limit=10,
        limit_reset="monthly",
        include_byok_in_limit=True,
        expires_at=datetime(2027, 1, 1, tzinfo=UTC),
        creator_user_id="user_1",
    )
    hash_ = made.data.hash
    seen = sdk.api_keys.get(hash=hash_).data
    changed = sdk.api_keys.update(hash=hash_, disabled=True, limit=None).data

    assert (seen.name, seen.limit, seen.limit_reset, seen.creator_user_id) == (
        "billing",
        10,
        "monthly",
        "user_1",
    )
    assert seen.expires_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert (changed.disabled, changed.limit) == (True, None)
    assert sdk.api_keys.delete(hash=hash_).DELETED is True
    with pytest.raises(errors.NotFoundResponseError):
        sdk.api_keys.get(hash=hash_)


def test_the_sdk_lists_and_pages(sdk: OpenRouter, sandbox: Sandbox) -> None:
    workspace = sandbox.account.add_workspace("Production", "production")
    for number in range(102):
        sdk.api_keys.create(name=f"key {number}", workspace_id=workspace)
    newest = sdk.api_keys.list(workspace_id=workspace).data
    sdk.api_keys.update(hash=newest[0].hash, disabled=True)
    rest = sdk.api_keys.list(workspace_id=workspace, offset=100, include_disabled=True).data

    assert (len(newest), newest[0].name) == (100, "key 101")
    assert [key.name for key in rest] == ["key 1", "key 0"]
    assert sdk.api_keys.list(include_expired=True).data == []
    listed = sdk.workspaces.list()
    assert listed is not None
    assert [row.slug for row in listed.result.data] == ["default", "production"]


def test_the_sdk_sees_its_own_key_and_the_credits(sdk: OpenRouter, sandbox: Sandbox) -> None:
    made = sdk.api_keys.create(name="mine", limit=3)
    with client(sandbox, made.key) as inference:
        own = inference.api_keys.get_current_key_metadata().data
        with pytest.raises(errors.ForbiddenResponseError):
            inference.credits.get_credits()

    assert (own.label, own.limit_remaining, own.is_management_key) == (made.data.label, 3, False)
    assert sdk.api_keys.get_current_key_metadata().data.is_management_key is True
    assert sdk.credits.get_credits().data.total_usage == 0


def test_the_sdk_completes_a_chat_with_a_minted_key(sdk: OpenRouter, sandbox: Sandbox) -> None:
    made = sdk.api_keys.create(name="chat")
    with client(sandbox, made.key) as inference:
        answer = inference.chat.send(
            model="sandbox/echo", messages=[{"role": "user", "content": "ping"}]
        )

    assert answer.choices[0].message.content == "This is the sandbox."
    assert sdk.api_keys.get(hash=made.data.hash).data.usage > 0


def test_the_sdk_gets_the_errors_it_knows(sdk: OpenRouter, sandbox: Sandbox) -> None:
    with pytest.raises(errors.BadRequestResponseError, match="No update fields provided"):
        sdk.api_keys.update(hash=sdk.api_keys.create(name="x").data.hash)
    with pytest.raises(errors.UnauthorizedResponseError, match="User not found"):
        client(sandbox, "sk-or-v1-unknown").api_keys.list()
    sandbox.account.settings.writes_per_minute = 0
    with pytest.raises(errors.TooManyRequestsResponseError) as caught:
        sdk.api_keys.create(name="y")
    assert caught.value.headers["retry-after"] == "60"


def test_every_answer_is_one_that_the_published_document_describes(
    published: Published, clock: StillClock
) -> None:
    call = published.call
    everything = {
        "name": "full",
        "limit": 5.5,
        "limit_reset": "weekly",
        "expires_at": "2027-01-01T00:00:00Z",
        "creator_user_id": "user_1",
        "include_byok_in_limit": True,
    }
    made = call("POST", "/keys", everything)
    one = f"/keys/{made['data']['hash']}"
    published.sandbox.account.spend(made["data"]["hash"], 0.25, byok=0.5)
    clock.advance(hours=1)
    call("GET", one)
    call("PATCH", one, {"name": "b", "disabled": True, "limit": None, "limit_reset": None})
    call("GET", "/keys", query="?include_disabled=true&include_expired=true&offset=0")
    call("GET", "/key")
    call("GET", "/key", key=call("POST", "/keys", {"name": "bare"})["key"])
    call("GET", "/credits")
    call("GET", "/credits", key=call("POST", "/keys", {"name": "bare"})["key"])
    call("GET", "/workspaces", query="?limit=1")
    call("POST", "/keys", {"name": ""})
    call("PATCH", one, {})
    call("GET", "/keys", query="?offset=-1")
    call("GET", "/keys", query="?workspace_id=default")
    call("DELETE", one)
    for method in ("GET", "PATCH", "DELETE"):
        call(method, one, {"name": "x"} if method == "PATCH" else None)
        call(method, one, {"name": "x"} if method == "PATCH" else None, key=None)
    call("GET", "/keys", key=None)
    call("GET", "/key", key="sk-or-v1-unknown")
    call("POST", "/keys", {"name": "x"}, key=None)
    published.sandbox.account.settings.writes_per_minute = 0
    for method, path in (("POST", "/keys"), ("PATCH", one), ("DELETE", one)):
        call(method, path, {"name": "x"})

    judged = {(method, template, status) for method, template, status in published.judged}
    for method, template in (("GET", "/keys"), ("GET", "/keys/{hash}"), ("DELETE", "/keys/{hash}")):
        assert {(method, template, 200), (method, template, 401)} <= judged
    assert {status for *_, status in judged} == {200, 201, 400, 401, 403, 404, 429}
