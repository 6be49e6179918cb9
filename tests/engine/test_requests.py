"""Requests of commands to the process that acts: done, audited, answered; and what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.asked import before_of, is_rotated
from rotator.core.codec import encode_ledger
from rotator.core.lease import Open, PublicState, Pulse
from rotator.core.ledger import Ledger
from rotator.core.reasons import Reason
from rotator.core.request import Arguments, Before, Request, Result, Verb
from rotator.core.snapshot import Demand
from rotator.engine.asking import Asked, Asking, Ending, Wish, living_leader
from rotator.engine.asking_for_all import ask_for_all
from rotator.engine.lease import Leadership
from rotator.engine.pulse import name_in_pulse, read_pulse, strike_from_pulse
from rotator.engine.reconcile import Report
from rotator.engine.requests import Desk
from rotator.engine.world import World
from rotator.events import OperatorCommand
from tests.engine.lab import Lab, Process
from tests.fakes.faults import Kind, ProcessDeath, nth

TERM = timedelta(seconds=60)


class Stand:
    """A lab with a process that acts, and one in which a command asks it.

    While the command waits, `meanwhile` is called at each nap: most often the leader lives.
    """

    def __init__(self) -> None:
        self.lab = Lab()
        self.lab.run()
        self.lab.clock.advance(timedelta(hours=1))
        self.desk = Desk()
        self.leader = self.lab.process
        self.lease = Leadership(
            _silent(self.lab, "first").world, TERM, lambda: PublicState("1", "ab" * 32)
        )
        self.lease.tick()
        self.command = _silent(self.lab, "command")
        self.said: list[str] = []
        self.stopping = False
        self.reports: list[Report] = []
        self.meanwhile: Callable[[], None] = self.attend

    def attend(self) -> None:
        """The leader keeps its lease, and gives the target its turn."""
        self.lease.tick()
        try:
            self.reports.append(self.desk.attend(self.leader.world, self.lab.targets[0]))
        except ProcessDeath:
            self.leader.boot()
            self.desk = Desk()

    def only_lead(self) -> None:
        """The leader keeps its lease, and is too busy for the target."""
        self.lease.tick()

    def ask(self, verb: Verb, arguments: Arguments | None = None, *, limit: float = 300.0) -> Asked:
        """Ask and wait, as a command does."""
        clock = _Naps(self)
        world = replace(self.command.world, clock=clock, stopping=lambda: self.stopping)
        wish = Wish(verb, arguments or Arguments(), "alice@ops1", limit)
        asking = Asking(world, self.lab.targets[0], wish, TERM, self.said.append)
        early = asking.place()
        if early is not None:
            return early
        asking.announce()
        return asking.wait()

    @property
    def book(self) -> Ledger:
        book = self.lab.ledger()
        assert book is not None
        return book

    @property
    def served(self) -> str:
        assert self.book.served is not None
        return self.book.served.hash

    def commands(self) -> list[OperatorCommand]:
        found = self.lab.trail.events("operator.command")
        return [each for each in found if isinstance(each, OperatorCommand)]


class _Naps:
    """The lab's clock; in each nap something happens meanwhile."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self.now = stand.lab.clock.now
        self.monotonic = stand.lab.clock.monotonic

    def sleep(self, seconds: float) -> None:
        self._stand.lab.clock.sleep(seconds)
        self._stand.meanwhile()


def _silent(lab: Lab, name: str) -> Process:
    """A process that writes no audit trail: it only asks."""
    process = lab.another(name)
    process.faults.before_each = lambda *_: None
    return process


def test_a_rotation_is_done_by_the_holder_audited_with_who_asked_and_answered() -> None:
    stand = Stand()
    before = stand.served
    asked = stand.ask(Verb.ROTATE)
    assert asked.ending is Ending.ANSWERED
    assert asked.answer is not None
    assert (asked.answer.result, asked.answer.keys) == (Result.DONE, (stand.served,))
    assert stand.served != before
    (command,) = stand.commands()
    assert (command.command, command.by) == ("rotate", "alice@ops1")
    assert stand.book.request is None
    assert not stand.lab.trail.unsettled()


