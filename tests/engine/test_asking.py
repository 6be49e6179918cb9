"""The asking side of requests: what a command says while it waits, and what it knows at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from rotator.core.asked import before_of
from rotator.core.ledger import Failure
from rotator.core.reasons import MEANING, Reason
from rotator.core.request import Arguments, Request, Verb
from rotator.core.snapshot import Demand
from rotator.engine.asking import Asking, Ending, Wish
from rotator.engine.asking_for_all import ask_for_all
from rotator.engine.lease import DOCUMENT
from rotator.engine.pulse import read_pulse
from rotator.ports import LedgerRecord
from tests.engine.test_requests import TERM, Stand, _Naps, _put, _silent
from tests.fakes.faults import Kind
from tests.fakes.vault import FakeLedgers

GONE = "its lease has ended"


class LooksAtLease(FakeLedgers):
    """Notes when the lease is read, in seconds of the lab's clock."""

    def __init__(self, stand: Stand) -> None:
        super().__init__(stand.lab.vault, stand.command.faults)
        self.stand = stand
        self.at: list[float] = []

    def read(self, name: str) -> LedgerRecord:
        if name == DOCUMENT:
            self.at.append(self.stand.lab.clock.monotonic())
        return super().read(name)


def asking(stand: Stand, *, limit: float = 300.0, looks: FakeLedgers | None = None) -> Asking:
    """A command that has not asked for anything yet."""
    world = replace(
        stand.command.world,
        clock=_Naps(stand),
        stopping=lambda: stand.stopping,
        ledgers=looks or stand.command.world.ledgers,
    )
    wish = Wish(Verb.ROTATE, Arguments(), "alice@ops1", limit)
    return Asking(world, stand.lab.targets[0], wish, TERM, stand.said.append)


def test_a_command_looks_at_the_lease_every_three_seconds_and_not_at_each_poll() -> None:
    stand = Stand()
    stand.meanwhile = stand.only_lead
    looks = LooksAtLease(stand)
    command = asking(stand, limit=30, looks=looks)
    assert command.place_now()
    began = stand.lab.clock.monotonic()
    assert command.wait().ending is Ending.TIMED_OUT
    between = [later - earlier for earlier, later in pairwise([began, *looks.at])]
    assert len(between) >= 8
    assert all(3 <= each < 4 for each in between)


def test_a_command_waits_for_as_long_as_it_was_told_to_and_hardly_longer() -> None:
    stand = Stand()
    stand.meanwhile = stand.only_lead
    began = stand.lab.clock.monotonic()
    assert stand.ask(Verb.ROTATE, limit=30).ending is Ending.TIMED_OUT
    assert 30 <= stand.lab.clock.monotonic() - began < 31


@pytest.mark.parametrize(("limit", "stands"), [(0.2, 1), (1.5, 1.5), (30, 30)])
def test_a_request_stands_for_as_long_as_its_command_waits_and_a_second_at_least(
    limit: float, stands: float
) -> None:
    stand = Stand()
    command = asking(stand, limit=limit)
    assert command.place_now()
    request = stand.book.request
    assert request is not None
    assert request.until - request.at == timedelta(seconds=stands)


def test_one_look_that_shows_nobody_does_not_end_the_waiting() -> None:
    stand = Stand()
    gone = f"app: first-1 is gone: {GONE}"

    def lapse_once_known() -> None:
        if gone in stand.said:
            stand.attend()  # it was slow, and goes on
        elif "app: waiting for first-1" not in stand.said:
            stand.only_lead()

    stand.meanwhile = lapse_once_known
    asked = stand.ask(Verb.ROTATE)
    assert stand.said[:3] == ["app: waiting for the daemon", "app: waiting for first-1", gone]
    assert asked.ending is Ending.ANSWERED
    assert asked.request is not None
    assert asked.answer is not None
    assert asked.answer.id == asked.request.id


def test_two_looks_in_a_row_that_show_nobody_end_it() -> None:
    stand = Stand()
    stand.lab.clock.advance(TERM * 2)
    stand.meanwhile = lambda: None
    looks = LooksAtLease(stand)
    command = asking(stand, looks=looks)
    assert command.place_now()
    asked = command.wait()
    assert (asked.ending, asked.began) == (Ending.LEADERLESS, False)
    assert asked.request == command.request is not None
    assert len(looks.at) == 2
    assert stand.said[:2] == [
        "app: waiting for the daemon",
        f"app: the process that acted is gone: {GONE}",
    ]


