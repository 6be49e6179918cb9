"""The real parts on one bench: the sandbox's OpenRouter and ``rotator`` as processes, real Vault."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from click.testing import CliRunner

from rotator.adapters.audit.verify import read_lines, verify
from rotator.cli.root import cli
from rotator.core.marker import Marker, parse_marker
from rotator.sandbox.consumers import ConsumerTarget
from tests.end_to_end.proxy import IDLE, digest

T = TypeVar("T")

FIELD = "OPENROUTER_API_KEY"
MOUNT = "secret"
PATIENCE = 60.0
"""Seconds that anything may take; what is waited for comes far sooner on an idle machine."""


def eventually(
    probe: Callable[[], T], what: str, within: float = PATIENCE, *, pause: float = 0.1
) -> T:
    """Ask again and again until the answer is true, and return it.

    Raises:
        AssertionError: It was not in time.
    """
    deadline = time.monotonic() + within
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        time.sleep(pause)


class NotServedError(AssertionError):
    """A service answered, but not with what was asked for."""


class AnyVault(Protocol):
    """A real Vault, however it was started."""

    @property
    def address(self) -> str: ...

    @property
    def root_token(self) -> str: ...


class Client:
    """A JSON client with a connection for each thread."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._base = parts.hostname or "", parts.port or 80, parts.path
        self._headers = dict(headers or {})
        self._lock = threading.Lock()
        self._used_at = 0.0
        self._connection = http.client.HTTPConnection(self._host, self._port, timeout=30)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and decoded body."""
        payload = None if body is None else json.dumps(body)
        with self._lock:
            if time.monotonic() - self._used_at > IDLE:
                self._connection.close()  # The server may have closed it meanwhile.
            try:
                self._connection.request(method, self._base + path, payload, self._headers)
                answer = self._connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                self._connection.close()
                raise
            self._used_at = time.monotonic()
        return answer.status, json.loads(text) if text else None

    def close(self) -> None:
        self._connection.close()


class SandboxProcess:
    """``rotator sandbox`` in a process of its own, of which the OpenRouter half is used."""

    def __init__(self, *, port: int = 0) -> None:
        self._port = port
        self.start()

    def start(self) -> None:
        """Start, and read from its output where it serves."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rotator", "sandbox", f"--openrouter-port={self._port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        said = ""
        while "[[target]]" not in said:
            line = self._process.stdout.readline()
            assert line, f"the sandbox ended at once: {said}"
            said += line
        self.url = _found(r"^OpenRouter +(\S+)$", said)
        self.management_key = _found(r"SANDBOX_MANAGEMENT_KEY=(\S+)", said)
        self._control = Client(self.url.removesuffix("/api/v1"))

    def all_keys(self) -> list[SandboxKey]:
        """Every key that there ever was, deleted ones too, but no management key."""
        status, found = self._control.call("GET", "/_sandbox/keys")
        assert status == 200, found
        return [
            SandboxKey(each["hash"], each["name"], each["disabled"], each["deleted"])
            for each in found
            if not each["management"]
        ]

    def keys_of(self, instance: str, target: str | None = None) -> list[SandboxKey]:
        """Every key that an instance made, for one target where it is named."""
        return [
            key
            for key in self.all_keys()
            if key.marker is not None
            and key.marker.instance == instance
            and target in (None, key.marker.target)
        ]

    def fault(self, **fault: Any) -> int:
        """Switch a fault on; see `rotator.sandbox.faults.Fault`."""
        status, found = self._control.call("POST", "/_sandbox/faults", fault)
        assert status == 201, found
        number: int = found["id"]
        return number

    def no_faults(self) -> None:
        """Switch all faults off."""
        self._control.call("DELETE", "/_sandbox/faults")

    def stop(self) -> None:
        """End the process."""
        self._control.close()
        self._process.terminate()
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    assert found, text
    return found[1]


@dataclass(frozen=True, slots=True)
class SandboxKey:
    """A key as the account keeps it."""

    hash: str
    name: str
    disabled: bool
    deleted: bool

    @property
    def marker(self) -> Marker | None:
        return parse_marker(self.name)

    @property
    def usable(self) -> bool:
        return not self.disabled and not self.deleted


