"""Another configuration for a running daemon: as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from rotator.config import Config
from rotator.daemon import Daemon
from rotator.daemon.shared import Role
from rotator.engine.lease import read_lease
from rotator.errors import ConfigurationError
from rotator.sandbox.faults import Fault, FaultKind
from tests.daemon.living import reloaded, running, settled, swept
from tests.daemon.test_loop import Settable
from tests.wiring.stand import CALM, QUICK, Stand, eventually

SLOW = 'every = "30d"\ngrace = "2s"\nquarantine = "10ms"\ndrain = { quiet_for = "10ms", deadline = "1d", then = "keep", evidence = "usage" }'


def reloads(stand: Stand) -> list[dict[str, object]]:
    return [each for each in stand.events() if each["event"] == "process.reload"]


def started(daemon: Daemon) -> None:
    eventually(lambda: daemon.status().resync_succeeded_at, "the first resync is over")


def has_keys(stand: Stand, count: int) -> None:
    eventually(lambda: len(stand.issued()) == count, f"there are {count} keys")


def test_an_added_target_gets_its_first_key_and_a_changed_policy_is_followed(stand: Stand) -> None:
    stand.write(["a"], policy=CALM)
    with running(stand) as daemon:
        started(daemon)
        stand.write(["a", "b"], policy='every = "10ms"\ngrace = "1d"')
        reloaded(daemon)
        settled(daemon, "b")
        eventually(lambda: stand.served("a") != next(iter(stand.issued())), "a is rotated")
        assert stand.served("b") in stand.issued()
        assert daemon.status().targets == 2
    assert [each["result"] for each in reloads(stand)] == ["done"]
    assert reloads(stand)[0]["config_sha256"] == stand.config().sha256


def test_a_removed_target_keeps_its_key_and_its_old_ones_are_finished(stand: Stand) -> None:
    stand.write(["a", "b"], policy=SLOW)
    with running(stand) as daemon:
        started(daemon)
        old = stand.served("b")
        swept(daemon, stand)
        has_keys(stand, 4)
        eventually(lambda: not daemon.status().requests, "both are rotated")
        kept = stand.served("b")
        assert kept != old
        stand.write(["a"], policy=SLOW)
        reloaded(daemon)
        assert set(daemon.reports()) == {"a"}
        eventually(lambda: stand.issued()[old]["deleted"], "the old key of b is gone")
        assert stand.sandbox.account.works(kept)
        assert stand.served("b") == kept
        assert len(stand.issued()) == 4, "and b is not rotated away"
    assert stand.call("audit", "verify", str(stand.audit)).exit_code == 0


def test_a_target_that_comes_back_is_the_same_target(stand: Stand) -> None:
    stand.write(["a", "b"], policy=CALM)
    with running(stand) as daemon:
        started(daemon)
        served = stand.served("b")
        stand.write(["a"], policy=CALM)
        reloaded(daemon)
        stand.write(["a", "b"], policy=CALM)
        reloaded(daemon)
        settled(daemon, "b")
        assert stand.served("b") == served
        assert len(stand.issued()) == 2


def test_a_target_at_another_path_starts_there_and_leaves_the_old_one_alone(stand: Stand) -> None:
    stand.write(["a"], policy=CALM)
    with running(stand) as daemon:
        started(daemon)
        served = stand.served("a")
        text = stand.path.read_text().replace("secret/apps/a", "secret/apps/moved")
        stand.path.write_text(text)
        reloaded(daemon)
        has_keys(stand, 2)
        eventually(
            lambda: any(
                e["event"] == "secret.publish"
                and e["path"] == "secret/apps/moved"
                and e["phase"] == "outcome"
                for e in stand.events()
            ),
            "the new path is served",
        )
        assert stand.served("moved") in stand.issued()
        assert stand.served("a") == served


def test_a_bad_file_keeps_the_old_configuration_and_says_why_until_it_is_mended(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    stand.write(["a"], policy=CALM)
    good = stand.path.read_text()
    with running(stand) as daemon:
        started(daemon)
        stand.path.write_text(good + '\n[[target]]\nname = "b"\n')
        reloaded(daemon)
        reloaded(daemon)
        error = daemon.reload_error()
        assert error is not None
        assert "secret" in error
        assert daemon.status().targets == 1
        assert "the configuration stays as it was" in caplog.text
        stand.path.write_text(good)
        reloaded(daemon)
        assert daemon.reload_error() is None
    told = reloads(stand)
    assert [each["result"] for each in told] == ["failed"], "told once, not at each signal"
    assert "secret" in str(told[0]["error"])


def test_a_file_with_thousands_of_mistakes_costs_the_leader_neither_its_lease_nor_its_words(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.write(["a"], policy=CALM)
    good, mistakes = stand.config, list[str]()

    def read() -> Config:
        if mistakes:
            raise ConfigurationError(tuple(mistakes))
        return good()

    monkeypatch.setattr(stand, "config", read)
    with running(stand) as daemon:
        started(daemon)
        world = daemon.world()
        assert world is not None
        # A file's name need not be text.
        mistakes += [f"/etc/\udc80.toml:{line}: no such key" for line in range(50_000)]
        reloaded(daemon)

        def told() -> str:
            lease = read_lease(world.ledgers).lease
            return (lease.state.reload_error or "") if lease is not None else ""

        eventually(lambda: told() != "", "the lease says so")
        assert told().startswith("/etc/\\udc80.toml:0: no such key")
        assert len(told()) <= 1000
        assert told() == daemon.reload_error()
        assert daemon.status().role is Role.ACTING


def test_a_defect_in_reading_the_file_is_a_refused_reload_and_no_silence(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stand.write(["a"], policy=CALM)
    good, defects = stand.config, list[Exception]()

    def read() -> Config:
        for each in defects:
            raise each
        return good()

    monkeypatch.setattr(stand, "config", read)
    with running(stand) as daemon:
        started(daemon)
        defects.append(RuntimeError("sk-or-v1-0123456789abcdef"))
        reloaded(daemon)
        assert daemon.reload_error() == "a defect of this program: RuntimeError"
        defects.clear()
        reloaded(daemon)
        assert daemon.reload_error() is None
    assert [each["result"] for each in reloads(stand)] == ["failed"]
    assert "RuntimeError" in caplog.text


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda text: text.replace('instance = "test"', 'instance = "other"'), "instance"),
        (lambda text: text.replace("secret/rotator", "secret/another"), "vault.state"),
        (lambda text: text.replace("6000", "5000"), "openrouter.writes_per_minute"),
        (lambda text: text.replace("[daemon]", "[daemon]\nworkers = 3"), "daemon.workers"),
        (lambda text: text.replace("audit.jsonl", "other.jsonl"), "audit.path"),
        (lambda text: text + '\n[http]\nlisten = "127.0.0.1:9464"\n', "http"),
    ],
)
def test_what_cannot_change_while_running_is_refused_as_a_whole(
    stand: Stand, change: Callable[[str], str], named: str
) -> None:
    stand.write(["a"], policy=CALM)
    with running(stand) as daemon:
        started(daemon)
        before = daemon.config
        stand.write(["a", "b"], policy=CALM)
        stand.path.write_text(change(stand.path.read_text()))
        reloaded(daemon)
        assert daemon.config is before
        error = daemon.reload_error()
        assert error is not None
        assert named in error
        assert "needs a restart" in error
        assert set(daemon.reports()) == {"a"}
        assert len(stand.issued()) == 1


def test_a_reload_opens_the_renamed_audit_file_again_and_the_chain_goes_on(stand: Stand) -> None:
    stand.write(["a"], policy=CALM)
    with running(stand) as daemon:
        started(daemon)
        old = Path(f"{stand.audit}.1")
        stand.audit.rename(old)
        reloaded(daemon)
        assert stand.audit.exists()
        assert stand.audit.stat().st_mode & 0o777 == 0o600
        daemon.rotate_all()
        has_keys(stand, 2)
    assert stand.call("audit", "verify", str(old), str(stand.audit)).exit_code == 0


def test_a_reload_while_vault_is_away_is_in_force_when_it_is_back(stand: Stand) -> None:
    stand.sandbox.vault.sealed = True
    stand.write(["a"], policy=CALM)
    with running(stand) as daemon:
        stand.write(["b"], policy=CALM)
        reloaded(daemon)
        assert not daemon.status().ready
        assert daemon.status().line() == "waiting for Vault"
        stand.sandbox.vault.sealed = False
        settled(daemon, "b")
        eventually(stand.issued, "a first key")
        assert daemon.status().ready
        assert "a" not in daemon.reports()


def test_nothing_is_disabled_after_a_reload_before_every_target_was_looked_at(
    stand: Stand,
) -> None:
    """A key that an added target serves may be another one's old key."""
    stand.write(["a"], policy=CALM)
    with running(stand) as daemon:
        started(daemon)
        world = daemon.world()
        assert world is not None
        assert world.fleet.filled()
        hit = stand.sandbox.faults.add(
            Fault(kind=FaultKind.LATENCY, api="vault", path="*/apps/b", seconds=60.0)
        )
        stand.write(["a", "b"], policy=QUICK)
        reloaded(daemon)
        eventually(lambda: stand.sandbox.faults.hits(hit), "b is being looked at")
        assert not world.fleet.filled()
        stand.sandbox.faults.clear()
        eventually(world.fleet.filled, "all were looked at")


