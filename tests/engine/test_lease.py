"""The lease over a Vault in memory: taken, renewed, lost, given up, taken over."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.lease import PublicState, Standing, standing
from rotator.core.snapshot import Identity
from rotator.engine.lease import Leadership, read_lease
from tests.engine.lab import INSTALLATION, Lab, Process
from tests.fakes.faults import Kind, nth

TERM = timedelta(seconds=60)
STATE = PublicState("1.2.3", "ab" * 32)


def silent(lab: Lab, name: str) -> Process:
    """A process that writes no audit trail: the lease needs none, and the lab would insist."""
    process = lab.another(name)
    process.world = replace(process.world, identity=Identity("test", INSTALLATION, name))
    process.faults.before_each = lambda *_: None
    return process


def replica(lab: Lab, name: str, term: timedelta = TERM) -> Leadership:
    """One more process's side of the lease."""
    return Leadership(silent(lab, name).world, term, lambda: STATE)


def pass_time(lab: Lab, seconds: float) -> None:
    lab.clock.advance(timedelta(seconds=seconds))


def test_the_first_that_asks_leads_and_the_others_stand_by() -> None:
    lab = Lab()
    one, two, three = (replica(lab, name) for name in ("one", "two", "three"))
    for each in (one, two, three):
        each.tick()
    assert [each.leads() for each in (one, two, three)] == [True, False, False]
    seen = read_lease(lab.world.ledgers)
    assert seen.lease is not None
    assert (seen.lease.holder, seen.lease.term, seen.lease.state) == ("one", TERM, STATE)
    assert not seen.unreadable


def test_of_two_that_take_it_at_the_same_moment_one_is_refused_and_stands_by() -> None:
    lab = Lab()
    one, rival = replica(lab, "one"), silent(lab, "two")
    two = Leadership(rival.world, TERM, lambda: STATE)

    def first(service: str, name: str, acts: bool) -> None:
        del service, name
        if acts:
            one.tick()

    rival.faults.before_each = first
    wait = two.tick()
    assert (one.leads(), two.leads()) == (True, False)
    assert rival.faults.calls.count("vault.read_ledger") == 2, "to tell who was first"
    assert wait == pytest.approx(20)
    rival.faults.before_each = lambda *_: None
    two.tick()
    assert not two.leads()


def test_a_renewed_lease_is_never_taken_and_keeps_the_time_since_when_it_is_held() -> None:
    lab = Lab()
    one, two = replica(lab, "one"), replica(lab, "two")
    one.tick()
    since = read_lease(lab.world.ledgers).lease
    for _ in range(20):
        pass_time(lab, 20)
        assert one.tick() == pytest.approx(20)
        two.tick()
        assert (one.leads(), two.leads()) == (True, False)
    now = read_lease(lab.world.ledgers).lease
    assert since is not None
    assert now is not None
    assert now.acquired_at == since.acquired_at


def test_one_that_stands_by_wakes_when_the_lease_that_it_read_would_expire_and_takes_over() -> None:
    lab = Lab()
    one, two = replica(lab, "one"), replica(lab, "two")
    one.tick()
    began, waited = lab.clock.now(), 0.0
    while not two.leads():
        waited = two.tick()
        if not two.leads():
            pass_time(lab, waited)
    taken = (lab.clock.now() - began).total_seconds()
    assert 60 <= taken <= 62
    assert not one.leads()


def test_a_lease_given_up_in_good_order_is_free_at_once() -> None:
    lab = Lab()
    one, two = replica(lab, "one"), replica(lab, "two")
    one.tick()
    two.tick()
    one.release()
    assert not one.leads()
    two.tick()
    assert two.leads()


def test_one_given_up_while_a_renewal_is_under_way_stays_given_up() -> None:
    lab = Lab()
    rival, two = silent(lab, "one"), replica(lab, "two")
    one = Leadership(rival.world, TERM, lambda: STATE)
    one.tick()

    def stop(service: str, name: str, acts: bool) -> None:
        del service, name
        if acts:
            rival.faults.before_each = lambda *_: None
            one.release()

    rival.faults.before_each = stop
    pass_time(lab, 20)
    one.tick()
    one.tick()
    assert not one.leads()
    two.tick()
    assert two.leads()


