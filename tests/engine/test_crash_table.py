"""The crash table: a process death and each single fault, at every port call of a rotation.

Each cell runs the whole life of two rotations from nothing, lets one call go wrong,
checks the promises after every other call, and demands that everything comes to rest.
"""

from __future__ import annotations

import pytest

from tests.engine.crash import LIFE, LONGER, calls
from tests.engine.lab import Lab
from tests.fakes.faults import Kind


def test_the_undisturbed_life_reaches_every_kind_of_call() -> None:
    """So that the table has no empty column."""
    assert set(calls()) >= {
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


@pytest.mark.parametrize("kind", list(Kind))
def test_a_single_fault_at_any_call_breaks_no_promise(kind: Kind) -> None:
    """Every call of the life of a rotation, once."""
    broken: list[str] = []
    for number, name in enumerate(calls(), start=1):
        lab = Lab()
        lab.faults.plan = {number: kind}
        try:
            lab.live(LIFE)
            lab.live(LONGER)
            lab.check_at_rest()
        except AssertionError as error:
            broken.append(f"call {number} ({name}): {error}")
    assert not broken, "\n".join(broken)
