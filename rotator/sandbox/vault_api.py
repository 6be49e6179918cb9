"""The Vault-compatible HTTP API over a `VaultStore` and `VaultTokens`, under `/v1`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rotator.sandbox.vault_store import DeletedError, Mount, VaultError, VaultStore
from rotator.sandbox.vault_tokens import VaultTokens

_KINDS = ("data", "metadata", "delete", "undelete", "destroy")
_WRITES = ("POST", "PUT")
_UI_MOUNTS = "sys/internal/ui/mounts/"
_PREFLIGHT = (
    "preflight capability check returned 403, "
    'please ensure client\'s policies grant access to path "{}/"'
)
VERSION = "1.21.0"
"""The version of Vault whose answers are imitated."""


def template_of(store: VaultStore) -> Callable[[str, str], str]:
    """Return a function from method and path to route, such as `data/{path}`."""

    def find(_method: str, path: str) -> str:
        path = path.removeprefix("/v1/")
        if path.startswith(_UI_MOUNTS):
            return f"{_UI_MOUNTS}{{path}}"
        if (found := store.find_mount(path)) is not None:
            kind = found[1].partition("/")[0]
            return f"{kind}/{{path}}" if kind in _KINDS else "{path}"
        return path

    return find


def _envelope(data: Any = None, **other: Any) -> dict[str, Any]:
    return {
        "request_id": str(uuid.uuid4()),
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": None,
        "warnings": None,
        "auth": None,
        **other,
    }


def _versions(body: dict[str, Any]) -> list[int]:
    versions = body.get("versions")
    if not isinstance(versions, list) or not versions:
        raise VaultError(400, "No version number provided")
    try:
        return [int(version) for version in versions]
    except (TypeError, ValueError):
        raise VaultError(400, 'error converting input for field "versions"') from None


class _Api:
    def __init__(self, store: VaultStore, tokens: VaultTokens) -> None:
        self.store = store
        self.tokens = tokens

    async def serve(self, request: Request) -> Response:
        """Answer one call; the whole of it happens under the store's lock."""
        path = request.path_params["path"]
        method = request.method
        if method == "GET" and request.query_params.get("list") == "true":
            method = "LIST"
        raw = await request.body()
        try:
            body = json.loads(raw) if raw else {}
            with self.store.lock:
                return self._route(method, path, body if isinstance(body, dict) else {}, request)
        except VaultError as error:
            return JSONResponse(error.body(), error.status)
        except ValueError:
            return JSONResponse(VaultError(400, "failed to parse JSON input").body(), 400)
        except DeletedError as gone:
            data = {"data": None, "metadata": gone.metadata}
            return JSONResponse(_envelope(data, mount_type="kv"), 404)

    def _route(self, method: str, path: str, body: dict[str, Any], request: Request) -> Response:
        if path in {"sys/health", "sys/seal-status"}:
            return self._seal(path)
        if self.store.sealed:
            raise VaultError(503, "Vault is sealed")
        token = request.headers.get("x-vault-token")
        if token is None:
            scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
            token = bearer if scheme.lower() == "bearer" else None
        if path == "auth/approle/login" and method in _WRITES:
            auth = self.tokens.login(body.get("role_id"), body.get("secret_id"))
            return JSONResponse(_envelope(auth=auth))
        if path.startswith("auth/token/"):
            return self._token(method, path, body, token)
        if path.startswith(_UI_MOUNTS) and method == "GET":
            return self._ui_mount(path.removeprefix(_UI_MOUNTS), token)
        found = self.store.find_mount(path)
        if found is None or found[0].version != 2:
            self.tokens.check(token, path, "read")
            raise VaultError(
                404, *([] if found else [f'no handler for route "{path}". route entry not found.'])
            )
        return self._kv(method, found, body, token, request.query_params.get("version"))

    def _seal(self, path: str) -> Response:
        sealed = self.store.sealed
        common = {
            "initialized": True,
            "sealed": sealed,
            "version": VERSION,
            "cluster_name": "sandbox",
        }
        if path == "sys/health":
            health = {
                **common,
                "standby": False,
                "server_time_utc": int(self.store.now.timestamp()),
            }
            return JSONResponse(health, 503 if sealed else 200)
        return JSONResponse({**common, "type": "shamir", "t": 1, "n": 1, "progress": 0})

    def _token(self, method: str, path: str, body: dict[str, Any], token: str | None) -> Response:
        verb = path.removeprefix("auth/token/")
        if verb == "lookup-self" and method == "GET":
            self.tokens.check(token, path, "read")
            return JSONResponse(_envelope(self.tokens.lookup(token)))
        if verb in {"renew-self", "revoke-self"} and method in _WRITES:
            holder = self.tokens.check(token, path, "update")
            if verb == "revoke-self":
                self.tokens.revoke(holder.id)
                return Response(status_code=204)
            increment = body.get("increment")
            seconds = str(increment or "0").removesuffix("s")
            wanted = timedelta(seconds=int(seconds)) if int(seconds) else None
            return JSONResponse(_envelope(auth=self.tokens.renew(token, wanted)))
        raise VaultError(404, f'no handler for route "{path}". route entry not found.')

    def _ui_mount(self, path: str, token: str | None) -> Response:
        """Answer what the vault CLI asks first: which mount is this path in, of which version?

        Vault answers whoever may do anything at all below the mount; here, whoever has a live
        token.
        """
        self.tokens.lookup(token)
        found = self.store.find_mount(path.rstrip("/"))
        if found is None:
            raise VaultError(403, _PREFLIGHT.format(path))
        mount = found[0]
        data = {
            "accessor": f"kv_{uuid.uuid5(uuid.NAMESPACE_URL, mount.path).hex[:8]}",
            "config": {"default_lease_ttl": 0, "force_no_cache": False, "max_lease_ttl": 0},
            "deprecation_status": "supported",
            "description": "",
            "external_entropy_access": False,
            "local": False,
            "options": {"version": str(mount.version)},
            "path": f"{mount.path}/",
            "seal_wrap": False,
            "type": "kv",
        }
        return JSONResponse(_envelope(data))

    def _kv(
        self,
        method: str,
        found: tuple[Mount, str],
        body: dict[str, Any],
        token: str | None,
        version: str | None,
    ) -> Response:
        mount = found[0].path
        kind, _, path = found[1].partition("/")
        route = f"{mount}/{found[1]}"
        if kind == "metadata" and method == "LIST":
            self.tokens.check(token, route.rstrip("/") + "/", "list")
            return self._answer({"keys": self.store.list_names(mount, path)})
        if kind not in _KINDS or not path:
            self.tokens.check(token, route, "read")
            raise VaultError(404)
        if kind == "data":
            return self._data(method, (mount, path), body, token, version)
        if kind == "metadata":
            return self._metadata(method, (mount, path), body, token)
        if method not in _WRITES:
            raise VaultError(405, "unsupported operation")
        self.tokens.check(token, route, "update")
        acts = {
            "delete": self.store.delete,
            "undelete": self.store.undelete,
            "destroy": self.store.destroy,
        }
        acts[kind](mount, path, _versions(body))
        return Response(status_code=204)

    def _data(
        self,
        method: str,
        at: tuple[str, str],
        body: dict[str, Any],
        token: str | None,
        version: str | None,
    ) -> Response:
        mount, path = at
        route = f"{mount}/data/{path}"
        if method == "GET":
            self.tokens.check(token, route, "read")
            return self._answer(self.store.read(mount, path, int(version or 0)))
        if method in _WRITES:
            self.tokens.check(token, route, "update" if self._exists(mount, path) else "create")
            data, options = body.get("data"), body.get("options") or {}
            if not isinstance(data, dict):
                raise VaultError(400, "no data provided")
            cas = options.get("cas")
            return self._answer(
                self.store.write(mount, path, data, None if cas is None else int(cas))
            )
        if method == "DELETE":
            self.tokens.check(token, route, "delete")
            self.store.delete(mount, path)
            return Response(status_code=204)
        raise VaultError(405, "unsupported operation")

    def _metadata(
        self, method: str, at: tuple[str, str], body: dict[str, Any], token: str | None
    ) -> Response:
        mount, path = at
        route = f"{mount}/metadata/{path}"
        if method == "GET":
            self.tokens.check(token, route, "read")
            return self._answer(self.store.read_metadata(mount, path))
        if method in _WRITES:
            self.tokens.check(token, route, "update" if self._exists(mount, path) else "create")
            self.store.write_metadata(
                mount,
                path,
                max_versions=body.get("max_versions"),
                cas_required=body.get("cas_required"),
                custom_metadata=body.get("custom_metadata"),
            )
            return Response(status_code=204)
        if method == "DELETE":
            self.tokens.check(token, route, "delete")
            self.store.delete_metadata(mount, path)
            return Response(status_code=204)
        raise VaultError(405, "unsupported operation")

    def _exists(self, mount: str, path: str) -> bool:
        try:
            self.store.read_metadata(mount, path)
        except VaultError:
            return False
        return True

    def _answer(self, data: Any) -> Response:
        return JSONResponse(_envelope(data, mount_type="kv"))


def vault_app(store: VaultStore, tokens: VaultTokens) -> Starlette:
    """Return the ASGI application that serves `store` to the holders of `tokens`."""
    api = _Api(store, tokens)
    methods = ["GET", "POST", "PUT", "DELETE", "LIST"]
    return Starlette(routes=[Route("/v1/{path:path}", api.serve, methods=methods)])