def test_a_target_that_is_renamed_in_the_middle_of_a_pass_is_not_held_for_its_former_name(
    stand: Stand,
) -> None:
    stand.write(["a"], policy=CALM)
    clock = Settable()
    with running(stand, clock) as daemon:
        started(daemon)
        before = stand.served("a")
        slow = stand.sandbox.faults.add(
            Fault(kind=FaultKind.LATENCY, api="vault", path="*/metadata/apps/a", seconds=60.0)
        )
        clock.step = timedelta(seconds=30)  # it looks at every target again
        eventually(lambda: stand.sandbox.faults.hits(slow), "a pass of the old name is under way")
        stand.path.write_text(stand.path.read_text().replace('name = "a"', 'name = "b"'))
        reloaded(daemon)
        world = daemon.world()
        assert world is not None
        settled(daemon, "b")
        eventually(world.fleet.filled, "all were looked at")
        stand.sandbox.faults.clear()
        eventually(
            lambda: all(each.task != "a" for each in daemon.status().activities),
            "the pass of the old name is over",
        )
        swept(daemon, stand)
        eventually(lambda: not daemon.status().requests, "the request is over")
        assert stand.served("a") != before


def test_a_request_to_rotate_everything_rotates_each_target_once(stand: Stand) -> None:
    names = [f"t{number}" for number in range(5)]
    stand.write(names, policy=CALM)
    with running(stand) as daemon:
        started(daemon)
        before = {name: stand.served(name) for name in names}
        swept(daemon, stand)
        for _ in range(20):
            daemon.rotate_all()
        eventually(lambda: not daemon.status().requests, "the request is fulfilled")
        assert all(stand.served(name) != before[name] for name in names)
        made = len(stand.issued())
        assert 10 <= made <= 15, "what came while one waited merged into it"


