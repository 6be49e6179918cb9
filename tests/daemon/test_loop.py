"""The daemon over a sandbox, in this process: when it looks, and what it asks for."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from apscheduler.schedulers import base as schedulers
from apscheduler.triggers import interval
from apscheduler.triggers.base import BaseTrigger

from rotator.adapters import clock as clocks
from rotator.adapters.clock import SystemClock
from rotator.daemon import Daemon
from rotator.daemon.backoff import Backoff
from rotator.daemon.schedule import Schedule
from rotator.daemon.shared import Role
from rotator.sandbox.faults import Fault, FaultKind
from tests.daemon.living import running, settled
from tests.wiring.stand import CALM, QUICK, Stand, eventually

EVERY_SECOND = """\
every = "1s"
grace = "10ms"
drain = { quiet_for = "10ms", deadline = "1d", then = "keep", evidence = "usage" }
quarantine = "10ms"
"""


class Broken(BaseTrigger):  # type: ignore[misc]
    """A trigger that fails, which ends the scheduler's thread."""

    def get_next_fire_time(self, previous: object, now: object) -> None:
        raise ValueError("no next time")


class Settable(SystemClock):
    """The system's clock, whose wall time somebody may set."""

    def __init__(self) -> None:
        self.step = timedelta()

    def now(self) -> datetime:
        return super().now() + self.step


class Later(SystemClock):
    """The system's clock, in which all of a sudden it is later."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        return super().now() + self.shift

    def monotonic(self) -> float:
        return super().monotonic() + self.shift.total_seconds()


def test_it_makes_first_keys_rotates_them_and_removes_the_old_ones(stand: Stand) -> None:
    stand.write(["a", "b"], policy=EVERY_SECOND)
    with running(stand):
        eventually(
            lambda: len([key for key in stand.issued().values() if key["deleted"]]) >= 4,
            "two targets have rotated twice, and the old keys are gone",
        )
    for name in "ab":
        assert stand.sandbox.account.works(stand.served(name))
    names = [event["event"] for event in stand.events()]
    assert names[0] == "process.start"
    assert names[-1] == "process.stop"
    assert stand.call("audit", "verify", str(stand.audit)).exit_code == 0


def test_between_resyncs_an_idle_daemon_looks_for_requests_and_writes_nothing_but_the_lease(
    stand: Stand,
) -> None:
    stand.write([f"t{number}" for number in range(10)], policy=CALM)
    with running(stand) as daemon:
        settled(daemon, *(f"t{number}" for number in range(10)))
        eventually(
            lambda: any(e["event"] == "resync" for e in stand.events()), "the resync is over"
        )
        stand.sandbox.calls.reset()
        eventually(lambda: beats(daemon, 5), "five more heartbeats")
        assert stand.sandbox.calls.count("openrouter") == 0
        calls = stand.sandbox.calls.last()
        assert {each.path.rsplit("/")[-1] for each in calls} <= {"lease", "pulse"}
        assert {each.path.rsplit("/")[-1] for each in calls if each.method == "POST"} <= {"lease"}


BEATS: dict[int, list[float]] = {}


def beats(daemon: Daemon, count: int) -> bool:
    """Tell whether a daemon's heart has beaten so often since the first question."""
    seen = BEATS.setdefault(id(daemon), [])
    beat_at = daemon._beat_at
    assert beat_at is not None
    if not seen or seen[-1] != beat_at:
        seen.append(beat_at)
    return len(seen) > count


