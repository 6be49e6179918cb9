"""One machine for all tests of this folder, on which the installation guide was followed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import hvac
import pytest

from rotator.core.words import targets
from rotator.sandbox.server import Sandbox
from tests.conftest import IN_CI
from tests.homes.conftest import Program
from tests.homes.guides import blocks
from tests.homes.systemd.machine import SOURCE, Machine, unpacked
from tests.servers.vault_server import VaultServer, find_vault
from tests.wiring.stand import CALM, FIELD, eventually

GUIDE = "install-systemd.md"

CONFIG = """\
instance = "test"

[openrouter]
base_url = "{openrouter}"
management_key = {{ credential = "rotator.management-key" }}
writes_per_minute = 6000
timeout = "5s"

[vault]
address = "{vault}"
auth = {{ method = "approle", role_id = {{ credential = "rotator.vault-role-id" }}, secret_id = {{ credential = "rotator.vault-secret-id" }} }}
state = "rotator/prod"
timeout = "5s"

[daemon]
heartbeat = "100ms"
claim_timeout = "20s"
lease = "3s"
adopt_over = "0s"
shutdown_grace = "{shutdown_grace}"

[audit]
path = "/var/log/rotator/audit.jsonl"

[policy.standard]
min_age = "10ms"
{policy}
"""

TARGET = """
[[target]]
name = "{name}"
secret = "secret/apps/{name}"
field = "OPENROUTER_API_KEY"
"""

RIGHTS = """\
path "rotator/*" { capabilities = ["create", "read", "update", "list"] }
path "secret/*" { capabilities = ["create", "read", "update", "list"] }
path "sys/internal/ui/mounts/*" { capabilities = ["read"] }
"""


class Home:
    """The machine, the services that it uses, and what a test asks of them."""

    def __init__(self, machine: Machine, sandbox: Sandbox, vault: VaultServer) -> None:
        self.machine = machine
        self.sandbox = sandbox
        self.vault = vault
        self.written: dict[str, str] = {}
        self._client = hvac.Client(url=vault.address, token=vault.root_token)
        self._names = iter(range(10_000))

    # --- the guide -----------------------------------------------------------------------------

    def follow(self, given: Iterator[str], until: str) -> None:
        """Give the commands of the guide up to a block that has a text in it, and that one too."""
        for block in given:
            self.written[block] = self.machine.do(block)
            if until in block:
                return
        raise AssertionError(f"the guide has no {until!r} where it is expected")

    def follow_guide(self) -> None:
        """Install it as the guide says, up to its start."""
        given = iter(blocks(GUIDE))
        self.follow(given, until="config.toml")
        # What the reader puts in: the addresses, and the management key.
        text = self.machine.read("/etc/rotator/config.toml")
        text = text.replace("https://vault.example.com:8200", self.vault.address)
        text = text.replace(
            "[openrouter]", f'[openrouter]\nbase_url = "{self.sandbox.openrouter_url}"'
        )
        self.machine.write("/etc/rotator/config.toml", text)
        self.machine.write(f"{SOURCE}/management-key", self.sandbox.management_key)
        self.follow(given, until="systemctl enable")
        self.guide_goes_on = given

    # --- the service ---------------------------------------------------------------------------

    def names(self, count: int = 1) -> list[str]:
        """Return names of targets that no other test has."""
        return [f"t{next(self._names)}" for _ in range(count)]

    def configure(
        self,
        names: list[str],
        policy: str = CALM,
        *,
        vault: str | None = None,
        shutdown_grace: str = "20s",
    ) -> str:
        """Write the configuration file, and return what it holds."""
        text = CONFIG.format(
            openrouter=self.sandbox.openrouter_url,
            vault=vault or self.vault.address,
            policy=policy,
            shutdown_grace=shutdown_grace,
        ) + "".join(TARGET.format(name=name) for name in names)
        self.machine.write("/etc/rotator/config.toml", text)
        return text

    def start(self, names: list[str], policy: str = CALM, **settings: str) -> None:
        """Start the service with some targets, and wait until each is served."""
        self.configure(names, policy, **settings)
        self.machine.systemctl("restart", "rotator.service")
        for name in names:
            self.is_served(name)
        eventually(
            lambda: self.status_line() == targets(len(names)), "the first resync is over", 60
        )

    def is_served(self, name: str, other_than: str | None = None) -> str:
        """Wait until a target is served, by another key than the given one."""
        eventually(lambda: self.value(name) not in (None, other_than), f"{name} is served", 60)
        found = self.value(name)
        assert found is not None
        return found

    def status_line(self) -> str:
        """Return what the service says of itself."""
        return self.machine.property("StatusText")

    def main_pid(self) -> int:
        """Return the service's process."""
        return int(self.machine.property("MainPID"))

    def value(self, name: str) -> str | None:
        """Return what a target serves, or None."""
        try:
            read = self._client.secrets.kv.v2.read_secret_version(
                path=f"apps/{name}", raise_on_deleted_version=True
            )
        except hvac.exceptions.InvalidPath:
            return None
        found: str | None = read["data"]["data"].get(FIELD)
        return found

    def issued(self, name: str) -> list[dict[str, Any]]:
        """Return the keys that were made for a target, deleted ones too."""
        return [
            key
            for key in self.sandbox.account.all_keys()
            if not key["management"] and f"/{name}/" in key["name"]
        ]

    def events(self) -> list[dict[str, Any]]:
        """Return the audit trail."""
        text = self.machine.read("/var/log/rotator/audit.jsonl")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="session")
def installed(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The machine after the guide."""
    for name in ("systemd-nspawn", "nsenter"):
        program(name)
    binary = find_vault()
    if binary is None:
        told = "no Vault: run `make servers`"
        raise AssertionError(told) if IN_CI else pytest.skip.Exception(told)
    folder = tmp_path_factory.mktemp("machine")
    sbin = folder / "sbin"
    sbin.mkdir()
    with VaultServer(binary) as vault, Sandbox(with_vault=False) as sandbox:
        environment = {"VAULT_ADDR": vault.address, "VAULT_TOKEN": vault.root_token}
        binds = {binary.parent: "/opt/tools"}
        writable = {sbin: "/usr/local/sbin", unpacked(folder): SOURCE}
        with Machine(folder, binds, writable, environment) as machine:
            home = Home(machine, sandbox, vault)
            home.follow_guide()
            machine.do(f"vault policy write rotator - <<'END'\n{RIGHTS}END")
            yield home


@pytest.fixture
def home(installed: Home) -> Iterator[Home]:
    """The machine, with the service as it was installed, stopped."""
    machine = installed.machine
    machine.systemctl("stop", "rotator.service", check=False)
    yield installed
    installed.sandbox.faults.clear()
    machine.drop_in("")
    machine.systemctl("stop", "rotator.service", check=False)
    machine.systemctl("reset-failed", check=False)
