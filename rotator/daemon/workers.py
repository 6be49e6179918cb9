"""Worker threads that never run one target twice at once, and take urgent ones first."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from rotator.core.target import Target
from rotator.daemon.progress import Progress

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(order=True, slots=True)
class _Task:
    rank: tuple[int, float]
    number: int
    name: str = field(compare=False)
    work: Callable[[], None] = field(compare=False)
    ended: Callable[[], None] = field(compare=False)


class Workers:
    """A fixed number of threads over one queue.

    Of two tasks of one name the second waits for the first, without keeping a thread.
    """

    def __init__(self, count: int, progress: Progress | None = None) -> None:
        """Start the threads.

        Args:
            count: how many.
            progress: is told what each is doing, where anybody asks.
        """
        self._progress = progress
        self._changed = threading.Condition()
        self._queue: list[_Task] = []
        self._waiting: dict[str, list[_Task]] = {}
        self._busy: set[str] = set()
        self._numbers = itertools.count()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._run, name=f"worker-{index}", daemon=True)
            for index in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        name: str,
        work: Callable[[], None],
        *,
        urgent: bool = False,
        due: float = 0.0,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Run some work of one target as soon as a thread and the target are free.

        Args:
            name: of the target.
            work: the work; an exception of it is logged and ends only this task.
            urgent: whether it goes before everything that is not.
            due: among equals the smallest goes first.
            ended: is called at the end in every case, also where a stop dropped the task.
        """
        task = _Task((0 if urgent else 1, due), next(self._numbers), name, work, ended)
        with self._changed:
            if not self._stopped:
                self._put(task)
                return
        ended()

    def stop(self) -> None:
        """Drop what has not begun; what has begun is finished."""
        with self._changed:
            self._stopped = True
            dropped = [*self._queue, *itertools.chain(*self._waiting.values())]
            self._queue.clear()
            self._waiting.clear()
            self._changed.notify_all()
        for task in dropped:
            task.ended()

    def join(self) -> None:
        """Wait until every thread has ended, after a stop."""
        for thread in self._threads:
            thread.join()

    def all_alive(self) -> bool:
        """Tell whether every thread lives."""
        return all(thread.is_alive() for thread in self._threads)

    def _put(self, task: _Task) -> None:
        """Queue a task, or set it aside while its target is busy; the lock is held."""
        if task.name in self._busy:
            self._waiting.setdefault(task.name, []).append(task)
            return
        heapq.heappush(self._queue, task)
        self._changed.notify()

    def _take(self) -> _Task | None:
        """Return the next task, or None after a stop."""
        with self._changed:
            while not self._stopped:
                while self._queue:
                    task = heapq.heappop(self._queue)
                    if task.name in self._busy:
                        self._waiting.setdefault(task.name, []).append(task)
                        continue
                    self._busy.add(task.name)
                    return task
                self._changed.wait()
        return None

    def _run(self) -> None:
        while (task := self._take()) is not None:
            try:
                with self._noted(task.name):
                    task.work()
            except Exception as error:  # noqa: BLE001 - the thread serves other targets too
                _log.error("target %s: %s", task.name, type(error).__name__, exc_info=True)
            with self._changed:
                self._busy.discard(task.name)
                for waiting in self._waiting.pop(task.name, []):
                    self._put(waiting)
            task.ended()

    def _noted(self, name: str) -> AbstractContextManager[None]:
        return nullcontext() if self._progress is None else self._progress.task(name)


class Spread:
    """Runs one function over many targets in the workers, and waits for all of them."""

    def __init__(self, workers: Workers, urgent: Callable[[str], bool] = lambda _: False) -> None:
        """Use some workers.

        Args:
            workers: the threads.
            urgent: tells by a target's name whether it goes first.
        """
        self._workers = workers
        self._urgent = urgent

    def __call__(self, work: Callable[[Target], T], targets: Iterable[Target]) -> list[T]:
        """Return what the function returned, in no order; what a stop dropped is left out.

        Raises:
            Exception: the first that the function raised, after all have ended.
        """
        results: list[T] = []
        errors: list[Exception] = []
        ended = threading.Semaphore(0)

        def task(target: Target) -> None:
            try:
                results.append(work(target))
            except Exception as error:  # noqa: BLE001 - raised again below
                errors.append(error)

        count = 0
        for target in targets:
            self._workers.submit(
                target.name,
                partial(task, target),
                urgent=self._urgent(target.name),
                ended=ended.release,
            )
            count += 1
        for _ in range(count):
            ended.acquire()
        if errors:
            raise errors[0]
        return results
