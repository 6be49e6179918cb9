"""What the demo runs on: an account with keys in use, their consumers, and a configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rotator.core.codec import Undecodable, decode_ledger
from rotator.core.ledger import Ledger
from rotator.engine.world import ledger_name
from rotator.sandbox.consumers import ConsumerFleet, ConsumerTarget
from rotator.sandbox.openrouter_account import key_hash
from rotator.sandbox.server import Sandbox
from rotator.sandbox.vault_store import DeletedError, VaultError

NAMES = ("support-bot", "chat-frontend", "billing-api", "evals")
"""The demo's targets, in the order in which the jitter of their names lets them rotate first.

One application reads the key of each.
"""

POLICY = "every 3-5s, grace 2s, quiet for 1s, quarantine 2s"
"""The policy in words."""

CACHE_FOR = 0.8
"""Seconds for which a consumer goes on with the key that it has read; less than the grace."""

CALLS_A_SECOND = 40.0
"""Calls of each consumer."""

FIELD = "OPENROUTER_API_KEY"
MOUNT = "secret"
STATE = "rotator"

_CONFIG = """\
instance = "demo"

[openrouter]
base_url = "{openrouter}"
management_key = {{ file = {management_key} }}
writes_per_minute = 600
timeout = "1500ms"

[vault]
address = "{vault}"
auth = {{ method = "token", token = {{ file = {vault_token} }} }}
state = "{mount}/{state}"
timeout = "1500ms"

[daemon]
heartbeat = "500ms"
resync = "10s"
lease = "2s"
claim_timeout = "6s"
shutdown_grace = "10s"
adopt_over = "0s"

[audit]
path = {audit}

[policy.seconds]
every = "5s"
jitter = "2s"
min_age = "1s"
grace = "2s"
drain = {{ quiet_for = "1s", deadline = "30s" }}
quarantine = "2s"
"""

_TARGET = """
[[target]]
name = "{name}"
secret = "{mount}/apps/{name}"
field = "{field}"
policy = "seconds"
"""


@dataclass(frozen=True, slots=True)
class Files:
    """The demo's files, all in one folder.

    Attributes:
        folder: it.
    """

    folder: Path

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "config.toml"

    @property
    def audit(self) -> Path:
        """The audit trail."""
        return self.folder / "audit.jsonl"

    @property
    def log(self) -> Path:
        """What the daemon writes to standard error."""
        return self.folder / "daemon.log"

    @property
    def management_key(self) -> Path:
        """The management key of the sandbox's account."""
        return self.folder / "management-key"

    @property
    def vault_token(self) -> Path:
        """The daemon's token for the sandbox's Vault."""
        return self.folder / "vault-token"


def write_files(sandbox: Sandbox, folder: Path) -> Files:
    """Write a configuration for the sandbox, and the two secrets that it refers to.

    Raises:
        OSError: the folder cannot be written.
    """
    files = Files(folder)
    for path, secret in (
        (files.management_key, sandbox.management_key),
        (files.vault_token, sandbox.vault_token),
    ):
        path.touch(mode=0o600)
        path.write_text(secret, encoding="utf-8")
    text = _CONFIG.format(
        openrouter=sandbox.openrouter_url,
        vault=sandbox.vault_url,
        management_key=_quoted(files.management_key),
        vault_token=_quoted(files.vault_token),
        audit=_quoted(files.audit),
        mount=MOUNT,
        state=STATE,
    )
    text += "".join(_TARGET.format(name=name, mount=MOUNT, field=FIELD) for name in NAMES)
    files.config.write_text(text, encoding="utf-8")
    return files


def _quoted(path: Path) -> str:
    """Return a path as a basic string of TOML."""
    return json.dumps(str(path), ensure_ascii=False)


def serve_hand_made_keys(sandbox: Sandbox) -> dict[str, str]:
    """Make a key for each target as a person would, serve it, and return the hashes by target."""
    authorization = f"Bearer {sandbox.management_key}"
    hashes: dict[str, str] = {}
    for name in NAMES:
        made = sandbox.account.create_key(authorization, {"name": f"{name}, made by hand"})
        sandbox.vault.write(MOUNT, f"apps/{name}", {FIELD: made["key"]})
        hashes[name] = made["data"]["hash"]
    return hashes


def consumers(sandbox: Sandbox) -> ConsumerFleet:
    """Return one consumer for each target, not yet started; they may read the secrets, no more."""
    sandbox.tokens.add_policy("applications", {f"{MOUNT}/data/apps/*": {"read"}})
    return ConsumerFleet(
        [ConsumerTarget(name, MOUNT, f"apps/{name}", FIELD) for name in NAMES],
        openrouter_url=sandbox.openrouter_url,
        vault_url=sandbox.vault_url,
        vault_token=sandbox.tokens.add_token(("applications",)),
        rate=CALLS_A_SECOND,
        cache_for=CACHE_FOR,
    )


def served_hash(sandbox: Sandbox, name: str) -> str | None:
    """Return the hash of the value that a target's secret holds now, or None for no value."""
    try:
        value = sandbox.vault.read(MOUNT, f"apps/{name}")["data"].get(FIELD)
    except (VaultError, DeletedError):
        return None
    return key_hash(value) if isinstance(value, str) else None


def ledger_of(sandbox: Sandbox, name: str) -> Ledger | None:
    """Return a target's ledger as it stands in the sandbox's Vault, or None where none does."""
    try:
        return decode_ledger(sandbox.vault.read(MOUNT, f"{STATE}/{ledger_name(name)}")["data"])
    except (VaultError, DeletedError, Undecodable):
        return None
