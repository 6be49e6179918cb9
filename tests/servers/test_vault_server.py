"""The real server does what the other tests rely on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import hvac
import pytest
import requests

from tests.servers.vault_server import VaultServer, built_version, find_vault

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def client(real_vault: VaultServer) -> hvac.Client:
    return hvac.Client(url=real_vault.address, token=real_vault.root_token)


def test_a_wrong_check_and_set_is_refused_by_the_real_vault(client: hvac.Client) -> None:
    kv = client.secrets.kv.v2
    kv.create_or_update_secret("servers/cas", secret={"a": "1"}, cas=0, mount_point="secret")
    with pytest.raises(hvac.exceptions.InvalidRequest, match="did not match the current version"):
        kv.create_or_update_secret("servers/cas", secret={"a": "2"}, cas=0, mount_point="secret")
    read = kv.read_secret_version(
        "servers/cas", mount_point="secret", raise_on_deleted_version=True
    )
    assert read["data"]["data"] == {"a": "1"}


def test_an_outage_ends_on_the_same_address_with_nothing_stored(
    real_vault: VaultServer, client: hvac.Client
) -> None:
    client.secrets.kv.v2.create_or_update_secret("servers/gone", {"a": "1"}, mount_point="secret")
    before = real_vault.address
    real_vault.stop()
    with pytest.raises(requests.exceptions.ConnectionError):
        client.sys.read_health_status(method="GET")
    real_vault.start()
    assert real_vault.address == before
    with pytest.raises(hvac.exceptions.InvalidPath):
        client.secrets.kv.v2.read_secret_metadata("servers/gone", mount_point="secret")


def test_a_binary_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    binary = tmp_path / "vault"
    binary.write_text("#!/bin/sh\necho no such flag >&2\nexit 1\n", encoding="utf-8")
    binary.chmod(0o755)
    with pytest.raises(RuntimeError, match="no such flag"), VaultServer(binary):
        pass


def test_a_vault_on_path_is_preferred_to_a_built_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = tmp_path / "openrouter-rotator" / "servers" / f"vault-{built_version()}" / "vault"
    installed = tmp_path / "bin" / "vault"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(installed.parent))
    assert find_vault() is None
    for binary in (built, installed):
        binary.parent.mkdir(parents=True)
        binary.touch(mode=0o755)
        assert find_vault() == binary


@pytest.mark.parametrize(
    ("ci", "code", "line"),
    [
        ("", 0, "!!! 1 tests against the real Vault did NOT run"),
        ("true", 1, "CI must run the tests against the real Vault"),
    ],
)
def test_without_a_vault_the_tests_skip_loudly_and_fail_where_ci_is_set(
    tmp_path: Path, ci: str, code: int, line: str
) -> None:
    test = tmp_path / "test_it.py"
    test.write_text("def test_it(real_vault):\n    assert real_vault\n", encoding="utf-8")
    options = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "tests.conftest", str(test)],
        cwd=tmp_path,
        env={"PATH": "", "XDG_CACHE_HOME": str(tmp_path), "CI": ci, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == code, run.stdout + run.stderr
    assert line in run.stdout
    assert "make servers" in run.stdout