def test_what_is_asked_for_twice_is_done_twice_one_after_the_other() -> None:
    stand = Stand()
    seen = {stand.served}
    for _ in range(2):
        assert stand.ask(Verb.ROTATE).ending is Ending.ANSWERED
        seen.add(stand.served)
    assert len(seen) == 3


@pytest.mark.parametrize("call", range(1, 40))
def test_a_holder_that_dies_at_any_call_of_a_requested_rotation_doubles_nothing(call: int) -> None:
    stand = Stand()
    minted = len(stand.lab.account.keys)
    stand.leader.faults.plan = {len(stand.leader.faults.calls) + call: Kind.DIE_AFTER}
    asked = stand.ask(Verb.ROTATE, limit=1800)
    assert asked.ending is Ending.ANSWERED
    assert asked.answer is not None
    assert asked.answer.result is Result.DONE
    assert asked.answer.keys == (stand.served,)
    stand.lab.come_to_rest()
    died = sum(kind is Kind.DIE_AFTER for _, kind in stand.leader.faults.hit)
    mints = sum(each == "openrouter.create" for each in stand.leader.faults.calls)
    assert mints <= 2 + died, "one for the first key, one for the request, one for each death"
    assert len(stand.lab.account.keys) >= minted


def test_hold_release_and_retire_are_one_write_with_their_answer() -> None:
    stand = Stand()
    assert stand.ask(Verb.ROTATE).ending is Ending.ANSWERED
    held = stand.ask(Verb.HOLD, Arguments(why="audit week"))
    assert held.answer is not None
    assert held.answer.result is Result.DONE
    assert stand.book.hold is not None
    assert (stand.book.hold.why, stand.book.hold.by) == ("audit week", "alice@ops1")
    assert stand.ask(Verb.RELEASE).ending is Ending.ANSWERED
    released = stand.book
    assert released.hold is None
    (old,) = stand.book.retiring
    stand.lab.excused.add(old.hash)  # an operator says so
    retired = stand.ask(Verb.RETIRE, Arguments(keys=(old.hash,)))
    assert retired.answer is not None
    assert retired.answer.keys == (old.hash,)
    entry = stand.book.entry(old.hash)
    assert entry is not None
    assert entry.disabled_at is not None, "the pass after the answer has disabled it"


def test_a_rollback_through_the_holder_serves_the_old_key_again() -> None:
    stand = Stand()
    before = stand.served
    stand.ask(Verb.ROTATE)
    back = stand.ask(Verb.ROLLBACK)
    assert back.answer is not None
    assert (back.answer.result, back.answer.keys) == (Result.DONE, (before,))
    assert stand.served == before


def test_a_key_that_is_replaced_after_the_command_was_given_is_not_retired_with_the_old_ones() -> (
    None
):
    stand = Stand()
    stand.ask(Verb.ROTATE)
    (old,) = stand.book.retiring
    stand.lab.excused.add(old.hash)  # an operator says so
    replaced = stand.served
    stand.ask(Verb.ROTATE)
    asked = stand.ask(Verb.RETIRE, Arguments(keys=(old.hash,)))
    assert asked.answer is not None
    assert asked.answer.keys == (old.hash,)
    entry = stand.book.entry(replaced)
    assert entry is not None
    assert (entry.why, entry.disabled_at) == (Reason.SUPERSEDED, None)


def test_old_keys_that_went_meanwhile_are_no_failure_of_a_retirement() -> None:
    stand = Stand()
    stand.ask(Verb.ROTATE)
    (old,) = stand.book.retiring
    stand.lab.excused.add(old.hash)  # an operator says so
    for keys in ((old.hash,), ()):
        asked = stand.ask(Verb.RETIRE, Arguments(keys=(old.hash,)))
        assert asked.answer is not None
        assert (asked.answer.result, asked.answer.keys) == (Result.DONE, keys)


def test_a_key_that_is_not_retiring_is_refused_with_its_reason() -> None:
    stand = Stand()
    for verb in (Verb.RETIRE, Verb.ROLLBACK):
        asked = stand.ask(verb, Arguments(keys=("f" * 64,)))
        assert asked.answer is not None
        assert (asked.answer.result, asked.answer.reason) == (Result.FAILED, Reason.NO_OLDER_KEY)


