"""OpenRouter in memory, as far as the engine needs it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from rotator.core.keys import CallerKey, IssuedKey, NewKey
from rotator.errors import Refused
from rotator.ports import MintedKey
from rotator.secret import Secret
from tests.fakes.faults import Faults


@dataclass
class FakeAccount:
    """The keys of an account: the truth, without faults.

    Attributes:
        now: the account's clock.
        keys: by hash.
        deleted: hashes of keys that are gone.
        refuses: hashes that are not accepted on use, though enabled.
        minted: how many keys were ever made.
        on_disable: called with a hash when a key is disabled.
        on_delete: called with a hash when a key is deleted.
    """

    now: Callable[[], datetime]
    keys: dict[str, IssuedKey] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    minted: int = 0
    on_disable: Callable[[str], None] = lambda _: None
    on_delete: Callable[[str], None] = lambda _: None

    def make(self, new: NewKey) -> MintedKey:
        """Create a key."""
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
        return self._faults.call("openrouter", "create", lambda: self.account.make(new), acts=True)

    def list_keys(self, workspaces: frozenset[str]) -> tuple[IssuedKey, ...]:
        wanted = {None, *workspaces}

        def listed() -> tuple[IssuedKey, ...]:
            return tuple(key for key in self.account.keys.values() if key.workspace_id in wanted)

        return self._faults.call("openrouter", "list", listed, acts=False)

    def get(self, key_hash: str) -> IssuedKey | None:
        return self._faults.call(
            "openrouter", "get", lambda: self.account.keys.get(key_hash), acts=False
        )

    def set_disabled(self, key_hash: str, disabled: bool) -> IssuedKey:
        name = "disable" if disabled else "enable"
        return self._faults.call(
            "openrouter",
            name,
            lambda: self.account.set_disabled(key_hash, disabled),
            acts=True,
        )

    def delete(self, key_hash: str) -> None:
        self._faults.call("openrouter", "delete", lambda: self.account.remove(key_hash), acts=True)

    def whoami(self, secret: Secret) -> CallerKey | None:
        def asked() -> CallerKey | None:
            works = self.account.accepts(secret.sha256())
            return CallerKey(is_management_key=False) if works else None

        return self._faults.call("openrouter", "whoami", asked, acts=False)

    def whoami_management(self) -> CallerKey:
        return self._faults.call(
            "openrouter",
            "whoami_management",
            lambda: CallerKey(is_management_key=True),
            acts=False,
        )