def test_one_whose_last_renewal_is_not_known_of_is_given_up_all_the_same() -> None:
    lab = Lab()
    rival, two = silent(lab, "one"), replica(lab, "two")
    one = Leadership(rival.world, TERM, lambda: STATE)
    one.tick()
    rival.faults.choose = lambda _, name, __: Kind.UNSETTLED if name == "write_ledger" else None
    pass_time(lab, 20)
    one.tick()
    rival.faults.choose = lambda *_: None
    one.release()
    two.tick()
    assert two.leads()


def test_one_that_was_written_anew_while_it_is_given_up_is_given_up_in_that_version() -> None:
    lab = Lab()
    rival, two = silent(lab, "one"), replica(lab, "two")
    one = Leadership(rival.world, TERM, lambda: STATE)
    one.tick()

    def late(service: str, name: str, acts: bool) -> None:
        del service, name
        if acts:
            rival.faults.before_each = lambda *_: None
            lab.vault.put("state/lease", lab.vault.current("state/lease") or {})

    rival.faults.before_each = late
    one.release()
    two.tick()
    assert two.leads()


def test_one_that_is_written_anew_again_and_again_is_not_given_up_and_runs_out() -> None:
    lab = Lab()
    rival, two = silent(lab, "one"), replica(lab, "two")
    one = Leadership(rival.world, TERM, lambda: STATE)
    one.tick()

    def late(service: str, name: str, acts: bool) -> None:
        del service, name
        if acts:
            lab.vault.put("state/lease", lab.vault.current("state/lease") or {})

    rival.faults.before_each = late
    one.release()
    assert not one.leads()
    two.tick()
    assert not two.leads()
    pass_time(lab, 62)
    two.tick()
    assert two.leads()


def test_one_that_another_has_taken_meanwhile_is_left_to_that_one() -> None:
    lab = Lab()
    one, two = replica(lab, "one"), replica(lab, "two")
    one.tick()
    pass_time(lab, 62)
    two.tick()
    one.tick()
    versions = len(lab.vault.paths["state/lease"])
    one.release()
    assert len(lab.vault.paths["state/lease"]) == versions
    assert two.leads()


def test_one_that_cannot_be_given_up_because_vault_is_away_runs_out() -> None:
    lab = Lab()
    rival, two = silent(lab, "one"), replica(lab, "two")
    one = Leadership(rival.world, TERM, lambda: STATE)
    one.tick()
    rival.faults.choose = lambda *_: Kind.ERROR
    one.release()
    assert not one.leads()
    two.tick()
    assert not two.leads()
    pass_time(lab, 62)
    two.tick()
    assert two.leads()


def test_a_leader_whose_lease_had_run_out_holds_it_anew_and_not_still() -> None:
    lab = Lab()
    rival = silent(lab, "one")
    one = Leadership(rival.world, TERM, lambda: STATE)
    one.tick()
    first = read_lease(lab.world.ledgers).lease
    pass_time(lab, 90)  # paused: commands may have acted by themselves meanwhile
    one.tick()
    again = read_lease(lab.world.ledgers).lease
    assert one.leads()
    assert first is not None
    assert again is not None
    assert again.acquired_at > first.acquired_at


def test_a_leader_that_cannot_renew_begins_nothing_once_its_lease_would_have_run_out() -> None:
    lab = Lab()
    rival = silent(lab, "one")
    one = Leadership(rival.world, TERM, lambda: STATE)
    one.tick()
    rival.faults.choose = lambda service, _, __: Kind.ERROR if service == "vault" else None
    led = []
    for _ in range(7):
        pass_time(lab, 10)
        one.tick()
        led.append(one.leads())
    assert led == [True] * 5 + [False] * 2
    rival.faults.choose = lambda *_: None
    one.tick()
    assert one.leads()


def test_a_paused_leader_that_wakes_up_stands_by_at_its_next_tick() -> None:
    lab = Lab()
    one, two = replica(lab, "one"), replica(lab, "two")
    one.tick()
    pass_time(lab, 62)
    two.tick()
    assert (one.leads(), two.leads()) == (False, True)
    one.tick()
    one.tick()
    assert (one.leads(), two.leads()) == (False, True)


