"""What the homes share: the programs they need, and one loud word where one is missing."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.conftest import IN_CI


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
