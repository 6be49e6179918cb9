"""What the homes share: the programs they need, and one loud word where one is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import IN_CI
from tests.homes import containers

NOT_DONE = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root where we are not root, and say so; in CI it fails instead."""
    if os.geteuid() == 0 or IN_CI:
        return
    for item in items:
        if "tests/homes" in item.path.as_posix():
            item.add_marker(
                pytest.mark.skip(reason="the homes need root: run `make homes` as root")
            )


@pytest.fixture(scope="session")
def program() -> Program:
    """Return the path of a program by its name; where it is missing, skip, and in CI fail."""
    return Program()


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the session's image is built from: the source as it was when the session began."""
    return containers.copy_of_context(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="session")
def image(program: Program, context: Path) -> str:
    """The image, built once a session; returns its name."""
    for name in ("buildah", "podman", "crun", "mmdebstrap", "unshare"):
        program(name)
    containers.build(context)
    return containers.IMAGE


@pytest.fixture
def not_done(request: pytest.FixtureRequest) -> list[str]:
    """What could not be tested here; each line is said loudly at the end of the run."""
    return request.config.stash.setdefault(NOT_DONE, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was left out."""
    for line in config.stash.get(NOT_DONE, []):
        terminalreporter.write_line(f"!!! {line}", yellow=True, bold=True)


class Program:
    """Looks up the programs that `tests/homes/install` installs."""

    def __call__(self, name: str) -> str:
        """Return the path of a program on PATH."""
        if found := shutil.which(name):
            return found
        told = f"no {name} on PATH: run `make homes`, which installs it"
        if IN_CI:
            pytest.fail(told)
        pytest.skip(told)
