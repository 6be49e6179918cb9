"""OpenRouter in memory, as far as the engine needs it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from rotator.core.keys import CallerKey, IssuedKey, NewKey
from rotator.errors import Refused, Unauthorised
from rotator.ports import MintedKey
from rotator.secret import Secret
from tests.fakes.faults import Faults

T = TypeVar("T")


@dataclass
class FakeAccount:
    """The keys of an account: the truth, without faults.

    Attributes:
        now: the account's clock.
        keys: by hash.
        deleted: hashes of keys that are gone.
        refuses: hashes that are not accepted on use, though enabled.
        minted: how many keys were ever made.
        workspaces: ids of the workspaces beside the default one; None for any.
        manages: whether the management key is accepted.
        on_make: called with what is asked for before a key is made.
        on_disable: called with a hash when a key is disabled.
        on_delete: called with a hash when a key is deleted.
    """

    now: Callable[[], datetime]
    keys: dict[str, IssuedKey] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    minted: int = 0
    workspaces: set[str] | None = None
    manages: bool = True
    on_make: Callable[[NewKey], None] = lambda _: None
    on_disable: Callable[[str], None] = lambda _: None
    on_delete: Callable[[str], None] = lambda _: None

    def make(self, new: NewKey) -> MintedKey:
        """Create a key."""
        if not self.has(new.workspace_id):
            raise Refused("openrouter", "create key", "no such workspace", status=400)
        self.on_make(new)
        self.minted += 1
        plaintext = f"sk-or-v1-{self.minted:064x}"
        key = IssuedKey(
            hash=hashlib.sha256(plaintext.encode()).hexdigest(),
            name=new.name,
            disabled=False,
            created_at=self.now(),
            expires_at=new.expires_at,
            usage=0.0,
            limit=new.limit,
            limit_remaining=new.limit,
            limit_reset=new.limit_reset,
            include_byok_in_limit=new.include_byok_in_limit,
            workspace_id=new.workspace_id,
            creator_user_id=new.creator_user_id,
        )
        self.keys[key.hash] = key
        return MintedKey(key, Secret(plaintext))

    def change(self, key_hash: str, **fields: object) -> IssuedKey:
        """Change a key's facts, as the console or use does."""
        self.keys[key_hash] = replace(self.keys[key_hash], **fields)  # type: ignore[arg-type]
        return self.keys[key_hash]

    def set_disabled(self, key_hash: str, disabled: bool) -> IssuedKey:
        """Disable or enable a key."""
        if key_hash not in self.keys:
            raise Refused("openrouter", "update key", "no such key", status=404)
        if disabled:
            self.on_disable(key_hash)
        return self.change(key_hash, disabled=disabled)

    def remove(self, key_hash: str) -> None:
        """Delete a key; a key that is gone counts as deleted."""
        if key_hash in self.keys:
            self.on_delete(key_hash)
            del self.keys[key_hash]
            self.deleted.append(key_hash)

    def use(self, key_hash: str, spent: float = 0.25) -> IssuedKey:
        """Let a consumer use a key."""
        usage = (self.keys[key_hash].usage or 0.0) + spent
        return self.change(key_hash, last_used_at=self.now(), usage=usage)

    def has(self, workspace: str | None) -> bool:
        """Tell whether there is such a workspace; None is the default one."""
        return workspace is None or self.workspaces is None or workspace in self.workspaces

    def list_workspaces(self) -> frozenset[str]:
        """Return the ids of the workspaces beside the default one."""
        if self.workspaces is not None:
            return frozenset(self.workspaces)
        return frozenset(each.workspace_id for each in self.keys.values() if each.workspace_id)

    def listed(self, workspace: str | None) -> tuple[IssuedKey, ...]:
        """Return the keys of one workspace."""
        if not self.has(workspace):
            operation = f"list keys of workspace {workspace}"
            raise Refused("openrouter", operation, "no such workspace", status=404)
        return tuple(key for key in self.keys.values() if key.workspace_id == workspace)

    def accepts(self, key_hash: str) -> bool:
        """Tell whether a call with that key would be let in."""
        key = self.keys.get(key_hash)
        if key is None or key.disabled or key_hash in self.refuses:
            return False
        return key.expires_at is None or key.expires_at > self.now()


class FakeIssuer:
    """Implements `rotator.ports.KeyIssuer` over a `FakeAccount`, with faults."""

    def __init__(self, account: FakeAccount, faults: Faults) -> None:
        self.account = account
        self._faults = faults

    def create(self, new: NewKey) -> MintedKey:
        return self._call("create", lambda: self.account.make(new), acts=True)

    def list_keys(self, workspace: str | None) -> tuple[IssuedKey, ...]:
        return self._call("list", lambda: self.account.listed(workspace))

    def list_workspaces(self) -> frozenset[str]:
        return self._call("workspaces", self.account.list_workspaces)

    def get(self, key_hash: str) -> IssuedKey | None:
        return self._call("get", lambda: self.account.keys.get(key_hash))

    def set_disabled(self, key_hash: str, disabled: bool) -> IssuedKey:
        def settled() -> tuple[IssuedKey] | None:
            key = self.account.keys.get(key_hash)
            return (key,) if key is not None and key.disabled is disabled else None

        return self._call(
            "disable" if disabled else "enable",
            lambda: self.account.set_disabled(key_hash, disabled),
            acts=True,
            settle=settled,
        )

    def delete(self, key_hash: str) -> None:
        def settled() -> tuple[None] | None:
            return (None,) if key_hash not in self.account.keys else None

        self._call("delete", lambda: self.account.remove(key_hash), acts=True, settle=settled)

    def whoami(self, secret: Secret) -> CallerKey | None:
        def asked() -> CallerKey | None:
            key_hash = secret.sha256()
            if not self.account.accepts(key_hash):
                return None
            key = self.account.keys.get(key_hash)
            expires_at = key.expires_at if key is not None else None
            return CallerKey(is_management_key=False, expires_at=expires_at)

        return self._faults.call("openrouter", "whoami", asked, acts=False)

    def whoami_management(self) -> CallerKey:
        return self._call("whoami_management", lambda: CallerKey(is_management_key=True))

    def _call(
        self,
        name: str,
        effect: Callable[[], T],
        *,
        acts: bool = False,
        settle: Callable[[], tuple[T] | None] = lambda: None,
    ) -> T:
        """Make a call with the management key."""

        def let_in() -> T:
            if not self.account.manages:
                raise Unauthorised("openrouter", name, "the management key is refused", status=401)
            return effect()

        return self._faults.call("openrouter", name, let_in, acts=acts, settle=settle)
