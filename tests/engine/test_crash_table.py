"""The crash table: each single trouble, at every port call of a rotation's life.

Each cell runs the whole life of two rotations from nothing, lets one thing go wrong at
one call, checks the promises after every other call, and demands that everything comes
to rest. `tests.engine.troubles` has the rows.
"""

from __future__ import annotations

import pytest

from tests.engine.crash import LIFE, LONGER, broken_by, calls, history, undisturbed
from tests.engine.lab import Lab
from tests.engine.troubles import TROUBLES, Trouble


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


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda each: each.name)
def test_a_single_trouble_at_any_call_breaks_no_promise(trouble: Trouble) -> None:
    """Every call of the life of a rotation, once; and some lives go otherwise than without."""
    calm = undisturbed(LIFE + LONGER + trouble.lasts)
    broken: list[str] = []
    otherwise = 0
    for number, name in enumerate(calls(), start=1):
        if not trouble.calls(name):
            continue
        lab = Lab()
        trouble.begin(lab, number)
        if error := broken_by(lab, (LIFE, LONGER + trouble.lasts)):
            broken.append(f"call {number} ({name}): {error}")
        otherwise += history(lab) != calm
    assert not broken, "\n".join(broken)
    assert otherwise
