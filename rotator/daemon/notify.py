"""Telling systemd how the service does: `sd_notify(3)` in a few lines of its own.

The protocol is one datagram of ``NAME=value`` lines to the socket that ``$NOTIFY_SOCKET``
names; systemd promises to keep it, and publishes such lines for copying
(https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html). No library is
needed for that.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

from rotator.ports import Clock

_log = logging.getLogger(__name__)

SOCKET = "NOTIFY_SOCKET"
"""The variable that names the socket; ``@`` at its beginning stands for a zero byte."""

WATCHDOG = "WATCHDOG_USEC"
"""The variable that says after how many microseconds without a sign we are restarted."""

WATCHDOG_PID = "WATCHDOG_PID"
"""The variable that says to which process the one before speaks; none means: to any."""


_LONGEST_STATUS = 1000
# Characters. A datagram has its limits, and the line may hold a name that stands in Vault.


class Notifier:
    """Tells the service manager; where there is none, nothing. For one thread at a time.

    Attributes:
        watchdog: seconds without `alive` after which we are restarted, or None.
    """

    def __init__(self, environment: Mapping[str, str], clock: Clock) -> None:
        """Read where to tell.

        Args:
            environment: the process's variables.
            clock: the time, monotonic.
        """
        self._address = _address(environment.get(SOCKET, ""))
        self._clock = clock
        self._failed = False
        self._status = ""
        self.watchdog = _watchdog(environment) if self._address is not None else None

    def ready(self) -> bool:
        """Say that the loop runs, or that a reload is done; False where it must be said again."""
        return self._send("READY=1")

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock.monotonic() * 1e6)}")

    def stopping(self) -> None:
        """Say that we are about to stop."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Say that we make progress."""
        self._send("WATCHDOG=1")

    def status(self, line: str) -> None:
        """Show people how we do, in one line; the same line is told once."""
        line = " ".join(line.split())[:_LONGEST_STATUS]
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def _send(self, text: str) -> bool:
        """Tell whether there is nobody to be told, or it was taken."""
        if self._address is None:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(1.0)
                sender.sendto(text.encode(errors="backslashreplace"), self._address)
        except OSError as error:
            if not self._failed:
                _log.error("the service manager cannot be told: %s", error.strerror or error)
            self._failed = True
            return False
        self._failed = False
        return True


def _address(name: str) -> str | None:
    """Return the socket's address, or None where there is none that can be used."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Return the watchdog's seconds, where there is one and it is meant for this process."""
    meant, microseconds = environment.get(WATCHDOG_PID), environment.get(WATCHDOG, "")
    if meant is not None and meant != str(os.getpid()):
        return None
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
