"""One cluster, one Vault and one sandbox for these tests, into which the guide has been followed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from rotator.sandbox.server import Sandbox
from tests.conftest import IN_CI
from tests.homes import containers
from tests.homes.guides import Follower, blocks, programs_beside
from tests.homes.kubernetes.node import Node
from tests.servers.kubernetes_server import KubernetesServer, find_kubernetes
from tests.servers.vault_server import VaultServer, find_vault

REPLICAS = ("127.0.0.2", "127.0.0.3")


def give_up(told: str) -> None:
    """Skip, and in CI fail."""
    if IN_CI:
        pytest.fail(told)
    pytest.skip(told)


@pytest.fixture(scope="session")
def kubectl() -> Path:
    """The real kubectl, of the API server's version."""
    programs = find_kubernetes()
    if programs is None:
        give_up("no API server: run `make homes`, which builds it once")
    assert programs
    return programs / "kubectl"


@pytest.fixture(scope="session")
def cluster(kubectl: Path) -> Iterator[KubernetesServer]:
    """A real API server without nodes."""
    with KubernetesServer(kubectl.parent) as server:
        yield server


@dataclass(frozen=True, slots=True)
class Installed:
    """What the guide led to, and who followed it.

    Attributes:
        cluster: the API server, with everything applied.
        vault: the Vault that knows the cluster.
        sandbox: stands for OpenRouter.
        node: runs the pods.
        written: what each of the guide's blocks wrote.
        follower: may go on.
        rest: the blocks that were not given yet.
    """

    cluster: KubernetesServer
    vault: VaultServer
    sandbox: Sandbox
    node: Node
    written: Mapping[str, str]
    follower: Follower
    rest: Iterator[str]

    def said(self, part: str) -> str:
        """What the block wrote that has some text in it."""
        (found,) = (text for block, text in self.written.items() if part in block)
        return found


@pytest.fixture(scope="session")
def installed(
    cluster: KubernetesServer,
    image: str,
    context: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installed]:
    """Follow the guide up to its last daily command, with two pods running."""
    vault_program = find_vault()
    if vault_program is None:
        give_up("no Vault: run `make servers`")
    assert vault_program
    home = tmp_path_factory.mktemp("kubernetes")
    folder = containers.copy_of_context(home / "checkout", context)
    tools = home / "bin"
    tools.mkdir()
    (tools / "vault").symlink_to(vault_program)
    with (
        VaultServer(vault_program) as vault,
        Sandbox(with_vault=False) as sandbox,
        Node(cluster, home / "node", REPLICAS) as node,
    ):
        node.write_kubectl(tools)
        environment = {
            **cluster.environment,
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "VAULT_ADDR": vault.address,
            "VAULT_TOKEN": vault.root_token,
        }
        follower = Follower(folder, programs_beside(environment, containers.docker(tools)))
        (folder / "management-key").write_text(sandbox.management_key, encoding="utf-8")
        given = iter(blocks("install-kubernetes.md"))
        written = follower.do_all(given, until="cp -r deploy/kubernetes/overlays/example")

        # What the reader puts in: the addresses. A lease of seconds, so that a take-over is soon.
        file = folder / "deploy/kubernetes/overlays/prod/config.toml"
        text = file.read_text(encoding="utf-8").replace(
            "https://vault.vault.svc:8200", vault.address
        )
        text = text.replace("[openrouter]", f'[openrouter]\nbase_url = "{sandbox.openrouter_url}"')
        file.write_text(text + LATER, encoding="utf-8")
        written |= follower.do_all(given, until="kubectl apply")
        node.run_pods()
        written |= follower.do_all(given, until="kubectl --namespace rotator logs")
        yield Installed(cluster, vault, sandbox, node, written, follower, given)


LATER = """
[daemon]
heartbeat = "1s"
lease = "3s"
adopt_over = "0s"
"""
