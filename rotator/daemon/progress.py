"""What each thread of the loop is doing, and since when, so that a wedged one is noticed.

Threads that work on targets may take long, as OpenRouter and Vault may. What may not take
longer than it promises is one call of a port: its adapter gives up at an outer deadline.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from rotator.ports import Clock

P = TypeVar("P")

BETWEEN_CALLS = 300.0
"""Seconds that a thread may work on a target without a call: it waits for its place among the
writes, for 20 s at most, and naps between two questions."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What one thread is doing.

    Attributes:
        thread: its name.
        task: the target or the duty that it works on.
        task_age: seconds since it began with that.
        call: the call of a port that it is in, such as ``openrouter.create``, or None.
        call_age: seconds since that call began, or since the last one ended.
        late: whether it is past what its call, or the time between two, may take.
    """

    thread: str
    task: str
    task_age: float
    call: str | None
    call_age: float
    late: bool


@dataclass(slots=True)
class _Doing:
    thread: str
    task: str
    task_since: float
    call: str | None
    since: float
    until: float
    between: float


class Progress:
    """A register of what threads are doing. Safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        """Know of no thread yet."""
        self._clock = clock
        self._lock = threading.Lock()
        self._doing: dict[int, _Doing] = {}

    @contextmanager
    def task(self, name: str, between: float = BETWEEN_CALLS) -> Iterator[None]:
        """Note that this thread works on something inside the block.

        Args:
            name: what it works on.
            between: seconds that it may take between two calls of ports.
        """
        thread, now = threading.current_thread(), self._clock.monotonic()
        doing = _Doing(thread.name, name, now, None, now, now + between, between)
        with self._lock:
            self._doing[threading.get_ident()] = doing
        try:
            yield
        finally:
            with self._lock:
                self._doing.pop(threading.get_ident(), None)

    @contextmanager
    def call(self, name: str, longest: float) -> Iterator[None]:
        """Note that this thread is in one call inside the block.

        Args:
            name: of the call.
            longest: seconds after which the call has ended in every case.
        """
        with self._lock:
            doing = self._doing.get(threading.get_ident())
        if doing is None:  # a thread that nobody waits for
            yield
            return
        self._note(doing, name, longest)
        try:
            yield
        finally:
            self._note(doing, None, doing.between)

    def now(self) -> tuple[Activity, ...]:
        """Return what each thread that has something in hand is doing."""
        now = self._clock.monotonic()
        with self._lock:
            return tuple(
                Activity(
                    each.thread,
                    each.task,
                    now - each.task_since,
                    each.call,
                    now - each.since,
                    now > each.until,
                )
                for each in self._doing.values()
            )

    def _note(self, doing: _Doing, call: str | None, longest: float) -> None:
        now = self._clock.monotonic()
        with self._lock:
            doing.call, doing.since, doing.until = call, now, now + longest


def watched(port: P, name: str, progress: Progress, longest: Callable[[str], float]) -> P:
    """Return a port whose calls are noted.

    Args:
        port: the port.
        name: what it is called in the name of a call.
        progress: takes the notes.
        longest: tells by a method's name how many seconds a call of it may take.
    """
    return cast("P", _Watched(port, name, progress, longest))


class _Watched:
    """Stands before a port and passes every call on."""

    def __init__(
        self, port: object, name: str, progress: Progress, longest: Callable[[str], float]
    ) -> None:
        self._port = port
        self._name = name
        self._progress = progress
        self._longest = longest

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._port, method)

        def passed_on(*arguments: Any, **named: Any) -> Any:
            with self._progress.call(f"{self._name}.{method}", self._longest(method)):
                return found(*arguments, **named)

        return passed_on
