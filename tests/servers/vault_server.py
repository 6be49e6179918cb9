"""Starts and ends the real HashiCorp Vault, in its in-memory development mode.

The binary is looked for on PATH, then where ``make servers`` builds it. Development mode mounts a
KV version 2 engine at ``secret/`` and is unsealed at once; its data is gone when it stops.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

from tests.servers.lifetime import Server, end

GO_MOD = Path(__file__).with_name("go.mod")
ROOT_TOKEN = "root-token-of-a-test"
START_SECONDS = 30.0


def built_version() -> str:
    """The version that ``make servers`` builds: go.mod is the one place that names it."""
    found = re.search(r"github\.com/hashicorp/vault v([0-9.]+)", GO_MOD.read_text(encoding="utf-8"))
    assert found, f"{GO_MOD} names no Vault"
    return found[1]


def find_vault() -> Path | None:
    """The Vault binary to test with, or None where there is neither one on PATH nor a built one."""
    if on_path := shutil.which("vault"):
        return Path(on_path)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "openrouter-rotator" / "servers" / f"vault-{built_version()}" / "vault"
    return built if os.access(built, os.X_OK) else None


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class VaultServer(Server):
    """One development server on a loopback port, which keeps its address through stop and start.

    Use it as a context manager. ``stop`` and ``start`` make an outage. What was stored does not
    survive a stop.
    """

    def __init__(self, binary: Path, *, tls: bool = False) -> None:
        """Prepare; with `tls` it makes a certificate of its own, and asks callers for theirs."""
        self._binary = binary
        self._tls = tls
        self._home = Path(tempfile.mkdtemp(prefix="rotator-vault-"))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The base URL, as VAULT_ADDR would hold it."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def ca_cert(self) -> Path:
        """The authority of a server with TLS."""
        return self._home / "vault-ca.pem"

    @property
    def root_token(self) -> str:
        """A token that may do everything."""
        return ROOT_TOKEN

    @property
    def log(self) -> str:
        """What the server has written so far."""
        path = self._home / "vault.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start the server and wait until it is unsealed; nothing happens where it runs.

        Raises:
            RuntimeError: It ended or did not answer in time. The message holds its log's end.
        """
        if self._process is not None:
            return
        command = [
            str(self._binary),
            "server",
            "-dev",
            f"-dev-root-token-id={ROOT_TOKEN}",
            f"-dev-listen-address=127.0.0.1:{self._port}",
            "-dev-no-store-token",
        ]
        if self._tls:
            command += ["-dev-tls", f"-dev-tls-cert-dir={self._home}"]
        with (self._home / "vault.log").open("ab") as log:
            # A HOME and an environment of its own: no token file, no VAULT_* of the developer's.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                env={"HOME": str(self._home), "PATH": os.environ.get("PATH", "")},
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """End the server; nothing happens where it does not run."""
        process, self._process = self._process, None
        if process is not None:
            end(process, 10)

    def close(self) -> None:
        """End the server and remove its folder."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            if self._is_ready():
                return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"Vault did not start on {self.address}:\n{self.log[-3000:]}")

    def _connection(self) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
        context = ssl.create_default_context()
        with contextlib.suppress(OSError):  # it may not be written yet
            context.load_verify_locations(self.ca_cert)
        return http.client.HTTPSConnection("127.0.0.1", self._port, timeout=2, context=context)

    def _is_ready(self) -> bool:
        """Whether it answers as an initialised, unsealed, active server with its KV engine mounted."""
        connection = self._connection()
        try:
            for path in ("/v1/sys/health", "/v1/sys/mounts/secret"):
                connection.request("GET", path, headers={"X-Vault-Token": ROOT_TOKEN})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    return False
        except OSError:
            return False
        finally:
            connection.close()
        return True
