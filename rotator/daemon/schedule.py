"""APScheduler behind four verbs: it says when, and does nothing itself.

Every job is short. Its traps are dealt with here: a run is never dropped for being late, a
scheduler whose thread has died still says that it runs, and it waits for a time on the wall
clock, also where somebody has set that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from rotator.adapters.clock import SystemClock


class _FromNow(IntervalTrigger):  # type: ignore[misc]
    """An interval that begins anew with each run.

    The library's own goes through every run that was missed, which takes all the memory where
    a clock is set forward by years (https://github.com/agronholm/apscheduler/issues/1066).
    """

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:  # noqa: ARG002
        return now + timedelta(seconds=self.interval_length)


class Schedule:
    """Jobs at intervals, and jobs at one time. Safe to use from several threads."""

    def __init__(self) -> None:
        """Prepare; nothing runs before `start`."""
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1), "heartbeat": ThreadPoolExecutor(1)},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )

    def start(self) -> None:
        """Start."""
        self._scheduler.start()

    def stop(self) -> None:
        """Begin no more jobs; does not wait for those that have begun."""
        # A shutdown while the thread removes a job that it has just begun kills the thread with
        # a traceback. Paused, it begins none, and the question waits for what it is about.
        self._scheduler.pause()
        self._scheduler.get_jobs()
        self._scheduler.shutdown(wait=False)

    def thread(self) -> threading.Thread | None:
        """Return the thread that all depends on, or None before the start and after the end."""
        # A scheduler whose thread died still says that it runs, and there is no public way to ask.
        found: threading.Thread | None = self._scheduler._thread  # noqa: SLF001
        return found

    def every(
        self, job: str, seconds: float, work: Callable[[], object], *, executor: str = "default"
    ) -> None:
        """Run something at an interval, the first time after one.

        A job of the same name is replaced.
        """
        self._scheduler.add_job(
            work,
            _FromNow(seconds=seconds, timezone=UTC),
            id=job,
            executor=executor,
            next_run_time=SystemClock().now() + timedelta(seconds=seconds),
            replace_existing=True,
        )

    def keep_pace(self) -> None:
        """Bring nearer what lies further away than its interval: the clock was set back.

        APScheduler keeps the next run as a time of the wall clock and waits for that
        (https://github.com/agronholm/apscheduler/issues/351). Of jobs at one time it is not
        known how far away they may be.
        """
        now = SystemClock().now()
        for job in self._scheduler.get_jobs():
            if isinstance(job.trigger, _FromNow):
                latest = now + job.trigger.interval
                if job.next_run_time > latest:
                    job.modify(next_run_time=latest)

    def after(self, job: str, wait: timedelta, work: Callable[[str], object], name: str) -> None:
        """Run something once, with a name, after a while. A job of the same name is replaced."""
        self._scheduler.add_job(
            work,
            DateTrigger(SystemClock().now() + max(timedelta(), wait), timezone=UTC),
            args=[name],
            id=job,
            replace_existing=True,
        )

    def forget(self, job: str) -> None:
        """Remove a job, where there is one."""
        try:
            self._scheduler.remove_job(job)
        except JobLookupError:
            return
