"""The OpenRouter-compatible HTTP API over an `OpenRouterAccount`, under `/api/v1`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rotator.sandbox import openrouter_requests as read
from rotator.sandbox.openrouter_account import OpenRouterAccount
from rotator.sandbox.openrouter_attachments import Attachments
from rotator.sandbox.openrouter_attachments_api import attachment_routes
from rotator.sandbox.openrouter_requests import ApiError

PREFIX = "/api/v1"
_TEMPLATES = (
    (re.compile(r"/keys/[^/]+"), "/keys/{hash}"),
    (re.compile(r"/guardrails/assignments/keys"), "/guardrails/assignments/keys"),
    (re.compile(r"/(guardrails|byok|observability/destinations)/[^/]+"), r"/\1/{id}"),
    (re.compile(r"/guardrails/[^/]+/(assignments/keys(?:/remove)?)"), r"/guardrails/{id}/\1"),
)


def template_of(_method: str, path: str) -> str:
    """Return the route of a path, such as `/keys/{hash}`; the path itself where it has none."""
    path = path.removeprefix(PREFIX)
    for pattern, template in _TEMPLATES:
        if (found := pattern.fullmatch(path)) is not None:
            return found.expand(template)
    return path


class _Routes:
    def __init__(self, account: OpenRouterAccount) -> None:
        self.account = account

    async def list_keys(self, request: Request) -> Response:
        query = request.query_params
        workspace = query.get("workspace_id")
        answer = self.account.list_keys(
            request.headers.get("authorization"),
            offset=read.read_query_number(
                query.get("offset"), "offset", default=0, least=0, most=10**9
            ),
            include_disabled=read.read_query_flag(
                query.get("include_disabled"), "include_disabled"
            ),
            include_expired=read.read_query_flag(query.get("include_expired"), "include_expired"),
            workspace_id=None if workspace is None else read.read_uuid(workspace, "workspace_id"),
        )
        return JSONResponse(answer)

    async def create_key(self, request: Request) -> Response:
        authorization = request.headers.get("authorization")
        return JSONResponse(
            self.account.create_key(authorization, read.read_body(await request.body())), 201
        )

    async def get_key(self, request: Request) -> Response:
        authorization = request.headers.get("authorization")
        return JSONResponse(self.account.get_key(authorization, request.path_params["hash"]))

    async def update_key(self, request: Request) -> Response:
        authorization = request.headers.get("authorization")
        body = read.read_body(await request.body())
        return JSONResponse(
            self.account.update_key(authorization, request.path_params["hash"], body)
        )

    async def delete_key(self, request: Request) -> Response:
        authorization = request.headers.get("authorization")
        return JSONResponse(self.account.delete_key(authorization, request.path_params["hash"]))

    async def current_key(self, request: Request) -> Response:
        return JSONResponse(self.account.current_key(request.headers.get("authorization")))

    async def credits(self, request: Request) -> Response:
        return JSONResponse(self.account.credits(request.headers.get("authorization")))

    async def workspaces(self, request: Request) -> Response:
        query = request.query_params
        answer = self.account.list_workspaces(
            request.headers.get("authorization"),
            offset=read.read_query_number(
                query.get("offset"), "offset", default=0, least=0, most=10**9
            ),
            limit=read.read_query_number(
                query.get("limit"), "limit", default=50, least=1, most=100
            ),
        )
        return JSONResponse(answer)

    async def complete(self, request: Request) -> Response:
        body = read.read_body(await request.body())
        cost = self.account.complete(request.headers.get("authorization"))
        message = {"role": "assistant", "content": "This is the sandbox."}
        answer = {
            "id": "gen-sandbox",
            "object": "chat.completion",
            "created": int(self.account.now.timestamp()),
            "system_fingerprint": None,
            "model": body.get("model", "sandbox/echo"),
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cost": cost},
        }
        return JSONResponse(answer)


def openrouter_app(account: OpenRouterAccount, attachments: Attachments) -> Starlette:
    """Return the ASGI application that serves `account` and what hangs on its keys."""
    routes = _Routes(account)

    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return JSONResponse(error.body(account.user_id), error.status, headers=error.headers)

    async def absent(request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        message = f"{request.method} {request.url.path} is not part of the sandbox"
        return JSONResponse(ApiError(status, message).body(account.user_id), status)

    def route(path: str, method: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(PREFIX + path, endpoint, methods=[method])

    return Starlette(
        routes=[
            route("/keys", "GET", routes.list_keys),
            route("/keys", "POST", routes.create_key),
            route("/keys/{hash}", "GET", routes.get_key),
            route("/keys/{hash}", "PATCH", routes.update_key),
            route("/keys/{hash}", "DELETE", routes.delete_key),
            route("/key", "GET", routes.current_key),
            route("/credits", "GET", routes.credits),
            route("/workspaces", "GET", routes.workspaces),
            route("/chat/completions", "POST", routes.complete),
            *attachment_routes(attachments, PREFIX),
        ],
        exception_handlers={ApiError: refused, 404: absent, 405: absent},
    )
