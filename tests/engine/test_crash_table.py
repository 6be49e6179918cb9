"""The crash table: a process death and each single fault, at every port call of a rotation.

Each cell runs the whole life of two rotations from nothing, lets one call go wrong,
checks the promises after every other call, and demands that everything comes to rest.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from tests.engine.lab import Lab
from tests.fakes.faults import Kind

# Long enough for a first key and one rotation, its predecessor deleted, and a fault's delay.
LIFE = timedelta(hours=19)


def _calls() -> list[str]:
    lab = Lab()
    lab.live(LIFE)
    lab.check_at_rest()
    return list(lab.faults.calls)


CALLS = _calls()


def test_the_undisturbed_life_reaches_every_kind_of_call() -> None:
    """So that the table has no empty column."""
    assert set(CALLS) >= {
        "audit.append",
        "openrouter.create",
        "openrouter.delete",
        "openrouter.disable",
        "openrouter.get",
        "openrouter.list",
        "openrouter.whoami",
        "vault.metadata",
        "vault.read",
        "vault.read_ledger",
        "vault.write",
        "vault.write_ledger",
    }


def _interesting(limit: int = 12) -> list[int]:
    """Return the call numbers to disturb: all but the repetitions of an idle daemon."""
    seen: Counter[tuple[str, ...]] = Counter()
    numbers = []
    for number, name in enumerate(CALLS, start=1):
        context = (*CALLS[max(0, number - 4) : number - 1], name)
        seen[context] += 1
        if seen[context] <= limit and (name != "vault.metadata" or seen[context] <= 2):
            numbers.append(number)
    return numbers


@pytest.mark.parametrize("kind", list(Kind))
def test_a_single_fault_at_any_call_breaks_no_promise(kind: Kind) -> None:
    """Every call of the life of a rotation, once."""
    broken: list[str] = []
    for number in _interesting():
        lab = Lab()
        lab.faults.plan = {number: kind}
        try:
            lab.live(LIFE)
            lab.live(timedelta(hours=9))
            lab.check_at_rest()
        except AssertionError as error:
            broken.append(f"call {number} ({CALLS[number - 1]}): {error}")
    assert not broken, "\n".join(broken)
