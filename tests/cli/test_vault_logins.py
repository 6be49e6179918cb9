"""The command line with each login that the real Vault can be asked for without further servers."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hvac
import pytest

from tests.servers.vault_server import VaultServer
from tests.wiring.stand import Stand


@dataclass(frozen=True, slots=True)
class Role:
    """A stand that logs in by AppRole at the real Vault, with the rights that it needs.

    Attributes:
        stand: the stand.
        hands: a person with all rights.
        mount: where AppRole is mounted.
        file: the file with the secret id.
    """

    stand: Stand
    hands: hvac.Client
    mount: str
    file: Path

    def configure(self, server: VaultServer, prefix: str, *, wrapped: bool) -> None:
        """Write the configuration, and the policy that it asks for."""
        answer = self.hands.auth.approle.read_role_id("rotator", mount_point=self.mount)
        auth = (
            f'auth = {{ method = "approle", mount = "{self.mount}", '
            f'role_id = "{answer["data"]["role_id"]}", secret_id = {{ file = "{self.file}" }}, '
            f"wrapped = {str(wrapped).lower()} }}"
        )
        text = self.stand.write(vault=server.address).read_text()
        text = re.sub(r"(?m)^auth = .*$", auth, text)
        text = text.replace('"secret/rotator"', f'"secret/{prefix}/state"')
        self.stand.path.write_text(text.replace('"secret/apps/', f'"secret/{prefix}/apps/'))
        self.hands.sys.create_or_update_policy(prefix, self.stand.call("vault-policy").stdout)

    def secret_id(self, wrap_ttl: str | None = None) -> str:
        """Make a secret id, or a token that holds one."""
        answer = self.hands.auth.approle.generate_secret_id(
            "rotator", mount_point=self.mount, wrap_ttl=wrap_ttl
        )
        made: str = answer["wrap_info"]["token"] if wrap_ttl else answer["data"]["secret_id"]
        return made


@pytest.fixture
def prefix() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def role(stand: Stand, real_vault: VaultServer, prefix: str) -> Iterator[Role]:
    hands = hvac.Client(url=real_vault.address, token=real_vault.root_token)
    mount = f"team/{prefix}"
    hands.sys.enable_auth_method("approle", path=mount)
    hands.auth.approle.create_or_update_approle(
        "rotator",
        token_policies=[prefix],
        token_no_default_policy=True,
        token_ttl="1h",
        mount_point=mount,
    )
    file = stand.folder / "secret-id"
    file.touch(mode=0o600)
    yield Role(stand, hands, mount, file)
    hands.sys.disable_auth_method(mount)
    hands.adapter.close()


def test_check_names_the_login_and_what_to_look_at_where_it_is_refused(
    role: Role, real_vault: VaultServer, prefix: str
) -> None:
    role.configure(real_vault, prefix, wrapped=False)
    role.file.write_text(role.secret_id())
    result = role.stand.call("check")
    assert result.exit_code == 0, result.output
    assert f"by approle: 60m left, policies: {prefix}" in result.output
    assert f"vault.auth.secret_id: read from file {role.file}" in result.output
    role.file.write_text("of-no-role")
    result = role.stand.call("check")
    assert result.exit_code == 1
    assert "invalid role or secret ID" in result.output
    assert f"look at auth/{role.mount} in Vault" in result.output
    assert "of-no-role" not in result.output


def test_a_wrapped_secret_id_serves_one_process_and_check_says_so(
    role: Role, real_vault: VaultServer, prefix: str
) -> None:
    role.configure(real_vault, prefix, wrapped=True)
    role.file.write_text(role.secret_id(wrap_ttl="5m"))
    assert role.stand.call("run", "--once").exit_code == 0
    again = role.stand.call("status")
    assert again.exit_code == 1
    assert "the wrapping token is used, expired or unknown" in again.output
    role.file.write_text(role.secret_id(wrap_ttl="5m"))
    result = role.stand.call("check")
    assert result.exit_code == 0, result.output
    assert "warn  Vault token: by approle" in result.output
    assert "this check opened the wrapped secret id" in result.output
