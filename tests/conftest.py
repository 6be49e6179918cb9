"""What every test may use: a stand, and the real Vault or one loud line that says how to get it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from rotator.sandbox.server import Sandbox
from tests.servers.vault_server import VaultServer, find_vault
from tests.wiring.stand import Stand, Times

NO_VAULT = pytest.StashKey[bool]()
HOW_TO_GET_VAULT = "no Vault on PATH and none built: run `make servers` (once, 6 minutes, needs Go)"

collect_ignore = ["homes"]
"""What needs root and a machine of its own runs by `make homes`, or where its folder is named."""

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

# No example is judged by its time. In CI the examples are the same in every run; elsewhere new
# ones are tried each time.
settings.register_profile("rotator", deadline=None, derandomize=IN_CI)
settings.load_profile("rotator")


@pytest.fixture(scope="session")
def vault_binary(request: pytest.FixtureRequest) -> Path:
    """The real server's binary.

    Without it the tests skip, and the summary says so; with CI set they fail instead.
    """
    binary = find_vault()
    if binary is None:
        if IN_CI:
            pytest.fail(f"CI must run the tests against the real Vault: {HOW_TO_GET_VAULT}")
        request.config.stash[NO_VAULT] = True
        pytest.skip(HOW_TO_GET_VAULT)
    return binary


@pytest.fixture(scope="session")
def vault_session(vault_binary: Path) -> Iterator[VaultServer]:
    """The one server of the session; tests take ``real_vault``, which sees to it that it runs."""
    with VaultServer(vault_binary) as server:
        yield server


@pytest.fixture
def real_vault(vault_session: VaultServer) -> VaultServer:
    """A running, empty-enough Vault: ``address``, ``root_token``, and ``stop``/``start`` for outages.

    All tests of a session share it, so each uses paths of its own. One that stops it loses what
    the others stored, which is theirs to expect: nothing is kept from test to test.
    """
    vault_session.start()
    return vault_session


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """A sandbox with a configuration over it, for the command line and the daemon."""
    times = Times()
    with Sandbox(now=times, seed=7) as sandbox:
        made = Stand(tmp_path, sandbox, times)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made
        made.close()


def pytest_report_header() -> str:
    """Say at the start which Vault the tests will drive."""
    return f"real Vault: {find_vault() or 'none'}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say once, loudly, that a part of the tests did not run."""
    if config.stash.get(NO_VAULT, False):
        skipped = sum(
            1
            for report in terminalreporter.stats.get("skipped", [])
            if "make servers" in str(report.longrepr)
        )
        terminalreporter.write_line(
            f"!!! {skipped} tests against the real Vault did NOT run: {HOW_TO_GET_VAULT}",
            yellow=True,
            bold=True,
        )
