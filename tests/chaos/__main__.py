"""``python -m tests.chaos MINUTES MODE SEED``: kill the real thing, and check every promise."""

from __future__ import annotations

import random
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Wanted, chaos
from tests.conftest import HOW_TO_GET_VAULT
from tests.servers.vault_server import find_vault

MODES = ("single", "raft")


def main(arguments: list[str]) -> int:
    """Run, print figures and broken promises; 0 where there are none of these."""
    minutes = float(arguments[0]) if arguments else 5.0
    mode = arguments[1] if len(arguments) > 1 else MODES[0]
    seed = int(arguments[2]) if len(arguments) > 2 else random.randrange(1_000_000)
    vault = find_vault()
    if mode not in MODES or vault is None:
        print(HOW_TO_GET_VAULT if vault is None else f"MODE is one of {', '.join(MODES)}")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all processes are ended
    print(f"seed {seed}: make chaos MINUTES={minutes:g} MODE={mode} SEED={seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="rotator-chaos-"))
    wanted = Wanted(seconds=minutes * 60, seed=seed, raft=mode == "raft")
    outcome = chaos(wanted, vault, folder, lambda line: print(line, flush=True))
    print(f"\n{outcome.table()}\n")
    for problem in outcome.problems:
        print(f"BROKEN: {problem}")
    if outcome.problems:
        print(f"the evidence is in {folder}")
        return 1
    print("every promise was kept")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
