"""Tokens, policies and AppRoles of a simulated Vault. No input or output, no clock."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from rotator.sandbox.vault_store import VaultError, render_time


@dataclass(slots=True)
class Token:
    """A service token."""

    id: str = field(repr=False)
    accessor: str
    policies: tuple[str, ...]
    created_at: datetime
    path: str
    ttl: timedelta | None = None
    """Length of a lease; None never expires."""
    expires_at: datetime | None = None
    meta: dict[str, str] | None = None
    entity_id: str = ""


@dataclass(slots=True)
class _Role:
    name: str
    secret_id: str = field(repr=False)
    policies: tuple[str, ...]
    ttl: timedelta


_MISSING = "permission denied"
_DENIED = "1 error occurred:\n\t* permission denied\n\n"
_DEAD = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"


class VaultTokens:
    """Who may do what. It has no lock: the API calls it and `VaultStore` under that one's.

    Args:
        now: returns the current time, aware.
        rng: source of tokens; without one they are unpredictable.
    """

    def __init__(self, *, now: Callable[[], datetime], rng: Random | None = None) -> None:
        self._now = now
        self._bytes: Callable[[int], bytes] = secrets.token_bytes if rng is None else rng.randbytes
        self._tokens: dict[str, Token] = {}
        self._policies: dict[str, dict[str, frozenset[str]]] = {}
        self._roles: dict[str, _Role] = {}

    def add_policy(self, name: str, rules: Mapping[str, set[str]]) -> None:
        """Define a policy: path patterns (`+` one segment, a closing `*` any rest) to capabilities.

        Capabilities are Vault's words: create, read, update, delete, list, sudo. A rule that allows
        wins over any other: there is no `deny`.
        """
        self._policies[name] = {path: frozenset(allowed) for path, allowed in rules.items()}

    def add_token(
        self,
        policies: tuple[str, ...] = ("root",),
        *,
        ttl: timedelta | None = None,
        path: str = "auth/token/create",
    ) -> str:
        """Make a token and return it; with `ttl` it expires unless it is renewed."""
        now = self._now()
        if "root" not in policies:
            policies = tuple(sorted({"default", *policies}))
        identity = f"hvs.{self._bytes(24).hex()}"
        expires = None if ttl is None else now + ttl
        accessor = self._bytes(12).hex()
        self._tokens[identity] = Token(identity, accessor, policies, now, path, ttl, expires)
        return identity

    def revoke(self, token: str) -> None:
        """Revoke a token; one that does not exist is revoked already."""
        self._tokens.pop(token, None)

    def add_approle(
        self, name: str, policies: tuple[str, ...], *, ttl: timedelta = timedelta(hours=1)
    ) -> tuple[str, str]:
        """Make an AppRole and return its role id and a secret id."""
        role_id, secret_id = (str(uuid.UUID(bytes=self._bytes(16), version=4)) for _ in "12")
        self._roles[role_id] = _Role(name, secret_id, policies, ttl)
        return role_id, secret_id

    def check(self, token: str | None, path: str, capability: str) -> Token:
        """Return the token if it may use `path` so; VaultError 403 otherwise."""
        found = self._live(token)
        if "root" in found.policies:
            return found
        for policy in found.policies:
            for pattern, allowed in self._policies.get(policy, _BUILT_IN.get(policy, {})).items():
                if capability in allowed and _pattern(pattern).fullmatch(path):
                    return found
        raise VaultError(403, _DENIED)

    def reaches(self, token: str | None, mount: str) -> bool:
        """Say whether the token may do anything below a mount; VaultError 403 for a dead one."""
        found = self._live(token)
        return "root" in found.policies or any(
            pattern.startswith(f"{mount}/")
            for policy in found.policies
            for pattern in self._policies.get(policy, {})
        )

    def login(self, role_id: Any, secret_id: Any) -> dict[str, Any]:
        """POST auth/approle/login: return an `auth` block; VaultError 400 for a wrong pair."""
        role = self._roles.get(role_id) if isinstance(role_id, str) else None
        if role is None or role.secret_id != secret_id:
            raise VaultError(400, "invalid role or secret ID")
        identity = self.add_token(role.policies, ttl=role.ttl, path="auth/approle/login")
        token = self._tokens[identity]
        token.meta = {"role_name": role.name}
        token.entity_id = str(uuid.uuid5(uuid.NAMESPACE_URL, role.name))
        return self._auth(token)

    def renew(self, token: str | None, increment: timedelta | None = None) -> dict[str, Any]:
        """POST auth/token/renew-self: lengthen the lease from now and return the `auth` block.

        VaultError 400 for a token without a lease, such as a root token.
        """
        found = self._live(token)
        if found.ttl is None:
            raise VaultError(400, "lease is not renewable")
        found.expires_at = self._now() + (increment or found.ttl)
        return self._auth(found)

    def lookup(self, token: str | None) -> dict[str, Any]:
        """GET auth/token/lookup-self: return what is known of the token."""
        found = self._live(token)
        expires = found.expires_at
        return {
            "accessor": found.accessor,
            "creation_time": int(found.created_at.timestamp()),
            "creation_ttl": _seconds(found.ttl),
            "display_name": found.path.split("/")[1],
            "entity_id": found.entity_id,
            "expire_time": None if expires is None else render_time(expires, 0),
            "explicit_max_ttl": 0,
            "id": found.id,
            "issue_time": render_time(found.created_at, 0),
            "meta": found.meta,
            "num_uses": 0,
            "orphan": True,
            "path": found.path,
            "policies": list(found.policies),
            "renewable": found.ttl is not None,
            "ttl": _seconds(None if expires is None else expires - self._now()),
            "type": "service",
        }

    def _live(self, token: str | None) -> Token:
        if not token:
            raise VaultError(403, _MISSING)
        found = self._tokens.get(token)
        if found is None:
            raise VaultError(403, _DEAD)
        if found.expires_at is not None and found.expires_at <= self._now():
            del self._tokens[found.id]
            raise VaultError(403, _DEAD)
        return found

    def _auth(self, token: Token) -> dict[str, Any]:
        left = None if token.expires_at is None else token.expires_at - self._now()
        return {
            "client_token": token.id,
            "accessor": token.accessor,
            "policies": list(token.policies),
            "token_policies": list(token.policies),
            "metadata": token.meta,
            "lease_duration": _seconds(left),
            "renewable": token.ttl is not None,
            "entity_id": token.entity_id,
            "token_type": "service",
            "orphan": True,
            "mfa_requirement": None,
            "num_uses": 0,
        }


_BUILT_IN: dict[str, dict[str, frozenset[str]]] = {
    "default": {
        "auth/token/lookup-self": frozenset({"read"}),
        "auth/token/renew-self": frozenset({"update"}),
        "auth/token/revoke-self": frozenset({"update"}),
    }
}


def _seconds(span: timedelta | None) -> int:
    return 0 if span is None else round(span.total_seconds())


def _pattern(rule: str) -> re.Pattern[str]:
    text = re.escape(rule.removesuffix("*")).replace(r"\+", "[^/]+")
    return re.compile(text + (".*" if rule.endswith("*") else ""))
