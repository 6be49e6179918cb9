"""Run mutmut over some modules of a copy, with the tests that stand for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MUTATED = ("core", "engine")
"""The packages whose mutants must be noticed or explained."""

SLOW = frozenset(
    {"test_crash_table", "test_pairs", "test_chaos", "test_planted_bugs", "test_plan_fuzz"}
)
"""Lives and snapshots by the hundred: they take seconds to minutes, for every mutant again."""

SETTINGS = """\
[mutmut]
source_paths = rotator
only_mutate =
    {modules}
also_copy =
    config.example.toml
    docs
    README.md
    Makefile
    requirements
pytest_add_cli_args =
    -x
    -q
    -p
    no:cacheprovider
pytest_add_cli_args_test_selection =
    {tests}
type_check_command =
    mypy
    --output
    json
    --config-file
    ../mypy.ini
    {packages}
process_isolation = forkserver
"""
# `fork` would hand every mutant the caches that the unchanged code has filled.

TYPES = """\
[mypy]
python_version = 3.11
strict = True
warn_unused_ignores = False
warn_unreachable = True
enable_error_code = redundant-expr, truthy-bool
explicit_package_bases = True
mypy_path = .
plugins = pydantic.mypy

[mypy-apscheduler.*,greenlet,hvac.*]
ignore_missing_imports = True
"""
"""As in pyproject.toml, but for the comments that mutmut writes into its copies."""


def changed_modules() -> list[Path]:
    """Return every module of the mutated packages, by its path from the root."""
    return [
        each.relative_to(ROOT)
        for package in MUTATED
        for each in sorted((ROOT / "rotator" / package).glob("*.py"))
    ]


def copied(folder: Path) -> Path:
    """Copy what git has, or would have, into a folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def chosen_tests(modules: list[Path]) -> list[str]:
    """Return the tests that are run: the quick ones of the modules' own packages."""
    packages = {module.parts[1] for module in modules}
    files = [each for package in packages for each in (ROOT / "tests" / package).glob("test_*.py")]
    return sorted(str(each.relative_to(ROOT)) for each in files if each.stem not in SLOW)


def run_mutmut(folder: Path, modules: list[Path]) -> None:
    """Run it to its end; what came of each mutant stands in files of the folder then.

    Raises:
        SystemExit: it stopped early, as where the modules have no function to change.
    """
    lines = "\n    "
    settings = SETTINGS.format(
        modules=lines.join(map(str, modules)),
        tests=lines.join(chosen_tests(modules)),
        packages=lines.join(sorted({str(module.parent) for module in modules})),
    )
    (folder / "setup.cfg").write_text(settings, encoding="utf-8")
    (folder / "mypy.ini").write_text(TYPES, encoding="utf-8")
    tools = Path(sys.executable).parent
    done = subprocess.run(
        [tools / "mutmut", "run"],
        cwd=folder,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "CI": "true"},
        check=False,
    )
    if done.returncode:
        sys.exit(
            "mutmut stopped early, for the reason above: a module of values alone has no mutant"
        )
