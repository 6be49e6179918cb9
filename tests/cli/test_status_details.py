"""`status NAME`: one target in full, and what a failure means for it."""

from __future__ import annotations

import pytest

from rotator.core.request import Arguments, Verb
from rotator.engine.asking import Asking, Wish
from rotator.sandbox.faults import Fault, FaultKind
from rotator.wiring import connect
from tests.wiring.stand import Stand


def test_a_named_target_is_shown_with_whole_hashes_and_what_each_old_key_waits_for(
    stand: Stand,
) -> None:
    stand.write(["billing-api", "search"])
    stand.call("run", "--once")
    old = stand.served("billing-api")
    stand.call("rotate", "billing-api")
    result = stand.run("status", "billing-api")
    assert result.returncode == 0
    assert old is not None
    assert old in result.stdout
    assert str(stand.served("billing-api")) in result.stdout
    assert "grace, until" in result.stdout
    assert "search" not in result.stdout


def test_a_failure_says_what_failed_since_when_and_when_it_is_tried_again(stand: Stand) -> None:
    stand.write(["billing-api"])
    stand.call("run", "--once")
    served = stand.served("billing-api")
    refusal = Fault(kind=FaultKind.ERROR, api="openrouter", method="POST", status=403, count=None)
    stand.sandbox.faults.add(refusal)
    assert stand.run("rotate", "billing-api").returncode == 1
    told = stand.run("status", "billing-api")
    assert told.returncode == 1
    assert "failing" in told.stdout
    assert "since 20" in told.stdout
    assert "The served key goes on working. Tried again in" in told.stdout
    assert stand.served("billing-api") == served


@pytest.mark.parametrize(
    ("verb", "arguments", "told"),
    [
        (Verb.HOLD, Arguments(why="look: \x1b[2J"), "hold by me@here since 20"),
        (Verb.ROTATE, Arguments(compromised=True), "rotate --compromised by me@here since 20"),
        (Verb.RETIRE, Arguments(keys=("ab" * 32,)), f"retire {'ab' * 32} by me@here since 20"),
    ],
)
def test_a_request_that_is_not_answered_yet_is_shown(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, verb: Verb, arguments: Arguments, told: str
) -> None:
    stand.call("run", "--once")
    for name, value in stand.environment.items():
        monkeypatch.setenv(name, value)
    services = connect(stand.config(), mode="rotate")
    (target,), term = services.config.targets, services.config.daemon.lease
    wish = Wish(verb, arguments, "me@here", 600.0)
    assert Asking(services.world(), target, wish, term, lambda _: None).place_now()
    services.close()
    result = stand.call("status", "billing-api")
    assert result.exit_code == 0
    (line,) = [each for each in result.stdout.splitlines() if "asked" in each]
    assert told in line
    assert "\x1b" not in result.stdout
    shown = stand.document("status")["targets"][0]["request"]
    assert (shown["verb"], shown["by"]) == (verb, "me@here")
    assert stand.call("run", "--once").exit_code == 0


def test_a_name_that_is_no_target_is_wrong_usage(stand: Stand) -> None:
    stand.write(["billing-api"])
    result = stand.run("status", "biling-api")
    assert result.returncode == 2
    assert "billing-api" in result.stderr
