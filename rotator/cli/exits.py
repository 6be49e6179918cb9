"""Exit codes, on which scripts depend."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from rotator.core.view import FAILED, NEEDS_A_PERSON, State

DONE = 0
"""Done, or nothing to do; what a person holds is no failure."""

FAILURE = 1
"""Something failed."""

USAGE = 2
"""Wrong usage or configuration."""

ATTENTION = 3
"""Something needs attention: blocked, foreign, overdue, or a refused management key."""

NO_READER = 128 + signal.SIGPIPE
"""Whoever read our output has gone: what a shell says of programs that die of that."""


def exit_code(states: Iterable[State], *, refused: bool = False, failed: bool = False) -> int:
    """Return the code for the states of all targets.

    Args:
        states: one for each target.
        refused: whether OpenRouter refuses the management key; what fails because of
            that needs a person, so it does not count as a failure beside it.
        failed: whether something else failed.
    """
    found = set(states)
    if failed or (found & FAILED and not refused):
        return FAILURE
    return ATTENTION if refused or found & NEEDS_A_PERSON else DONE
