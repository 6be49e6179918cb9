"""Starts and ends a real Kubernetes API server with its etcd, without nodes.

The binaries are those that ``tests/servers/kubernetes/build`` makes. Nothing runs pods here:
objects are admitted and stored, tokens are issued and reviewed, and that is all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers.lifetime import Server, end
from tests.servers.vault_server import free_port

GO_MOD = Path(__file__).with_name("kubernetes") / "go.mod"
PROGRAMS = ("kube-apiserver", "etcd", "kubectl")
ADMIN_TOKEN = "admin-token-of-a-test"
START_SECONDS = 90.0


def built_version() -> str:
    """The version that is built: go.mod is the one place that names it."""
    found = re.search(r"k8s\.io/kubernetes v([0-9.]+)", GO_MOD.read_text(encoding="utf-8"))
    assert found, f"{GO_MOD} names no Kubernetes"
    return found[1]


def find_kubernetes() -> Path | None:
    """The folder with the three programs, or None where one is missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "openrouter-rotator" / "servers" / f"kubernetes-{built_version()}"
    return folder if all(os.access(folder / name, os.X_OK) for name in PROGRAMS) else None


class KubernetesServer(Server):
    """One API server on a loopback port; use it as a context manager.

    Args:
        programs: the folder that holds the programs.
    """

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.home = Path(tempfile.mkdtemp(prefix="rotator-kubernetes-"))
        self._port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """The base URL of the API."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def ca_cert(self) -> str:
        """The certificate by which the API server is known, as PEM."""
        return (self.home / "certs" / "apiserver.crt").read_text(encoding="utf-8")

    @property
    def kubeconfig(self) -> Path:
        """What KUBECONFIG would name, for an administrator of the cluster."""
        return self.home / "kubeconfig"

    def kubectl(
        self, *words: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator; with `check`, a failure shows what it wrote."""
        done = subprocess.run(
            [self.programs / "kubectl", *words],
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            env=self.environment,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stdout}\n{done.stderr}")
        return done

    @property
    def environment(self) -> dict[str, str]:
        """An environment in which `kubectl` is this server's, and its administrator's."""
        path = f"{self.programs}:{os.environ.get('PATH', '')}"
        return {"HOME": str(self.home), "PATH": path, "KUBECONFIG": str(self.kubeconfig)}

    def start(self) -> None:
        """Start both and wait until the API is ready.

        Raises:
            RuntimeError: one ended or did not answer in time. The message holds its log's end.
        """
        key = self.home / "service-account.key"
        _run(["openssl", "genrsa", "-out", str(key), "2048"])
        (self.home / "tokens.csv").write_text(
            f'{ADMIN_TOKEN},admin,admin-uid,"system:masters"\n', encoding="utf-8"
        )
        client, peer = free_port(), free_port()
        self._spawn(
            "etcd",
            f"--data-dir={self.home / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{client}",
            f"--secure-port={self._port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self.home / 'certs'}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={self.home / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
        )
        self._wait_until_ready()
        self._write_kubeconfig()

    def close(self) -> None:
        """End both and remove their folder."""
        for process in reversed(self._processes):
            end(process, 20)
        self._processes.clear()
        shutil.rmtree(self.home, ignore_errors=True)

    def _spawn(self, name: str, *arguments: str) -> None:
        with (self.home / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [self.programs / name, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.home,
                    env={"HOME": str(self.home), "PATH": os.environ.get("PATH", "")},
                )
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if any(process.poll() is not None for process in self._processes):
                break
            if self._is_ready():
                return
            time.sleep(0.1)
        logs = "\n".join(
            (self.home / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-2000:]
            for name in ("etcd", "kube-apiserver")
        )
        raise RuntimeError(f"the API server did not start on {self.address}:\n{logs}")

    def _is_ready(self) -> bool:
        try:
            context = ssl.create_default_context(cadata=self.ca_cert)
        except (OSError, ssl.SSLError):  # the certificate is not written yet, or half
            return False
        request = urllib.request.Request(
            f"{self.address}/readyz", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
        )
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _write_kubeconfig(self) -> None:
        document: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "users": [{"name": "admin", "user": {"token": ADMIN_TOKEN}}],
            "clusters": [
                {
                    "name": "test",
                    "cluster": {
                        "server": self.address,
                        "certificate-authority": str(self.home / "certs" / "apiserver.crt"),
                    },
                }
            ],
        }
        self.kubeconfig.write_text(json.dumps(document), encoding="utf-8")
        self.kubeconfig.chmod(0o600)


def _run(words: Sequence[str]) -> None:
    subprocess.run(words, check=True, capture_output=True)
