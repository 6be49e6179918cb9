"""A configuration over a sandbox, and the command line over both: in this process or in another."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from rotator.cli.root import cli
from rotator.config import Config, load
from rotator.sandbox.server import Sandbox

FIELD = "OPENROUTER_API_KEY"

TEXT = """\
instance = "test"

[openrouter]
base_url = "{openrouter}"
management_key = {management_key}
writes_per_minute = 6000
timeout = "{timeout}"

[vault]
address = "{vault}"
auth = {{ method = "token", token = {{ env = "STAND_VAULT_TOKEN" }} }}
state = "secret/rotator"
timeout = "{timeout}"

[daemon]
heartbeat = "100ms"
lease = "2s"
claim_timeout = "{claim_timeout}"
adopt_over = "0s"
shutdown_grace = "{shutdown_grace}"
{daemon}

[audit]
path = "{audit}"

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

CALM = 'every = "30d"\ngrace = "1d"'
"""A policy under which nothing but a first key is due."""

DUE = 'every = "20ms"\ngrace = "1d"'
"""A policy under which every key is due within a second (Vault tells whole seconds)."""

QUICK = """\
every = "30d"
grace = "10ms"
drain = { quiet_for = "10ms", deadline = "1d", then = "keep", evidence = "usage" }
quarantine = "10ms"
"""
"""A policy under which an old key goes as soon as two looks show that it is quiet."""

BLOCKING = """\
every = "30d"
grace = "10ms"
drain = { quiet_for = "10ms", deadline = "10ms", then = "keep" }
"""
"""A policy under which an old key is soon blocked."""


class Times:
    """The sandbox's clock: the system's, shifted."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.shift


class Stand:
    """One sandbox, one configuration file, and what a test asks of them."""

    def __init__(self, folder: Path, sandbox: Sandbox, times: Times) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.times = times
        self.path = folder / "rotator.toml"
        self.audit = folder / "audit.jsonl"
        self.environment = {
            "STAND_MANAGEMENT_KEY": sandbox.management_key,
            "STAND_VAULT_TOKEN": sandbox.vault_token,
        }
        self._processes: list[subprocess.Popen[str]] = []
        self.write()

    def write(
        self,
        names: Sequence[str] = ("billing-api",),
        policy: str = CALM,
        *,
        daemon: str = 'resync = "1h"',
        management_key: str = '{ env = "STAND_MANAGEMENT_KEY" }',
        timeout: str = "2s",
        claim_timeout: str = "8s",
        shutdown_grace: str = "20s",
        openrouter: str | None = None,
        vault: str | None = None,
        audit: str | None = None,
        more: str = "",
    ) -> Path:
        """Write the configuration file."""
        head = TEXT.format(
            openrouter=openrouter or self.sandbox.openrouter_url,
            vault=vault or self.sandbox.vault_url,
            management_key=management_key,
            timeout=timeout,
            claim_timeout=claim_timeout,
            shutdown_grace=shutdown_grace,
            daemon=daemon,
            audit=audit or self.audit,
            policy=policy,
        )
        self.path.write_text(head + more + "".join(TARGET.format(name=name) for name in names))
        return self.path

    def config(self) -> Config:
        """Read the configuration file."""
        return load(self.path)

    # --- the command line ------------------------------------------------------------------------

    def call(self, *words: str, **environment: str) -> Result:
        """Run a command in this process."""
        with untouched_logs():
            return CliRunner().invoke(
                cli,
                ["--config", str(self.path), *words],
                env={**self.environment, **environment},
                prog_name="rotator",
            )

    def document(self, *words: str, code: int = 0) -> Any:
        """Run a command in this process and return the JSON document that it printed."""
        result = self.call(*words, "--json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout.splitlines()[-1])

    def start(
        self, *words: str, python: str | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        """Start a command in a process of its own, through the real entry point or by some code."""
        entry = [Path(sys.executable).with_name("rotator")]
        process = subprocess.Popen(
            [
                *([sys.executable, "-c", python] if python is not None else entry),
                "--config",
                self.path,
                *words,
            ],
            env={"PATH": os.environ["PATH"], **self.environment, **environment},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End what a failed test left running, and close the pipes."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own and wait for it."""
        process = self.start(*words, **environment)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    # --- the world as it is ------------------------------------------------------------------------

    def value(self, name: str = "billing-api") -> str:
        """Return the plaintext that a target serves."""
        found: str = self.sandbox.vault.read("secret", f"apps/{name}")["data"][FIELD]
        return found

    def served(self, name: str = "billing-api") -> str:
        """Return the hash of the key that a target serves."""
        return hashlib.sha256(self.value(name).encode()).hexdigest()

    def make_key(self, name: str = "made by hand") -> str:
        """Make a key as a person would, and return its plaintext."""
        bearer = f"Bearer {self.sandbox.management_key}"
        made: str = self.sandbox.account.create_key(bearer, {"name": name})["key"]
        return made

    def put(self, value: str, name: str = "billing-api") -> None:
        """Write a target's field as a person would."""
        self.sandbox.vault.write("secret", f"apps/{name}", {FIELD: value})

    def issued(self) -> dict[str, dict[str, Any]]:
        """Return every key but management keys, by hash, deleted ones too."""
        return {
            key["hash"]: key for key in self.sandbox.account.all_keys() if not key["management"]
        }

    def events(self) -> list[dict[str, Any]]:
        """Return the audit trail."""
        if not self.audit.exists():
            return []
        return [json.loads(line) for line in self.audit.read_text().splitlines()]

    def state(self) -> str:
        """Return everything that both services hold, as text to compare."""
        store = self.sandbox.vault
        mount = store.find_mount("secret/x")
        assert mount is not None
        secrets = {
            path: (secret.current, {n: v.data for n, v in secret.versions.items()})
            for path, secret in mount[0].secrets.items()
        }
        return json.dumps([secrets, self.issued()], sort_keys=True, default=str)


@contextmanager
def untouched_logs() -> Iterator[None]:
    """Undo what a command does to the logs of this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(capture=False)


def eventually(check: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Ask again and again until the answer is true, and return it."""
    give_up, pause = time.monotonic() + seconds, threading.Event()
    while not (answer := check()):
        assert time.monotonic() < give_up, f"still not so after {seconds:.0f} s: {what}"
        pause.wait(0.01)
    return answer
