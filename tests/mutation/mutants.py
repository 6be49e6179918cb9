"""What mutmut made of a module, what the tests said, and which survivors are explained."""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

EXPLAINED = Path(__file__).with_name("explained.txt")

SURVIVED = frozenset({0, 5, 33})
"""mutmut's codes: all tests passed, none was collected, none runs through the function."""

REFUSED_BY_TYPES = 37

_LOGGING = frozenset(f"log.{level}" for level in ("debug", "info", "warning", "error"))


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one function, in words that outlive a move of its lines or a new layout.

    Attributes:
        function: its name with module and class.
        lines: those that differ, as Python's own printer writes them, behind ``- `` and ``+ ``.
    """

    function: str
    lines: tuple[str, ...]

    def told(self) -> str:
        """The change as a block of `EXPLAINED`."""
        return "\n".join((self.function, *self.lines))


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change, and what came of it.

    Attributes:
        change: what was changed.
        before: the function as it is.
        after: the function as it was changed.
        code: mutmut's exit code, None where it was not tried.
    """

    change: Change
    before: ast.AST
    after: ast.AST
    code: int | None

    @property
    def survived(self) -> bool:
        """Whether nothing noticed it; one that was not tried counts as such."""
        return self.code is None or self.code in SURVIVED

    @property
    def refused_by_types(self) -> bool:
        """Whether the type checker, which `make lint` runs, sees it."""
        return self.code == REFUSED_BY_TYPES

    @property
    def killed(self) -> bool:
        """Whether a test failed, or ran without an end."""
        return not self.survived and not self.refused_by_types

    def told(self) -> str:
        """The change, and why nobody could have noticed it where that is so."""
        notes = {None: "\n(not tried)", 33: "\n(no test runs through it)"}
        return self.change.told() + notes.get(self.code, "")


def explained(path: Path = EXPLAINED) -> dict[Change, str]:
    """Return the changes that need no test, each with the reason that stands above it."""
    found: dict[Change, str] = {}
    reason = ""
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        lines = block.splitlines()
        said = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
        function, *changed = [line for line in lines if not line.startswith("#")] or [""]
        reason = " ".join(said) or reason
        if function:
            found[Change(function, tuple(changed))] = reason
    return found


def mutants_of(folder: Path, module: Path) -> Iterator[Mutant]:
    """Yield the mutants of a module (a path from the root) that mutmut left in a folder."""
    meta = folder / f"{module}.meta"
    if not meta.exists():
        return  # nothing in it can be changed
    codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
    functions = _functions((folder / module).read_text(encoding="utf-8"))
    for key, code in codes.items():
        name = key.rpartition(".")[2]
        stem = name.rpartition("__mutmut_")[0]
        before, after = functions[f"{stem}__mutmut_orig"], functions[name]
        plain = stem.removeprefix("xǁ").replace("ǁ", ".") if "ǁ" in stem else stem[2:]
        function = f"{'.'.join(module.with_suffix('').parts)}.{plain}"
        yield Mutant(Change(function, _difference(before, after)), before, after, code)


def is_wording(mutant: Mutant) -> bool:
    """Tell whether only words differ: a sentence (a text with a blank in it), or what is logged.

    Tests do not ask for those in general: nothing acts on them, and the audit trail, not the
    log, is what tells later what was done. What a sentence or a line of the log must say is
    asked for by the tests that name it.
    """
    return _without_words(mutant.before) == _without_words(mutant.after)


def _functions(source: str) -> dict[str, ast.AST]:
    """Return every function of a module by its name, without that name in it."""
    found: dict[str, ast.AST] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
            name, node.name, node.decorator_list = node.name, "it", []
            found[name] = node
    return found


def _difference(before: ast.AST, after: ast.AST) -> tuple[str, ...]:
    """Return the lines that differ."""
    lines = difflib.ndiff(_printed(before), _printed(after))
    return tuple(f"{line[0]} {line[2:].strip()}" for line in lines if line[0] in "+-")


@cache
def _printed(node: ast.AST) -> list[str]:
    """Return a function as Python's own printer writes it, which knows no layout."""
    return ast.unparse(node).splitlines()


@cache
def _without_words(node: ast.AST) -> str:
    """Return a function as text in which all sentences, and all lines of the log, are the same."""
    tree = ast.parse(ast.unparse(node))
    for each in ast.walk(tree):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and " " in each.value:
            each.value = " "
        if isinstance(each, ast.Call) and ast.unparse(each.func) in _LOGGING:
            each.args, each.keywords = [], []
    return ast.dump(tree)
