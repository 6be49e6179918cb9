"""Run seeds: ``python -m tests.simulation SEEDS FIRST``; each failure is shrunk and shown."""

from __future__ import annotations

import sys

from tests.simulation.runs import run, told


def main(arguments: list[str]) -> int:
    """Run the seeds and tell what came of them."""
    seeds = int(arguments[0]) if arguments else 1000
    first = int(arguments[1]) if len(arguments) > 1 else 1
    totals = run(range(first, first + seeds))
    for failure in totals.failures:
        print(failure, end="\n\n")
    print(told(totals))
    print(f"{len(totals.failures)} failed")
    return 1 if totals.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
