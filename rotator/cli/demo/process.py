"""The daemon of the demo: the real ``rotator run``, as a process of its own.

Run as a module this is that process. It ends with the demo, however that ended: its
standard input is a pipe from there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn


class DaemonProcess:
    """``rotator run`` with one configuration; it may be started again after its end."""

    def __init__(self, config: Path, log: Path) -> None:
        """Start nothing yet.

        Args:
            config: the configuration file.
            log: the file to which standard error goes.
        """
        self._config = config
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start a process. It has a session of its own, so that Ctrl-C reaches the demo alone.

        Raises:
            OSError: it cannot be started.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rotator.cli.demo.process", str(self._config)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        """Return how the process ended, or None while it runs or before its start."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """End the process at once, as a lost machine would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._ended()

    def stop(self, patience: float) -> int | None:
        """Ask the process to stop (SIGTERM) and return its exit code.

        Args:
            patience: seconds after which it is killed; the answer is None then.
        """
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return None
        finally:
            self._ended()

    def _ended(self) -> None:
        assert self._process is not None  # the callers have looked
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def _end_with_parent() -> NoReturn:
    """Wait until the other end of standard input is closed, then leave at once."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    """Run the daemon with the configuration that the first argument names."""
    from rotator.cli.root import cli

    threading.Thread(target=_end_with_parent, daemon=True).start()
    cli(["--config", sys.argv[1], "run"], prog_name="rotator")


if __name__ == "__main__":
    main()
