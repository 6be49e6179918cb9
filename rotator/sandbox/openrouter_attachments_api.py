"""The HTTP routes of what hangs on keys: guardrails and allow-lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rotator.sandbox import openrouter_requests as read
from rotator.sandbox.openrouter_attachments import Attachments

Endpoint = Callable[[Request], Awaitable[Response]]


def attachment_routes(attachments: Attachments, prefix: str) -> list[Route]:
    """Return the routes under `prefix` that serve `attachments`."""
    it = attachments
    guardrail, byok, destination = (
        "/guardrails/{id}",
        "/byok/{id}",
        "/observability/destinations/{id}",
    )
    routes: list[tuple[str, str, Endpoint]] = [
        ("GET", "/guardrails", _page_of_workspace(it.list_guardrails)),
        ("GET", "/guardrails/assignments/keys", _page_of_assignments(it)),
        ("GET", guardrail, _one(it.get_guardrail)),
        ("GET", f"{guardrail}/assignments/keys", _page_of_assignments(it)),
        ("POST", f"{guardrail}/assignments/keys", _changed(it.assign)),
        ("POST", f"{guardrail}/assignments/keys/remove", _changed(it.unassign)),
        ("GET", "/byok", _page_of_workspace(it.list_byok)),
        ("GET", byok, _one(it.get_byok)),
        ("PATCH", byok, _changed(it.update_byok)),
        ("GET", "/observability/destinations", _page_of_workspace(it.list_destinations)),
        ("GET", destination, _one(it.get_destination)),
        ("PATCH", destination, _changed(it.update_destination)),
    ]
    return [Route(prefix + path, endpoint, methods=[method]) for method, path, endpoint in routes]


def _page(request: Request) -> tuple[int, int]:
    query = request.query_params
    offset = read.read_query_number(query.get("offset"), "offset", default=0, least=0, most=10**9)
    limit = read.read_query_number(query.get("limit"), "limit", default=50, least=1, most=100)
    return offset, limit


def _page_of_workspace(
    call: Callable[[str | None, str | None, int, int], dict[str, Any]],
) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        workspace = request.query_params.get("workspace_id")
        if workspace is not None:
            workspace = read.read_uuid(workspace, "workspace_id")
        answer = call(request.headers.get("authorization"), workspace, *_page(request))
        return JSONResponse(answer)

    return endpoint


def _page_of_assignments(attachments: Attachments) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        authorization, identity = (
            request.headers.get("authorization"),
            request.path_params.get("id"),
        )
        return JSONResponse(attachments.list_assignments(authorization, identity, *_page(request)))

    return endpoint


def _one(call: Callable[[str | None, str], dict[str, Any]]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return JSONResponse(call(request.headers.get("authorization"), request.path_params["id"]))

    return endpoint


def _changed(call: Callable[[str | None, str, dict[str, Any]], dict[str, Any]]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        authorization, body = (
            request.headers.get("authorization"),
            read.read_body(await request.body()),
        )
        return JSONResponse(call(authorization, request.path_params["id"], body))

    return endpoint
