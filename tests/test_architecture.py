"""The rules of the code's shape: direction of imports, size, and a docstring on every public name."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "rotator"
MODULES = sorted(PACKAGE.rglob("*.py"))

MODULE_LINES = 400
FUNCTION_LINES = 60

type_of_function = ast.FunctionDef | ast.AsyncFunctionDef


def place(path: Path) -> str:
    """The module's path as a person would type it."""
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a module, however deep it stands."""
    for node in ast.walk(tree):
        if isinstance(node, type_of_function):
            yield node


def public_definitions(
    body: list[ast.stmt], prefix: str = ""
) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """The classes, functions and methods that another module may use, with their dotted names.

    Magic methods are documented by the data model, overloads by their implementation, property
    setters by the property, and methods marked as overrides by what they override.
    """
    for node in body:
        if isinstance(node, ast.If):  # `if TYPE_CHECKING:` and its like
            yield from public_definitions(node.body + node.orelse, prefix)
        if not isinstance(node, ast.ClassDef | type_of_function) or node.name.startswith("_"):
            continue
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name, node
            yield from public_definitions(node.body, f"{prefix}{node.name}.")
        elif not any(_excuses(decorator) for decorator in node.decorator_list):
            yield prefix + node.name, node


def _excuses(decorator: ast.expr) -> bool:
    name = ast.unparse(decorator)
    return name.split(".")[-1] in {"overload", "override", "setter", "deleter"}


def undocumented(source: str) -> list[str]:
    """The public names of a module's source that lack a docstring; the module itself is ``module``."""
    tree = ast.parse(source)
    missing = [] if ast.get_docstring(tree) else ["module"]
    return missing + [
        f"{name} (line {node.lineno})"
        for name, node in public_definitions(tree.body)
        if not ast.get_docstring(node)
    ]


