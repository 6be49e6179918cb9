"""A machine that systemd has booted: a container on this machine's own /usr, with nothing else of it.

It shares the network with us, so that servers of the tests answer it at their loopback addresses.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.wiring.stand import eventually

ROOT = Path(__file__).resolve().parents[3]
SOURCE = "/srv/rotator"
HOSTS_OWN = (
    "PIP_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""How pip reaches an index from here is this machine's own matter."""


class Machine:
    """One booted container. `with` it; it is powered off in the end."""

    def __init__(
        self,
        folder: Path,
        binds: Mapping[Path, str],
        writable: Mapping[Path, str],
        environment: Mapping[str, str],
    ) -> None:
        self._folder = folder
        self._binds = binds
        self._writable = writable
        self._environment = {
            **{name: value for name, value in os.environ.items() if name.startswith(HOSTS_OWN)},
            "PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/tools",
            "HOME": "/root",
            **environment,
        }
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = ""

    def __enter__(self) -> Self:
        # The key that credentials are encrypted with is not kept on a temporary file system.
        state = self._folder / "var-lib-systemd"
        state.mkdir()
        binds = [f"--bind={state}:/var/lib/systemd"]
        binds += [f"--bind-ro={here}:{there}" for here, there in self._binds.items()]
        binds += [f"--bind={here}:{there}" for here, there in self._writable.items()]
        if Path("/etc/ssl").is_dir():
            binds.append("--bind-ro=/etc/ssl")
        with (self._folder / "console.log").open("wb") as console:
            self._nspawn = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", "--directory=/", "--volatile=yes", "--boot"),
                    *("--register=no", "--keep-unit", "--console=pipe"),
                    f"--machine=rotator-{os.getpid()}",
                    *binds,
                    "systemd.unit=basic.target",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        eventually(self._booted, "the machine has booted", 60)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._nspawn is not None
        self.run("systemctl", "poweroff", "--force", check=False)
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()

    def _booted(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, (self._folder / "console.log").read_text()
        pid = self._nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            return False
        self._init = children[0]
        state = self.run("systemctl", "is-system-running", check=False)
        return state.stdout.strip() in ("running", "degraded")

    def run(
        self, *words: str, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the machine."""
        done = subprocess.run(
            [
                *("nsenter", "--target", self._init, "--all", "env", "--ignore-environment"),
                *(f"{name}={value}" for name, value in self._environment.items()),
                *words,
            ],
            check=False,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if check:
            told = f"{shlex.join(words)}\n{done.stdout}"
            if done.returncode:
                told += self.journal()
            assert done.returncode == 0, told
        return done

    def do(self, block: str) -> str:
        """Give the commands of a block of a guide, in the unpacked source."""
        return self.run("bash", "-euo", "pipefail", "-c", f"cd {SOURCE}\n{block}").stdout

    # --- files ---------------------------------------------------------------------------------

    def read(self, path: str) -> str:
        """Return what a file holds."""
        return self.run("cat", path).stdout

    def write(self, path: str, text: str) -> None:
        """Write a file as a whole."""
        self.run("sh", "-c", 'cat > "$0.new" && mv "$0.new" "$0"', path, stdin=text)

    # --- units ---------------------------------------------------------------------------------

    def systemctl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Give a command to systemd."""
        return self.run("systemctl", *words, check=check)

    def property(self, name: str, unit: str = "rotator.service") -> str:
        """Return one property of a unit."""
        shown = self.systemctl("show", "--value", f"--property={name}", unit)
        return shown.stdout.strip()

    def journal(self, unit: str = "rotator.service", lines: int = 60) -> str:
        """Return what a unit has logged lately."""
        return self.run(
            "journalctl", "--no-pager", "-o", "cat", "-n", str(lines), "-u", unit, check=False
        ).stdout

    def drop_in(self, text: str, unit: str = "rotator.service") -> None:
        """Add settings to a unit; none removes them."""
        folder = f"/etc/systemd/system/{unit}.d"
        self.run("rm", "-rf", folder)
        if text:
            self.run("mkdir", "-p", folder)
            self.write(f"{folder}/test.conf", text)
        self.systemctl("daemon-reload")


def unpacked(folder: Path) -> Path:
    """Copy what somebody who unpacks the source would have, readable for all."""
    copy = folder / "source"
    copy.mkdir(mode=0o755)
    for name in ("requirements", "rotator", "deploy", "pyproject.toml", "README.md", "LICENSE"):
        here = ROOT / name
        if here.is_dir():
            shutil.copytree(here, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(here, copy / name)
    return copy
