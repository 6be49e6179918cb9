"""What the desk of the process that acts hands on, whether something was asked for or not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.core.hand_edits import Ask
from rotator.core.ledger import Failure
from rotator.core.reasons import Reason
from rotator.core.request import Arguments, Request, Verb
from rotator.core.snapshot import Demand
from rotator.engine.operate import change
from rotator.engine.requests import Desk
from tests.engine.lab import Lab
from tests.fakes.faults import Kind


def living() -> Lab:
    """A target that serves a key, an hour old."""
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=1))
    return lab


def ask(lab: Lab, verb: Verb) -> str:
    """A request stands in the ledger; its id."""
    now = lab.clock.now()
    request = Request(
        id="a" * 16,
        verb=verb,
        arguments=Arguments(why="audit week"),
        by="alice",
        at=now,
        until=now + timedelta(minutes=5),
    )
    change(lab.world, lab.targets[0], Ask(request))
    return request.id


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("meddled", [False, True])
def test_a_rotation_of_all_targets_is_made_at_the_turn_of_each(asked: bool, meddled: bool) -> None:
    lab = living()
    first, before_each = lab.served_hash(), lab.faults.before_each
    if asked:
        ask(lab, Verb.RELEASE)
    left = ["write_ledger"] if meddled else []

    def before(service: str, name: str, acts: bool) -> None:
        if name in left:
            left.remove(name)
            lab.vault.put("state/targets/app", lab.vault.current("state/targets/app") or {})
        before_each(service, name, acts)

    lab.faults.before_each = before
    Desk().attend(lab.world, lab.targets[0], demand=Demand())
    assert not left
    assert lab.served_hash() != first


@pytest.mark.parametrize("call", ["read_ledger", "get"])
def test_a_failure_of_the_last_turn_counts_in_this_one(call: str) -> None:
    lab = living()
    lab.clock.advance(timedelta(hours=12))
    now = lab.clock.now()
    earlier = Failure(Reason.UNAVAILABLE, "away", now, 3, now)
    lab.faults.choose = lambda _service, name, _acts: Kind.ERROR if name == call else None
    report = Desk().attend(lab.world, lab.targets[0], earlier=earlier)
    assert report.failure is not None
    assert report.failure.count == 4


def test_a_target_without_a_request_is_observed_once_at_its_turn() -> None:
    lab, desk = living(), Desk()
    calls = len(lab.faults.calls)
    desk.attend(lab.world, lab.targets[0])
    assert lab.faults.calls[calls:].count("vault.read_ledger") == 1
