"""Commands by hand on the targets of a living daemon."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rotator.sandbox.consumers import ConsumerFleet
from tests.end_to_end.bench import Place, eventually, verified
from tests.end_to_end.many_targets import Watcher

TARGETS = ("billing", "search", "support")
POLICY = {
    "every": '"1h"',
    "grace": '"2s"',
    "drain": '{ quiet_for = "1s", deadline = "60s", then = "keep", evidence = "usage" }',
    "quarantine": '"1s"',
}
DAEMON = {"claim_timeout": '"20s"', "resync": '"2s"'}


@pytest.fixture
def place(make_place: Callable[..., Place]) -> Place:
    place = make_place(policy=POLICY, daemon=DAEMON, targets=TARGETS)
    place.start("run")
    eventually(lambda: all(map(place.at_rest, TARGETS)), "first keys")
    return place


def consumers_of(place: Place) -> ConsumerFleet:
    return ConsumerFleet(
        [place.consumer_of(target) for target in place.targets],
        openrouter_url=place.sandbox.url,
        vault_url=place.real_vault.address,
        vault_token=place.real_vault.root_token,
        cache_for=0.5,
    )


def ends_well(place: Place) -> None:
    """The daemon stops in good order, and everything is as it must be."""
    assert place.processes[0].stop().code == 0, place.story()
    assert [place.not_clean(target) for target in place.targets] == [[]] * len(place.targets)
    verdict = verified([place.audit])
    assert verdict.code == 0, verdict.out
    assert verdict.json["open"] == []


def test_a_rotation_by_hand_beside_the_daemon_serves_the_key_that_it_prints(place: Place) -> None:
    watcher = Watcher(place)
    with consumers_of(place) as fleet:
        for target in ("billing", "search"):
            done = place.run("rotate", target, "--json")
            (told,) = done.json["targets"]
            assert done.code == 0, done
            assert (told["result"], told["new"]) == ("rotated", place.served(target).hash)
            assert told["old"] != told["new"]
            watcher.sample()
        eventually(lambda: all(map(place.at_rest, TARGETS)), "the end of the old keys")
        watcher.sample()
    assert watcher.orphans == []
    assert fleet.report().failures == ()
    assert {target: len(place.minted(target)) for target in TARGETS} == {
        "billing": 2,
        "search": 2,
        "support": 1,
    }
    ends_well(place)


def test_rotations_at_once_make_as_many_keys_as_they_say_and_leave_no_orphan(place: Place) -> None:
    watcher = Watcher(place)
    with consumers_of(place) as fleet:
        at_once = [place.start("rotate", "billing", "--json") for _ in range(3)]
        while any(each.alive() for each in at_once):
            watcher.sample()
        ended = [each.wait() for each in at_once]
        told = [done.json["targets"][0] for done in ended]
        served = place.served("billing").hash
        eventually(lambda: all(map(place.at_rest, TARGETS)), "the end of the old keys")
        watcher.sample()
    assert [done.code for done in ended] == [0, 0, 0], ended
    assert served in {each["new"] for each in told}
    made = {key.hash for key in place.minted("billing")}
    first = next(key for key in made if key not in {each["new"] for each in told})
    assert made == {first, *(each["new"] for each in told)}, "a key that nobody told of"
    assert watcher.orphans == []
    assert fleet.report().failures == ()
    ends_well(place)


def test_a_hold_beside_the_daemon_stops_the_schedule_until_it_is_released(place: Place) -> None:
    held = place.run("hold", "billing", "--why", "incident 4711")
    assert held.code == 0, held
    shown = place.run("status", "--json")
    assert shown.code == 0, shown
    (billing,) = [each for each in shown.json["targets"] if each["name"] == "billing"]
    assert billing["state"] == "held"
    assert billing["hold"]["why"] == "incident 4711"
    assert billing["served"]["hash"] == place.served("billing").hash

    before = {target: place.served(target).hash for target in TARGETS}
    done = place.run("rotate", "--all", "--json")
    assert done.code == 0, done
    results = {each["name"]: each["result"] for each in done.json["targets"]}
    assert results == {"billing": "held", "search": "rotated", "support": "rotated"}
    changed = {target for target in TARGETS if place.served(target).hash != before[target]}
    assert changed == {"search", "support"}

    assert place.run("release", "billing").code == 0
    named = place.run("rotate", "billing", "--json")
    assert named.code == 0, named
    assert named.json["targets"][0]["new"] == place.served("billing").hash != before["billing"]
    shown = place.run("status", "--json")
    assert {each["hold"] for each in shown.json["targets"]} == {None}


def test_a_daemon_that_rotates_at_the_same_moment_and_a_command_make_no_more_than_they_say(
    make_place: Callable[..., Place],
) -> None:
    place = make_place(policy=POLICY | {"every": '"4s"'}, daemon=DAEMON, targets=("billing",))
    daemon = place.start("run")
    eventually(lambda: place.at_rest("billing"), "a first key")
    watcher = Watcher(place)
    with consumers_of(place) as fleet:
        done = []
        for _ in range(4):
            done.append(place.run("rotate", "billing", "--json"))
            watcher.sample()
        stopped = daemon.stop()
        place.configure(every='"1h"')
        daemon = place.start("run")
        eventually(lambda: place.at_rest("billing"), "the end of the old keys")
        watcher.sample()
    assert {each.code for each in done} == {0}, done
    assert stopped.code == 0, stopped
    assert watcher.orphans == []
    assert fleet.report().failures == ()
    told = {each.json["targets"][0]["new"] for each in done}
    assert told <= {key.hash for key in place.minted("billing")}
    assert daemon.stop().code == 0
    assert place.not_clean("billing") == []
