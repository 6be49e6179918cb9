"""Who is doing what and since when, and threads that do one thing whenever they are asked."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from rotator.adapters.clock import SystemClock
from rotator.daemon.duty import Duty
from rotator.daemon.progress import BETWEEN_CALLS, Progress, watched
from rotator.daemon.schedule import Schedule


class Hands(SystemClock):
    """A clock that moves only by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)


class Port:
    """Stands for a port."""

    def __init__(self, clock: Hands, progress: Progress) -> None:
        self.clock, self.progress = clock, progress
        self.late: list[bool] = []

    def ask(self, seconds: float) -> str:
        self.clock.seconds += seconds
        self.late += [each.late for each in self.progress.now()]
        return "answer"

    def fail(self) -> None:
        raise ValueError("no")


def test_a_call_is_late_only_past_its_own_outer_deadline() -> None:
    clock = Hands()
    progress = Progress(clock)
    port = Port(clock, progress)
    seen = watched(port, "vault", progress, lambda _: 30.0)
    with progress.task("billing-api"):
        assert seen.ask(30.0) == "answer"
        assert seen.ask(31.0) == "answer"
        with pytest.raises(ValueError, match="no"):
            seen.fail()
        (between,) = progress.now()
        assert (between.task, between.call, between.late) == ("billing-api", None, False)
        clock.seconds += BETWEEN_CALLS + 1
        assert progress.now()[0].late
    assert port.late == [False, True]
    assert progress.now() == ()


def test_a_duty_may_wait_for_hours_but_not_in_one_call() -> None:
    """It waits for Vault at the start, and a resync for all that its workers do."""
    clock = Hands()
    progress = Progress(clock)
    port = Port(clock, progress)
    late: list[bool] = []

    def work() -> None:
        clock.seconds += 36000
        late.extend(each.late for each in progress.now())
        watched(port, "vault", progress, lambda _: 30.0).ask(31.0)

    duty = Duty("start", work, progress)
    duty.start()
    duty.ask()
    while len(port.late) < 1:
        threading.Event().wait(0.01)
    duty.stop()
    duty.join(30)
    assert late == [False]
    assert port.late == [True]


def test_a_call_of_a_thread_that_nobody_waits_for_is_not_noted() -> None:
    clock = Hands()
    progress = Progress(clock)
    port = Port(clock, progress)
    assert watched(port, "vault", progress, lambda _: 1.0).ask(5.0) == "answer"
    assert port.late == []


def test_a_duty_that_is_asked_while_it_works_works_once_more_and_no_oftener() -> None:
    runs = threading.Semaphore(0)
    begun, go_on = threading.Event(), threading.Event()
    count: list[int] = []

    def work() -> None:
        count.append(len(count))
        begun.set()
        go_on.wait(30)
        runs.release()

    duty = Duty("work", work, Progress(SystemClock()))
    duty.start()
    duty.ask()
    assert begun.wait(30)
    for _ in range(10):
        duty.ask()
    go_on.set()
    assert runs.acquire(timeout=30)
    assert runs.acquire(timeout=30)
    duty.stop()
    duty.join(30)
    assert not duty.alive()
    assert count == [0, 1]


def test_a_duty_survives_an_error_of_its_work(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()
    errors = [ValueError("a defect")]

    def work() -> None:
        if errors:
            raise errors.pop()
        done.set()

    duty = Duty("work", work, Progress(SystemClock()))
    duty.start()
    duty.ask()
    duty.ask()
    while not done.wait(0.01):
        duty.ask()
    duty.stop()
    duty.join(30)
    assert "ValueError in the work" in caplog.text


def test_a_schedule_runs_a_job_once_at_its_time_and_forgets_what_is_not_there() -> None:
    schedule = Schedule()
    heard: list[str] = []
    done = threading.Event()

    def work(name: str) -> None:
        heard.append(name)
        done.set()

    schedule.start()
    schedule.after("job", timedelta(hours=1), work, "late")
    schedule.after("job", timedelta(0), work, "soon")
    schedule.forget("no such job")
    assert done.wait(30)
    schedule.stop()
    assert heard == ["soon"]