def test_a_refused_mint_is_answered_as_a_failure() -> None:
    stand = Stand()
    stand.leader.faults.choose = lambda _, name, __: Kind.REFUSED if name == "create" else None
    asked = stand.ask(Verb.ROTATE)
    assert asked.answer is not None
    assert (asked.answer.result, asked.answer.reason) == (Result.FAILED, Reason.MINT_REFUSED)


def test_a_request_that_nobody_answers_is_withdrawn_when_the_time_is_over() -> None:
    stand = Stand()
    stand.meanwhile = stand.only_lead
    asked = stand.ask(Verb.ROTATE, limit=30)
    assert (asked.ending, asked.began) == (Ending.TIMED_OUT, False)
    assert "was withdrawn" in asked.detail
    assert stand.book.request is None
    before = stand.served
    stand.attend()
    assert stand.served == before


def test_a_command_that_is_asked_to_stop_withdraws_its_request() -> None:
    stand = Stand()

    def stop() -> None:
        stand.stopping = True

    stand.meanwhile = stop
    asked = stand.ask(Verb.HOLD, Arguments(why="x"))
    assert asked.ending is Ending.STOPPED
    assert stand.book.request is None
    stand.attend()
    assert stand.book.hold is None


def test_a_command_that_dies_leaves_a_request_that_is_not_acted_on_after_its_time() -> None:
    stand = Stand()
    stand.meanwhile = lambda: None

    def die() -> None:
        raise ProcessDeath

    stand.meanwhile = die
    with pytest.raises(ProcessDeath):
        stand.ask(Verb.ROTATE, limit=60)
    before = stand.served
    stand.lab.clock.advance(timedelta(minutes=2))
    stand.attend()
    assert stand.served == before
    assert stand.book.request is None
    assert [each.reason for each in stand.book.answers] == [Reason.TIMED_OUT]


def test_when_the_holder_is_gone_the_command_says_so_and_withdraws() -> None:
    stand = Stand()
    stand.meanwhile = lambda: None
    asked = stand.ask(Verb.ROTATE)
    assert asked.ending is Ending.LEADERLESS
    assert any("its lease has ended" in line for line in stand.said)
    assert stand.book.request is None


def test_when_another_takes_over_the_command_says_so_and_gets_its_answer() -> None:
    stand = Stand()
    successor = Leadership(
        _silent(stand.lab, "next").world, TERM, lambda: PublicState("1", "cd" * 32)
    )
    ticks: list[bool] = []

    def take_over() -> None:
        successor.tick()
        ticks.append(successor.leads())
        if ticks.count(True) > 30:
            stand.reports.append(stand.desk.attend(stand.leader.world, stand.lab.targets[0]))

    stand.meanwhile = take_over
    asked = stand.ask(Verb.ROTATE)
    assert asked.ending is Ending.ANSWERED
    assert "app: next-1 has taken over from first-1" in stand.said or (
        "app: first-1 is gone: its lease has ended" in stand.said
    )


@pytest.mark.parametrize("at_once", [False, True])
def test_a_request_that_was_answered_before_its_writing_was_known_is_not_made_again(
    at_once: bool,
) -> None:
    stand = Stand()
    faults, written = stand.command.faults, list[str]()

    def lost(service: str, name: str, number: int) -> Kind | None:
        del service, number
        if name != "write_ledger" or written:
            return None
        written.append(name)
        return Kind.UNSETTLED

    def answered(*_: object) -> None:
        if written:
            faults.before_each = lambda *_: None
            while stand.book.request is not None:
                stand.attend()
                stand.lab.clock.advance(timedelta(seconds=5))

    faults.choose, faults.before_each = lost, answered
    wish = Wish(Verb.ROTATE, Arguments(), "alice@ops1", 300.0)
    world = replace(stand.command.world, clock=_Naps(stand))
    asking = Asking(world, stand.lab.targets[0], wish, TERM, stand.said.append)
    assert asking.place_now() if at_once else asking.place() is None
    asked = asking.wait()
    assert asked.ending is Ending.ANSWERED
    assert stand.book.request is None
    assert len(stand.commands()) == 1


