"""The tools that the homes are tested with are there, and installing twice does nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

HOMES = Path(__file__).parent


def test_every_listed_package_is_installed_and_a_second_run_installs_nothing() -> None:
    ran = subprocess.run([HOMES / "install"], capture_output=True, text=True, check=True)
    assert ran.stdout == "==> every Debian package is installed\n"
    listed = [
        line
        for line in (HOMES / "packages").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert listed == sorted(set(listed))
    subprocess.run(["dpkg-query", "-W", *listed], check=True, capture_output=True)