def test_a_clock_that_is_set_back_after_a_request_for_all_makes_no_storm(stand: Stand) -> None:
    stand.write(["a"], policy=CALM)
    clock = Settable()
    clock.step = timedelta(minutes=4)
    with running(stand, clock) as daemon:
        started(daemon)
        slow = stand.sandbox.faults.add(
            Fault(kind=FaultKind.LATENCY, api="vault", path="*/metadata/apps/a", seconds=60.0)
        )
        swept(daemon, stand)
        eventually(lambda: stand.sandbox.faults.hits(slow), "its turn has begun")
        clock.step = timedelta()
        stand.sandbox.faults.clear()
        eventually(lambda: not daemon.status().requests, "the request is fulfilled")
        assert len(stand.issued()) == 2


def test_a_request_for_all_in_the_middle_of_a_pass_is_carried_out_after_it(stand: Stand) -> None:
    stand.write(["a"], policy=CALM)
    clock = Settable()
    with running(stand, clock) as daemon:
        started(daemon)
        before = stand.served("a")
        slow = stand.sandbox.faults.add(
            Fault(kind=FaultKind.LATENCY, api="vault", path="*/metadata/apps/a", seconds=60.0)
        )
        clock.step = timedelta(seconds=30)  # it looks at every target again
        eventually(lambda: stand.sandbox.faults.hits(slow), "a pass is under way")
        swept(daemon, stand)
        assert daemon.status().requests == 1
        stand.sandbox.faults.clear()
        eventually(lambda: not daemon.status().requests, "the request is over")
        assert stand.served("a") != before
        assert len(stand.issued()) == 2


