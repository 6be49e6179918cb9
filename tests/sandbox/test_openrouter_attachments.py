"""What hangs on keys: by the official SDK, by the published document, and without HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openrouter import OpenRouter, errors
from openrouter.components import ObservabilityWebhookDestination

from rotator.sandbox.server import Sandbox
from tests.sandbox.published import Published

UNKNOWN = "f" * 64


@pytest.fixture
def sdk(sandbox: Sandbox) -> Iterator[OpenRouter]:
    with OpenRouter(
        api_key=sandbox.management_key, server_url=sandbox.openrouter_url, retry_config=None
    ) as opened:
        yield opened


def mint(sdk: OpenRouter, count: int = 1) -> list[str]:
    return [sdk.api_keys.create(name=f"key {n}").data.hash for n in range(count)]


def test_a_key_has_one_guardrail_and_assigning_moves_it(sdk: OpenRouter, sandbox: Sandbox) -> None:
    first, second = (sandbox.attachments.add_guardrail(name) for name in ("first", "second"))
    (key,) = mint(sdk)
    assert sdk.guardrails.bulk_assign_keys(id=first, key_hashes=[key]).assigned_count == 1
    assert sandbox.attachments.guardrail_of(key) == first
    sdk.guardrails.bulk_assign_keys(id=second, key_hashes=[key])
    listed = sdk.guardrails.list_key_assignments()
    assert listed is not None

    rows = [(row.guardrail_id, row.key_hash) for row in listed.result.data]
    assert rows == [(second, key)]
    removed = sdk.guardrails.bulk_unassign_keys(id=first, key_hashes=[key])
    assert removed.unassigned_count == 0  # it touches its own guardrail only
    removed = sdk.guardrails.bulk_unassign_keys(id=second, key_hashes=[key])
    assert removed.unassigned_count == 1
    assert sandbox.attachments.guardrail_of(key) is None


def test_unknown_hashes_are_skipped_and_only_the_count_tells(
    sdk: OpenRouter, sandbox: Sandbox
) -> None:
    guardrail = sandbox.attachments.add_guardrail("g")
    hashes = [*mint(sdk), UNKNOWN]
    assert sdk.guardrails.bulk_assign_keys(id=guardrail, key_hashes=hashes).assigned_count == 1


def test_pages_of_assignments_are_short_where_keys_were_deleted(
    sdk: OpenRouter, sandbox: Sandbox
) -> None:
    guardrail = sandbox.attachments.add_guardrail("g")
    keys = mint(sdk, 3)
    sdk.guardrails.bulk_assign_keys(id=guardrail, key_hashes=keys)
    order = [row["key_hash"] for row in _page(sandbox, guardrail, 0, 3)["data"]]
    sandbox.account.set_deleted(order[0])

    first, second = (_page(sandbox, guardrail, offset, 2) for offset in (0, 2))
    assert [row["key_hash"] for row in first["data"]] == [order[1]]
    assert [row["key_hash"] for row in second["data"]] == [order[2]]
    assert first["total_count"] == 3


def _page(sandbox: Sandbox, guardrail: str, offset: int, limit: int) -> Any:
    authorization = f"Bearer {sandbox.management_key}"
    return sandbox.attachments.list_assignments(authorization, guardrail, offset, limit)


def test_a_guardrail_takes_keys_of_its_workspace_only_unless_it_is_a_legacy_one(
    sdk: OpenRouter, sandbox: Sandbox
) -> None:
    other = sandbox.account.add_workspace("Production", "production")
    elsewhere = sandbox.attachments.add_guardrail("there", other)
    legacy = sandbox.attachments.add_guardrail("legacy", None)
    (key,) = mint(sdk)

    with pytest.raises(errors.BadRequestResponseError):
        sdk.guardrails.bulk_assign_keys(id=elsewhere, key_hashes=[key])
    assert sdk.guardrails.bulk_assign_keys(id=legacy, key_hashes=[key]).assigned_count == 1
    listed = sdk.guardrails.list(workspace_id=other)
    assert listed is not None
    assert [row.name for row in listed.result.data] == ["there"]


def test_a_byok_allow_list_takes_live_keys_only(sdk: OpenRouter, sandbox: Sandbox) -> None:
    old, new = mint(sdk, 2)
    byok = sandbox.attachments.add_byok("openai", [old])
    shown = sdk.byok.update(id=byok, allowed_api_key_hashes=[old, new]).data
    assert shown.allowed_api_key_hashes == [old, new]

    sandbox.account.set_deleted(old)
    for refused in ([old, new], [UNKNOWN], [], ["x"]):
        with pytest.raises(errors.BadRequestResponseError):
            sdk.byok.update(id=byok, allowed_api_key_hashes=refused)
    assert sdk.byok.get(id=byok).data.allowed_api_key_hashes == [old, new]
    assert sdk.byok.update(id=byok, name="n").data.allowed_api_key_hashes == [old, new]
    assert sdk.byok.update(id=byok, allowed_api_key_hashes=None).data.allowed_api_key_hashes is None


def test_a_destinations_allow_list_is_replaced_as_a_whole(
    sdk: OpenRouter, sandbox: Sandbox
) -> None:
    (key,) = mint(sdk)
    destination = sandbox.attachments.add_destination("webhook", [UNKNOWN])
    sdk.observability.update(id=destination, api_key_hashes=[key])
    listed = sdk.observability.list()
    assert listed is not None

    (row,) = listed.result.data
    assert isinstance(row, ObservabilityWebhookDestination)
    assert row.api_key_hashes == [key]
    with pytest.raises(errors.BadRequestResponseError):
        sdk.observability.update(id=destination, api_key_hashes=[])


def test_every_answer_about_attachments_is_one_that_the_published_document_describes(
    published: Published,
) -> None:
    call, attachments = published.call, published.sandbox.attachments
    guardrail = attachments.add_guardrail("g")
    byok, destination = attachments.add_byok("b"), attachments.add_destination("d")
    made = call("POST", "/keys", {"name": "x"})
    hashes = {"key_hashes": [made["data"]["hash"]]}
    assignments = f"/guardrails/{guardrail}/assignments/keys"
    call("POST", assignments, hashes)
    call("POST", assignments, {"key_hashes": []})
    call("POST", assignments, hashes, key=None)
    call("GET", assignments, query="?limit=100")
    call("GET", "/guardrails/assignments/keys")
    call("POST", f"{assignments}/remove", hashes)
    call("GET", "/guardrails", query=f"?workspace_id={published.sandbox.account.default_workspace}")
    call("GET", f"/guardrails/{guardrail}")
    call("GET", "/guardrails/none")
    call("GET", "/byok", query="?limit=101")
    call("GET", "/observability/destinations")
    for path, name in (
        (f"/byok/{byok}", "allowed_api_key_hashes"),
        (f"/observability/destinations/{destination}", "api_key_hashes"),
    ):
        call("GET", path.rpartition("/")[0])
        call("GET", path)
        call("PATCH", path, {name: hashes["key_hashes"]})
        call("PATCH", path, {name: []})
        call("PATCH", path, {name: None}, key=None)
        call("GET", f"{path}0")

    assert {status for *_, status in published.judged} == {200, 201, 400, 401, 404}
    assert len({template for _, template, _ in published.judged}) == 10


def test_calls_about_attachments_are_counted_by_their_routes(
    sdk: OpenRouter, sandbox: Sandbox
) -> None:
    guardrail = sandbox.attachments.add_guardrail("g")
    byok = sandbox.attachments.add_byok("b")
    sdk.guardrails.bulk_unassign_keys(id=guardrail, key_hashes=[UNKNOWN])
    sdk.guardrails.get(id=guardrail)
    sdk.guardrails.list_key_assignments()
    sdk.byok.get(id=byok)

    assert sandbox.calls.by_route("openrouter") == {
        "GET /byok/{id}": 1,
        "GET /guardrails/assignments/keys": 1,
        "GET /guardrails/{id}": 1,
        "POST /guardrails/{id}/assignments/keys/remove": 1,
    }
