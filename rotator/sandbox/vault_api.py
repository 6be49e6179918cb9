"""The Vault-compatible HTTP API over a `VaultStore` and `VaultTokens`, under `/v1`.

Its answers are compared with those of the real server, call by call, by this project's tests.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rotator.sandbox.vault_store import DeletedError, Mount, VaultError, VaultStore
from rotator.sandbox.vault_tokens import VaultTokens

VERSION = "1.21.0"
"""The version of Vault whose answers are imitated."""
_KINDS = ("data", "metadata", "delete", "undelete", "destroy")
_WRITES = ("POST", "PUT")
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "LIST"]
_UI_MOUNTS = "sys/internal/ui/mounts/"
_PREFLIGHT = (
    "preflight capability check returned 403, "
    'please ensure client\'s policies grant access to path "{}/"'
)
_NOT_VERSIONED = (
    "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API "
    "endpoints to use. If using the Vault CLI, use 'vault kv get' for this operation."
)
_ROOT = "Non-listing operations on the root of a K/V v2 mount are not supported."
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    body: dict[str, Any] = field(repr=False)
    token: str | None = field(repr=False)
    version: str | None


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


def vault_app(store: VaultStore, tokens: VaultTokens) -> Starlette:
    """Return the ASGI application that serves `store` to the holders of `tokens`."""
    api = _Api(store, tokens)
    return Starlette(routes=[Route("/v1/{path:path}", api.serve, methods=_METHODS)])


class _Api:
    def __init__(self, store: VaultStore, tokens: VaultTokens) -> None:
        self._store = store
        self._tokens = tokens

    async def serve(self, request: Request) -> Response:
        """Answer one call; the whole of it happens under the store's lock."""
        raw = await request.body()
        try:
            call = _call(request, json.loads(raw) if raw else {})
            with self._store.lock:
                return self._route(call)
        except VaultError as error:
            return JSONResponse(error.body(), error.status)
        except json.JSONDecodeError:
            return JSONResponse(VaultError(400, "failed to parse JSON input").body(), 400)
        except DeletedError as gone:
            return JSONResponse(_envelope({"data": None, "metadata": gone.metadata}), 404)

    def _route(self, call: _Call) -> Response:
        path = call.path
        if path in {"sys/health", "sys/seal-status"}:
            return self._seal(path)
        if self._store.sealed:
            raise VaultError(503, "Vault is sealed")
        if path == "auth/approle/login" and call.method in _WRITES:
            auth = self._tokens.login(call.body.get("role_id"), call.body.get("secret_id"))
            return JSONResponse(_envelope(auth=auth))
        if path.startswith("auth/token/"):
            return self._token(call)
        if path.startswith(_UI_MOUNTS) and call.method == "GET":
            return self._ui_mount(path.removeprefix(_UI_MOUNTS), call.token)
        found = self._store.find_mount(path)
        if found is None:
            self._tokens.check(call.token, path, "read")
            raise _no_route(path)
        mount, rest = found
        if mount.version == 1:
            return self._version_1(call, mount, rest)
        return self._version_2(call, mount.path, rest)

    def _seal(self, path: str) -> Response:
        sealed = self._store.sealed
        common = {"initialized": True, "sealed": sealed, "version": VERSION}
        if not sealed:
            common |= {"cluster_name": "sandbox", "cluster_id": str(uuid.UUID(int=0))}
        if path == "sys/health":
            replication = "unknown" if sealed else "disabled"
            health = {
                **common,
                "standby": sealed,
                "performance_standby": False,
                "replication_performance_mode": replication,
                "replication_dr_mode": replication,
                "enterprise": False,
                "server_time_utc": int(self._store.now.timestamp()),
            }
            return JSONResponse(health, 503 if sealed else 200)
        status = {**common, "type": "shamir", "t": 1, "n": 1, "progress": 0, "nonce": ""}
        return JSONResponse({**status, "migration": False, "recovery_seal": False})

    def _token(self, call: _Call) -> Response:
        verb = call.path.removeprefix("auth/token/")
        if verb == "lookup-self" and call.method == "GET":
            self._tokens.check(call.token, call.path, "read")
            return JSONResponse(_envelope(self._tokens.lookup(call.token), mount_type="token"))
        if verb not in {"renew-self", "revoke-self"} or call.method not in _WRITES:
            raise _no_route(call.path)
        holder = self._tokens.check(call.token, call.path, "update")
        if verb == "revoke-self":
            self._tokens.revoke(holder.id)
            return Response(status_code=204)
        auth = self._tokens.renew(call.token, _increment(call.body.get("increment")))
        return JSONResponse(_envelope(auth=auth, mount_type="token"))

    def _ui_mount(self, path: str, token: str | None) -> Response:
        """Answer what the vault CLI asks first: which mount is this path in, of which version?"""
        found = self._store.find_mount(path.rstrip("/"))
        if not self._tokens.reaches(token, "" if found is None else found[0].path) or found is None:
            raise VaultError(403, _PREFLIGHT.format(path))
        mount = found[0]
        data = {
            "accessor": f"kv_{uuid.uuid5(uuid.NAMESPACE_URL, mount.path).hex[:8]}",
            "deprecation_status": "supported",
            "external_entropy_access": False,
            "local": False,
            "options": {"version": str(mount.version)},
            "path": f"{mount.path}/",
            "plugin_version": "",
            "seal_wrap": False,
            "type": "kv",
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, mount.path)),
        }
        return JSONResponse(_envelope(data))

    def _version_1(self, call: _Call, mount: Mount, rest: str) -> Response:
        if call.method in _WRITES:
            self._tokens.check(call.token, call.path, "update")
            mount.plain[rest] = call.body
            return Response(status_code=204)
        self._tokens.check(call.token, call.path, "read")
        if call.method != "GET" or rest not in mount.plain:
            raise VaultError(404)
        return _found(mount.plain[rest], lease_duration=2_764_800)

    def _version_2(self, call: _Call, mount: str, rest: str) -> Response:
        kind, _, path = rest.partition("/")
        if kind == "metadata" and call.method == "LIST":
            self._tokens.check(call.token, f"{call.path.rstrip('/')}/", "list")
            return _found({"keys": self._store.list_names(mount, path)})
        if kind not in _KINDS or not path:
            self._tokens.check(call.token, call.path, "read")
            return JSONResponse(
                _envelope(warnings=[_ROOT if rest == kind in _KINDS else _NOT_VERSIONED]), 404
            )
        if kind == "data":
            return self._data(call, mount, path)
        if kind == "metadata":
            return self._metadata(call, mount, path)
        if call.method not in _WRITES:
            raise _unsupported()
        self._tokens.check(call.token, call.path, "update")
        acts = {
            "delete": self._store.delete,
            "undelete": self._store.undelete,
            "destroy": self._store.destroy,
        }
        acts[kind](mount, path, _versions(call.body))
        return Response(status_code=204)

    def _data(self, call: _Call, mount: str, path: str) -> Response:
        if call.method == "GET":
            self._tokens.check(call.token, call.path, "read")
            version = call.version or "0"
            if not version.isdigit():
                raise VaultError(400, 'error converting input for field "version"')
            return _found(self._store.read(mount, path, int(version)))
        if call.method in _WRITES:
            self._tokens.check(call.token, call.path, self._write_capability(mount, path))
            if "data" not in call.body:
                raise VaultError(400, "no data provided")
            if not isinstance(call.body["data"], dict):
                raise VaultError(400, 'error converting input for field "data"')
            cas = _cas(call.body.get("options"))
            return _found(self._store.write(mount, path, call.body["data"], cas))
        if call.method == "DELETE":
            self._tokens.check(call.token, call.path, "delete")
            self._store.delete(mount, path)
            return Response(status_code=204)
        raise _unsupported()

    def _metadata(self, call: _Call, mount: str, path: str) -> Response:
        if call.method == "GET":
            self._tokens.check(call.token, call.path, "read")
            return _found(self._store.read_metadata(mount, path))
        if call.method in _WRITES:
            self._tokens.check(call.token, call.path, self._write_capability(mount, path))
            self._store.write_metadata(
                mount,
                path,
                max_versions=call.body.get("max_versions"),
                cas_required=call.body.get("cas_required"),
                custom_metadata=call.body.get("custom_metadata"),
            )
            return Response(status_code=204)
        if call.method == "DELETE":
            self._tokens.check(call.token, call.path, "delete")
            self._store.delete_metadata(mount, path)
            return Response(status_code=204)
        raise _unsupported()

    def _write_capability(self, mount: str, path: str) -> str:
        try:
            self._store.read_metadata(mount, path)
        except VaultError:
            return "create"
        return "update"


