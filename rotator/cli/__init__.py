"""The command line: ``rotator [--config FILE] COMMAND``.

Every command is a module of its own, imported when it is called. What they print comes
from `output` (for people) and `documents` (for programs); exit codes are in `exits`.
"""

from __future__ import annotations

import resource
import sys

INTERRUPTED = 130
"""The exit code of a command that SIGINT ended before it had begun (128 and the signal's number)."""


def main() -> None:
    """Run the command line of this process.

    Its memory holds secrets, so it leaves no core dump. Importing what a command needs
    takes a moment, in which Ctrl-C must not end in a traceback either.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        from rotator.cli.root import start

        start()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
