"""The try-out: compose starts a Vault, the sandbox and rotator, and keys are rotated."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import IN_CI
from tests.homes import containers
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

Compose = Callable[..., str]


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
    containers.ran(
        ["buildah", "bud", "--isolation", "chroot", "--pull-never", "--tag", SERVED, "."],
        cwd=folder,
    )


@pytest.fixture
def compose(image: str, vault_image: None, tmp_path: Path) -> Iterator[Compose]:
    """Runs `compose` over a copy of the try-out that has ports of its own."""
    containers.ran(["podman", "tag", image, "localhost/openrouter-rotator:0.1.0"])
    folder = tmp_path / "deploy/compose"
    shutil.copytree(DEPLOY / "compose", folder)
    for port in ("8081", "8200", "9464"):
        own = str(free_port())
        for file in folder.iterdir():
            file.write_text(re.sub(rf"\b{port}\b", own, file.read_text(encoding="utf-8")))
    (folder / "here.yaml").write_text(HERE, encoding="utf-8")
    tools = tmp_path / "bin"
    tools.mkdir()
    containers.docker(tools, name="podman")
    program = Path(sys.executable).with_name("podman-compose")
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}

    def run(*words: str, may_fail: bool = False) -> str:
        command = [str(program), "-f", "compose.yaml", "-f", "here.yaml", *words]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=folder, env=environment
        )
        assert may_fail or done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    yield run
    run("down", "--volumes", "--timeout", "5")


def test_the_file_pins_its_images_and_gives_rotator_no_rights() -> None:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    assert services["vault"]["image"] == SERVED
    for name in ("sandbox", "rotator"):
        service = services[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["image"] == "localhost/openrouter-rotator:0.1.0"
    published = [port for each in services.values() for port in each.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_try_out_comes_up_and_rotates(compose: Compose) -> None:
    compose("up", "--detach", "--no-build")

    def served() -> bool:
        document = json.loads(
            compose("exec", "-T", "rotator", "rotator", "status", "--json", may_fail=True)
        )
        return all(target["served"] for target in document["targets"])

    assert eventually(served, "both targets are served", seconds=60)
    before = compose("exec", "-T", "rotator", "rotator", "status", "billing-api")
    compose("exec", "-T", "rotator", "rotator", "rotate", "billing-api")
    assert compose("exec", "-T", "rotator", "rotator", "status", "billing-api") != before
