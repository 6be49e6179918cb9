"""The state of a simulated OpenRouter account: keys, workspaces, spending, quotas.

It does no input or output and takes its clock. Where the provider's documentation is silent, the
account takes the harsher reading for its user, and the docstring says so. The facts are those of
https://openrouter.ai/docs and of the published OpenAPI document.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rotator.sandbox import openrouter_requests as read
from rotator.sandbox.openrouter_key import KeyRecord, day_start
from rotator.sandbox.openrouter_requests import ApiError
from rotator.sandbox.openrouter_workspace import Workspace

PAGE = 100
"""Keys on a page of the listing."""
DAILY_QUOTA = "keys-modify-api-rpd-v2"
"""The provider's name for the number of key changes that a day allows."""


def key_hash(plaintext: str) -> str:
    """Return the hash by which the API names a key: SHA-256 of its whole plaintext, hexadecimal."""
    return hashlib.sha256(plaintext.encode()).hexdigest()


def mask(plaintext: str) -> str:
    """Return a key's label: its prefix, three characters, and the last three."""
    head, _, body = plaintext.rpartition("-")
    return f"{head}-{body[:3]}...{body[-3:]}"


@dataclass(slots=True)
class Settings:
    """What a test may change about the account while it runs; all limits are off by default."""

    writes_per_minute: int | None = None
    """Changes of keys that any 60 seconds allow; one more is answered by 429 with `Retry-After`."""
    modifies_per_day: int | None = None
    """Changes of keys until 00:00 UTC; one more is answered by 429 that names the quota."""
    fresh_key_lag: timedelta = timedelta(0)
    """For how long a fresh key is still refused with 401, as some users report."""
    default_creator: str | None = None
    """Creator of a key whose request names none. The provider's own default is not documented."""
    total_credits: float = 1000.0
    """USD that were bought; once they are spent, completions are answered by 402."""
    completion_cost: float = 0.000_01
    """USD that one completion costs."""


@dataclass(slots=True)
class _Writes:
    recent: deque[datetime] = field(default_factory=deque)
    day: datetime | None = None
    today: int = 0