def test_a_command_behind_another_one_tells_that_nobody_acts() -> None:
    stand = Stand()
    stand.lab.clock.advance(TERM * 2)
    stand.meanwhile = lambda: None
    assert asking(stand).place_now()
    early = asking(stand).place()
    assert early is not None
    assert (early.ending, early.request) == (Ending.LEADERLESS, None)
    assert early.detail == "nobody holds the lease any more"


def test_a_command_tells_what_its_request_fails_at_meanwhile() -> None:
    stand = Stand()
    stand.meanwhile = stand.only_lead
    command = asking(stand, limit=1)
    assert command.place_now()
    now = stand.lab.clock.now()
    failure = Failure(Reason.UNAVAILABLE, "vault was away", now, 3, now)
    _put(stand, replace(stand.book, failure=failure))
    command.wait()
    assert stand.said == [f"app: waiting: {MEANING[Reason.UNAVAILABLE]} vault was away"]


def forget(stand: Stand) -> None:
    """The ledger is deleted."""
    stand.lab.vault.forget("state/targets/app")


def strike(stand: Stand) -> None:
    """The request is taken out of the ledger."""
    _put(stand, replace(stand.book, request=None))


@pytest.mark.parametrize(
    ("loses", "detail"),
    [
        (
            forget,
            "it has no ledger yet: the daemon makes one when it has looked at the target once",
        ),
        (strike, "the request is no longer in the ledger, and neither is its answer"),
    ],
)
def test_a_request_that_was_lost_is_told_with_the_request(
    loses: Callable[[Stand], None], detail: str
) -> None:
    stand = Stand()
    command = asking(stand)
    assert command.place_now()
    loses(stand)
    asked = command.wait()
    assert (asked.ending, asked.detail, asked.began) == (Ending.GONE, detail, False)
    assert asked.request == command.request is not None


def claimed(stand: Stand) -> None:
    """A process dies in the middle of a rotation, whose claim stands."""
    stand.leader.faults.choose = lambda _, name, __: Kind.DIE_AFTER if name == "create" else None
    stand.lab.run(demand=Demand())
    stand.leader.faults.choose = lambda *_: None
    assert stand.book.pending is not None


def test_a_request_that_was_lost_while_a_change_is_under_way_is_told_so() -> None:
    stand = Stand()
    claimed(stand)
    command = asking(stand)
    assert command.place_now(under_claim=True)
    strike(stand)
    asked = command.wait()
    assert (asked.ending, asked.began) == (Ending.GONE, True)


@pytest.mark.parametrize("vault_is_away", [False, True])
def test_a_command_that_gives_up_tells_what_it_had_asked_for(vault_is_away: bool) -> None:
    stand = Stand()
    command = asking(stand, limit=1)
    assert command.place_now()
    stand.meanwhile = stand.only_lead
    if vault_is_away:
        stand.command.faults.choose = lambda *_: Kind.ERROR
    asked = command.wait()
    assert (asked.ending, asked.began) == (Ending.TIMED_OUT, vault_is_away)
    assert asked.request == command.request is not None


def passed_on(stand: Stand) -> tuple[int, frozenset[str]]:
    """Pass a signal on, as a process does that stands by."""
    return ask_for_all(
        _silent(stand.lab, "standby").world,
        stand.lab.targets,
        by="SIGUSR1 to standby",
        term=TERM,
        before={each.name: before_of(stand.book) for each in stand.lab.targets},
    )


def test_a_signal_that_is_passed_on_names_no_target_and_waits_for_no_end_of_a_change() -> None:
    stand = Stand()
    claimed(stand)
    assert passed_on(stand) == (1, frozenset())
    request = stand.book.request
    assert isinstance(request, Request)
    assert request.arguments == Arguments(named=False)
    assert request.until - request.at == timedelta(seconds=3660)


def test_a_signal_that_is_passed_on_names_the_request_of_each_target_in_the_pulse() -> None:
    stand = Stand()
    first = stand.lab.targets[0]
    others = tuple(replace(first, name=name) for name in ("b", "c"))
    stand.lab.targets = (first, *others)
    book = stand.lab.vault.current("state/targets/app")
    assert book is not None
    for each in others:
        stand.lab.vault.put(f"state/targets/{each.name}", book)
    assert passed_on(stand) == (3, frozenset())
    named = read_pulse(stand.command.world.ledgers).requests
    assert [each.target for each in named] == ["app", "b", "c"]
