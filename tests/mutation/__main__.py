"""Change modules piece by piece: ``python -m tests.mutation [MODULE…]``, all of core and engine else.

It works on a copy. What no test noticed is printed, but for what is explained; 1 where that leaves
something.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mutation.mutants import Mutant, explained, is_wording, mutants_of
from tests.mutation.run import changed_modules, copied, run_mutmut


def main(arguments: list[str]) -> int:
    """Run, and tell what survived."""
    modules = [Path(each) for each in arguments] or changed_modules()
    with TemporaryDirectory(prefix="rotator-mutants-") as name:
        folder = copied(Path(name))
        run_mutmut(folder, modules)
        mutants = [each for module in modules for each in mutants_of(folder / "mutants", module)]
    return tell(mutants)


def tell(mutants: list[Mutant]) -> int:
    """Print the survivors that nothing explains, and the sums; return the exit code."""
    known = explained()
    survivors = [each for each in mutants if each.survived and not is_wording(each)]
    open_ones = [each for each in survivors if each.change not in known]
    for each in open_ones:
        print(f"\n{each.told()}")
    words = sum(each.survived and is_wording(each) for each in mutants)
    print(
        f"\n{len(mutants)} mutants: {sum(each.refused_by_types for each in mutants)} refused by the "
        f"type checker, {sum(each.killed for each in mutants)} noticed by tests, {words} in words "
        f"only, {len(survivors) - len(open_ones)} explained, {len(open_ones)} not explained"
    )
    return 1 if open_ones or not mutants else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
