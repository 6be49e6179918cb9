"""Waits that double, for what is tried again by the process as a whole."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from rotator.errors import AuditUnavailable, ServiceError

_log = logging.getLogger(__name__)

_LONGEST_AT_START = 60.0


class Backoff:
    """One row of failures. For one thread at a time."""

    def __init__(self, longest: float, first: float = 1.0) -> None:
        """Begin with the shortest wait.

        Args:
            longest: seconds of the longest wait.
            first: seconds of the first.
        """
        self._longest = longest
        self._first = min(first, longest)
        self._next = self._first

    def next(self) -> float:
        """Return how many seconds to wait after one more failure."""
        wait = self._next
        self._next = min(self._longest, self._next * 2)
        return wait

    def reset(self) -> None:
        """Begin anew, after a success."""
        self._next = self._first


def persist(what: str, step: Callable[[], object], stop: threading.Event) -> bool:
    """Do something at the start, again and again until it succeeds.

    Args:
        what: the step in a few words, for the log: one line for each different cause.
        step: does it.
        stop: ends the waiting.

    Returns:
        False where it was stopped before it succeeded.
    """
    backoff, told = Backoff(_LONGEST_AT_START), ""
    while not stop.is_set():
        try:
            step()
        except (ServiceError, AuditUnavailable) as error:
            if str(error) != told:
                told = str(error)
                _log.error("cannot %s yet, trying again: %s", what, error)
            stop.wait(backoff.next())
            continue
        if told:
            _log.warning("could %s at last", what)
        return True
    return False
