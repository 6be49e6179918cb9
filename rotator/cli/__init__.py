"""The command line: ``rotator [--config FILE] COMMAND``.

Every command is a module of its own, imported when it is called. What they print comes
from `output` (for people) and `documents` (for programs); exit codes are in `exits`.
"""

from __future__ import annotations

from rotator.cli.root import cli, main

__all__ = ["cli", "main"]
