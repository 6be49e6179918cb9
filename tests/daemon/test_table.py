"""What the loop remembers of a target, as its passes come and go."""

from __future__ import annotations

from datetime import timedelta

from rotator.core.plan import plan
from rotator.core.request import Before
from rotator.core.snapshot import Demand, Snapshot
from rotator.daemon.table import Table
from rotator.engine.reconcile import Report
from tests.core.builders import FAILURE, HELD, HOUR, NOW, A, B, ledger, served, snapshot, target

SOON = timedelta(seconds=15)
NAME = target().name


def waiting() -> tuple[Table, Demand]:
    """A table of one target, of which a rotation is waited for."""
    table = Table([target()])
    table.demand(NAME, Before(A))
    return table, table.demands()[NAME]


def resting(observed: Snapshot) -> Report:
    """The report of a pass that took no step."""
    chosen = plan(observed, NOW)
    assert not chosen.steps
    failure = observed.book.failure
    return Report(NAME, NOW, chosen, observed, failure=failure, wake_at=NOW + HOUR)


def test_a_request_that_a_pass_did_not_know_of_waits_for_the_next_one_which_comes_soon() -> None:
    table, demand = waiting()
    assert table.note(target(), resting(snapshot()), SOON) == NOW + SOON
    assert table.demands() == {NAME: demand}


def test_a_pass_that_was_asked_for_something_else_does_not_end_a_request() -> None:
    table, demand = waiting()
    other = snapshot(ledger(hold=HELD), demand=Demand(named=False, before=Before(A)))
    assert table.note(target(), resting(other), SOON) == NOW + SOON
    assert table.demands() == {NAME: demand}


def test_a_request_that_a_pass_knew_of_and_could_do_nothing_for_is_over() -> None:
    table, demand = waiting()
    held = snapshot(ledger(hold=HELD), demand=demand)
    assert table.note(target(), resting(held), SOON) == NOW + HOUR
    assert table.demands() == {}


def test_a_request_is_over_once_another_key_is_served_whatever_the_pass_was_for() -> None:
    table, _ = waiting()
    rotated = snapshot(ledger(served=served(B)))
    assert table.note(target(), resting(rotated), SOON) == NOW + HOUR
    assert table.demands() == {}


def test_a_request_waits_out_a_failure_even_of_a_pass_that_did_not_know_of_it() -> None:
    """One that gave its key up forgets the request, so that the next key is not made at once."""
    table, demand = waiting()
    assert table.note(target(), resting(snapshot(ledger(failure=FAILURE))), SOON) == NOW + HOUR
    assert table.demands() == {NAME: demand}


def test_a_target_that_is_away_keeps_its_request() -> None:
    table, demand = waiting()
    unseen = Report(NAME, NOW, None, None, failure=FAILURE, wake_at=FAILURE.next_try)
    assert table.note(target(), unseen, SOON) == FAILURE.next_try
    assert table.demands() == {NAME: demand}


def test_a_second_request_is_the_first_one_while_that_waits() -> None:
    table, demand = waiting()
    table.demand(NAME, Before(B))
    table.demand("another", Before(A))
    assert table.demands() == {NAME: demand}
    assert table.undemanded() == frozenset()
