"""What `rotator status` and `plan` cost for a thousand targets, beside the bare reads.

Serves the sandbox's Vault in this process, fills it with a thousand targets, and compares the
time of both commands' work (their start and their printing included) with that of the same reads
of Vault, sent by bare threads. Run by `make bench`; the numbers of one machine say little, their
ratio says something.
"""

from __future__ import annotations

import argparse
import http.client
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from threading import local
from urllib.parse import urlsplit

from rotator.cli.root import cli
from rotator.config import load
from rotator.core.target import Target
from rotator.sandbox.server import Sandbox
from rotator.wiring import connect

CONFIG = """\
instance = "bench"
[openrouter]
base_url = "{openrouter}"
management_key = {{ env = "BENCH_MANAGEMENT_KEY" }}
writes_per_minute = 6000
[vault]
address = "{vault}"
auth = {{ method = "token", token = {{ env = "BENCH_VAULT_TOKEN" }} }}
state = "secret/rotator"
[daemon]
workers = {workers}
[audit]
path = "{audit}"
"""

TARGET = '[[target]]\nname = "{name}"\nsecret = "secret/apps/{name}"\nfield = "KEY"\n'


def called(*words: str) -> None:
    """Run a command in this process, as its entry point would; what it prints is thrown away."""
    with redirect_stdout(io.TextIOWrapper(io.BytesIO())):
        try:
            cli(words, prog_name="rotator")
        except SystemExit as ended:
            if ended.code not in (0, None):
                raise


def bare_reads(path: str, workers: int) -> None:
    """Send the two reads of each target that `status` needs, through the same client."""
    services = connect(load(Path(path)), mode="status")

    def read(target: Target) -> None:
        services.ledgers.read(f"targets/{target.name}")
        services.secrets.metadata(target.secret.path)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(read, services.config.targets))
    services.close()


def raw_reads(sandbox: Sandbox, names: list[str], workers: int) -> None:
    """Send the same reads by the standard library's client, as fast as it goes."""
    where = urlsplit(sandbox.vault_url)
    own = local()

    def read(name: str) -> None:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(where.hostname or "", where.port)
        for path in (f"data/rotator/targets/{name}", f"metadata/apps/{name}"):
            headers = {"X-Vault-Token": sandbox.vault_token}
            own.connection.request("GET", f"/v1/secret/{path}", headers=headers)
            answer = own.connection.getresponse()
            answer.read()
            assert answer.status == 200, (path, answer.status)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(read, names))


@contextmanager
def setting(targets: int, workers: int) -> Iterator[tuple[Sandbox, list[str], str]]:
    """A sandbox with so many served targets, and the configuration over it."""
    names = [f"target-{number:04}" for number in range(targets)]
    with tempfile.TemporaryDirectory() as folder, Sandbox(seed=1) as sandbox:
        os.environ["BENCH_MANAGEMENT_KEY"] = sandbox.management_key
        os.environ["BENCH_VAULT_TOKEN"] = sandbox.vault_token
        bearer = f"Bearer {sandbox.management_key}"
        for name in names:
            key = sandbox.account.create_key(bearer, {"name": name})["key"]
            sandbox.vault.write("secret", f"apps/{name}", {"KEY": key})
        path = Path(folder) / "rotator.toml"
        head = CONFIG.format(
            openrouter=sandbox.openrouter_url,
            vault=sandbox.vault_url,
            workers=workers,
            audit=Path(folder) / "audit.jsonl",
        )
        path.write_text(head + "".join(TARGET.format(name=name) for name in names))
        called("--config", str(path), "--log-level", "error", "run", "--once")
        yield sandbox, names, str(path)


def best_of(times: int, work: Callable[[], None]) -> float:
    """Return the seconds of the fastest of several runs."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def main() -> int:
    """Print the table; exit code 1 where a ratio is above the given one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--at-most", type=float, default=1.5, help="the highest ratio allowed")
    chosen = parser.parse_args()
    worst = 0.0
    with setting(chosen.targets, chosen.workers) as (sandbox, names, path):
        raw = best_of(chosen.runs, lambda: raw_reads(sandbox, names, chosen.workers))
        bare = best_of(chosen.runs, lambda: bare_reads(path, chosen.workers))
        print(f"{chosen.targets} targets, {chosen.workers} threads, best of {chosen.runs}")
        print(
            f"{'':11}  {'seconds':>8}  {'ratio':>6}  {'Vault calls':>11}  {'OpenRouter calls':>16}"
        )
        print(f"{'bare reads':11}  {bare:8.2f}  {1:6.2f}  {2 * len(names):11}  {0:16}")
        print(f"{'http.client':11}  {raw:8.2f}  {raw / bare:6.2f}  {2 * len(names):11}  {0:16}")
        for command in ("status", "plan"):
            sandbox.calls.reset()
            taken = best_of(chosen.runs, lambda command=command: called("--config", path, command))
            vault = sandbox.calls.count("vault") // chosen.runs
            provider = sandbox.calls.count("openrouter") // chosen.runs
            worst = max(worst, taken / bare)
            print(f"{command:11}  {taken:8.2f}  {taken / bare:6.2f}  {vault:11}  {provider:16}")
    return int(worst > chosen.at_most)


if __name__ == "__main__":
    sys.exit(main())
