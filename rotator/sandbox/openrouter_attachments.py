"""What hangs on keys of a simulated account by their hash: guardrails and two kinds of allow-list.

A key that replaces another inherits none of it. The rules are those of the published OpenAPI
document; two traps are kept because they are real: unknown hashes are skipped without an error, and
pages of assignments come up short where keys were deleted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rotator.sandbox.openrouter_account import OpenRouterAccount
from rotator.sandbox.openrouter_key import render_time
from rotator.sandbox.openrouter_requests import ApiError

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Assignment:
    id: str
    guardrail_id: str
    key_hash: str
    created_at: datetime


@dataclass(slots=True)
class _Guardrail:
    id: str
    name: str
    workspace_id: str | None
    created_at: datetime

    def as_listed(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "description": None,
            "workspace_id": self.workspace_id,
            "include_byok_in_budgets": False,
            "created_at": render_time(self.created_at),
            "updated_at": None,
        }


@dataclass(slots=True)
class _AllowList:
    """A BYOK credential or an observability destination: it serves the keys it names, or all."""

    id: str
    name: str
    workspace_id: str
    created_at: datetime
    updated_at: datetime
    hashes: list[str] | None
    fixed: dict[str, Any] = field(default_factory=dict)


class Attachments:
    """Guardrails, BYOK credentials and observability destinations of an account, under its lock.

    Raises (from the methods that stand for calls): ApiError.
    """

    def __init__(self, account: OpenRouterAccount) -> None:
        self._account = account
        self._guardrails: dict[str, _Guardrail] = {}
        self._assignments: list[_Assignment] = []
        self._byok: dict[str, _AllowList] = {}
        self._destinations: dict[str, _AllowList] = {}

    # Acts of a person in the console, and looks that only tests have.

    def add_guardrail(self, name: str, workspace_id: str | None = "") -> str:
        """Make a guardrail and return its id; None is a legacy one, of every workspace."""
        with self._account.lock:
            identity = self._account.new_id()
            workspace = self._account.default_workspace if workspace_id == "" else workspace_id
            self._guardrails[identity] = _Guardrail(identity, name, workspace, self._account.now)
            return identity

    def add_byok(
        self, name: str, hashes: list[str] | None = None, *, workspace_id: str | None = None
    ) -> str:
        """Make a BYOK credential and return its id; None serves every key."""
        fixed = {"provider": "openai", "label": "sk-...AbCd"}
        return self._add(self._byok, name, hashes, workspace_id, fixed)

    def add_destination(
        self, name: str, hashes: list[str] | None = None, *, workspace_id: str | None = None
    ) -> str:
        """Make an observability destination and return its id; None serves every key."""
        fixed = {"type": "webhook", "config": {"url": "https://example.com/events"}}
        return self._add(self._destinations, name, hashes, workspace_id, fixed)

    def guardrail_of(self, hash_: str) -> str | None:
        """Return the id of a key's guardrail, or None."""
        with self._account.lock:
            found = [row.guardrail_id for row in self._assignments if row.key_hash == hash_]
            return found[0] if found else None

    # Calls of the API.

    def list_guardrails(
        self, authorization: str | None, workspace_id: str | None, offset: int, limit: int
    ) -> dict[str, Any]:
        """GET /guardrails of one workspace."""
        with self._account.lock:
            self._account.require_management(authorization)
            workspace = self._account.workspace(workspace_id, missing=400)
            rows = [
                guardrail.as_listed()
                for guardrail in self._guardrails.values()
                if guardrail.workspace_id == workspace
            ]
            return {"data": rows[offset : offset + limit], "total_count": len(rows)}

    def get_guardrail(self, authorization: str | None, identity: str) -> dict[str, Any]:
        """GET /guardrails/{id}."""
        with self._account.lock:
            self._account.require_management(authorization)
            return {"data": self._guardrail(identity).as_listed()}

    def list_assignments(
        self, authorization: str | None, identity: str | None, offset: int, limit: int
    ) -> dict[str, Any]:
        """GET assignments/keys, of one guardrail or of the account.

        Rows of deleted keys are dropped after paging, so that a page may be short before the end;
        `total_count` counts them.
        """
        with self._account.lock:
            self._account.require_management(authorization)
            if identity is not None:
                self._guardrail(identity)
            rows = [row for row in self._assignments if identity in {None, row.guardrail_id}]
            page = [self._as_listed(row) for row in rows[offset : offset + limit]]
            return {"data": [row for row in page if row is not None], "total_count": len(rows)}

    def assign(
        self, authorization: str | None, identity: str, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        """POST assignments/keys: move keys to this guardrail; unknown hashes are skipped."""
        with self._account.lock:
            self._account.require_management(authorization)
            guardrail, hashes = self._guardrail(identity), _hashes(body)
            known = [key for key in map(self._account.live_key, hashes) if key is not None]
            if guardrail.workspace_id is not None:
                for key in known:
                    if key.workspace_id != guardrail.workspace_id:
                        raise ApiError(400, "Key and guardrail are in different workspaces")
            moved = {key.hash for key in known}
            self._assignments = [row for row in self._assignments if row.key_hash not in moved]
            for hash_ in sorted(moved):
                row = _Assignment(self._account.new_id(), identity, hash_, self._account.now)
                self._assignments.append(row)
            return {"assigned_count": len(moved)}

    def unassign(
        self, authorization: str | None, identity: str, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        """POST assignments/keys/remove: take keys off this guardrail only."""
        with self._account.lock:
            self._account.require_management(authorization)
            self._guardrail(identity)
            hashes = set(_hashes(body))
            kept = [
                row
                for row in self._assignments
                if row.guardrail_id != identity or row.key_hash not in hashes
            ]
            count, self._assignments = len(self._assignments) - len(kept), kept
            return {"unassigned_count": count}

    def list_byok(
        self, authorization: str | None, workspace_id: str | None, offset: int, limit: int
    ) -> dict[str, Any]:
        """GET /byok of one workspace."""
        page = slice(offset, offset + limit)
        return self._list(self._byok, _byok, authorization, workspace_id, page)

    def get_byok(self, authorization: str | None, identity: str) -> dict[str, Any]:
        """GET /byok/{id}."""
        with self._account.lock:
            return {"data": _byok(self._one(self._byok, authorization, identity))}

    def update_byok(
        self, authorization: str | None, identity: str, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        """PATCH /byok/{id}: replace the allow-list; every hash must be a live key."""
        with self._account.lock:
            found = self._one(self._byok, authorization, identity)
            if "allowed_api_key_hashes" in body:
                hashes = _allow_list(body["allowed_api_key_hashes"])
                for hash_ in hashes or []:
                    if self._account.live_key(hash_) is None:
                        raise ApiError(400, f"API key not found: {hash_}")
                found.hashes = hashes
            return {"data": _byok(found)}

    def list_destinations(
        self, authorization: str | None, workspace_id: str | None, offset: int, limit: int
    ) -> dict[str, Any]:
        """GET /observability/destinations of one workspace."""
        kinds, page = self._destinations, slice(offset, offset + limit)
        return self._list(kinds, _destination, authorization, workspace_id, page)

    def get_destination(self, authorization: str | None, identity: str) -> dict[str, Any]:
        """GET /observability/destinations/{id}."""
        with self._account.lock:
            return {"data": _destination(self._one(self._destinations, authorization, identity))}

    def update_destination(
        self, authorization: str | None, identity: str, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        """PATCH /observability/destinations/{id}: replace the allow-list."""
        with self._account.lock:
            found = self._one(self._destinations, authorization, identity)
            if "api_key_hashes" in body:
                found.hashes = _allow_list(body["api_key_hashes"])
                found.updated_at = self._account.now
            return {"data": _destination(found)}

    # Parts of the above; the lock is held.

    def _add(
        self,
        kinds: dict[str, _AllowList],
        name: str,
        hashes: list[str] | None,
        workspace_id: str | None,
        fixed: dict[str, Any],
    ) -> str:
        with self._account.lock:
            identity, now = self._account.new_id(), self._account.now
            workspace = self._account.workspace(workspace_id, missing=400)
            kinds[identity] = _AllowList(identity, name, workspace, now, now, hashes, fixed)
            return identity

    def _guardrail(self, identity: str) -> _Guardrail:
        if identity not in self._guardrails:
            raise ApiError(404, "Resource not found")
        return self._guardrails[identity]

    def _as_listed(self, row: _Assignment) -> dict[str, Any] | None:
        key = self._account.live_key(row.key_hash)
        if key is None:
            return None
        return {
            "id": row.id,
            "guardrail_id": row.guardrail_id,
            "key_hash": row.key_hash,
            "key_name": key.name,
            "key_label": key.label,
            "assigned_by": self._account.user_id,
            "created_at": render_time(row.created_at),
        }

    def _list(
        self,
        kinds: dict[str, _AllowList],
        show: Callable[[_AllowList], dict[str, Any]],
        authorization: str | None,
        workspace_id: str | None,
        page: slice,
    ) -> dict[str, Any]:
        with self._account.lock:
            self._account.require_management(authorization)
            workspace = self._account.workspace(workspace_id, missing=400)
            rows = [show(one) for one in kinds.values() if one.workspace_id == workspace]
            return {"data": rows[page], "total_count": len(rows)}

    def _one(
        self, kinds: dict[str, _AllowList], authorization: str | None, identity: str
    ) -> _AllowList:
        self._account.require_management(authorization)
        if identity not in kinds:
            raise ApiError(404, "Resource not found")
        return kinds[identity]


def _hashes(body: Mapping[str, Any]) -> list[str]:
    hashes = body.get("key_hashes")
    if not isinstance(hashes, list) or not hashes or not all(isinstance(h, str) for h in hashes):
        raise ApiError(400, "Invalid request parameters: key_hashes must name at least 1 key")
    return hashes


def _allow_list(value: Any) -> list[str] | None:
    """Read an allow-list; None is everyone, and an empty one is refused."""
    if value is None:
        return None
    if not isinstance(value, list) or not 1 <= len(value) <= 100:
        raise ApiError(400, "Invalid request parameters: 1 to 100 key hashes, or null for all")
    for hash_ in value:
        if not isinstance(hash_, str) or not _HASH.fullmatch(hash_):
            raise ApiError(400, "Invalid request parameters: a key hash is 64 hexadecimal digits")
    return list(value)


def _byok(one: _AllowList) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "workspace_id": one.workspace_id,
        "allowed_api_key_hashes": one.hashes,
        "allowed_models": None,
        "allowed_user_ids": None,
        "created_at": render_time(one.created_at),
        "declared_region": None,
        "declared_zdr": None,
        "disabled": False,
        "is_byok_only": False,
        "is_fallback": False,
        "is_required": False,
        "sort_order": 0,
        **one.fixed,
    }


def _destination(one: _AllowList) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "workspace_id": one.workspace_id,
        "api_key_hashes": one.hashes,
        "broadcast_generation_cost": False,
        "broadcast_generation_cost_allocation": False,
        "broadcast_generation_identity": False,
        "broadcast_generation_request_context": False,
        "created_at": render_time(one.created_at),
        "updated_at": render_time(one.updated_at),
        "enabled": True,
        "filter_rules": None,
        "privacy_mode": False,
        "regions": ["global"],
        "sampling_rate": 1,
        **one.fixed,
    }