@dataclass(frozen=True, slots=True)
class Served:
    """What a target's secret holds: the SHA-256 of its value (None: no value), and its version."""

    hash: str | None
    version: int


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document in the last line of standard output."""
        return json.loads(self.out.splitlines()[-1])


class Running:
    """A ``rotator`` process; its output goes to files, which can be read at any time."""

    def __init__(self, command: list[str], environment: dict[str, str], stem: Path) -> None:
        self._out, self._err = stem.with_suffix(".out"), stem.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment
            )

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8", errors="replace")

    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        self.process.kill()
        self.process.wait(timeout=30)

    def wait(self, within: float = PATIENCE) -> Done:
        """Wait for its end by itself."""
        code = self.process.wait(timeout=within)
        return Done(code, self.out, self.err)

    def reload(self, within: float = PATIENCE) -> None:
        """SIGHUP once the daemon has begun, and wait until the changed configuration is in force.

        It may be ended meanwhile. One that is the same is not taken, and would be waited for.
        """
        eventually(lambda: "started" in self.err or not self.alive(), "its start", within)
        before = self.err.count("reloaded")
        self.process.send_signal(signal.SIGHUP)  # nothing to a process that is gone
        over = lambda: self.err.count("reloaded") > before or not self.alive()  # noqa: E731
        eventually(over, "the reload", within)

    def stop(self, within: float = PATIENCE) -> Done:
        """SIGTERM, and wait for its end; a daemon that has hardly begun is let begin first."""
        eventually(lambda: "started" in self.err or not self.alive(), "its start", within)
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        return self.wait(within)


@dataclass(slots=True)
class Place:
    """One installation: a configuration, a folder with its audit trail, and a state prefix.

    Attributes:
        folder: where its files are.
        instance: its name, and the first part of all its paths in Vault.
        openrouter, vault: base URLs, of the servers or of proxies before them.
        sandbox, real_vault: the servers, to look at what became of things.
        targets: names of the targets.
        policy: the policy's lines.
        daemon: lines of the daemon's table.
        timeout: of both services.
        management_key, vault_token: what the process is given.
    """

    folder: Path
    instance: str
    openrouter: str
    vault: str
    sandbox: SandboxProcess
    real_vault: AnyVault
    targets: tuple[str, ...]
    policy: Mapping[str, str]
    daemon: Mapping[str, str] = field(default_factory=dict)
    openrouter_more: str = "writes_per_minute = 600"
    target_more: str = ""
    timeout: str = "5s"
    auth: str = '{ method = "token", token = { env = "E2E_VAULT_TOKEN" } }'
    management_key: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    processes: list[Running] = field(default_factory=list)
    _client: Client | None = None

    @property
    def state(self) -> str:
        return f"{MOUNT}/{self.instance}/state"

    @property
    def audit(self) -> Path:
        return self.folder / "audit.jsonl"

    def path_of(self, target: str) -> str:
        """A target's path below the mount."""
        return f"{self.instance}/apps/{target}"

    def consumer_of(self, target: str) -> ConsumerTarget:
        return ConsumerTarget(target, MOUNT, self.path_of(target), FIELD)

    def configuration(self, **policy: str) -> str:
        """The text of the configuration, with some lines of the policy replaced."""
        daemon = {
            "heartbeat": '"500ms"',
            "resync": '"1h"',
            "lease": '"5s"',
            "claim_timeout": '"20s"',
            "adopt_over": '"0s"',
        } | dict(self.daemon)
        lines = [
            f'instance = "{self.instance}"',
            "[openrouter]",
            f'base_url = "{self.openrouter}"',
            'management_key = { env = "E2E_MANAGEMENT_KEY" }',
            f'timeout = "{self.timeout}"',
            self.openrouter_more,
            "[vault]",
            f'address = "{self.vault}"',
            f"auth = {self.auth}",
            f'state = "{self.state}"',
            f'timeout = "{self.timeout}"',
            "[daemon]",
            *(f"{name} = {text}" for name, text in daemon.items()),
            "[audit]",
            f'path = "{self.audit}"',
            "[policy.standard]",
            *(f"{name} = {text}" for name, text in (dict(self.policy) | policy).items()),
        ]
        for target in self.targets:
            secret = f'secret = "{MOUNT}/{self.path_of(target)}"'
            lines += ["[[target]]", f'name = "{target}"', secret, f'field = "{FIELD}"']
            lines += [self.target_more]
        return "\n".join(lines) + "\n"

    def configure(self, **policy: str) -> None:
        """Write the configuration, with some lines of the policy replaced."""
        (self.folder / "config.toml").write_text(self.configuration(**policy), encoding="utf-8")

    def use_approle(self) -> str:
        """Let it log in with an AppRole of its own from now on, and return the secret id."""
        mount, client = f"approle-{self.instance}", self.client
        rules = f'path "{MOUNT}/*" {{ capabilities = ["create", "read", "update"] }}'
        for path, body in (
            (f"sys/auth/{mount}", {"type": "approle"}),
            (f"sys/policies/acl/{mount}", {"policy": rules}),
            (f"auth/{mount}/role/rotator", {"token_policies": [mount]}),
        ):
            status, said = client.call("POST", f"/v1/{path}", body)
            assert status == 204, said
        _, role = client.call("GET", f"/v1/auth/{mount}/role/rotator/role-id")
        _, made = client.call("POST", f"/v1/auth/{mount}/role/rotator/secret-id", {})
        secret_id: str = made["data"]["secret_id"]
        self.environment["E2E_SECRET_ID"] = secret_id
        self.auth = (
            f'{{ method = "approle", mount = "{mount}", role_id = "{role["data"]["role_id"]}", '
            'secret_id = { env = "E2E_SECRET_ID" } }'
        )
        return secret_id

    def start(self, *arguments: str) -> Running:
        """Start ``rotator`` with this configuration."""
        if not (self.folder / "config.toml").exists():
            self.configure()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment = {
            **kept,
            "E2E_VAULT_TOKEN": self.real_vault.root_token,
            "E2E_MANAGEMENT_KEY": self.management_key or self.sandbox.management_key,
            **self.environment,
        }
        command = [sys.executable, "-m", "rotator", "--config", str(self.folder / "config.toml")]
        number = f"{len(self.processes):03}-{'-'.join(each.strip('-') for each in arguments[:3])}"
        running = Running([*command, *arguments], environment, self.folder / number)
        self.processes.append(running)
        return running

    def run(self, *arguments: str, within: float = PATIENCE) -> Done:
        """Run ``rotator`` to its end."""
        return self.start(*arguments).wait(within)

    def served(self, target: str) -> Served:
        """What a consumer of the target would be served."""
        data = self.read(self.path_of(target))
        if data is None:
            return Served(None, 0)
        value = data["data"].get(FIELD)
        return Served(None if value is None else digest(value), data["metadata"]["version"])

    def ledger(self, target: str) -> dict[str, Any] | None:
        """A target's ledger, or None where there is none yet."""
        found = self.read(f"{self.instance}/state/targets/{target}")
        return None if found is None else found["data"]

    def read(self, path: str) -> dict[str, Any] | None:
        """What stands at a path below the mount, with its metadata."""
        status, found = self.client.call("GET", f"/v1/{MOUNT}/data/{path}")
        if status == 404:
            return None
        if status != 200:
            raise NotServedError(f"{path}: {status} {found}")
        data: dict[str, Any] = found["data"]
        return data

    def write(self, path: str, data: Mapping[str, Any]) -> None:
        """Write by hand, as a person would."""
        status, found = self.client.call("POST", f"/v1/{MOUNT}/data/{path}", {"data": data})
        assert status == 200, found

    @property
    def client(self) -> Client:
        if self._client is None:
            token = self.real_vault.root_token
            self._client = Client(self.real_vault.address, {"X-Vault-Token": token})
        return self._client

    def minted(self, target: str | None = None) -> list[SandboxKey]:
        """Every key that this installation ever made."""
        return self.sandbox.keys_of(self.instance, target)

    def at_rest(self, target: str) -> bool:
        """Whether nothing of the target is under way: one served key, no claim, nothing retiring."""
        book = self.ledger(target)
        return (
            book is not None
            and book["pending"] is None
            and not book["retiring"]
            and book["served"] is not None
            and book["served"]["hash"] == self.served(target).hash
        )

    def not_clean(self, target: str) -> list[str]:
        """What is not as it must be once a target is at rest: an empty list where all is well."""
        book, served = self.ledger(target), self.served(target)
        left = [key for key in self.minted(target) if not key.deleted]
        problems = []
        if [key.hash for key in left] != [served.hash]:
            hashes = [key.hash[:8] for key in left]
            problems.append(f"keys left: {hashes}; served: {str(served.hash)[:8]}")
        problems += [f"{key.hash[:8]} is disabled" for key in left if key.disabled]
        if book is None:
            return [*problems, "no ledger"]
        for name in ("pending", "retiring", "failure", "hold", "foreign"):
            if book[name]:
                problems.append(f"ledger: {name} = {book[name]}")
        if (book["served"] or {}).get("hash") != served.hash:
            problems.append(f"ledger: served = {book['served']}")
        return problems

    def close(self) -> None:
        """End what still runs."""
        for running in self.processes:
            if running.alive():
                running.kill()
        if self._client is not None:
            self._client.close()

    def story(self) -> str:
        """What all its processes said, for the message of a failed assertion."""
        return "\n".join(f"--- {each._err.name}\n{each.err[-2000:]}" for each in self.processes)


def verified(files: Iterable[Path], heads: Iterable[str] = ()) -> Done:
    """What ``rotator audit verify`` says of audit files; in this process, which is quicker."""
    known = [argument for head in heads for argument in ("--head", head)]
    done = CliRunner().invoke(cli, ["audit", "verify", "--json", *known, *map(str, files)])
    return Done(done.exit_code, done.stdout, done.stderr)


def left_open(file: Path) -> bool:
    """Whether an intent of an audit trail has no outcome."""
    return bool(verify([(file.name, read_lines(file))]).open)
