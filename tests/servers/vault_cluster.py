"""The real HashiCorp Vault with storage on disk: one node, or three that elect a leader.

Unlike the development server of `vault_server`, what was stored survives the end of a node, which
may come by SIGKILL. Each node is unsealed by whoever started it, with the one key of the cluster.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.servers.lifetime import Server, end
from tests.servers.vault_server import free_port

START_SECONDS = 60.0

AUDIT_LOG = "vault-audit.log"
"""Vault's own record of requests, in the folder of each node."""


class VaultAwayError(Exception):
    """A node did not answer, or not with success."""


class VaultNode:
    """One server of a cluster, in a folder of its own."""

    def __init__(self, binary: Path, folder: Path, name: str, ports: tuple[int, int]) -> None:
        self.name = name
        self.folder = folder
        self.port, self.cluster_port = ports
        self.unsealed = False
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server has written so far."""
        path = self.folder / "vault.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def configure(self, storage: str) -> None:
        """Write the server's configuration."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        text = (
            f'listener "tcp" {{\n  address = "127.0.0.1:{self.port}"\n'
            f'  cluster_address = "127.0.0.1:{self.cluster_port}"\n  tls_disable = true\n}}\n'
            f'api_addr = "{self.address}"\n'
            f'cluster_addr = "https://127.0.0.1:{self.cluster_port}"\n'
            f"disable_mlock = true\n{storage}"
        )
        (self.folder / "vault.hcl").write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Start the process and wait until it answers; it is sealed then."""
        with (self.folder / "vault.log").open("ab") as log:
            # A HOME and an environment of its own: no token file, no VAULT_* of the developer's.
            self._process = subprocess.Popen(
                [str(self._binary), "server", f"-config={self.folder / 'vault.hcl'}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={"HOME": str(self.folder), "PATH": os.environ.get("PATH", "")},
            )
        self.until(lambda: "initialized" in self.call("GET", "sys/seal-status"), "an answer")

    def unseal(self, key: str) -> None:
        """Unseal it; raft may need a while to let a new node join, in which it refuses."""

        def opened() -> bool:
            return not self.call("PUT", "sys/unseal", {"key": key})["sealed"]

        self.until(opened, "its unsealing")
        self.unsealed = True

    def end(self, *, kill: bool) -> None:
        """End the process, by SIGKILL or in good order; nothing happens where it does not run."""
        self.unsealed = False
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
            process.wait()
        else:
            end(process, 10)

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str = ""
    ) -> Any:
        """Send one call and return what it answered; VaultAwayError where it was no success."""
        request = urllib.request.Request(
            f"{self.address}/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Vault-Token": token} if token else {},
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode(errors="replace")
            raise VaultAwayError(f"{method} {path}: {error.code} {said[:300]}") from None
        except OSError as error:
            raise VaultAwayError(f"{method} {path}: {error}") from None
        return json.loads(text) if text else None

    def until(self, probe: Callable[[], Any], what: str) -> None:
        """Ask again and again until the answer is true; RuntimeError where it is not in time."""
        deadline, last = time.monotonic() + START_SECONDS, ""
        while time.monotonic() < deadline and self.running:
            try:
                if probe():
                    return
            except VaultAwayError as error:
                last = str(error)
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} of Vault: no {what}: {last}\n{self.log[-3000:]}")


class VaultCluster(Server):
    """One node with file storage, or three with raft. Use it as a context manager.

    Args:
        binary: the server.
        folder: where the nodes keep everything; made if need be.
        size: 1 or 3.
    """

    def __init__(self, binary: Path, folder: Path, size: int) -> None:
        ports = [(free_port(), free_port()) for _ in range(size)]
        self.nodes = [
            VaultNode(binary, folder / f"vault-{number}", f"node-{number}", each)
            for number, each in enumerate(ports, 1)
        ]
        self.root_token = ""
        self._unseal_key = ""
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """The address of the first node."""
        return self.nodes[0].address

    @property
    def secrets(self) -> tuple[str, str]:
        """The root token and the key that unseals."""
        return self.root_token, self._unseal_key

    def ready(self) -> list[tuple[str, int]]:
        """Where a load balancer may send calls: every node that runs and was unsealed."""
        return [("127.0.0.1", node.port) for node in self.nodes if node.running and node.unsealed]

    def start(self) -> None:
        """Start and initialise all nodes, mount KV version 2 at `secret/`, switch audit on."""
        for node in self.nodes:
            node.configure(self._storage(node))
            node.start()
        first = self.nodes[0]
        made = first.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self.root_token, self._unseal_key = made["root_token"], made["keys"][0]
        for node in self.nodes:
            node.unseal(self._unseal_key)
        first.until(lambda: self.leader() is not None, "leader")
        if len(self.nodes) > 1:  # Killed before all vote, the rest never elects another.
            first.until(lambda: self.voters() == len(self.nodes), "full number of voters")
        self._mount()

    def _storage(self, node: VaultNode) -> str:
        data = node.folder / "data"
        if len(self.nodes) == 1:
            return f'storage "file" {{\n  path = "{data}"\n}}\n'
        joins = "".join(
            f'  retry_join {{\n    leader_api_addr = "{each.address}"\n  }}\n'
            for each in self.nodes
        )
        return (
            f'storage "raft" {{\n  path = "{data}"\n  node_id = "{node.name}"\n'
            f"  performance_multiplier = 1\n{joins}}}\n"
        )

    def _mount(self) -> None:
        first = self.nodes[0]
        kv = {"type": "kv", "options": {"version": "2"}}
        first.until(lambda: self.call("POST", "sys/mounts/secret", kv) is None, "KV engine")
        device = {"type": "file", "options": {"file_path": AUDIT_LOG}}
        self.call("PUT", "sys/audit/file", device)
        first.until(
            lambda: self.call("POST", "secret/data/is-it-there", {"data": {}}), "KV version 2"
        )

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send one call with the root token; standby nodes hand it on to the leader."""
        last = VaultAwayError("no node is unsealed")
        for node in self.nodes:
            if node.running and node.unsealed:
                try:
                    return node.call(method, path, body, self.root_token)
                except VaultAwayError as error:
                    last = error
        raise last

    def leader(self) -> VaultNode | None:
        """The node that is active, or None while there is none."""
        for node in self.nodes:
            if not node.running or not node.unsealed:
                continue
            try:
                node.call("GET", "sys/health")  # A standby answers 429.
                return node
            except VaultAwayError:
                continue
        return None

    def voters(self) -> int:
        """How many nodes of the raft configuration vote."""
        found = self.call("GET", "sys/storage/raft/configuration")
        return sum(bool(each["voter"]) for each in found["data"]["config"]["servers"])

    def restart(self, node: VaultNode, *, kill: bool, away: float = 0.0) -> None:
        """End a node, leave it away for so many seconds, start and unseal it, wait for a leader."""
        with self._lock:
            node.end(kill=kill)
            time.sleep(away)
            node.start()
            node.unseal(self._unseal_key)
            node.until(lambda: self.leader() is not None, "leader")

    def close(self) -> None:
        """End all nodes; their folders stay."""
        for node in self.nodes:
            node.end(kill=True)
