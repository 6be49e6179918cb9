"""What every real server of the tests has in common: it is started on entry, and always ended."""

from __future__ import annotations

import subprocess
from typing import Self


class Server:
    """Something that is started and closed; a context manager."""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        raise NotImplementedError

    def close(self) -> None:
        """End it; also after a start that failed."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ask a process to end, and end it where it has not done so in time."""
    process.terminate()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
