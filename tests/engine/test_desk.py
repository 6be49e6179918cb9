"""What the desk of the process that acts hands on, whether something was asked for or not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.hand_edits import Ask
from rotator.core.ledger import Failure
from rotator.core.reasons import Reason
from rotator.core.request import Arguments, Request, Result, Verb
from rotator.core.snapshot import Demand
from rotator.engine.operate import change
from rotator.engine.requests import Desk
from rotator.events import KeyCreate, OperatorCommand, Phase
from tests.engine.lab import Lab
from tests.fakes.faults import Kind, nth


def living() -> Lab:
    """A target that serves a key, an hour old."""
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=1))
    return lab


def ask(lab: Lab, verb: Verb, arguments: Arguments | None = None, *, lasts: int = 300) -> str:
    """A request stands in the ledger; its id."""
    now = lab.clock.now()
    request = Request(
        id="a" * 16,
        verb=verb,
        arguments=arguments or Arguments(why="audit week"),
        by="alice",
        at=now,
        until=now + timedelta(seconds=lasts),
        served=lab.served_hash(),
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


K1, K2 = "1" * 64, "2" * 64


@pytest.mark.parametrize(
    ("verb", "arguments", "detail", "key"),
    [
        (Verb.HOLD, Arguments(why="audit week"), "audit week", None),
        (Verb.RELEASE, Arguments(), "", None),
        (Verb.ROTATE, Arguments(), "", None),
        (
            Verb.ROTATE,
            Arguments(compromised=True, overwrite_foreign=True),
            "--compromised --overwrite-foreign",
            None,
        ),
        (Verb.RETIRE, Arguments(keys=(K1,)), K1, K1),
        (Verb.RETIRE, Arguments(keys=(K1, K2)), f"{K1} {K2}", None),
        (Verb.ROLLBACK, Arguments(keys=(K1,)), K1, K1),
    ],
)
def test_the_trail_says_who_asked_for_what_under_which_request(
    verb: Verb, arguments: Arguments, detail: str, key: str | None
) -> None:
    lab = living()
    lab.excused.add(lab.served_hash() or "")
    asked = ask(lab, verb, arguments)
    Desk().attend(lab.world, lab.targets[0])
    (event,) = lab.trail.events(OperatorCommand.name)
    assert isinstance(event, OperatorCommand)
    assert (event.command, event.by, event.detail) == (str(verb), "alice", detail)
    assert (event.op, event.key_hash, event.target) == (f"{asked}/{verb}", key, "app")


@pytest.mark.parametrize("seconds", [10, 11])
def test_a_request_whose_time_is_over_is_answered_so_and_not_acted_on(seconds: int) -> None:
    lab = living()
    first, asked = lab.served_hash(), ask(lab, Verb.ROTATE, lasts=10)
    lab.clock.advance(timedelta(seconds=seconds))
    Desk().attend(lab.world, lab.targets[0])
    book = lab.ledger()
    assert book is not None
    answer = book.answer_to(asked)
    assert answer is not None
    assert (answer.result, answer.reason) == (Result.FAILED, Reason.TIMED_OUT)
    assert answer.detail == "its time was over before it could be answered"
    assert lab.served_hash() == first


def test_a_way_back_to_a_key_that_is_not_there_is_answered_with_what_was_looked_for() -> None:
    lab = living()
    asked = ask(lab, Verb.ROLLBACK, Arguments(keys=(K1,)))
    Desk().attend(lab.world, lab.targets[0])
    book = lab.ledger()
    assert book is not None
    answer = book.answer_to(asked)
    assert answer is not None
    assert (answer.result, answer.reason) == (Result.FAILED, Reason.NO_OLDER_KEY)
    assert K1 in answer.detail


def test_a_way_back_goes_to_the_key_that_is_named_and_not_to_the_last_one() -> None:
    lab = living()
    first = lab.served_hash() or ""
    for _ in range(2):
        lab.clock.advance(timedelta(minutes=1))
        lab.run(demand=Demand())
    assert lab.served_hash() != first
    ask(lab, Verb.ROLLBACK, Arguments(keys=(first,)))
    Desk().attend(lab.world, lab.targets[0])
    assert lab.served_hash() == first


@pytest.mark.parametrize("call", ["read_ledger", "write_ledger"])
def test_a_rotation_of_all_targets_is_made_though_something_failed_at_first(call: str) -> None:
    lab = living()
    first = lab.served_hash()
    ask(lab, Verb.RELEASE)
    lab.faults.choose = nth(f"vault.{call}", 1, Kind.ERROR)
    Desk().attend(lab.world, lab.targets[0], demand=Demand())
    assert lab.faults.hit == [(f"vault.{call}", Kind.ERROR)]
    assert lab.served_hash() != first


@pytest.mark.parametrize(
    ("verb", "away"),
    [(Verb.ROTATE, "openrouter"), (Verb.RELEASE, "openrouter"), (Verb.RELEASE, "write_ledger")],
)
def test_a_failure_of_the_last_turn_counts_in_one_that_serves_a_request(
    verb: Verb, away: str
) -> None:
    lab = living()
    lab.clock.advance(timedelta(hours=12))
    ask(lab, verb)
    now = lab.clock.now()
    earlier = Failure(Reason.UNAVAILABLE, "away", now, 3, now)
    lab.faults.choose = lambda service, name, _: Kind.ERROR if away in (service, name) else None
    report = Desk().attend(lab.world, lab.targets[0], earlier=earlier)
    assert report.failure is not None
    assert report.failure.count == 4


def test_a_request_that_waits_for_something_stands_and_is_looked_at_again_soon() -> None:
    lab, desk = living(), Desk()
    asked = ask(lab, Verb.ROTATE)
    lab.faults.choose = lambda _service, name, _acts: Kind.ERROR if name == "create" else None
    calls = len(lab.faults.calls)
    report = desk.attend(lab.world, lab.targets[0])
    made = lab.faults.calls[calls:]
    assert made[: made.index("openrouter.create")].count("vault.read_ledger") == 1
    assert report.failure is not None
    assert report.wake_at is not None
    assert report.at < report.wake_at <= report.failure.next_try
    assert desk.looks("app") == 1
    assert not desk.is_gone("app", asked, since=0)
    assert desk.is_gone("app", "another", since=0)
    desk.attend(lab.world, lab.targets[0])
    assert desk.looks("app") == 2


def test_an_answer_that_could_not_be_written_is_tried_again_five_seconds_later() -> None:
    lab = living()
    ask(lab, Verb.HOLD)
    lab.faults.choose = nth("vault.write_ledger", 1, Kind.ERROR)
    report = Desk().attend(lab.world, lab.targets[0])
    assert report.wake_at == report.at + timedelta(seconds=5)


def test_an_answer_says_no_more_than_there_is_to_say() -> None:
    lab = living()
    held = ask(lab, Verb.HOLD)
    Desk().attend(lab.world, lab.targets[0])
    book = lab.ledger()
    assert book is not None
    answer = book.answer_to(held)
    assert answer is not None
    assert (answer.result, answer.reason, answer.detail) == (Result.DONE, None, "")


def test_a_key_that_is_not_retiring_is_named_in_the_answer() -> None:
    lab = living()
    asked = ask(lab, Verb.RETIRE, Arguments(keys=(K2, K1)))
    Desk().attend(lab.world, lab.targets[0])
    book = lab.ledger()
    assert book is not None
    answer = book.answer_to(asked)
    assert answer is not None
    assert (answer.result, answer.reason) == (Result.FAILED, Reason.NO_OLDER_KEY)
    assert answer.detail == f"{K1} {K2} is not retiring there"


def test_a_request_in_hand_is_begun_anew_for_a_target_that_a_reload_has_changed() -> None:
    lab, desk = living(), Desk()
    ask(lab, Verb.ROTATE)
    lab.faults.choose = lambda _service, name, _acts: Kind.ERROR if name == "create" else None
    report = desk.attend(lab.world, lab.targets[0])
    assert report.failure is not None
    lab.faults.choose = lambda *_: None
    lab.clock.advance(report.failure.next_try - lab.clock.now())
    (old,) = lab.targets
    lab.targets = (replace(old, key=replace(old.key, limit=25.0)),)
    left, before_each = ["write_ledger"], lab.faults.before_each

    def meddle(service: str, name: str, acts: bool) -> None:
        if name in left:  # so that it is observed once more in the middle of the pass
            left.remove(name)
            lab.vault.put("state/targets/app", lab.vault.current("state/targets/app") or {})
        before_each(service, name, acts)

    lab.faults.before_each = meddle
    desk.attend(lab.world, lab.targets[0])
    assert not left
    mints = lab.trail.events(KeyCreate.name, Phase.INTENT)
    assert [each.limit for each in mints if isinstance(each, KeyCreate)][-2:] == [50.0, 25.0]
    assert len(lab.trail.events(OperatorCommand.name)) == 1
