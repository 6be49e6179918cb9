"""Intents that a process left open: closed where no claim's recovery will settle them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.core.snapshot import Demand
from rotator.engine.resync import settle_interrupted
from rotator.errors import Transient
from rotator.events import KeyDisable, Phase, Result, StepSettled
from tests.engine.lab import CLAIM_TIMEOUT, Lab
from tests.fakes.faults import Kind

SOON = timedelta(seconds=1)


def left_open(lab: Lab, *names: str) -> None:
    """A process died before it could tell what came of these steps."""
    for name in names:
        lab.trail.add(
            KeyDisable(phase=Phase.INTENT, op=f"{name}/disable", target="app", key_hash=name * 64)
        )


def settled(lab: Lab) -> list[tuple[str, str | None, str | None, Result | None]]:
    """What was closed."""
    found = lab.trail.events(StepSettled.name)
    return [(each.op, each.target, each.key_hash, each.result) for each in found]


def test_intents_that_nobody_will_settle_are_closed_once_they_are_old_enough() -> None:
    lab = Lab()
    lab.run()
    left_open(lab, "a", "b", "c")
    assert settle_interrupted(lab.world, lab.targets) == 0
    lab.clock.advance(CLAIM_TIMEOUT + SOON)
    left_open(lab, "d")
    assert settle_interrupted(lab.world, lab.targets) == 3
    assert settled(lab) == [
        (f"{each}/disable", "app", each * 64, Result.INTERRUPTED) for each in "abc"
    ]
    assert settle_interrupted(lab.world, lab.targets) == 0


def test_an_intent_under_a_standing_claim_is_left_to_its_recovery_and_the_others_are_closed() -> (
    None
):
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=1))
    left_open(lab, "a")
    lab.faults.choose = lambda _, name, __: Kind.DIE_AFTER if name == "create" else None
    lab.run(demand=Demand())
    left_open(lab, "b")
    lab.clock.advance(CLAIM_TIMEOUT + SOON)
    assert settle_interrupted(lab.world, lab.targets) == 2
    assert [op for op, *_ in settled(lab)] == ["a/disable", "b/disable"]
    book = lab.ledger()
    assert book is not None
    assert book.pending is not None
    assert [each.op.split("/")[0] for each in lab.trail.unsettled()] == [book.pending.op]


def test_nothing_is_closed_where_a_ledger_cannot_be_asked_for_its_claim() -> None:
    lab = Lab()
    lab.run()
    left_open(lab, "a")
    lab.clock.advance(CLAIM_TIMEOUT + SOON)
    lab.faults.choose = lambda _, name, __: Kind.ERROR if name == "read_ledger" else None
    with pytest.raises(Transient) as raised:
        settle_interrupted(lab.world, lab.targets)
    assert raised.value.service == "vault"
    assert raised.value.detail == "vault: read_ledger: not now"
    assert settled(lab) == []
