"""Several daemons of one installation, and commands beside them, over a real Vault.

`ROTATOR_LONG=1` makes twenty take-overs instead of three, and prints how long they took.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest

from rotator.sandbox.consumers import ConsumerFleet
from tests.end_to_end.bench import Place, Running, eventually, verified
from tests.end_to_end.many_targets import Watcher

LONG = os.environ.get("ROTATOR_LONG") == "1"
TRIES = 20 if LONG else 3
LEASE = 3.0
TIMEOUT = "1500ms"

TARGETS = ("billing", "search", "support")
POLICY = {
    "every": '"6s"',
    "grace": '"2s"',
    "drain": '{ quiet_for = "1s", deadline = "60s", then = "keep", evidence = "usage" }',
    "quarantine": '"1s"',
}
CALM = POLICY | {"every": '"1h"'}
DAEMON = {"claim_timeout": '"6s"', "resync": '"5s"', "lease": f'"{LEASE:.0f}s"'}


def leader(place: Place) -> str | None:
    """The name of the process whose lease has not ended, as the document says."""
    found = place.read(f"{place.instance}/state/lease")
    if found is None or found["data"]["released"]:
        return None
    return str(found["data"]["holder"])


def led_by(place: Place, process: Running) -> bool:
    """Whether a process holds the lease; its name has its process id in it."""
    return f"-{process.process.pid}-" in (leader(place) or "")


def led_by_one_of(place: Place, processes: list[Running]) -> Running:
    """Wait until one of some processes holds the lease, and return it."""
    eventually(lambda: any(led_by(place, each) for each in processes), "a leader")
    return next(each for each in processes if led_by(place, each))


def pause(place: Place, process: Running) -> None:
    """SIGSTOP, but not while the process holds the lock of the audit file that all share."""

    def paused() -> bool:
        process.process.send_signal(signal.SIGSTOP)
        with place.audit.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                process.process.send_signal(signal.SIGCONT)
                return False
        return True

    eventually(paused, "a pause without the lock")


def consumers_of(place: Place) -> ConsumerFleet:
    return ConsumerFleet(
        [place.consumer_of(target) for target in place.targets],
        openrouter_url=place.sandbox.url,
        vault_url=place.real_vault.address,
        vault_token=place.real_vault.root_token,
        cache_for=0.5,
    )


def ends_well(place: Place, processes: list[Running], *, killed: bool = False) -> None:
    """The schedule is stilled, everything comes to rest, and the trail is whole.

    Where processes were killed, a rotation that one of them began counts as a failure until its
    next try, which may be later than this.
    """
    for each in processes:
        assert each.stop().code == 0, place.story()
    place.configure(every='"1h"')
    last = place.start("run")
    eventually(lambda: all(map(place.at_rest, place.targets)), "the end of the old keys")
    assert last.stop().code == 0, place.story()
    left = [each for target in place.targets for each in place.not_clean(target)]
    if killed:
        waits = re.compile(r"ledger: failure = .*'reason': 'claim_expired'")
        left = [each for each in left if not waits.match(each)]
    assert left == [], place.story()
    verdict = verified([place.audit])
    assert verdict.code == 0, verdict.out


@pytest.fixture
def two(make_place: Callable[..., Place]) -> Place:
    """A place with two daemons and calm targets."""
    place = make_place(policy=CALM, daemon=DAEMON, targets=TARGETS, timeout=TIMEOUT)
    place.start("run")
    eventually(lambda: all(map(place.at_rest, TARGETS)), "first keys")
    place.start("run")
    eventually(lambda: "standing by" in place.processes[1].err, "a second daemon")
    return place


def test_another_takes_over_from_a_killed_leader_and_nothing_is_lost_or_doubled(
    make_place: Callable[..., Place],
) -> None:
    place = make_place(policy=POLICY, daemon=DAEMON, targets=TARGETS, timeout=TIMEOUT)
    running = [place.start("run"), place.start("run")]
    eventually(lambda: all(place.served(each).hash for each in TARGETS), "first keys")
    took: list[float] = []
    watcher = Watcher(place)
    with consumers_of(place) as fleet:
        for _ in range(TRIES):
            dead = led_by_one_of(place, running)
            running.remove(dead)
            dead.kill()
            began = time.monotonic()
            eventually(lambda: led_by(place, running[0]), "the take-over")
            took.append(time.monotonic() - began)
            watcher.sample()
            running.append(place.start("run"))
        print(f"take-over: median {statistics.median(took):.1f} s, worst {max(took):.1f} s")
        ends_well(place, running, killed=True)
        watcher.sample()
    assert watcher.orphans == []
    assert fleet.report().failures == ()
    assert statistics.median(took) <= LEASE + 5, took
    assert max(took) <= LEASE + 15, took


def test_a_leader_that_was_paused_past_lease_and_claim_does_no_harm_when_it_wakes(
    make_place: Callable[..., Place],
) -> None:
    place = make_place(policy=POLICY, daemon=DAEMON, targets=TARGETS, timeout=TIMEOUT)
    running = [place.start("run"), place.start("run")]
    eventually(lambda: all(place.served(each).hash for each in TARGETS), "first keys")
    watcher = Watcher(place)
    with consumers_of(place) as fleet:
        paused = led_by_one_of(place, running)
        other = running[1 - running.index(paused)]
        pause(place, paused)
        before = {target: place.served(target).hash for target in TARGETS}
        eventually(lambda: led_by(place, other), "the take-over")
        eventually(
            lambda: all(place.served(each).hash != before[each] for each in TARGETS),
            "a rotation of each by the other, past any claim of the paused one",
        )
        paused.process.send_signal(signal.SIGCONT)
        eventually(lambda: paused.err.count("standing by") >= 1, "the paused one stands by")
        watcher.sample()
        assert led_by(place, other)
        ends_well(place, running)
        watcher.sample()
    assert watcher.orphans == []
    assert fleet.report().failures == ()


def test_without_a_lease_three_replicas_at_once_keep_all_promises(
    make_place: Callable[..., Place],
) -> None:
    place = make_place(
        policy=POLICY, daemon=DAEMON | {"lease": '"0s"'}, targets=TARGETS, timeout=TIMEOUT
    )
    running = [place.start("run") for _ in range(3)]
    eventually(lambda: all(place.served(each).hash for each in TARGETS), "first keys")
    watcher = Watcher(place)
    with consumers_of(place) as fleet:
        for _ in range(2):
            before = {target: place.served(target).hash for target in TARGETS}
            eventually(
                lambda was=before: all(place.served(each).hash != was[each] for each in TARGETS),  # type: ignore[misc]
                "a rotation of each",
            )
            watcher.sample()
        ends_well(place, running)
        watcher.sample()
    assert leader(place) is None
    assert watcher.orphans == []
    assert fleet.report().failures == ()


def test_commands_beside_two_daemons_are_done_by_the_one_that_leads_and_audited_by_it(
    two: Place,
) -> None:
    held = two.run("hold", "billing", "--why", "incident 4711")
    assert held.code == 0, held
    rotated = two.run("rotate", "billing", "--json")
    (told,) = rotated.json["targets"]
    assert (told["result"], told["new"]) == ("rotated", two.served("billing").hash), rotated
    back = two.run("rollback", "billing", "--json")
    assert (back.code, back.json["new"]) == (0, told["old"]), back
    assert two.run("retire", "billing", "--json").json["retired"] == [told["new"]]
    assert two.run("adopt", "billing", "--json").json["result"] == "unchanged"
    assert two.run("release", "billing").code == 0
    assert two.read(f"{two.instance}/state/targets/billing")["data"]["request"] is None  # type: ignore[index]
    lines = [line for line in two.audit.read_text().splitlines() if "operator.command" in line]
    assert len(lines) == 6
    starts = [line for line in two.audit.read_text().splitlines() if "process.start" in line]
    assert len(starts) == 2, "a command that only asks starts nothing"


def test_status_shows_who_leads_and_no_leader_where_there_is_none(two: Place) -> None:
    shown = two.run("status", "--json").json["leader"]
    assert shown["holder"] == leader(two)
    assert (shown["same_config"], shown["reload_error"]) == (True, None)
    assert two.run("status").out.startswith(f"leader {leader(two)}")
    for each in two.processes[:2]:
        each.stop()
    assert two.run("status", "--json").json["leader"] is None
    assert two.run("status").out.startswith("no leader")


def test_a_command_whose_daemon_is_killed_while_it_waits_tells_so_and_ends_truthfully(
    make_place: Callable[..., Place],
) -> None:
    place = make_place(policy=CALM, daemon=DAEMON, targets=("billing",), timeout=TIMEOUT)
    daemon = place.start("run")
    eventually(lambda: place.at_rest("billing"), "a first key")
    before = place.served("billing").hash
    pause(place, daemon)
    asking = place.start("rotate", "billing", "--json")
    eventually(lambda: _request(place) is not None, "the request")
    daemon.process.send_signal(signal.SIGKILL)
    done = asking.wait()
    assert done.code == 0, done
    assert "is gone: its lease has ended" in done.err
    assert done.json["targets"][0]["new"] == place.served("billing").hash != before
    assert _request(place) is None


def test_a_command_that_nobody_answers_in_time_withdraws_its_request_and_says_so(
    make_place: Callable[..., Place],
) -> None:
    place = make_place(
        policy=CALM, daemon=DAEMON | {"lease": '"60s"'}, targets=("billing",), timeout=TIMEOUT
    )
    daemon = place.start("run")
    eventually(lambda: place.at_rest("billing"), "a first key")
    before = place.served("billing").hash
    pause(place, daemon)
    done = place.run("rotate", "billing", "--json", "--timeout", "3s")
    assert done.code == 1, done
    (told,) = done.json["targets"]
    assert (told["result"], told["reason"]) == ("failed", "timed_out")
    assert "the request was withdrawn; no change of the target was under way" in told["detail"]
    interrupted = place.start("hold", "billing", "--why", "x")
    eventually(lambda: _request(place) is not None, "the request")
    interrupted.process.send_signal(signal.SIGINT)
    told = interrupted.wait()
    assert told.code == 1
    assert "asked to stop: the request was withdrawn" in told.err
    daemon.process.send_signal(signal.SIGCONT)
    assert daemon.stop().code == 0
    assert place.served("billing").hash == before
    assert (place.ledger("billing") or {})["hold"] is None


def test_a_refusal_is_told_by_the_command_that_asked(two: Place) -> None:
    fault = two.sandbox.fault(
        api="openrouter", kind="error", method="POST", path="*/keys", status=402
    )
    assert fault
    try:
        done = two.run("rotate", "billing", "--json")
    finally:
        two.sandbox.no_faults()
    assert done.code == 1, done
    (told,) = done.json["targets"]
    assert (told["result"], told["reason"]) == ("failed", "mint_refused")


def _request(place: Place) -> Any:
    return (place.ledger("billing") or {})["request"]


def test_a_signal_to_the_one_that_stands_by_rotates_every_target_once(two: Place) -> None:
    before = {target: two.served(target).hash for target in TARGETS}
    standby = next(each for each in two.processes[:2] if not led_by(two, each))
    for _ in range(3):
        standby.process.send_signal(signal.SIGUSR1)
    eventually(
        lambda: all(two.served(each).hash != before[each] for each in TARGETS), "a rotation of each"
    )
    eventually(lambda: all(map(two.at_rest, TARGETS)), "the end of the old keys")
    assert led_by(two, next(each for each in two.processes[:2] if each is not standby))
