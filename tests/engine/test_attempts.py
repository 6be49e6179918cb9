"""What a command asks for, tried until there is an outcome, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from rotator.core.keys import NewKey
from rotator.core.ledger import Failure
from rotator.core.reasons import Reason
from rotator.core.snapshot import Demand
from rotator.core.target import SecretRef
from rotator.engine.attempts import Adoption, Attempt, Rotation, WayBack, until
from rotator.engine.observe import Observation, observe
from rotator.engine.operate import hold
from rotator.engine.outcomes import (
    Outcome,
    UnknownKey,
    Verdict,
    proved,
    served_before,
    wait_after,
    whole_hash,
    why_of,
)
from rotator.engine.reconcile import Report
from rotator.ports import MintedKey
from tests.engine.lab import PATH, Lab, target
from tests.engine.planted import LeapingClock
from tests.engine.promises import FIELD
from tests.fakes.faults import Kind, nth

HOUR = timedelta(hours=1)


def living(*, rotated: bool = False) -> Lab:
    """A target that serves a key, an hour old; its second one, where it was rotated."""
    lab = Lab()
    lab.run()
    lab.clock.advance(HOUR)
    if rotated:
        rotate(lab)
        lab.clock.advance(timedelta(minutes=1))
    return lab


def rotate(lab: Lab, *, named: bool = True, compromised: bool = False) -> Outcome:
    """A rotation on demand, waited for ten minutes."""
    demand = Demand(named=named, compromised=compromised)
    target = lab.targets[0]
    attempt = Rotation(lab.world, target, demand, served_before(lab.world, target))
    return until(attempt, 600, lambda _: None)


def roll_back(lab: Lab, prefix: str | None = None) -> Outcome:
    """The way back, waited for ten minutes."""
    target = lab.targets[0]
    chosen: list[str | None] = []
    attempt = WayBack(lab.world, target, prefix, chosen.append, lab.served_hash())
    return until(attempt, 600, lambda _: None)


def adopt(lab: Lab) -> Outcome:
    """The adoption of what is served, waited for ten minutes."""
    return until(Adoption(lab.world, lab.targets[0], lab.served_hash()), 600, lambda _: None)


def test_a_rotation_on_demand_ends_with_the_new_key_read_back() -> None:
    lab = living()
    old = lab.served_hash()
    outcome = rotate(lab)
    new = lab.served_hash()
    assert new != old
    assert (outcome.verdict, outcome.old, outcome.new) == (Verdict.ROTATED, old, new)
    assert outcome.version == len(lab.vault.paths[PATH])


@pytest.mark.parametrize(
    ("named", "verdict"), [(False, Verdict.HELD), (True, Verdict.ROTATED)], ids=["all", "named"]
)
def test_a_held_target_is_left_alone_by_a_rotation_of_all(named: bool, verdict: Verdict) -> None:
    lab = living()
    hold(lab.world, lab.targets[0], why="audit week", by="ops")
    assert rotate(lab, named=named).verdict is verdict


@pytest.mark.parametrize("named", [False, True], ids=["all", "named"])
def test_what_a_person_put_there_needs_attention_whether_its_target_was_named_or_not(
    named: bool,
) -> None:
    lab = living()
    lab.vault.put(PATH, {"OTHER": "stays", FIELD: "what nobody knows"})
    lab.excused.add(lab.served_hash() or "")
    outcome = rotate(lab, named=named)
    assert (outcome.verdict, outcome.reason) == (Verdict.ATTENTION, Reason.FOREIGN_VALUE)


def test_a_definite_no_ends_the_command_at_once() -> None:
    lab = living()
    lab.faults.choose = lambda _service, name, _acts: Kind.REFUSED if name == "create" else None
    began = lab.clock.now()
    outcome = rotate(lab)
    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, Reason.MINT_REFUSED)
    assert (outcome.old, outcome.new) == (lab.served_hash(), None)
    assert outcome.detail.endswith("openrouter: create: refused")
    assert lab.clock.now() - began < timedelta(minutes=1)


def test_the_way_back_serves_the_key_that_was_served_before() -> None:
    lab = living()
    first = lab.served_hash()
    rotate(lab)
    second = lab.served_hash()
    lab.clock.advance(timedelta(minutes=1))
    outcome = roll_back(lab)
    assert (outcome.verdict, outcome.old, outcome.new) == (Verdict.ROLLED_BACK, second, first)
    assert lab.served_hash() == first


def test_the_way_back_to_a_key_that_is_named_by_how_its_hash_begins() -> None:
    lab = living()
    first = lab.served_hash()
    assert first is not None
    rotate(lab)
    assert roll_back(lab, first[:8]).new == first
    again = roll_back(lab, first[:8])
    assert (again.verdict, again.old, again.new) == (Verdict.UNCHANGED, first, first)
    with pytest.raises(UnknownKey, match="no key whose hash begins with 'xyz'"):
        roll_back(lab, "xyz")


def test_without_an_older_key_there_is_no_way_back() -> None:
    lab = living()
    outcome = roll_back(lab)
    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, Reason.NO_OLDER_KEY)


def test_a_key_that_is_served_by_now_though_another_one_was_is_for_a_person_to_see() -> None:
    lab = living(rotated=True)
    target = lab.targets[0]
    outcome = until(WayBack(lab.world, target, None, lambda _: None, "another"), 60, lambda _: None)
    assert (outcome.verdict, outcome.reason) == (Verdict.ATTENTION, Reason.VALUE_MOVED)


def test_an_old_key_that_does_not_work_is_no_way_back() -> None:
    lab = living()
    first = lab.served_hash()
    assert first is not None
    rotate(lab)
    lab.account.refuses.add(first)
    outcome = roll_back(lab)
    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, Reason.OLD_KEY_REFUSED)
    assert lab.served_hash() != first


def test_a_key_of_ours_is_under_management_already() -> None:
    lab = living()
    outcome = adopt(lab)
    assert (outcome.verdict, outcome.new) == (Verdict.UNCHANGED, lab.served_hash())
    assert outcome.old == outcome.new


def by_hand() -> Lab:
    """A target that serves a key that a person made and pasted, before anything was managed."""
    lab = Lab()
    minted: MintedKey = lab.account.make(NewKey("made by hand"))
    lab.vault.put(PATH, {"OTHER": "stays", FIELD: minted.secret.reveal()})
    return lab


def test_a_key_that_a_person_made_is_taken_under_management() -> None:
    lab = by_hand()
    outcome = adopt(lab)
    assert (outcome.verdict, outcome.new) == (Verdict.ADOPTED, lab.served_hash())


def test_where_nothing_is_served_there_is_nothing_to_adopt() -> None:
    outcome = adopt(Lab())
    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, Reason.NOTHING_TO_ADOPT)


def test_an_earlier_failure_of_the_target_is_none_of_its_adoption() -> None:
    lab = living()
    lab.faults.choose = lambda _, name, __: Kind.REFUSED if name == "create" else None
    assert rotate(lab).reason is Reason.MINT_REFUSED
    lab.faults.choose = lambda *_: None
    book = lab.ledger()
    assert book is not None
    assert book.failure is not None
    assert adopt(lab).verdict is Verdict.UNCHANGED


def test_an_adoption_that_is_refused_for_certain_ends_at_once() -> None:
    lab = living()
    lab.faults.choose = lambda service, _name, _acts: (
        Kind.UNAUTHORISED if service == "vault" else None
    )
    outcome = adopt(lab)
    assert outcome.verdict is Verdict.FAILED


def test_a_hash_is_named_by_how_it_begins_where_that_is_enough() -> None:
    lab = living(rotated=True)
    book, target = lab.ledger(), lab.targets[0]
    assert book is not None
    assert book.served is not None
    (old,) = book.retiring
    assert whole_hash(target, book, old.hash[:10].upper()) == old.hash
    with pytest.raises(UnknownKey, match="more than one key whose hash begins with ''"):
        whole_hash(target, book, "")
    with pytest.raises(UnknownKey, match="no retiring key"):
        whole_hash(target, book, book.served.hash, served=False)
    assert whole_hash(target, book, "", served=False) == old.hash


def test_what_cannot_be_observed_at_first_is_waited_for_and_told_once() -> None:
    lab = living()
    away = lab.clock.now() + timedelta(seconds=30)
    lab.faults.choose = lambda service, *_: (
        Kind.ERROR if service == "vault" and lab.clock.now() < away else None
    )
    told: list[str] = []
    attempt = Rotation(lab.world, lab.targets[0], Demand(), lab.served_hash())
    assert until(attempt, 600, told.append).verdict is Verdict.ROTATED
    assert len(lab.faults.hit) > 1
    (line,) = told
    assert line.startswith("app: waiting: ")


def test_a_command_ends_when_its_time_is_over_and_says_what_it_waited_for() -> None:
    lab = living()
    lab.faults.choose = lambda service, *_: Kind.ERROR if service == "vault" else None
    began, old = lab.clock.now(), lab.served_hash()
    attempt = Rotation(lab.world, lab.targets[0], Demand(), old)
    outcome = until(attempt, 20, lambda _: None)
    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, Reason.UNAVAILABLE)
    assert outcome.detail.startswith("not done within 20 s: ")
    assert lab.clock.now() - began <= timedelta(seconds=20)
    assert lab.served_hash() == old


def test_a_command_that_is_asked_to_stop_ends_after_the_pass_that_is_under_way() -> None:
    lab = living()
    lab.faults.choose = lambda service, *_: Kind.ERROR if service == "vault" else None
    world = replace(lab.world, stopping=lambda: True)
    attempt = Rotation(world, lab.targets[0], Demand(), lab.served_hash())
    outcome = until(attempt, 600, lambda _: None)
    assert outcome.verdict is Verdict.FAILED
    assert outcome.detail.startswith("asked to stop: ")


def test_a_clock_that_is_set_back_before_the_claim_has_the_key_rotated_once() -> None:
    lab = living()
    clock = LeapingClock(lab.clock, ahead=timedelta(minutes=4))
    lab.process.world = replace(lab.world, clock=clock)

    def set_right() -> None:
        clock.ahead = timedelta()

    lab.faults.after_each = set_right
    made = lab.account.minted
    attempt = Rotation(lab.world, lab.targets[0], Demand(), lab.served_hash())
    _, outcome = attempt.once(None)
    assert outcome is not None
    assert (outcome.verdict, outcome.new) == (Verdict.ROTATED, lab.served_hash())
    attempt.once(None)
    assert lab.account.minted == made + 1


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "unnoticed"])
def test_what_a_person_enabled_in_its_quarantine_is_off_once_all_keys_are_called_compromised(
    noticed: bool,
) -> None:
    lab = living()
    old = lab.served_hash()
    assert old is not None
    lab.live(timedelta(hours=12))
    while not lab.account.keys[old].disabled:
        lab.live(timedelta(minutes=10))
    lab.account.change(old, disabled=False)
    lab.excused.add(old)
    if noticed:
        lab.live(timedelta(hours=4))
        book = lab.ledger()
        entry = book.entry(old) if book is not None else None
        assert entry is not None
        assert entry.enabled_by_hand
    lab.excused.add(lab.served_hash() or "")  # it goes without its grace
    assert rotate(lab, compromised=True).verdict is Verdict.ROTATED
    assert not lab.account.accepts(old)


def moved() -> Lab:
    """A target that has left a key behind at its old path, and serves another at its new one."""
    lab = living()
    lab.targets = (replace(lab.targets[0], secret=SecretRef("secret/new", FIELD)),)
    lab.vault.put("secret/new", {"OTHER": "stays"})
    lab.began.clear()  # at the new path, nothing was served yet
    lab.process.boot()
    lab.run()
    lab.clock.advance(timedelta(minutes=5))
    return lab


def test_compromised_keys_are_replaced_though_one_was_left_behind_at_an_old_path() -> None:
    lab = moved()
    old = lab.served_hash("secret/new")
    lab.excused.add(old or "")
    outcome = rotate(lab, compromised=True)
    new = lab.served_hash("secret/new")
    assert (outcome.verdict, outcome.old, outcome.new) == (Verdict.ROTATED, old, new)
    assert new != old
    assert not lab.account.accepts(old or "")
    assert lab.account.accepts(lab.served_hash(PATH) or "")


def test_a_disable_that_is_put_off_is_waited_for_though_a_key_was_left_behind() -> None:
    lab = moved()
    old = lab.served_hash("secret/new")
    lab.excused.add(old or "")
    minted = lab.account.minted

    paused: list[str] = []

    def pause_once() -> None:
        if lab.account.minted > minted and not paused:
            paused.append("after the new key was made")
            lab.world.pace.pause(120.0)

    lab.faults.after_each = pause_once
    assert rotate(lab, compromised=True).verdict is Verdict.ROTATED
    assert paused
    assert not lab.account.accepts(old or "")


def test_a_target_that_was_let_go_is_not_rotated_on_demand_either() -> None:
    lab = living()
    old = lab.served_hash()
    lab.targets = (replace(lab.targets[0], configured=False),)
    outcome = rotate(lab)
    assert (outcome.verdict, outcome.reason, outcome.old) == (Verdict.FAILED, None, old)
    assert outcome.detail.startswith("not done within 600 s: ")
    assert lab.served_hash() == old


def test_the_way_back_waits_until_vault_can_be_asked_again() -> None:
    lab = living(rotated=True)
    second = lab.served_hash()
    lab.faults.choose = nth("vault.read_ledger", 1, Kind.ERROR)
    outcome = roll_back(lab)
    assert outcome.verdict is Verdict.ROLLED_BACK
    assert lab.faults.hit == [("vault.read_ledger", Kind.ERROR)]
    assert lab.served_hash() != second


def test_there_is_no_way_back_for_a_secret_that_a_person_deleted() -> None:
    lab = living(rotated=True)
    lab.promises.began, lab.promises.other = set(), None  # a person deletes both
    lab.vault.delete(PATH)
    outcome = roll_back(lab)
    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, Reason.NO_LIVE_VERSION)
    assert lab.served_hash() is None


def test_an_adoption_waits_until_vault_can_be_asked_again() -> None:
    lab = by_hand()
    lab.faults.choose = nth("vault.read_ledger", 1, Kind.ERROR)
    outcome = adopt(lab)
    assert outcome.verdict is Verdict.ADOPTED
    assert lab.faults.hit == [("vault.read_ledger", Kind.ERROR)]


def test_what_a_target_served_before_is_told_target_by_target() -> None:
    lab = Lab((target(), target("other", path="secret/other")))
    assert served_before(lab.world, lab.targets[0]) is None
    lab.run(full=True)
    served = [served_before(lab.world, each) for each in lab.targets]
    assert served == [lab.served_hash(), lab.served_hash("secret/other")]
    assert None not in served


def test_what_is_done_but_cannot_be_read_back_is_told_as_a_failure() -> None:
    lab = living()
    book = lab.ledger()
    assert book is not None
    lab.faults.choose = lambda *_: Kind.ERROR
    outcome = proved(lab.world, lab.targets[0], book, None, Verdict.ROTATED)
    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, Reason.UNAVAILABLE)
    assert outcome.new == lab.served_hash()
    assert outcome.detail.startswith("done, but the secret could not be read back: ")


def test_what_is_done_but_overwritten_by_now_is_told_as_a_failure() -> None:
    lab = living(rotated=True)
    book = lab.ledger()
    assert book is not None
    older = lab.vault.paths[PATH][-2].data
    assert older is not None
    lab.vault.put(PATH, older)  # a person pastes the old value back
    outcome = proved(lab.world, lab.targets[0], book, None, Verdict.ROTATED)
    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, Reason.FIELD_CHANGED)
    assert outcome.version is None
    assert "holds another value by now" in outcome.detail


def test_a_report_without_a_plan_says_that_nothing_was_observed_and_asks_for_another_look() -> None:
    lab = Lab()
    report = Report("app", lab.clock.now(), None, None)
    assert why_of(report) == "nothing could be observed"
    assert 0 < wait_after(lab.world, report) < 1


def test_where_no_key_is_served_none_is_meant_by_how_it_begins() -> None:
    lab = living()
    book = lab.ledger()
    assert book is not None
    assert book.served is not None
    nothing = replace(book, served=None)
    with pytest.raises(UnknownKey, match="no key whose hash begins with"):
        whole_hash(lab.targets[0], nothing, book.served.hash)


def test_a_rotation_that_another_process_has_begun_is_waited_for_before_another_is_made() -> None:
    lab = living()
    old = lab.served_hash()
    lab.faults.choose = lambda _service, name, _acts: Kind.DIE_AFTER if name == "create" else None
    lab.run(demand=Demand())
    lab.faults.choose = lambda *_: None
    lab.clock.advance(timedelta(seconds=5))
    began = lab.clock.now()
    outcome = rotate(lab)
    assert outcome.verdict is Verdict.ROTATED
    assert lab.clock.now() - began > timedelta(minutes=4), "as long as the claim of the dead stood"
    assert outcome.new == lab.served_hash() != old


def test_an_adoption_waits_for_what_another_process_has_begun() -> None:
    lab = living()
    lab.faults.choose = lambda _service, name, _acts: Kind.DIE_AFTER if name == "create" else None
    lab.run(demand=Demand())
    lab.faults.choose = lambda *_: None
    report, outcome = Adoption(lab.world, lab.targets[0], lab.served_hash()).once(None)
    assert report.plan is not None
    assert report.plan.reason is Reason.CLAIMED
    assert outcome is None
    assert adopt(lab).verdict is Verdict.UNCHANGED


def attempts(lab: Lab) -> dict[str, Attempt]:
    """One of each kind, as begun now."""
    first, old = lab.targets[0], lab.served_hash()
    return {
        "rotation": Rotation(lab.world, first, Demand(), old),
        "way back": WayBack(lab.world, first, None, lambda _: None, old),
        "adoption": Adoption(lab.world, first, old),
    }


KINDS = ["rotation", "way back", "adoption"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_failure_of_a_pass_counts_in_the_next_one(kind: str) -> None:
    lab = living(rotated=True)
    lab.faults.choose = lambda service, *_: Kind.ERROR if service == "vault" else None
    attempt = attempts(lab)[kind]
    first, _ = attempt.once(None)
    second, outcome = attempt.once(first.failure)
    assert outcome is None
    assert first.failure is not None
    assert second.failure is not None
    assert (first.failure.count, second.failure.count) == (1, 2)


def test_a_command_hands_each_failure_on_to_its_next_try() -> None:
    lab = living()
    lab.faults.choose = lambda service, *_: Kind.ERROR if service == "vault" else None
    attempt = Watched(lab.world, lab.targets[0], Demand(), lab.served_hash())
    until(attempt, 20, lambda _: None)
    counts = [each.count if each is not None else 0 for each in attempt.given]
    assert len(counts) > 2
    assert counts == list(range(len(counts)))


@dataclass(slots=True)
class Watched(Rotation):
    """One that notes which failure it was given."""

    given: list[Failure | None] = field(default_factory=list)

    def once(
        self, earlier: Failure | None, observation: Observation | None = None
    ) -> tuple[Report, Outcome | None]:
        self.given.append(earlier)
        return Rotation.once(self, earlier, observation)


@pytest.mark.parametrize(("kind", "reads"), [("rotation", 0), ("way back", 1), ("adoption", 0)])
def test_a_target_that_was_observed_just_now_is_not_read_again(kind: str, reads: int) -> None:
    lab = living(rotated=True)
    observation = observe(lab.world, lab.targets[0])
    calls = len(lab.faults.calls)
    _, outcome = attempts(lab)[kind].once(None, observation)
    assert outcome is not None, "all of it is done in one go"
    assert outcome.old is not None
    assert lab.faults.calls[calls:].count("vault.read_ledger") == reads


def test_a_rotation_of_a_target_that_was_observed_just_now_makes_a_key() -> None:
    lab = living()
    old = lab.served_hash()
    observation = observe(lab.world, lab.targets[0])
    _, outcome = attempts(lab)["rotation"].once(None, observation)
    assert outcome is not None
    assert outcome.verdict is Verdict.ROTATED
    assert outcome.new == lab.served_hash() != old


def test_once_its_key_is_chosen_each_try_of_a_way_back_is_one_pass() -> None:
    lab = living(rotated=True)
    led = [False]
    attempt = attempts(lab)["way back"]
    attempt.world = replace(lab.world, leads=lambda: led[0])
    assert attempt.once(None)[1] is None
    calls = len(lab.faults.calls)
    assert attempt.once(None)[1] is None
    assert lab.faults.calls[calls:].count("vault.read_ledger") == 1


def test_a_failure_from_before_a_way_back_does_not_end_it() -> None:
    lab = living(rotated=True)
    lab.faults.choose = lambda _service, name, _acts: Kind.REFUSED if name == "create" else None
    assert rotate(lab).reason is Reason.MINT_REFUSED
    led = [False]
    attempt = attempts(lab)["way back"]
    attempt.world = replace(lab.world, leads=lambda: led[0])
    report, outcome = attempt.once(None)
    assert outcome is None, "it waits until this process acts again"
    assert report.failure is not None
    assert report.failure.reason is Reason.MINT_REFUSED
    led.append(led.pop() or True)
    _, outcome = attempt.once(None)
    assert outcome is not None
    assert outcome.verdict is Verdict.ROLLED_BACK


def test_an_adoption_whose_finding_cannot_be_written_down_has_failed() -> None:
    lab = living()
    lab.vault.put(PATH, {"OTHER": "stays", FIELD: "what nobody knows"})
    lab.excused.add(lab.served_hash() or "")
    lab.run(full=True)
    lab.world.fleet.report_over("app", frozenset())  # as in a new process
    lab.faults.choose = lambda service, *_: Kind.ERROR if service == "audit" else None
    outcome = adopt(lab)
    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, Reason.AUDIT_UNAVAILABLE)
    assert outcome.old == lab.served_hash()
    assert "disk full" in outcome.detail
