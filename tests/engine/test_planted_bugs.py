"""The suite sees bugs: each is planted, and the smallest scenario that shows it is run.

The same scenario passes where nothing is planted. What the planner asserts of its own
plans is switched off here, so that the promises alone must see the bug.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rotator.core import plan as planning
from tests.engine.planted import BUGS
from tests.engine.promises import BrokenPromiseError

TABLE = Path(__file__).with_name("planted-bugs.md")
FEWEST = 28

HEAD = """\
# Planted bugs

Each is put into the program by `tests/engine/planted.py`, and must be seen in the scenario beside it, by the promise that
it breaks. `tests/engine/test_planted_bugs.py` does so, and keeps this table as it is.

| bug | shown by | seen as |
|---|---|---|
"""


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_seen_by_the_promise_that_it_breaks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug = BUGS[name]
    bug.scenario()
    monkeypatch.setattr(planning, "assert_safe", lambda *_: None)
    bug.plant(monkeypatch)
    with pytest.raises(BrokenPromiseError, match=bug.seen_as) as seen:
        bug.scenario()
    print(f"{name}: {bug.scenario.__name__}: {seen.value}")


def table() -> str:
    """Return the table of all planted bugs, as it stands beside this test."""
    rows = (
        f"| {name} | {bug.scenario.__name__.replace('_', ' ')} | {bug.seen_as.replace('|', ' or ')} |"
        for name, bug in BUGS.items()
    )
    return HEAD + "\n".join(rows) + "\n"


def test_the_table_of_planted_bugs_is_true_and_long_enough() -> None:
    """Where it is not, this says what it should be."""
    print(table())
    assert TABLE.read_text(encoding="utf-8") == table()
    assert len(BUGS) >= FEWEST