def test_a_leader_whose_lease_was_deleted_by_hand_takes_it_anew() -> None:
    lab = Lab()
    one = replica(lab, "one")
    one.tick()
    lab.vault.forget("state/lease")
    pass_time(lab, 20)
    one.tick()
    one.tick()
    assert one.leads()
    assert standing(read_lease(lab.world.ledgers), "one", TERM) is Standing.OURS


@pytest.mark.parametrize(
    "document", [{"schema": 99, "what": "?"}, {"schema": 1}, {"holder": 7, "schema": 1}]
)
def test_a_lease_that_is_not_understood_is_waited_for_and_then_overwritten(
    document: dict[str, object],
) -> None:
    lab = Lab()
    assert not read_lease(lab.world.ledgers).unreadable
    lab.vault.put("state/lease", document)
    assert read_lease(lab.world.ledgers).unreadable
    one = replica(lab, "one")
    one.tick()
    assert not one.leads()
    pass_time(lab, 61)
    one.tick()
    assert one.leads()


def test_a_holder_that_says_that_its_lease_is_good_for_days_is_believed_for_an_hour() -> None:
    lab = Lab()
    forever, two = replica(lab, "forever", timedelta(days=30)), replica(lab, "two")
    forever.tick()
    pass_time(lab, 3500)
    two.tick()
    assert not two.leads()
    pass_time(lab, 102)
    two.tick()
    assert two.leads()


def test_a_write_whose_answer_was_lost_is_settled_by_the_next_tick() -> None:
    lab = Lab()
    rival = silent(lab, "one")
    one = Leadership(rival.world, TERM, lambda: STATE)
    rival.faults.choose = lambda _, name, __: Kind.UNSETTLED if name == "write_ledger" else None
    one.tick()
    assert not one.leads()
    rival.faults.choose = lambda *_: None
    one.tick()
    assert one.leads()


def test_without_a_lease_everyone_leads_and_nothing_is_read_or_written() -> None:
    lab = Lab()
    rivals = [silent(lab, name) for name in ("one", "two", "three")]
    for rival in rivals:
        leadership = Leadership(rival.world, timedelta(), lambda: STATE)
        leadership.tick()
        assert leadership.leads()
        leadership.release()
        assert rival.faults.calls == []


@pytest.mark.parametrize(("term", "wait"), [(60, 5.0), (6, 2.0)])
def test_a_vault_that_is_away_is_asked_again_after_a_third_of_the_term_or_five_seconds(
    term: int, wait: float
) -> None:
    lab = Lab()
    rival = silent(lab, "one")
    rival.faults.choose = lambda *_: Kind.ERROR
    one = Leadership(rival.world, timedelta(seconds=term), lambda: STATE)
    assert one.tick() == wait


def test_a_leader_renews_by_one_write_and_one_that_stands_by_looks_by_one_read() -> None:
    lab = Lab()
    first, second = silent(lab, "one"), silent(lab, "two")
    one, two = (Leadership(each.world, TERM, lambda: STATE) for each in (first, second))
    one.tick()
    assert one.seen() == read_lease(lab.world.ledgers)
    first.faults.calls.clear()
    pass_time(lab, 20)
    one.tick()
    two.tick()
    assert first.faults.calls == ["vault.write_ledger"]
    assert second.faults.calls == ["vault.read_ledger"]
    assert one.seen() == two.seen() == read_lease(lab.world.ledgers)


def test_one_write_whose_answer_was_lost_is_settled_in_the_same_tick() -> None:
    lab = Lab()
    rival = silent(lab, "one")
    one = Leadership(rival.world, TERM, lambda: STATE)
    rival.faults.choose = nth("vault.write_ledger", 1, Kind.UNSETTLED)
    one.tick()
    assert one.leads()


def test_one_that_has_given_up_or_never_asked_has_nothing_to_write() -> None:
    lab = Lab()
    rival = silent(lab, "one")
    never = Leadership(rival.world, TERM, lambda: STATE)
    never.release()
    assert rival.faults.calls == []
    one = replica(lab, "two")
    one.tick()
    one.release()
    versions = len(lab.vault.paths["state/lease"])
    assert one.tick() == pytest.approx(20)
    assert len(lab.vault.paths["state/lease"]) == versions
