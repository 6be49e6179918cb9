"""Waits that double, for what is tried again by the process as a whole."""

from __future__ import annotations


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
