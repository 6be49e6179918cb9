"""What is explained is still what the code says, and what the tool reads is what it writes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutation.mutants import Change, Mutant, explained, is_wording, mutants_of
from tests.mutation.run import MUTATED, ROOT, changed_modules, chosen_tests


def code_of(function: str) -> str:
    """The function as Python's own printer writes it."""
    parts = function.split(".")
    deepest = next(n for n in range(len(parts), 0, -1) if module_path(parts[:n]).is_file())
    node: ast.AST = ast.parse(module_path(parts[:deepest]).read_text(encoding="utf-8"))
    for name in parts[deepest:]:
        (node,) = [each for each in ast.walk(node) if getattr(each, "name", None) == name]
    return ast.unparse(node)


def module_path(parts: list[str]) -> Path:
    """Where a module of that name would stand."""
    return (ROOT / Path(*parts)).with_suffix(".py")


@pytest.mark.parametrize("change", explained(), ids=lambda change: change.function)
def test_an_explained_change_is_one_of_the_code_as_it_is_and_has_a_reason(change: Change) -> None:
    assert explained()[change]
    lines = [line.strip() for line in code_of(change.function).splitlines()]
    assert [line for line in change.lines if line[:2] == "- " and line[2:] not in lines] == []


def test_the_tests_of_core_and_engine_stand_for_them() -> None:
    assert {each.parts[1] for each in changed_modules()} == set(MUTATED)
    chosen = chosen_tests([Path("rotator/core/plan.py")])
    assert "tests/core/test_rotation.py" in chosen
    assert not [each for each in chosen if not each.startswith("tests/core/")]


MUTATED_SOURCE = """\
class Box:
    @wrapped
    def xǁBoxǁput__mutmut_orig(self, n):
        if n > 1:
            raise ValueError("not that many")
        return [n]

    @wrapped
    def xǁBoxǁput__mutmut_1(self, n):
        if n >= 1:
            raise ValueError("not that many")
        return [n]

    @wrapped
    def xǁBoxǁput__mutmut_2(self, n):
        if n > 1:
            raise ValueError("XXnot that manyXX")
        return [n]

def x_take__mutmut_orig(n): return 1

def x_take__mutmut_1(n): return 2

def x_tell__mutmut_orig(n): log.info("told: %s", n, extra={"reason": n})

def x_tell__mutmut_1(n): log.info("told: %s", None, extra={"REASON": n})
"""
CODES = """{"exit_code_by_key": {"a.b.xǁBoxǁput__mutmut_1": 0, "a.b.xǁBoxǁput__mutmut_2": 0,
"a.b.x_take__mutmut_1": 1, "a.b.x_tell__mutmut_1": 0}}"""


def test_a_survivor_is_told_in_the_form_in_which_it_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.py").write_text(MUTATED_SOURCE, encoding="utf-8")
    (tmp_path / "a/b.py.meta").write_text(CODES, encoding="utf-8")
    mutants: list[Mutant] = list(mutants_of(tmp_path, Path("a/b.py")))
    assert [(each.survived, each.killed) for each in mutants] == [
        (True, False),
        (True, False),
        (False, True),
        (True, False),
    ]
    assert [is_wording(each) for each in mutants] == [False, True, False, True]
    assert mutants[0].told() == "a.b.Box.put\n- if n > 1:\n+ if n >= 1:"
    assert mutants[2].change.function == "a.b.take"

    page = tmp_path / "explained.txt"
    page.write_text(f"# At one.\n{mutants[0].told()}\n\n# More.\n", encoding="utf-8")
    assert explained(page) == {mutants[0].change: "At one."}
