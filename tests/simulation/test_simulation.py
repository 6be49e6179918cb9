"""Seeded lives of the whole program: several replicas, faults at port calls, people's hands.

`make simulate SEEDS=… FIRST=…` runs more of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rotator.core import plan as planning
from tests.engine.planted import BUGS
from tests.engine.promises import BrokenPromiseError
from tests.simulation.runs import ENOUGH_FOR_ALL, Totals, lived, run
from tests.simulation.scenario import CELLS, CONDITIONS, scenario

ROOT = Path(__file__).parents[2]
SEEDS = 2000

FEW = 10
"""Cells that chance may leave empty in so few lives; one of some 570 has about five hits."""

DIGESTS = """
import logging
from tests.simulation.runs import lived
from tests.simulation.scenario import scenario
logging.disable(logging.CRITICAL)
print([lived(scenario(seed))[0].digest() for seed in range(6)])
"""


@pytest.fixture(scope="module")
def totals() -> Totals:
    """What two thousand lives came to."""
    return run(range(1, SEEDS + 1), workers=os.cpu_count() or 1)


def test_no_seed_breaks_a_promise_and_all_come_to_rest(totals: Totals) -> None:
    assert not totals.failures, "\n\n".join(totals.failures)
    assert totals.seeds == SEEDS


def test_lives_are_full_of_calls_rotations_and_faults(totals: Totals) -> None:
    assert totals.calls / totals.seeds >= 150
    assert totals.rotations / totals.seeds >= 3
    assert totals.struck / totals.seeds >= 2


def test_two_thousand_lives_leave_hardly_a_fault_of_a_step_to_longer_runs(totals: Totals) -> None:
    assert len(totals.empty()) <= FEW


def test_a_run_fails_where_a_seed_failed_or_enough_seeds_left_a_cell_empty() -> None:
    full = Totals(seeds=ENOUGH_FOR_ALL)
    full.hits.update(CELLS)
    full.conditions.update(what for _, what in CONDITIONS)
    assert full.passed()
    full.failures.append("seed 7: a promise was broken")
    assert not full.passed()
    assert not Totals(seeds=ENOUGH_FOR_ALL).passed()
    assert Totals(seeds=ENOUGH_FOR_ALL - 1).passed()


def test_one_seed_gives_one_history_whatever_the_hash_seed() -> None:
    histories = {
        subprocess.run(
            [sys.executable, "-c", DIGESTS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2", "random")
    }
    assert len(histories) == 1


def test_two_seeds_give_two_histories() -> None:
    assert lived(scenario(1))[0].digest() != lived(scenario(2))[0].digest()


SEEN = (
    "publish without check-and-set",
    "ledger write without check-and-set",
    "promote before publish",
    "delete without disable",
    "create sent again on an unknown answer",
    "grace counted from the mint",
    "intent after the act",
    "no read before a disable",
    "no quarantine",
    "no adoption of orphans",
    "recovery promotes without looking at the secret",
    "no proof that a new key works",
)
"""Bugs that the lab's own scenarios show, and that some seed comes upon by itself."""


@pytest.mark.parametrize("name", SEEN)
def test_some_seed_comes_upon_a_planted_bug(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "assert_safe", lambda *_: None)
    BUGS[name].plant(monkeypatch)
    errors = (lived(scenario(seed))[1] for seed in range(200))
    assert any(isinstance(each, BrokenPromiseError) for each in errors)
