"""The project's own files agree with each other: locks, make targets, version."""

from __future__ import annotations

import re
import subprocess
import tomllib
from email.message import Message
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rotator

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ["requirements/run.txt", "requirements/dev.txt"]


def pyproject() -> dict[str, Any]:
    """The parsed pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def pins(lock: str) -> dict[str, str]:
    """The version that a lock pins for each distribution."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]+\])?==([^\s;]+)", text, flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_what_the_project_asks_for(lock: str) -> None:
    config = pyproject()
    wanted = list(config["project"]["dependencies"])
    if lock.endswith("dev.txt"):
        wanted += config["dependency-groups"]["dev"]
    pinned = pins(lock)
    unmet = [
        line
        for line in wanted
        for requirement in [Requirement(line)]
        if not requirement.specifier.contains(
            pinned.get(canonicalize_name(requirement.name), "0"), prereleases=True
        )
    ]
    assert not unmet, f"{lock} does not satisfy {unmet}: run `make lock`"


def test_tests_run_with_the_versions_that_users_get() -> None:
    run, dev = pins(LOCKS[0]), pins(LOCKS[1])
    assert run
    assert {name: dev.get(name) for name in run} == run, "the locks disagree: run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_a_hash_for_each_pin_and_names_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(lock))
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert "--index-url" not in text


def test_the_installed_distribution_has_the_package_s_version_and_command() -> None:
    installed: Message = metadata("openrouter-rotator")  # type: ignore[assignment]
    assert installed["Version"] == rotator.__version__, "the install is stale: run `make venv`"
    assert pyproject()["project"]["scripts"] == {"rotator": "rotator.cli:main"}


def test_help_describes_every_make_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    declared = re.search(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE)
    assert declared
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.findall(r"^  make (\S+) +\S", shown, flags=re.MULTILINE) == declared[1].split()


def test_no_line_is_left_out_where_the_lines_are_counted_that_tests_reach() -> None:
    report = pyproject()["tool"]["coverage"]["report"]
    assert report["exclude_lines"] == []
    assert not {"exclude_also", "omit", "partial_branches", "partial_also"} & set(report)
    assert "omit" not in pyproject()["tool"]["coverage"]["run"]
    word = re.compile(r"pragma:\s*no\s*(cover|branch)", re.IGNORECASE)
    sources = (ROOT / "rotator").rglob("*.py")
    assert [each for each in sources if word.search(each.read_text(encoding="utf-8"))] == []
