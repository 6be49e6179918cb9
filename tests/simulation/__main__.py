"""Run seeds: ``python -m tests.simulation SEEDS FIRST``; each failure is shrunk and shown."""

from __future__ import annotations

import os
import sys

from tests.simulation.runs import run, tell_progress, told


def main(arguments: list[str]) -> int:
    """Run the seeds on all processors and tell what came of them."""
    seeds = int(arguments[0]) if arguments else 1000
    first = int(arguments[1]) if len(arguments) > 1 else 1
    workers = min(os.cpu_count() or 1, -(-seeds // 100))
    totals = run(range(first, first + seeds), workers=workers, progress=tell_progress)
    print(told(totals))
    return 0 if totals.passed() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
