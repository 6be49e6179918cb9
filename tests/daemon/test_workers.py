"""Worker threads: never one target twice at once, urgent ones first, failures kept apart."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from rotator.core.target import Policy, SecretRef, Target
from rotator.daemon.workers import Spread, Workers

PATIENCE = 30


@pytest.fixture
def one() -> Iterator[Workers]:
    workers = Workers(1)
    yield workers
    workers.stop()
    workers.join()


@pytest.fixture
def four() -> Iterator[Workers]:
    workers = Workers(4)
    yield workers
    workers.stop()
    workers.join()


def target(name: str) -> Target:
    return Target(name, SecretRef(f"secret/{name}", "KEY"), Policy())


def occupied(workers: Workers, name: str) -> threading.Event:
    """Keep a worker busy with a target until the returned event is set."""
    begun, let_go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        let_go.wait(PATIENCE)

    workers.submit(name, work)
    assert begun.wait(PATIENCE)
    return let_go


def test_a_target_never_runs_twice_at_once_however_many_threads_there_are(four: Workers) -> None:
    at_once, most, guard = 0, 0, threading.Lock()
    done = threading.Semaphore(0)

    def work() -> None:
        nonlocal at_once, most
        with guard:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.001)
        with guard:
            at_once -= 1

    for _ in range(40):
        four.submit("same", work, ended=done.release)
    assert all(done.acquire(timeout=PATIENCE) for _ in range(40))
    assert most == 1


def test_a_second_run_of_a_busy_target_keeps_no_thread_from_others(one: Workers) -> None:
    workers = Workers(2)
    let_go = occupied(workers, "a")
    again, other = threading.Event(), threading.Event()
    workers.submit("a", again.set)
    workers.submit("b", other.set)
    assert other.wait(PATIENCE)
    assert not again.is_set()
    let_go.set()
    assert again.wait(PATIENCE)
    workers.stop()
    workers.join()


def test_urgent_targets_go_first_and_then_those_that_are_due_longest(one: Workers) -> None:
    let_go = occupied(one, "busy")
    order: list[str] = []
    done = threading.Semaphore(0)

    def note(name: str, *, urgent: bool = False, due: float = 0.0) -> None:
        one.submit(name, lambda: order.append(name), urgent=urgent, due=due, ended=done.release)

    note("later", due=20.0)
    note("sooner", due=10.0)
    note("dead", urgent=True, due=99.0)
    let_go.set()
    assert all(done.acquire(timeout=PATIENCE) for _ in range(3))
    assert order == ["dead", "sooner", "later"]


def test_a_failure_of_one_task_leaves_its_thread_to_the_others(one: Workers) -> None:
    reached = threading.Event()

    def fails() -> None:
        raise ValueError("a defect")

    one.submit("a", fails)
    one.submit("b", reached.set)
    assert reached.wait(PATIENCE)
    assert one.all_alive()


def test_a_stop_finishes_what_has_begun_and_drops_the_rest(one: Workers) -> None:
    let_go = occupied(one, "busy")
    ran, ended = threading.Event(), threading.Event()
    one.submit("waiting", ran.set, ended=ended.set)
    one.stop()
    assert ended.wait(PATIENCE)
    late = threading.Event()
    one.submit("late", ran.set, ended=late.set)
    assert late.is_set()
    let_go.set()
    one.join()
    assert not ran.is_set()


def test_a_spread_returns_every_result_and_raises_the_first_error(four: Workers) -> None:
    targets = [target(f"t{number}") for number in range(20)]
    assert sorted(Spread(four)(lambda each: each.name, targets)) == sorted(t.name for t in targets)

    def fails_for_one(each: Target) -> str:
        if each.name == "t7":
            raise ValueError(each.name)
        return each.name

    with pytest.raises(ValueError, match="t7"):
        Spread(four)(fails_for_one, targets)


def test_a_spread_that_is_stopped_returns_what_was_done(one: Workers) -> None:
    targets = [target(f"t{number}") for number in range(5)]
    begun, let_go = threading.Event(), threading.Event()

    def work(each: Target) -> str:
        begun.set()
        let_go.wait(PATIENCE)
        return each.name

    results: list[list[str]] = []
    waiting = threading.Thread(target=lambda: results.append(Spread(one)(work, targets)))
    waiting.start()
    assert begun.wait(PATIENCE)
    one.stop()
    let_go.set()
    waiting.join(PATIENCE)
    assert results == [["t0"]]