def _call(request: Request, body: Any) -> _Call:
    method = request.method
    if method == "GET" and request.query_params.get("list") == "true":
        method = "LIST"
    token = request.headers.get("x-vault-token")
    if token is None:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        token = bearer if scheme.lower() == "bearer" else None
    version = request.query_params.get("version")
    path = request.path_params["path"]
    return _Call(method, path, body if isinstance(body, dict) else {}, token, version)


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
        "mount_type": "",
        **other,
    }


def _found(data: Any, **other: Any) -> Response:
    return JSONResponse(_envelope(data, mount_type="kv", **other))


def _no_route(path: str) -> VaultError:
    return VaultError(404, f'no handler for route "{path}". route entry not found.')


def _unsupported() -> VaultError:
    return VaultError(405, "1 error occurred:\n\t* unsupported operation\n\n")


def _versions(body: dict[str, Any]) -> list[int]:
    versions = body.get("versions")
    if not isinstance(versions, list) or not versions:
        raise VaultError(400, "no version number provided")
    try:
        return [int(version) for version in versions]
    except (TypeError, ValueError):
        raise VaultError(400, 'error converting input for field "versions"') from None


def _cas(options: Any) -> int | None:
    cas = options.get("cas") if isinstance(options, dict) else None
    if cas is None:
        return None
    if isinstance(cas, float):
        raise VaultError(400, "error parsing check-and-set parameter")
    try:
        return int(cas)
    except (TypeError, ValueError):
        raise VaultError(400, "error parsing check-and-set parameter") from None


def _increment(value: Any) -> timedelta | None:
    """Read a span as Go writes it (`90`, `90s`, `1h30m`); None for none."""
    text = "" if value is None else str(value)
    if not re.fullmatch(r"(\d+[smh]?)*", text):
        raise VaultError(400, 'error converting input for field "increment"')
    parts = re.findall(r"(\d+)([smh]?)", text)
    return timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in parts)) or None