class OpenRouterAccount:
    """An account's state behind one lock; every method is one call of the API or act of a person.

    Args:
        now: returns the current time, aware.
        rng: source of keys and identifiers; without one they are unpredictable.

    Raises (from the methods that stand for calls): ApiError, with the status and body that the API
    would answer.
    """

    def __init__(self, *, now: Callable[[], datetime], rng: random.Random | None = None) -> None:
        self.settings = Settings()
        self.user_id = "user_sandbox"
        self._now = now
        self._bytes: Callable[[int], bytes] = secrets.token_bytes if rng is None else rng.randbytes
        self._lock = threading.RLock()
        self._keys: dict[str, KeyRecord] = {}
        self._writes = _Writes()
        self._workspaces: dict[str, Workspace] = {}
        self.default_workspace = self.add_workspace("Default", "default")

    @property
    def now(self) -> datetime:
        """The account's current time."""
        return self._now()

    # Acts of a person in the console, and looks that only tests have.

    def add_workspace(self, name: str, slug: str) -> str:
        """Make a workspace and return its id, a UUID."""
        with self._lock:
            identity = self.new_id()
            self._workspaces[identity] = Workspace(identity, name, slug, self._now())
            return identity

    def add_management_key(self, *, expires_at: datetime | None = None) -> str:
        """Make a management key and return its plaintext, which the account does not keep."""
        with self._lock:
            plaintext = f"sk-or-mgmt-{self._bytes(32).hex()}"
            record = self._add(plaintext, "management", self.default_workspace)
            record.management = True
            record.expires_at = expires_at
            return plaintext

    def set_disabled(self, hash_: str, *, disabled: bool) -> None:
        """Disable or enable a key as a person does in the console; KeyError where there is none."""
        with self._lock:
            record = self._keys[hash_]
            record.disabled = disabled
            record.updated_at = self._now()

    def set_deleted(self, hash_: str) -> None:
        """Delete a key as a person does in the console; KeyError where there is none."""
        with self._lock:
            self._keys[hash_].deleted_at = self._now()

    def spend(self, hash_: str, usd: float, *, byok: float = 0.0) -> None:
        """Count spending of a key without a call of its own; KeyError where there is none."""
        with self._lock:
            self._spend(self._keys[hash_], usd, byok)

    def works(self, hash_: str) -> bool:
        """Say whether a caller with this key is let in now (limits aside)."""
        with self._lock:
            record = self._keys.get(hash_)
            return record is not None and self._lets_in(record)

    def all_keys(self) -> list[dict[str, Any]]:
        """Return every key there ever was, oldest first, deleted and management keys too."""
        with self._lock:
            return [record.as_seen_by_tests() for record in self._keys.values()]

    # Calls of the API. `authorization` is the header's value.

    def list_keys(
        self,
        authorization: str | None,
        *,
        offset: int = 0,
        include_disabled: bool = False,
        include_expired: bool = False,
        workspace_id: str | None = None,
    ) -> dict[str, Any]:
        """GET /keys: a page of one workspace's keys, newest first."""
        with self._lock:
            self.require_management(authorization)
            now = self._now()
            workspace = self.workspace(workspace_id, missing=404)
            found = [
                record
                for record in self._keys.values()
                if record.workspace_id == workspace
                and not record.management
                and record.deleted_at is None
                and (include_disabled or not record.disabled)
                and (include_expired or not record.expired(now))
            ]
            found.sort(key=lambda record: (record.created_at, record.sequence), reverse=True)
            return {"data": [record.as_listed(now) for record in found[offset : offset + PAGE]]}

    def create_key(self, authorization: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST /keys: the only answer that ever holds the plaintext, as `key`."""
        with self._lock:
            self.require_management(authorization)
            self._count_write()
            now = self._now()
            name = read.read_name(body.get("name"), may_be_empty=False)
            limit = read.read_limit(body.get("limit"))
            reset = read.read_reset(body.get("limit_reset"))
            byok = read.read_flag(body.get("include_byok_in_limit", False), "include_byok_in_limit")
            expires_at = read.read_expiry(body.get("expires_at"), now)
            creator = read.read_text(body.get("creator_user_id"), "creator_user_id")
            external = body.get("external")
            user = (
                read.read_text(external.get("user"), "external.user")
                if isinstance(external, dict)
                else None
            )
            workspace = self.default_workspace
            if "workspace_id" in body:
                workspace = self.workspace(
                    read.read_uuid(body["workspace_id"], "workspace_id"), missing=400
                )
            plaintext = f"sk-or-v1-{self._bytes(32).hex()}"
            record = self._add(plaintext, name, workspace)
            record.limit, record.limit_reset, record.include_byok_in_limit = limit, reset, byok
            record.expires_at, record.external_user = expires_at, user
            record.creator_user_id = creator or self.settings.default_creator
            return {"key": plaintext, "data": record.as_listed(now)}

    def get_key(self, authorization: str | None, hash_: str) -> dict[str, Any]:
        """GET /keys/{hash}: a key of any workspace, whatever its state; 404 once deleted."""
        with self._lock:
            self.require_management(authorization)
            return {"data": self._key(hash_).as_listed(self._now())}

    def update_key(
        self, authorization: str | None, hash_: str, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        """PATCH /keys/{hash}: change what is named; unknown fields are ignored."""
        with self._lock:
            self.require_management(authorization)
            self._count_write()
            record = self._key(hash_)
            changes: dict[str, Any] = {}
            if "name" in body:
                changes["name"] = read.read_name(body["name"], may_be_empty=True)
            if "disabled" in body:
                changes["disabled"] = read.read_flag(body["disabled"], "disabled")
            if "limit" in body:
                changes["limit"] = read.read_limit(body["limit"])
            if "limit_reset" in body:
                changes["limit_reset"] = read.read_reset(body["limit_reset"])
            if "include_byok_in_limit" in body:
                flag = read.read_flag(body["include_byok_in_limit"], "include_byok_in_limit")
                changes["include_byok_in_limit"] = flag
            if "workspace_id" in body:
                workspace = read.read_uuid(body["workspace_id"], "workspace_id")
                changes["workspace_id"] = self.workspace(workspace, missing=400)
            if not changes:
                raise ApiError(400, "No update fields provided")
            for name, value in changes.items():
                setattr(record, name, value)
            record.updated_at = self._now()
            return {"data": record.as_listed(self._now())}

    def delete_key(self, authorization: str | None, hash_: str) -> dict[str, Any]:
        """DELETE /keys/{hash}: final; a second one is a 404."""
        with self._lock:
            self.require_management(authorization)
            self._count_write()
            self._key(hash_).deleted_at = self._now()
            return {"deleted": True}

    def current_key(self, authorization: str | None) -> dict[str, Any]:
        """GET /key: the caller's own key, be it for inference or for management."""
        with self._lock:
            return {"data": self._authenticate(authorization).as_own(self._now())}

    def complete(self, authorization: str | None) -> float:
        """POST /chat/completions: spend the cost of one call and return it, in USD.

        A spent limit is a 403, as callers report, although one page of the documentation says 402.
        """
        with self._lock:
            record = self._authenticate(authorization)
            if record.management:
                raise ApiError(403, "Management keys cannot be used for inference")
            left = record.remaining(self._now())
            if left is not None and left <= 0:
                kind = f"{record.limit_reset or 'total'} limit"
                link = "https://openrouter.ai/settings/keys"
                raise ApiError(403, f"Key limit exceeded ({kind}). Manage it using {link}")
            if self._used() >= self.settings.total_credits:
                raise ApiError(402, "Insufficient credits")
            self._spend(record, self.settings.completion_cost, 0.0)
            return self.settings.completion_cost

    def credits(self, authorization: str | None) -> dict[str, Any]:
        """GET /credits: what the whole account bought and used, in USD."""
        with self._lock:
            self.require_management(authorization)
            return {
                "data": {"total_credits": self.settings.total_credits, "total_usage": self._used()}
            }

    def list_workspaces(
        self, authorization: str | None, *, offset: int = 0, limit: int = 50
    ) -> dict[str, Any]:
        """GET /workspaces: a page of the account's workspaces, oldest first."""
        with self._lock:
            self.require_management(authorization)
            rows = [workspace.as_listed(self.user_id) for workspace in self._workspaces.values()]
            return {"data": rows[offset : offset + limit], "total_count": len(rows)}

    # Parts that `Attachments` shares; the caller holds the lock.

    @property
    def lock(self) -> threading.RLock:
        """The lock of the whole account."""
        return self._lock

    def new_id(self) -> str:
        """Return a fresh UUID."""
        return str(uuid.UUID(bytes=self._bytes(16), version=4))

    def live_key(self, hash_: str) -> KeyRecord | None:
        """Return a key that the calls under `/keys` would find, or None."""
        record = self._keys.get(hash_)
        gone = record is None or record.management or record.deleted_at is not None
        return None if gone else record

    def require_management(self, authorization: str | None) -> None:
        """Let only a working management key pass; ApiError 401 or 403 for any other."""
        if not self._authenticate(authorization).management:
            raise ApiError(403, "Only management keys can perform this operation")

    def workspace(self, identity: str | None, *, missing: int) -> str:
        """Return the id of a workspace, else the default one; ApiError where there is none."""
        if identity is None:
            return self.default_workspace
        if identity not in self._workspaces:
            raise ApiError(missing, "Workspace not found")
        return identity

    # Parts of the above; the lock is held.

    def _add(self, plaintext: str, name: str, workspace: str) -> KeyRecord:
        hash_ = key_hash(plaintext)
        record = KeyRecord(hash_, mask(plaintext), name, workspace, self._now(), len(self._keys))
        self._keys[hash_] = record
        return record

    def _key(self, hash_: str) -> KeyRecord:
        record = self.live_key(hash_)
        if record is None:
            raise ApiError(404, "Resource not found")
        return record

    def _lets_in(self, record: KeyRecord) -> bool:
        now, lag = self._now(), self.settings.fresh_key_lag
        lags = lag > timedelta(0) and not record.management and now < record.created_at + lag
        return record.works(now) and not lags

    def _authenticate(self, authorization: str | None) -> KeyRecord:
        scheme, _, plaintext = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not plaintext.strip():
            raise ApiError(401, "Missing Authentication header")
        record = self._keys.get(key_hash(plaintext.strip()))
        if record is None or not self._lets_in(record):
            raise ApiError(401, "User not found.")
        return record

    def _count_write(self) -> None:
        now, writes = self._now(), self._writes
        today = day_start(now)
        if writes.day != today:
            writes.day, writes.today = today, 0
        minute = timedelta(seconds=60)
        while writes.recent and writes.recent[0] <= now - minute:
            writes.recent.popleft()
        daily, rate = self.settings.modifies_per_day, self.settings.writes_per_minute
        if daily is not None and writes.today >= daily:
            raise _too_many(today + timedelta(days=1) - now, DAILY_QUOTA)
        if rate is not None and len(writes.recent) >= rate:
            raise _too_many(writes.recent[-rate] + minute - now if rate else minute, None)
        writes.recent.append(now)
        writes.today += 1

    def _spend(self, record: KeyRecord, usd: float, byok: float) -> None:
        now = self._now()
        record.usage.add(usd, now)
        record.byok_usage.add(byok, now)
        record.last_used_at = now

    def _used(self) -> float:
        return sum(record.usage.total for record in self._keys.values())


def _too_many(wait: timedelta, quota: str | None) -> ApiError:
    seconds = max(1, -(-wait // timedelta(seconds=1)))
    metadata = {"error_type": "rate_limit_exceeded"}
    message = "Rate limit exceeded"
    if quota is not None:
        message = f"{message}: {quota}"
        metadata["limit_name"] = quota
    return ApiError(429, message, metadata=metadata, headers={"Retry-After": str(seconds)})
