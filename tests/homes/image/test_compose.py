"""The try-out: compose starts a Vault, the sandbox and rotator, and keys are rotated."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import IN_CI
from tests.homes import containers
from tests.homes.guides import Follower, blocks, programs_beside
from tests.servers.vault_server import built_version, find_vault, free_port
from tests.wiring.stand import eventually

pytestmark = pytest.mark.timeout(300)

DEPLOY = containers.ROOT / "deploy"
COMPOSE = DEPLOY / "compose/compose.yaml"
SERVED = f"docker.io/hashicorp/vault:{built_version()}"
VAULT_IMAGE = """\
FROM {base}
COPY vault /usr/bin/vault
ENTRYPOINT ["/bin/sh", "-c", \
"exec vault $* -dev-root-token-id=$VAULT_DEV_ROOT_TOKEN_ID -dev-listen-address=$VAULT_DEV_LISTEN_ADDRESS", "sh"]
"""
# The machine's own network in the place of one that compose would make; all else is as it is.
HERE = "services: {vault: {network_mode: host}}\n"

COMMAND = "docker compose -f deploy/compose/compose.yaml"


@pytest.fixture(scope="module")
def vault_image(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An image that stands for the published one, whose entry point takes the same variables."""
    vault = find_vault()
    if vault is None:
        told = "no Vault: run `make servers`"
        if IN_CI:
            pytest.fail(told)
        pytest.skip(told)
    if containers.ran(["podman", "image", "exists", SERVED], check=False).returncode == 0:
        return
    folder = tmp_path_factory.mktemp("vault-image")
    shutil.copy(vault, folder / "vault")
    (folder / "Dockerfile").write_text(VAULT_IMAGE.format(base=containers.base_image()))
    containers.ran([*containers.BUILDAH, "--tag", SERVED, "."], cwd=folder)


@pytest.fixture
def follower(vault_image: None, context: Path, tmp_path: Path) -> Iterator[Follower]:
    """Somebody in a checkout whose try-out has ports of its own."""
    checkout = containers.copy_of_context(tmp_path / "checkout", context)
    folder = checkout / "deploy/compose"
    for port in ("8081", "8200", "9464"):
        own = str(free_port())
        for file in folder.iterdir():
            file.write_text(re.sub(rf"\b{port}\b", own, file.read_text(encoding="utf-8")))
    (folder / "here.yaml").write_text(HERE, encoding="utf-8")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("docker", "podman"):
        containers.docker(tools, name)
    follower = Follower(checkout, programs_beside(os.environ, tools))
    yield follower
    follower.do(f"{COMMAND} down --volumes")


def test_the_file_pins_its_images_and_gives_rotator_no_rights() -> None:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    assert services["vault"]["image"] == SERVED
    for name in ("sandbox", "rotator"):
        service = services[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["image"] == "localhost/openrouter-rotator:0.1.0"
    published = [port for each in services.values() for port in each.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_try_out_comes_up_and_rotates_by_the_commands_of_the_guide(follower: Follower) -> None:
    up, look, end = (block for block in blocks("install-container.md") if "docker compose" in block)
    follower.do(up)

    def served() -> bool:
        answer = follower.do(f"{COMMAND} exec rotator rotator status --json || true")
        lines = [line for line in answer.splitlines() if line.startswith("{")]
        return bool(lines) and all(each["served"] for each in json.loads(lines[-1])["targets"])

    assert eventually(served, "both targets are served", seconds=90)
    written = follower.do(look)
    assert "billing-api" in written
    assert "support-bot" in written
    follower.do(end)
    assert "rotator-try-out" not in containers.ran(["podman", "ps", "--all"]).stdout