def test_a_second_command_waits_for_the_first() -> None:
    stand = Stand()
    other = Request(
        "0123456789abcdef", Verb.HOLD, Arguments(why="first"), "bob@ops2",
        stand.lab.clock.now(), stand.lab.clock.now() + timedelta(hours=1),
    )  # fmt: skip
    _put(stand, replace(stand.book, request=other))
    asked = stand.ask(Verb.RELEASE)
    assert asked.ending is Ending.ANSWERED
    assert "app: first comes the hold that bob@ops2 asked for" in stand.said
    assert [each.command for each in stand.commands()] == ["hold", "release"]
    assert stand.book.hold is None


def test_a_ledger_that_is_not_there_or_not_understood_is_told() -> None:
    stand = Stand()
    stand.lab.vault.put("state/targets/app", {"schema": 99})
    asked = stand.ask(Verb.HOLD, Arguments(why="x"))
    assert asked.ending is Ending.NO_LEDGER
    assert "newer version" in asked.detail
    stand.lab.vault.forget("state/targets/app")
    stand.meanwhile = stand.only_lead
    asked = stand.ask(Verb.HOLD, Arguments(why="x"), limit=20)
    assert asked.ending is Ending.NO_LEDGER
    assert "no ledger yet" in asked.detail


def test_a_request_that_vanishes_without_an_answer_is_told_as_unknown() -> None:
    stand = Stand()
    stand.meanwhile = lambda: _put(stand, replace(stand.book, request=None))
    assert stand.ask(Verb.ROTATE).ending is Ending.GONE


def test_a_request_in_the_middle_of_a_rotation_waits_for_its_end_and_asks_for_another_one() -> None:
    stand = Stand()
    before = stand.served
    asked: list[Asked] = []
    check = stand.leader.faults.after_each

    def ask_once() -> None:
        check()
        if stand.leader.faults.calls[-1] == "openrouter.create" and not asked:
            stand.meanwhile = lambda: None
            stand.stopping = False
            world = stand.command.world
            wish = Wish(Verb.ROTATE, Arguments(), "me@here", 600.0)
            asking = Asking(world, stand.lab.targets[0], wish, TERM, stand.said.append)
            assert not asking.place_now()
            assert asking.place_now(under_claim=True)
            asked.append(Asked(Ending.GONE))

    stand.leader.faults.after_each = ask_once
    stand.lab.run(demand=Demand())
    assert asked
    middle = stand.served
    assert middle != before
    for _ in range(3):
        stand.attend()
    assert stand.served not in (before, middle), "the key of the rotation under way did not count"
    assert stand.book.request is None


def test_no_clocks_are_compared_to_tell_whether_a_rotation_was_done() -> None:
    stand = Stand()
    request = _request(stand)
    ahead = replace(request, at=request.at + timedelta(days=1))
    assert not is_rotated(stand.book, ahead.before)
    stand.ask(Verb.ROTATE)
    assert is_rotated(stand.book, ahead.before)


