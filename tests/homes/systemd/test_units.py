"""The unit files as systemd judges them, without a booted machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from rotator.config import DaemonConfig
from rotator.core.durations import parse_duration
from tests.homes.conftest import Program
from tests.homes.systemd.machine import ROOT

UNITS = ROOT / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
MOST = 1.2
SHARED = "# --- from here on the same in every unit of this folder ---\n"


def named(path: Path) -> str:
    return path.name


def shared(path: Path) -> str:
    text = path.read_text(encoding="utf-8").partition(SHARED)[2]
    return text.partition("\n[Install]")[0].strip()


@pytest.mark.parametrize("unit", SERVICES, ids=named)
def test_systemd_finds_little_that_a_service_is_exposed_to(program: Program, unit: Path) -> None:
    done = subprocess.run(
        [program("systemd-analyze"), "security", "--offline=true", "--no-pager", unit],
        check=False,
        capture_output=True,
        text=True,
    )
    found = re.search(r"Overall exposure level for .*: ([0-9.]+) ", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found.group(1)) <= MOST, done.stdout


def test_systemd_finds_no_mistake_in_the_units(program: Program, tmp_path: Path) -> None:
    for unit in sorted(UNITS.glob("*.service")) + sorted(UNITS.glob("*.timer")):
        text = unit.read_text(encoding="utf-8").replace("/opt/rotator/bin/rotator", "/bin/true")
        (tmp_path / unit.name.replace("@.", "@billing-api.")).write_text(text)
    done = subprocess.run(
        [program("systemd-analyze"), "verify", "--man=no", *sorted(tmp_path.iterdir())],
        check=False,
        capture_output=True,
        text=True,
    )
    ours = [line for line in done.stderr.splitlines() if "rotator" in line]
    assert ours == []


def test_every_service_is_hardened_in_the_same_way() -> None:
    assert len(SERVICES) == 3
    first = shared(SERVICES[0])
    assert "SystemCallFilter=@system-service" in first
    for unit in SERVICES[1:]:
        assert shared(unit) == first


def test_commands_given_by_hand_leave_folders_and_memory_as_the_service_does() -> None:
    """systemd sets a folder's mode at each start, and the process holds the same secrets."""
    lines = shared(SERVICES[0]).splitlines()
    given = re.findall(r"--property=(\S+)", (UNITS / "rotator-admin").read_text(encoding="utf-8"))
    assert set(given) <= set(lines)
    wanted = ("DynamicUser=", "LoadCredentialEncrypted=", "LogsDirectory", "UMask=", "LimitCORE=")
    for line in lines:
        assert line in given or not line.startswith(wanted), line


@pytest.mark.parametrize("unit", SERVICES, ids=named)
def test_a_stop_is_given_more_time_than_the_daemon_takes_for_itself(unit: Path) -> None:
    found = re.search(r"^TimeoutStopSec=(\S+)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    assert parse_duration(found.group(1)) > DaemonConfig().shutdown_grace
