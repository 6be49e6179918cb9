"""What the daemon costs: its start beside its libraries' imports, and an idle minute.

Serves the sandbox in this process, fills it with a thousand targets, and starts `rotator run` as
the service manager would, again and again, in turn with an interpreter that only imports the
libraries. Then one daemon is left alone, and its memory and processor time are read from the
kernel. Run by `make bench`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from status_calls import setting

IMPORTS = "import apscheduler, httpx, hvac, structlog, pydantic"
HTTP = '[http]\nlisten = "127.0.0.1:0"\n'
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 120.0
_NUMBERS = itertools.count()


class Daemon:
    """`rotator run` under a service manager's socket."""

    def __init__(self, path: str, folder: Path) -> None:
        """Start it."""
        address = folder / f"notify-{next(_NUMBERS)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(address))
        self._socket.settimeout(PATIENCE)
        words = [sys.executable, "-m", "rotator", "--config", path, "--log-level", "error", "run"]
        environment = {**os.environ, "NOTIFY_SOCKET": str(address)}
        self.process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)

    def heard(self, word: str) -> str:
        """Wait for a line that begins so, and return it."""
        while True:
            for line in self._socket.recv(65536).decode().splitlines():
                if line.startswith(word):
                    return line

    def memory(self) -> float:
        """Return its resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if "VmRSS" in line)
        return int(kilobytes) / 1024

    def processor(self) -> float:
        """Return the seconds of a processor that it has used so far, its start included."""
        numbers = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(numbers[11]) + int(numbers[12])) / TICKS

    def close(self) -> None:
        """End it in good order."""
        self.process.terminate()
        self.process.wait(PATIENCE)
        self._socket.close()


def imported() -> float:
    """Return the seconds that the libraries' imports take, from exec to exit."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - started


def ready(path: str, folder: Path) -> float:
    """Return the seconds from exec until the daemon says that it is ready."""
    started = time.perf_counter()
    with closing(Daemon(path, folder)) as daemon:
        daemon.heard("READY=1")
        return time.perf_counter() - started


def left_alone(seconds: float) -> None:
    """Let time pass: it is what an idle daemon is measured over."""
    threading.Event().wait(seconds)


def idle(path: str, folder: Path, settle: float, seconds: float) -> tuple[float, float]:
    """Return the memory in MiB and the share of a processor in percent of an idle daemon."""
    with closing(Daemon(path, folder)) as daemon:
        daemon.heard("READY=1")
        left_alone(settle)
        before, began = daemon.processor(), time.perf_counter()
        left_alone(seconds)
        share = 100 * (daemon.processor() - before) / (time.perf_counter() - began)
        return daemon.memory(), share


def main() -> int:
    """Print the figures; exit code 1 where one is above what is allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--settle", type=float, default=30.0, help="seconds for the first resync")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it is watched idle")
    parser.add_argument("--ratio", type=float, default=2.5, help="the highest ratio allowed")
    parser.add_argument("--memory", type=float, default=110.0, help="MiB allowed")
    parser.add_argument("--processor", type=float, default=0.3, help="percent of one allowed")
    chosen = parser.parse_args()
    with setting(chosen.targets, workers=8) as (_, _, path):
        with Path(path).open("a") as file:
            file.write(HTTP)
        folder = Path(path).parent
        pairs = [(imported(), ready(path, folder)) for _ in range(chosen.runs)]
        bare, start = min(each for each, _ in pairs), min(each for _, each in pairs)
        memory, share = idle(path, folder, chosen.settle, chosen.seconds)
    print(f"{chosen.targets} targets, best of {chosen.runs}")
    print(f"imports {bare:.2f} s, exec to ready {start:.2f} s: ratio {start / bare:.2f}")
    print(f"idle for {chosen.seconds:.0f} s: {memory:.0f} MiB, {share:.2f} % of a processor")
    good = start / bare <= chosen.ratio and memory <= chosen.memory and share <= chosen.processor
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
