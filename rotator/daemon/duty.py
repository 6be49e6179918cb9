"""Work that has a thread of its own, and is done once more where it is asked for meanwhile.

APScheduler drops a run whose predecessor is still at work, and joins its threads when the
interpreter ends. So it only says when; what may take long is done here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from math import inf

from rotator.daemon.progress import Progress

_log = logging.getLogger(__name__)


class Duty:
    """One kind of work in one thread. Asking again before it begins asks for the same run."""

    def __init__(self, name: str, work: Callable[[], None], progress: Progress) -> None:
        """Prepare; the thread begins with `start`.

        Args:
            name: of the thread, and of the work in the log.
            work: the work; an exception of it is logged and ends only this run.
            progress: is told what the thread is doing.
        """
        self._name = name
        self._work = work
        self._progress = progress
        self._changed = threading.Condition()
        self._asked = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask(self) -> None:
        """Have the work done soon; while it is under way, once more after it."""
        with self._changed:
            self._asked = True
            self._changed.notify()

    def stop(self) -> None:
        """Begin nothing new; what has begun is finished."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def join(self, seconds: float | None = None) -> None:
        """Wait until the thread has ended, after a stop, for some seconds at most."""
        self._thread.join(seconds)

    def alive(self) -> bool:
        """Tell whether the thread lives."""
        return self._thread.is_alive()

    def _take(self) -> bool:
        with self._changed:
            while not self._asked and not self._stopped:
                self._changed.wait()
            self._asked = False
            return not self._stopped

    def _run(self) -> None:
        while self._take():
            with self._progress.task(self._name, inf):  # it may wait for Vault, or for workers
                try:
                    self._work()
                except Exception as error:  # noqa: BLE001 - the thread is needed again
                    _log.error("%s in the %s", type(error).__name__, self._name, exc_info=True)
