"""The guide for containers: each command in it is given, in its order, and does what it says."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import hvac
import pytest

from rotator.sandbox.server import Sandbox
from tests.conftest import IN_CI
from tests.homes import containers
from tests.homes.conftest import Program
from tests.homes.guides import Follower, blocks, programs_beside
from tests.servers.vault_server import VaultServer, find_vault, free_port
from tests.wiring.stand import eventually

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def own_vault(tmp_path: Path) -> Iterator[VaultServer]:
    """A Vault without anything in it, as the guide's commands name mounts and roles."""
    binary = find_vault()
    if binary is None:
        told = "no Vault: run `make servers`"
        if IN_CI:
            pytest.fail(told)
        pytest.skip(told)
    with VaultServer(binary) as server:
        yield server


@pytest.fixture
def follower(image: str, context: Path, tmp_path: Path, own_vault: VaultServer) -> Follower:
    """Somebody in a fresh checkout, with docker and vault at hand."""
    folder = containers.copy_of_context(tmp_path / "checkout", context)
    tools = tmp_path / "bin"
    tools.mkdir()
    vault = find_vault()
    assert vault
    (tools / "vault").symlink_to(vault)
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "VAULT_ADDR": own_vault.address,
        "VAULT_TOKEN": own_vault.root_token,
    }
    return Follower(folder, programs_beside(environment, containers.docker(tools)))


@pytest.fixture
def no_container_left() -> Iterator[None]:
    yield
    containers.ran(containers.podman("rm", "--force", "--time=0", "--ignore", "rotator"))


def test_following_the_guide_leads_to_a_daemon_that_rotates(
    program: Program, follower: Follower, own_vault: VaultServer, no_container_left: None
) -> None:
    program("unshare")
    given = iter(
        block for block in blocks("install-container.md") if "docker compose" not in block
    )  # what is of the try-out is given in test_compose.py
    port = free_port()
    with Sandbox(with_vault=False) as sandbox:
        written = follower.do_all(given, until="cat > rotator-home/config.toml")
        assert "rotator, version 0.1.0" in "".join(written.values())
        assert (
            json.loads((follower.folder / "sbom.cdx.json").read_text())["bomFormat"] == "CycloneDX"
        )

        # What the reader puts in: the addresses, and the management key.
        home = follower.folder / "rotator-home"
        text = (home / "config.toml").read_text(encoding="utf-8")
        text = text.replace("https://vault.example.com:8200", own_vault.address)
        text = text.replace(":9464", f":{port}")
        text = text.replace("[openrouter]", f'[openrouter]\nbase_url = "{sandbox.openrouter_url}"')
        (home / "config.toml").write_text(text, encoding="utf-8")
        follower.do_all(given, until="secret-id")
        (home / "management-key").write_text(sandbox.management_key, encoding="utf-8")

        follower.do_all(given, until="docker run --detach")
        answers = follower.do_all(given, until="docker logs")
        (block,) = answers
        assert "billing-api" in answers[block]
        assert '"event":"key.create"' in answers[block].replace(" ", "")
        client = hvac.Client(url=own_vault.address, token=own_vault.root_token)
        found = client.secrets.kv.v2.read_secret_version(
            "apps/billing", raise_on_deleted_version=True
        )
        client.adapter.close()
        assert found["data"]["data"]["OPENROUTER_API_KEY"].startswith("sk-or-")
        for path in ("/healthz", "/readyz", "/metrics"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                assert answer.status == 200
        follower.do_all(given, until="docker kill --signal HUP")
        assert eventually(
            lambda: "reading the configuration again" in follower.do("docker logs rotator"),
            "the daemon heard the signal",
        )
        assert "docker rm" in "".join(follower.do_all(given, until="docker rm"))
        assert list(given) == []