def test_a_request_for_all_while_vault_is_away_is_carried_out_when_it_is_back(
    stand: Stand,
) -> None:
    stand.write(["a"], policy=CALM)
    with running(stand) as daemon:
        started(daemon)
        before = stand.served("a")
        stand.sandbox.vault.sealed = True
        daemon.rotate_all()
        eventually(lambda: daemon.status().requests, "the request waits")
        stand.sandbox.vault.sealed = False
        eventually(lambda: not daemon.status().requests, "the request is fulfilled", 90)
        assert stand.served("a") != before
        assert len(stand.issued()) == 2


def test_a_held_target_is_left_alone_by_a_request_for_all(stand: Stand) -> None:
    stand.write(["a", "b"], policy=CALM)
    with running(stand) as daemon:
        started(daemon)
    assert stand.call("hold", "a", "--why", "migration").exit_code == 0
    with running(stand) as daemon:
        settled(daemon, "a", "b")
        held = stand.served("a")
        swept(daemon, stand)
        eventually(lambda: not daemon.status().requests, "the request is over")
        assert stand.served("a") == held
        assert len(stand.issued()) == 3


def test_a_request_that_fails_is_kept_until_it_is_fulfilled(stand: Stand) -> None:
    stand.write(["a"], policy=CALM)
    with running(stand) as daemon:
        started(daemon)
        before = stand.served("a")
        fault = Fault(
            kind=FaultKind.RATE_LIMIT, api="openrouter", method="POST", count=1, retry_after=0
        )
        hit = stand.sandbox.faults.add(fault)
        swept(daemon, stand)
        eventually(lambda: stand.sandbox.faults.hits(hit), "the first try failed")
        eventually(lambda: stand.served("a") != before, "it was tried again", 90)
        eventually(lambda: not daemon.status().requests, "and the request is over")


def test_a_management_key_file_that_changes_is_used_without_a_restart(stand: Stand) -> None:
    key = stand.folder / "management-key"
    key.write_text(stand.sandbox.management_key)
    stand.write(["a"], policy=CALM, management_key=f'{{ file = "{key}" }}')
    with running(stand) as daemon:
        started(daemon)
        old = stand.sandbox.account.all_keys()[0]["hash"]
        fresh = stand.folder / "fresh"
        fresh.write_text(stand.sandbox.account.add_management_key())
        fresh.replace(key)
        stand.sandbox.account.set_deleted(old)
        daemon.rotate_all()
        has_keys(stand, 2)
        assert daemon.status().refused is None


def test_the_status_tells_how_the_process_does(stand: Stand) -> None:
    stand.write(["a"], policy=CALM)
    with running(stand) as daemon:
        started(daemon)
        status = daemon.status()
        assert status.ready
        assert status.broken is None
        assert status.heartbeat_age is not None
        assert status.role == "acting"
        assert status.config_sha256 == stand.config().sha256
        assert status.resync is not None
        assert status.resync.failed is None
        assert status.line() == "one target"


def test_what_a_worker_is_in_is_told_while_it_is_in_it(stand: Stand) -> None:
    fault = Fault(kind=FaultKind.LATENCY, api="openrouter", method="POST", seconds=60.0)
    hit = stand.sandbox.faults.add(fault)

    def minting(daemon: Daemon) -> bool:
        return any(each.call == "openrouter.create" for each in daemon.status().activities)

    with running(stand) as daemon:
        eventually(lambda: stand.sandbox.faults.hits(hit), "a create is under way")
        assert minting(daemon)
        assert not any(each.late for each in daemon.status().activities)
        stand.sandbox.faults.clear()
        eventually(lambda: not minting(daemon), "it is over")
