"""The consumers in a process of their own, so that nothing that the chaos does slows them down.

``python -m tests.chaos.consumers`` reads its orders from the first line of standard input, prints
what was seen as a JSON line every second, and ends with standard input.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any, Self

from rotator.sandbox.consumers import ConsumerFleet, ConsumerTarget, Report

READ_TIMEOUT = 1.0
"""Seconds for a read of Vault; a consumer that waits makes no calls, and its key looks quiet."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the consumers are to do; the fields are those of `ConsumerFleet`."""

    targets: tuple[ConsumerTarget, ...]
    openrouter_url: str
    vault_url: str
    vault_token: str
    rate: float
    cache_for: float

    def text(self) -> str:
        targets = [[each.name, each.mount, each.path, each.field] for each in self.targets]
        fields = (self.openrouter_url, self.vault_url, self.vault_token, self.rate, self.cache_for)
        return json.dumps([targets, *fields])


class Consumers:
    """The process. Its last line is what was seen by the end."""

    def __init__(self, orders: Orders) -> None:
        self._seen: dict[str, Any] = {"calls": 0, "failures": [], "reads": 0, "failed_reads": 0}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.consumers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(orders.text() + "\n")
        self._process.stdin.flush()
        self._reader = threading.Thread(target=self._follow, name="consumers", daemon=True)
        self._reader.start()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._seen = json.loads(line)

    @property
    def calls(self) -> int:
        found: int = self._seen["calls"]
        return found

    @property
    def reads(self) -> tuple[int, int]:
        """Reads of Vault, and how many of them failed."""
        return self._seen["reads"], self._seen["failed_reads"]

    @property
    def failures(self) -> list[str]:
        """Every call that failed, in words."""
        return [" ".join(map(str, each)) for each in self._seen["failures"]]

    def stop(self) -> None:
        """Let every call in hand end; `calls` and the others are final then."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._reader.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.stop()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _say(report: Report) -> None:
    failures = [
        [each.at.isoformat(), each.target, each.what, str(each.key_hash)[:12]]
        for each in report.failures
    ]
    said = {
        "calls": report.calls,
        "failures": failures,
        "reads": report.reads,
        "failed_reads": report.failed_reads,
    }
    print(json.dumps(said), flush=True)


def main() -> None:
    """Run the consumers until standard input ends."""
    targets, openrouter_url, vault_url, vault_token, rate, cache_for = json.loads(
        sys.stdin.readline()
    )
    fleet = ConsumerFleet(
        [ConsumerTarget(*each) for each in targets],
        openrouter_url=openrouter_url,
        vault_url=vault_url,
        vault_token=vault_token,
        rate=rate,
        cache_for=cache_for,
        read_timeout=READ_TIMEOUT,
    )
    over = threading.Event()

    def until_the_end() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=until_the_end, daemon=True).start()
    with fleet:
        while not over.wait(1.0):
            _say(fleet.report())
    _say(fleet.report())


if __name__ == "__main__":
    main()