def test_many_commands_name_their_requests_in_the_pulse_at_once() -> None:
    lab = Lab()
    silent = [_silent(lab, f"command-{number}") for number in range(8)]
    opened = [Open(f"t{number}", f"{number:016x}") for number in range(8)]

    def name(process: Process, each: Open) -> None:
        name_in_pulse(process.world.ledgers, process.world.clock, (each,))

    threads = [
        threading.Thread(target=name, args=pair) for pair in zip(silent, opened, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledgers, clock = silent[0].world.ledgers, lab.clock
    assert set(read_pulse(ledgers).requests) == set(opened)
    strike_from_pulse(ledgers, clock, frozenset(opened[:3]))
    assert set(read_pulse(ledgers).requests) == set(opened[3:])


def test_a_pulse_that_is_not_understood_names_nothing_and_is_written_anew() -> None:
    lab = Lab()
    lab.vault.put("state/pulse", {"schema": 1, "what": "?"})
    ledgers = _silent(lab, "command").world.ledgers
    assert read_pulse(ledgers) == Pulse()
    name_in_pulse(ledgers, lab.clock, (Open("app", "ab"),))
    assert read_pulse(ledgers) == Pulse((Open("app", "ab"),))


def _request(stand: Stand) -> Request:
    now = stand.lab.clock.now()
    return Request(
        "0123456789abcdef", Verb.ROTATE, Arguments(), "me@here", now, now + TERM, stand.served
    )


def _put(stand: Stand, book: Ledger) -> None:
    """Write a ledger as another process would."""
    stand.lab.vault.put("state/targets/app", encode_ledger(book))


def _pass_on(stand: Stand, world: World, said: Before | None = None) -> tuple[int, frozenset[str]]:
    """Pass a signal on, as a process does that stands by."""
    return ask_for_all(
        world,
        stand.lab.targets,
        by="SIGUSR1 to standby",
        term=TERM,
        before={each.name: said or before_of(stand.book) for each in stand.lab.targets},
    )


def test_one_that_stands_by_passes_a_signal_on_as_a_request_for_each_target() -> None:
    stand = Stand()
    old = stand.served
    passing_on = _silent(stand.lab, "standby").world
    assert _pass_on(stand, passing_on) == (1, frozenset())
    assert _pass_on(stand, passing_on) == (0, frozenset())
    assert [each.target for each in read_pulse(passing_on.ledgers).requests] == ["app"]
    for _ in range(3):
        stand.attend()
    after = stand.served
    assert after != old
    assert [each.by for each in stand.commands()] == ["SIGUSR1 to standby"]
    stand.attend()
    assert stand.served == after


def test_a_signal_that_is_passed_on_waits_until_each_target_has_had_its_turn() -> None:
    """At the pace of the writes many of them take long, and nobody asks again."""
    stand = Stand()
    first = stand.lab.targets[0]
    stand.lab.targets = tuple(replace(first, name=f"t{number}") for number in range(100))
    for each in stand.lab.targets[:2]:
        stand.lab.vault.put(f"state/targets/{each.name}", encode_ledger(stand.book))
    assert _pass_on(stand, _silent(stand.lab, "standby").world) == (2, frozenset())
    book = stand.lab.ledger("t1")
    assert book is not None
    assert book.request is not None
    assert book.request.until - book.request.at > timedelta(hours=2)


def test_a_signal_that_was_passed_on_is_carried_out_once_whoever_did_it() -> None:
    stand = Stand()
    said = before_of(stand.book)
    stand.lab.run(demand=Demand(before=said))
    made = stand.served
    assert made != said.served
    assert _pass_on(stand, _silent(stand.lab, "standby").world, said) == (1, frozenset())
    stand.attend()
    assert stand.served == made
    assert [each.result for each in stand.book.answers] == [Result.DONE]


def test_a_target_whose_ledger_cannot_be_reached_is_named_and_the_others_are_asked() -> None:
    stand = Stand()
    first = stand.lab.targets[0]
    stand.lab.targets = (replace(first, name="away"), first)
    standby = _silent(stand.lab, "standby")
    standby.faults.choose = nth("vault.read_ledger", 1, Kind.ERROR)
    assert _pass_on(stand, standby.world) == (1, frozenset({"away"}))
    assert stand.book.request is not None


def test_a_request_goes_on_with_the_policy_that_a_reload_has_put_in_force() -> None:
    stand = Stand()
    before = stand.served
    stand.leader.faults.choose = lambda _, name, __: Kind.ERROR if name == "create" else None
    asked: list[Asked] = []
    turns = 0

    def reload_once() -> None:
        nonlocal turns
        turns += 1
        if turns == 10:
            stand.leader.faults.choose = lambda *_: None
            (old,) = stand.lab.targets
            key = replace(old.key, limit=25.0)
            stand.lab.targets = (replace(old, key=key),)
        stand.attend()

    stand.meanwhile = reload_once
    asked.append(stand.ask(Verb.ROTATE))
    assert asked[0].ending is Ending.ANSWERED
    assert stand.served != before
    assert stand.lab.account.keys[stand.served].limit == 25.0
    assert len(stand.commands()) == 1


def test_a_request_for_a_target_that_was_let_go_is_left_to_whoever_made_it() -> None:
    stand = Stand()
    (old,) = stand.lab.targets
    gone = replace(old, configured=False)
    passing_on = _silent(stand.lab, "standby").world
    assert _pass_on(stand, passing_on) == (1, frozenset())
    stand.desk.attend(stand.leader.world, gone)
    assert stand.book.request is not None
    assert stand.desk.is_gone("app", stand.book.request.id, since=0)


def test_a_request_waits_for_the_end_of_a_dead_process_s_claim_and_does_not_prolong_it() -> None:
    stand = Stand()
    stand.leader.faults.choose = lambda _, name, __: Kind.DIE_AFTER if name == "create" else None
    stand.lab.run(demand=Demand())
    stand.leader.faults.choose = lambda *_: None
    assert stand.book.pending is not None
    versions = len(stand.lab.vault.paths["state/targets/app"])
    stand.meanwhile = stand.only_lead
    for _ in range(5):
        asked = stand.ask(Verb.ROTATE, limit=20)
        assert asked.ending is Ending.TIMED_OUT
        assert "nothing was asked for" in asked.detail
    assert len(stand.lab.vault.paths["state/targets/app"]) == versions
    stand.meanwhile = stand.attend
    assert stand.ask(Verb.ROTATE, limit=1800).ending is Ending.ANSWERED


def _asking(stand: Stand, verb: Verb = Verb.ROTATE) -> Asking:
    """A command that has not asked for anything yet."""
    wish = Wish(verb, Arguments(), "alice@ops1", 300.0)
    world = replace(stand.command.world, clock=_Naps(stand))
    return Asking(world, stand.lab.targets[0], wish, TERM, stand.said.append)


def _stop(stand: Stand) -> None:
    stand.stopping = True


def test_where_no_lease_is_configured_nobody_is_asked_who_acts() -> None:
    stand = Stand()
    assert living_leader(stand.command.world, timedelta()) is None
    assert stand.command.faults.calls == []
    assert living_leader(stand.command.world, TERM) is not None


def test_a_command_behind_another_one_gives_up_when_the_holder_of_the_lease_is_gone() -> None:
    stand = Stand()
    other = replace(_request(stand), until=stand.lab.clock.now() + timedelta(hours=1))
    _put(stand, replace(stand.book, request=other))
    stand.meanwhile = lambda: None
    asked = stand.ask(Verb.ROTATE, limit=600)
    assert (asked.ending, asked.request) == (Ending.LEADERLESS, None)
    assert stand.book.request == other


def test_a_request_whose_writing_never_has_an_effect_is_told_as_not_written() -> None:
    stand = Stand()
    stand.command.faults.choose = lambda _, name, __: (
        Kind.NO_EFFECT_LOST if name == "write_ledger" else None
    )
    assert not _asking(stand).place_now()
    assert stand.command.faults.calls.count("vault.write_ledger") == 10
    assert stand.book.request is None


def test_a_request_that_cannot_be_named_in_the_pulse_is_found_all_the_same() -> None:
    stand = Stand()
    stand.command.faults.choose = nth("vault.write_ledger", 2, Kind.ERROR)
    assert stand.ask(Verb.ROTATE).ending is Ending.ANSWERED
    assert stand.command.faults.hit == [("vault.write_ledger", Kind.ERROR)]
    assert read_pulse(stand.command.world.ledgers) == Pulse()


def test_a_command_waits_on_while_vault_cannot_be_asked_and_says_so() -> None:
    stand = Stand()
    stand.command.faults.choose = nth("vault.read_ledger", 3, Kind.ERROR)
    assert stand.ask(Verb.ROTATE).ending is Ending.ANSWERED
    assert stand.command.faults.hit == [("vault.read_ledger", Kind.ERROR)]
    assert any(line.startswith("app: Vault cannot be asked: ") for line in stand.said)


def test_a_ledger_that_vanishes_under_a_request_takes_its_answer_with_it() -> None:
    stand = Stand()
    stand.meanwhile = lambda: stand.lab.vault.forget("state/targets/app")
    asked = stand.ask(Verb.ROTATE)
    assert asked.ending is Ending.GONE
    assert "no ledger yet" in asked.detail


def test_a_request_that_is_answered_while_it_is_to_be_withdrawn_counts_as_answered() -> None:
    stand = Stand()
    stand.meanwhile = lambda: _stop(stand)
    check = stand.command.faults.after_each

    def answer_after_the_last_look() -> None:
        check()
        if stand.stopping and stand.book.request is not None:
            stand.attend()

    stand.command.faults.after_each = answer_after_the_last_look
    asked = stand.ask(Verb.HOLD, Arguments(why="audit week"))
    assert asked.ending is Ending.ANSWERED
    assert asked.answer is not None
    assert asked.answer.result is Result.DONE
    assert stand.book.hold is not None


def test_a_request_is_withdrawn_from_a_ledger_that_was_written_anew_meanwhile() -> None:
    stand = Stand()
    stand.meanwhile = lambda: _stop(stand)
    written: list[str] = []

    def write_first(service: str, name: str, acts: bool) -> None:
        del service, acts
        if stand.stopping and name == "write_ledger" and not written:
            written.append(name)
            _put(stand, stand.book)

    stand.command.faults.before_each = write_first
    asked = stand.ask(Verb.ROTATE)
    assert written
    assert asked.ending is Ending.STOPPED
    assert "was withdrawn" in asked.detail
    assert stand.book.request is None


def test_a_request_that_cannot_be_withdrawn_is_told_to_stand_and_until_when() -> None:
    stand = Stand()
    stand.meanwhile = lambda: _stop(stand)
    stand.command.faults.choose = lambda *_: Kind.ERROR if stand.stopping else None
    asked = stand.ask(Verb.ROTATE)
    assert (asked.ending, asked.began) == (Ending.STOPPED, True)
    standing = stand.book.request
    assert standing is not None
    assert asked.detail.endswith(f"and stands until {standing.until:%H:%M:%SZ}")


def test_a_key_of_ours_is_adopted_through_the_holder_without_a_change() -> None:
    stand = Stand()
    adopted = stand.ask(Verb.ADOPT)
    assert adopted.answer is not None
    assert (adopted.answer.result, adopted.answer.keys) == (Result.UNCHANGED, (stand.served,))


def test_a_target_that_cannot_be_observed_keeps_its_request_for_the_next_turn() -> None:
    stand = Stand()
    assert _asking(stand).place_now()
    stand.leader.faults.choose = lambda service, *_: Kind.ERROR if service == "vault" else None
    stand.attend()
    (report,) = stand.reports
    assert report.failure is not None
    assert report.failure.reason is Reason.UNAVAILABLE
    assert not stand.desk.is_gone("app", "another", since=0), "nothing has been seen"
    before, book = stand.served, stand.book
    assert book.request is not None
    stand.leader.faults.choose = lambda *_: None
    for _ in range(3):
        stand.attend()
    assert stand.served != before
    assert stand.book.request is None
    assert stand.desk.is_gone("app", "another", since=0)
    assert not stand.desk.is_gone("app", "another", since=stand.desk.looks("app"))


def test_an_answer_that_cannot_be_written_is_tried_again_soon() -> None:
    stand = Stand()
    stand.leader.faults.choose = lambda _, name, __: Kind.ERROR if name == "write_ledger" else None
    assert _asking(stand, Verb.RELEASE).place_now()
    stand.attend()
    before = stand.book
    assert before.request is not None
    (report,) = stand.reports
    assert report.wake_at is not None
    assert report.wake_at <= stand.lab.clock.now() + timedelta(seconds=5)
    stand.leader.faults.choose = lambda *_: None
    stand.attend()
    after = stand.book
    assert after.request is None
    assert [each.result for each in after.answers] == [Result.DONE]


def test_a_command_finds_its_answer_after_others_had_theirs() -> None:
    stand = Stand()
    first = _asking(stand, Verb.RETIRE)
    assert first.place_now()
    for _ in range(2):
        stand.attend()
        assert _asking(stand, Verb.RETIRE).place_now()
    stand.attend()
    asked = first.wait()
    assert (asked.ending, asked.answer) == (Ending.ANSWERED, stand.book.answers[0])
    assert len(stand.book.answers) == 3


def test_a_command_tells_which_change_its_request_waits_for() -> None:
    stand = Stand()
    stand.leader.faults.choose = lambda _, name, __: Kind.DIE_AFTER if name == "create" else None
    stand.lab.run(demand=Demand())
    stand.leader.faults.choose = lambda *_: None
    claim = stand.book.pending
    assert claim is not None
    asking = _asking(stand)
    assert asking.place_now(under_claim=True)
    stand.meanwhile = stand.only_lead
    asked = asking.wait()
    assert f"app: waiting: rotate by {claim.holder} is under way" in stand.said
    assert (asked.ending, asked.began) == (Ending.TIMED_OUT, True)
    assert "but a change of the target was under way" in asked.detail