def test_the_vault_token_of_an_idle_daemon_is_renewed_with_a_heartbeat(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.write(policy=CALM)
    stand.path.write_text(stand.path.read_text().replace('lease = "2s"', 'lease = "0s"'))
    token = stand.sandbox.tokens.add_token(ttl=timedelta(hours=1))
    monkeypatch.setenv("STAND_VAULT_TOKEN", token)
    clock = Later()
    with running(stand, clock) as daemon:
        settled(daemon, "billing-api")
        eventually(
            lambda: any(e["event"] == "resync" for e in stand.events()), "the resync is over"
        )
        stand.sandbox.calls.reset()
        eventually(lambda: beats(daemon, 3), "three more heartbeats")
        assert stand.sandbox.calls.last() == []
        clock.shift = timedelta(minutes=45)
        eventually(lambda: stand.sandbox.calls.last() != [], "something is asked of Vault")
        eventually(lambda: beats(daemon, 3), "three more heartbeats")
    paths = [each.path for each in stand.sandbox.calls.last()]
    assert [path.rsplit("/")[-1] for path in paths] == ["renew-self"]


def test_a_token_that_is_not_to_be_had_is_told_of_once_and_looked_for_again(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    stand.write(policy=CALM)
    file = stand.folder / "token"
    text = stand.path.read_text().replace('lease = "2s"', 'lease = "0s"')
    stand.path.write_text(text.replace('{ env = "STAND_VAULT_TOKEN" }', f'{{ file = "{file}" }}'))
    file.write_text(stand.sandbox.tokens.add_token(ttl=timedelta(hours=1)))
    clock = Later()
    with running(stand, clock) as daemon:
        settled(daemon, "billing-api")
        file.unlink()
        clock.shift = timedelta(hours=2)
        eventually(lambda: "there is no Vault token any more" in caplog.text, "it is told")
        clock.shift = timedelta(hours=3)
        eventually(lambda: beats(daemon, 3), "three more heartbeats")
        file.write_text(stand.sandbox.tokens.add_token(ttl=timedelta(hours=1)))
        clock.shift = timedelta(hours=4)
        eventually(lambda: "Vault has let us in again" in caplog.text, "it is let in")
    assert caplog.text.count("there is no Vault token any more") == 1


def test_one_targets_failure_holds_up_no_other(stand: Stand) -> None:
    stand.write(["bad", "good"], policy=CALM)
    stand.sandbox.faults.add(
        Fault(kind=FaultKind.ERROR, api="vault", path="*/rotator/targets/bad", count=None)
    )
    with running(stand) as daemon:
        settled(daemon, "bad", "good")
        assert daemon.reports()["bad"].failure is not None
        eventually(lambda: daemon.reports()["good"].failure is None, "the good one is served")
        assert stand.served("good") in stand.issued()
        stand.sandbox.faults.clear()


def test_a_failed_target_is_tried_again_when_its_wait_is_over(stand: Stand) -> None:
    fault = Fault(kind=FaultKind.RATE_LIMIT, api="vault", path="*/apps/*", count=2, retry_after=0)
    stand.sandbox.faults.add(fault)
    clock = Settable()
    with running(stand, clock) as daemon:
        settled(daemon, "billing-api")
        failure = daemon.reports()["billing-api"].failure
        assert failure is not None
        clock.step = timedelta(seconds=70)
        eventually(
            lambda: daemon.reports()["billing-api"].failure is None, "it was tried again", 60
        )
        assert stand.served() in stand.issued()


def test_a_clock_that_was_set_makes_it_look_at_every_target_again(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    stand.write(["a", "b"], policy=CALM)
    clock = Settable()
    with running(stand, clock) as daemon:
        settled(daemon, "a", "b")
        before = {name: report.at for name, report in daemon.reports().items()}
        clock.step = timedelta(seconds=-30)
        eventually(
            lambda: all(daemon.reports()[name].at != at for name, at in before.items()),
            "both were looked at again",
        )
    assert "the clock was set by -30 s" in caplog.text


class Hand:
    """Sets the machine's clock, as APScheduler reads it by itself, and we."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.step = timedelta()
        hand = self

        class Set(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Set:
                return super().now(tz) + hand.step

        for module in (schedulers, interval, clocks):
            patch.setattr(module, "datetime", Set)


def test_the_heart_goes_on_beating_when_the_machines_clock_is_set_back(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hand = Hand(monkeypatch)
    stand.write(policy=CALM)
    with running(stand) as daemon:
        settled(daemon, "billing-api")
        hand.step = timedelta(hours=-1)
        eventually(lambda: "the clock was set by -3600 s" in caplog.text, "it has noticed")
        stand.sandbox.calls.reset()
        eventually(lambda: beats(daemon, 5), "five more heartbeats")
        eventually(
            lambda: any(
                each.method == "POST" and each.path.endswith("/lease")
                for each in stand.sandbox.calls.last()
            ),
            "the lease is renewed",
        )


def test_a_clock_that_is_set_forward_by_years_brings_one_run_and_not_all_that_were_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand, ran, schedule = Hand(monkeypatch), threading.Semaphore(0), Schedule()
    schedule.every("beat", 0.05, ran.release)
    schedule.start()
    try:
        assert ran.acquire(timeout=30)
        hand.step = timedelta(days=3650)  # six thousand million runs
        for _ in range(5):
            assert ran.acquire(timeout=30)
    finally:
        schedule.stop()


def test_with_vault_away_at_the_start_it_waits_and_says_so_once(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    stand.sandbox.vault.sealed = True
    with running(stand):
        eventually(lambda: "cannot reach Vault yet" in caplog.text, "it has said so")
        eventually(lambda: stand.sandbox.calls.count("vault") >= 3, "it has tried again")
        stand.sandbox.vault.sealed = False
        eventually(stand.issued, "it goes on by itself")
    lines = [each for each in caplog.records if "cannot reach Vault" in each.getMessage()]
    assert len(lines) == 1
    assert "sealed" in lines[0].getMessage()


def test_with_openrouter_away_at_the_start_it_waits_and_then_makes_the_key(stand: Stand) -> None:
    stand.sandbox.faults.add(Fault(kind=FaultKind.RATE_LIMIT, api="openrouter", count=None))
    clock = Settable()
    with running(stand, clock) as daemon:
        settled(daemon, "billing-api")
        assert stand.issued() == {}
        stand.sandbox.faults.clear()
        clock.step = timedelta(seconds=70)
        eventually(stand.issued, "the first key is made", 60)


def test_a_refused_management_key_stops_changes_until_it_is_accepted_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rotator.daemon.loop.ASK_AGAIN", 0.2)
    key = stand.folder / "management-key"
    key.write_text("sk-or-mgmt-wrong\n")
    stand.write(management_key=f'{{ file = "{key}" }}')
    clock = Settable()
    with running(stand, clock) as daemon:
        settled(daemon, "billing-api")
        eventually(lambda: "changes stay stopped" in caplog.text, "it has asked again")
        assert stand.issued() == {}
        key.write_text(stand.sandbox.management_key)
        eventually(lambda: "accepts the management key again" in caplog.text, "it is accepted")
        clock.step = timedelta(seconds=70)
        eventually(stand.issued, "the first key is made", 60)


def test_a_former_leader_does_not_go_on_telling_that_the_management_key_is_refused(
    stand: Stand,
) -> None:
    stand.write(policy=CALM)
    with running(stand) as first:
        settled(first, "billing-api")
        with running(stand) as second:
            eventually(lambda: second.status().role is Role.STANDBY, "it stands by")
            stand.sandbox.faults.add(
                Fault(kind=FaultKind.ERROR, api="openrouter", status=401, count=None)
            )
            first._resync.ask()
            eventually(lambda: first.status().refused, "it is refused")
            assert "all changes are stopped" in first.status().line()
            first._leading.release()
            eventually(lambda: second.status().role is Role.ACTING, "the second acts")
            eventually(lambda: first.status().role is Role.STANDBY, "the first stands by")
            stand.sandbox.faults.clear()
            assert first.status().refused is None
            assert first.status().line() == f"one target; standing by for {second.holder}"


def test_a_management_key_in_vault_is_read_once_and_again_when_it_is_refused(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rotator.daemon.loop.ASK_AGAIN", 0.2)
    vault = stand.sandbox.vault
    vault.write("secret", "root", {"key": stand.sandbox.management_key})
    stand.write(management_key='{ vault = "secret/root#key" }', policy=EVERY_SECOND)

    def reads() -> int:
        return sum(1 for call in stand.sandbox.calls.last() if call.path.endswith("/data/root"))

    with running(stand):
        eventually(lambda: len(stand.issued()) >= 2, "it rotates")
        assert reads() == 1
        another = stand.sandbox.account.add_management_key()
        old = stand.sandbox.account.all_keys()[0]["hash"]
        vault.write("secret", "root", {"key": another})
        stand.sandbox.account.set_deleted(old)
        eventually(lambda: "all changes are stopped" in caplog.text, "the old one is refused")
        eventually(lambda: "changes go on" in caplog.text, "the other one is read and accepted")
        assert reads() >= 2


def test_a_stop_lets_a_rotation_in_hand_come_to_its_end(stand: Stand) -> None:
    fault = stand.sandbox.faults.add(
        Fault(kind=FaultKind.LATENCY, api="openrouter", method="POST", effect=True)
    )
    with running(stand) as daemon:
        eventually(lambda: stand.sandbox.faults.hits(fault), "a create is under way")
        daemon.stop()
        stand.sandbox.faults.clear()
    assert stand.served() in stand.issued()
    assert len(stand.issued()) == 1
    assert stand.events()[-1]["event"] == "process.stop"


def test_a_daemon_whose_scheduler_died_knows_it(stand: Stand) -> None:
    with running(stand) as daemon:
        settled(daemon, "billing-api")
        assert daemon.broken() is None
        scheduler = daemon._schedule._scheduler

        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
        hook, threading.excepthook = threading.excepthook, lambda _: None
        try:
            scheduler.add_job(print, Broken(), next_run_time=datetime.now(UTC))
            eventually(daemon.broken, "the dead thread is noticed")
        finally:
            threading.excepthook = hook
        assert scheduler.running, "which is why .running is not what is asked"


def test_a_target_added_to_a_resync_is_kept_by_its_own_wake_ups(stand: Stand) -> None:
    """A resync an hour away: grace, look and quarantine are met by wake-ups alone."""
    stand.write(policy=QUICK)
    with running(stand):
        eventually(stand.issued, "a first key")
        assert stand.call("rotate", "billing-api").exit_code == 0
        stand.call("status")
    with running(stand):
        eventually(
            lambda: len([key for key in stand.issued().values() if key["deleted"]]) == 1,
            "the old key is gone",
        )


def test_a_wait_doubles_up_to_its_longest() -> None:
    backoff = Backoff(5.0)
    assert [backoff.next() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next() == 1.0
    assert Backoff(0.5, 15.0).next() == 0.5