def too_long(source: str) -> list[str]:
    """The functions of a module's source that are longer than the cap, with their lengths."""
    lengths = [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in functions(ast.parse(source))
    ]
    return [f"{name} has {length} lines" for name, length in lengths if length > FUNCTION_LINES]


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_a_module_stays_within_its_cap(module: Path) -> None:
    lines = len(module.read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES, (
        f"{place(module)} has {lines} lines, {MODULE_LINES} are allowed: split it by concept, "
        "into modules that can each be named"
    )


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_a_function_stays_within_its_cap(module: Path) -> None:
    found = too_long(module.read_text(encoding="utf-8"))
    assert not found, (
        f"{place(module)}: {'; '.join(found)}, {FUNCTION_LINES} are allowed: "
        "give the steps inside it names of their own"
    )


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_every_public_name_is_documented(module: Path) -> None:
    found = undocumented(module.read_text(encoding="utf-8"))
    assert not found, (
        f"{place(module)}: no docstring on {', '.join(found)}: say what it means, in which units, "
        "and what it raises, or give the name a leading underscore"
    )


def test_the_checks_of_length_and_docstrings_find_what_they_look_for() -> None:
    long = "def f():\n" + "    x = 1\n" * FUNCTION_LINES
    assert too_long(long) == [f"f has {FUNCTION_LINES + 1} lines"]
    assert too_long("def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1)) == []

    bare = "class A:\n    def m(self): ...\n    def _n(self): ...\n    def __eq__(self, o): ...\n"
    assert undocumented(bare) == ["module", "A (line 1)", "A.m (line 2)"]
    assert undocumented('"""M."""\ndef f():\n    """F."""\n') == []


# --- the import contract -------------------------------------------------------------------------


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """The contract's verdict on the ``rotator`` package that stands in a folder."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=folder,
        env={"PATH": "", "PYTHONPATH": str(folder), "NO_COLOR": "1", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_the_package_keeps_the_import_contract() -> None:
    verdict = lint_imports(ROOT)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


SKELETON = {
    "cli/__init__.py": "import rotator.daemon\nimport click, rich",
    "daemon/__init__.py": "import rotator.wiring\nimport apscheduler",
    "web/__init__.py": "import rotator.core.view",
    "web/server.py": "import uvicorn",
    "web/metrics.py": "import prometheus_client",
    "web/page.py": "import jinja2",
    "wiring/__init__.py": "import rotator.config, rotator.adapters.openrouter.client, rotator.adapters.vault",
    "config/__init__.py": "import rotator.core.model\nimport pydantic",
    "adapters/__init__.py": "",
    "adapters/openrouter/__init__.py": "",
    "adapters/openrouter/client.py": "import rotator.ports\nimport httpx, stamina",
    "adapters/vault.py": "import rotator.secret\nimport hvac, requests",
    "adapters/audit.py": "import rotator.events",
    "adapters/logs.py": "import rotator.pipes, rotator.redaction\nimport structlog",
    "adapters/clock.py": "import time",
    "sandbox/__init__.py": "",
    "sandbox/api.py": "import starlette, uvicorn",
    "engine/__init__.py": "import rotator.ports",
    "ports.py": "import rotator.events, rotator.secret",
    "events.py": "import rotator.core.model",
    "core/__init__.py": "",
    "core/model.py": "import datetime, rotator.errors",
    "core/plan.py": "import rotator.core.model",
    "core/schedule.py": "import cronsim, zoneinfo",
    "core/view.py": "import rotator.core.plan",
    "errors.py": "",
    "pipes.py": "",
    "redaction.py": "",
    "secret.py": "",
    "__main__.py": "import rotator.cli",
    "__init__.py": "",
}


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """A package of every layer that keeps the contract, and the real contract beside it."""
    for name, source in SKELETON.items():
        path = tmp_path / "rotator" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source + "\n", encoding="utf-8")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_a_package_of_every_layer_keeps_the_contract(skeleton: Path) -> None:
    verdict = lint_imports(skeleton)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


VIOLATIONS = [
    ("core/plan.py", "import rotator.secret", "pure-core"),
    ("core/plan.py", "import time", "pure-core"),
    ("core/plan.py", "from random import random", "pure-core"),
    ("core/plan.py", "import os", "pure-core"),
    ("core/plan.py", "import logging", "pure-core"),
    ("core/model.py", "import httpx", "pure-core"),
    ("core/plan.py", "import cronsim", "clients"),
    ("core/model.py", "import rotator.ports", "layers"),
    ("secret.py", "import rotator.errors", "layers"),
    ("errors.py", "import rotator.core.model", "layers"),
    ("engine/__init__.py", "import rotator.adapters.vault", "layers"),
    ("engine/__init__.py", "import rotator.config", "layers"),
    ("engine/__init__.py", "import httpx", "clients"),
    ("engine/__init__.py", "import pydantic", "clients"),
    ("config/__init__.py", "import rotator.adapters.vault", "layers"),
    ("sandbox/api.py", "import rotator.config", "layers"),
    ("wiring/__init__.py", "import rotator.web", "layers"),
    ("web/__init__.py", "import rotator.daemon", "layers"),
    ("web/__init__.py", "import starlette", "clients"),
    ("web/page.py", "import prometheus_client", "clients"),
    ("web/metrics.py", "import jinja2", "clients"),
    ("daemon/__init__.py", "import uvicorn", "clients"),
    ("wiring/__init__.py", "import hvac", "clients"),
    ("daemon/__init__.py", "import structlog", "clients"),
    ("adapters/audit.py", "import structlog", "clients"),
    ("cli/__init__.py", "import apscheduler", "clients"),
    ("adapters/vault.py", "import httpx", "clients"),
    ("adapters/openrouter/client.py", "import requests", "clients"),
    ("adapters/openrouter/client.py", "import rotator.adapters.clock", "adapters"),
    ("adapters/vault.py", "import rotator.adapters.audit", "adapters"),
    ("helpers.py", "import rotator.errors", "layers"),
]


def test_each_deliberate_violation_breaks_its_contract(skeleton: Path) -> None:
    names = contract_names()
    survived = []
    for module, line, contract in VIOLATIONS:
        path = skeleton / "rotator" / module
        kept = path.read_text(encoding="utf-8") if path.exists() else None
        path.write_text((kept or "") + line + "\n", encoding="utf-8")
        verdict = lint_imports(skeleton)
        if verdict.returncode == 0 or f"{names[contract]} BROKEN" not in verdict.stdout:
            survived.append(f"{module}: {line} ({contract})\n{verdict.stdout}{verdict.stderr}")
        if kept is None:
            path.unlink()
        else:
            path.write_text(kept, encoding="utf-8")
    assert not survived, "the contract did not object to:\n" + "\n".join(survived)


def contract_names() -> dict[str, str]:
    """The contracts' names by their ids, as pyproject.toml gives them."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        config: dict[str, Any] = tomllib.load(file)
    contracts = config["tool"]["importlinter"]["contracts"]
    return {contract["id"]: contract["name"] for contract in contracts}


def test_a_third_party_client_without_an_owner_is_noticed() -> None:
    """Whoever adds a dependency says in the contract who may import it."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        config: dict[str, Any] = tomllib.load(file)
    contracts = {c["id"]: c for c in config["tool"]["importlinter"]["contracts"]}
    owned = set(contracts["clients"]["forbidden_modules"])
    declared = {
        requirement.split(">")[0].split("=")[0].strip().replace("-", "_")
        for requirement in config["project"]["dependencies"]
    }
    assert declared - owned == {"tzdata"}  # data that zoneinfo finds by itself
