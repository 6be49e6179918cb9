"""What a command asks for, tried until there is an outcome, and what it is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.core.keys import NewKey
from rotator.core.reasons import Reason
from rotator.core.snapshot import Demand
from rotator.engine.attempts import Adoption, Rotation, WayBack, until
from rotator.engine.operate import hold
from rotator.engine.outcomes import Outcome, UnknownKey, Verdict, served_before, whole_hash
from rotator.ports import MintedKey
from tests.engine.lab import PATH, Lab
from tests.engine.promises import FIELD
from tests.fakes.faults import Kind

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


def rotate(lab: Lab, *, named: bool = True) -> Outcome:
    """A rotation on demand, waited for ten minutes."""
    demand = Demand(lab.clock.now(), named)
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


def test_a_definite_no_ends_the_command_at_once() -> None:
    lab = living()
    lab.faults.choose = lambda _service, name, _acts: Kind.REFUSED if name == "create" else None
    began = lab.clock.now()
    outcome = rotate(lab)
    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, Reason.MINT_REFUSED)
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
    assert roll_back(lab, first[:8]).verdict is Verdict.UNCHANGED
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
