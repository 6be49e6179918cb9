"""The life of a rotation without faults, and what it costs."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from rotator.core.request import Before
from rotator.core.snapshot import Demand
from rotator.events import Phase
from tests.engine.lab import Lab


def test_a_first_key_is_made_for_a_target_without_one() -> None:
    lab = Lab()
    report = lab.run()
    served = lab.served_hash()
    assert report.failure is None
    assert served is not None
    assert lab.account.accepts(served)
    book = lab.ledger()
    assert book is not None
    assert book.served is not None
    assert book.served.hash == served
    assert (lab.vault.current("secret/app") or {})["OTHER"] == "stays"


def test_a_key_is_replaced_when_due_and_its_predecessor_drains_and_goes() -> None:
    lab = Lab()
    lab.run()
    first = lab.served_hash()
    lab.live(timedelta(hours=20))
    second = lab.served_hash()
    assert second != first
    assert first in lab.account.deleted
    lab.check_at_rest()


def test_a_rotation_costs_no_more_calls_than_allowed() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    lab.faults.calls.clear()
    lab.run()
    for _ in range(200):
        wake = lab.reports["app"].wake_at
        assert wake is not None
        lab.clock.advance(max(wake - lab.clock.now(), timedelta(seconds=1)))
        if (book := lab.ledger()) is not None and not book.retiring:
            break
        lab.run()
    counts = Counter(name.split(".")[0] for name in lab.faults.calls)
    assert lab.account.deleted
    assert counts["openrouter"] <= 8, lab.faults.calls
    assert counts["vault"] <= 18, lab.faults.calls


def test_a_demanded_rotation_happens_once() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(minutes=1))
    first = lab.served_hash()
    report = lab.run(demand=Demand())
    second = lab.served_hash()
    assert second != first
    assert report.snapshot is not None
    assert report.snapshot.demand == Demand(before=Before(served=first))
    lab.run(demand=report.snapshot.demand)
    assert lab.served_hash() == second


def test_compromised_keys_are_disabled_as_soon_as_the_new_one_is_served() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(minutes=1))
    first = lab.served_hash()
    assert first is not None
    lab.excused.add(first)
    lab.run(demand=Demand(compromised=True))
    assert lab.account.keys[first].disabled
    assert lab.account.accepts(lab.served_hash() or "")


def test_every_step_has_an_intent_before_and_an_outcome_after() -> None:
    lab = Lab()
    lab.live(timedelta(hours=20))
    assert not lab.trail.unsettled()
    names = {each.name for _, each in lab.trail.lines if each.phase is Phase.INTENT}
    assert {
        "key.create",
        "key.verify",
        "secret.publish",
        "ledger.change",
        "key.disable",
        "key.delete",
    } <= names
