"""What people do by hand beside the program, and how it answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rotator.core.keys import NewKey
from rotator.core.reasons import Reason
from rotator.core.snapshot import Demand, Rollback
from rotator.core.target import KeySettings, OnDisabled, SecretRef
from rotator.engine import operate
from rotator.events import KeyEnable, TargetAttention
from tests.engine.lab import PATH, POLICY, Lab, target
from tests.engine.promises import FIELD


def _value(lab: Lab, path: str = PATH) -> str:
    value = (lab.vault.current(path) or {})[FIELD]
    assert isinstance(value, str)
    return value


def _paste(lab: Lab, value: str, path: str = PATH) -> None:
    lab.vault.put(path, {**(lab.vault.current(path) or {}), FIELD: value})


def test_an_old_value_pasted_back_in_its_grace_is_served_and_the_newer_key_retires() -> None:
    lab = Lab()
    lab.run()
    old, old_hash = _value(lab), lab.served_hash()
    lab.clock.advance(timedelta(hours=12))
    lab.run()
    newer = lab.served_hash()
    _paste(lab, old)
    lab.run()
    book = lab.ledger()
    assert book is not None
    assert book.served is not None
    assert book.served.hash == old_hash
    assert book.served.due_from == lab.clock.now()
    assert [each.hash for each in book.retiring] == [newer]
    lab.live(timedelta(hours=8))
    assert lab.served_hash() == old_hash
    assert newer in lab.account.deleted
    lab.check_at_rest()


def test_an_old_value_pasted_back_in_quarantine_is_enabled_at_once() -> None:
    lab = Lab()
    lab.run()
    old, old_hash = _value(lab), lab.served_hash()
    assert old_hash is not None
    lab.clock.advance(timedelta(hours=12))
    lab.run()
    while not lab.account.keys[old_hash].disabled:
        lab.live(timedelta(minutes=10))
    lab.excused.add(old_hash)
    _paste(lab, old)
    lab.run(full=True)
    assert lab.account.accepts(old_hash)
    lab.excused.clear()
    lab.live(timedelta(hours=9))
    lab.check_at_rest()


def _compromised(lab: Lab) -> tuple[str, str]:
    """The value and the hash of a key that was called compromised, and is disabled for that."""
    lab.run()
    old, old_hash = _value(lab), lab.served_hash()
    assert old_hash is not None
    lab.clock.advance(timedelta(minutes=10))
    lab.excused.add(old_hash)
    lab.run(demand=Demand(compromised=True))
    assert lab.account.keys[old_hash].disabled
    return old, old_hash


def _enabled(lab: Lab) -> list[str | None]:
    """The hashes of the keys that were enabled, as the trail tells."""
    return [each.key_hash for each in lab.trail.events(KeyEnable.name)]


def test_a_compromised_key_pasted_back_is_replaced_at_once_and_never_enabled() -> None:
    lab = Lab()
    old, old_hash = _compromised(lab)
    second = lab.served_hash()
    _paste(lab, old)
    lab.run(full=True)
    book = lab.ledger()
    assert book is not None
    assert book.served is not None
    assert book.served.hash == lab.served_hash() not in (old_hash, second)
    assert {each.hash: each.why for each in book.retiring} == {
        old_hash: Reason.COMPROMISED,
        second: Reason.PUT_ASIDE,
    }
    told = [each.reason for each in lab.trail.events(TargetAttention.name)]
    assert told == [Reason.PUT_BACK_COMPROMISED]
    lab.live(timedelta(hours=9))
    assert _enabled(lab) == []
    lab.check_at_rest()


def test_a_compromised_key_that_is_pasted_back_again_and_again_is_contested_and_stays_off() -> None:
    lab = Lab()
    old, old_hash = _compromised(lab)
    _paste(lab, old)
    lab.run(full=True)
    _paste(lab, old)
    report = lab.run(full=True)
    assert report.plan is not None
    assert {Reason.CONTESTED, Reason.PUT_BACK_COMPROMISED} <= {
        each.reason for each in report.plan.findings
    }
    lab.live(timedelta(hours=3))
    assert (lab.served_hash(), _enabled(lab)) == (old_hash, [])
    operate.release(lab.world, lab.targets[0], by="me@here")
    lab.run()
    assert lab.account.accepts(lab.served_hash() or "")
    assert not lab.account.accepts(old_hash)


def test_a_compromised_key_is_served_as_any_other_once_it_was_rolled_back_to_by_its_hash() -> None:
    lab = Lab()
    _, old_hash = _compromised(lab)
    lab.run(demand=Demand(rollback=Rollback(old_hash)))
    lab.live(timedelta(hours=3))
    assert lab.served_hash() == old_hash
    assert lab.account.accepts(old_hash)


def test_a_second_paste_back_within_a_period_is_contested_until_a_release() -> None:
    lab = Lab()
    lab.run()
    first = _value(lab)
    lab.clock.advance(timedelta(hours=12))
    lab.run()
    second = _value(lab)
    _paste(lab, first)
    lab.run()
    _paste(lab, second)
    report = lab.run()
    assert report.plan is not None
    assert report.plan.reason is Reason.CONTESTED or any(
        each.reason is Reason.CONTESTED for each in report.plan.findings
    )
    served = lab.served_hash()
    lab.live(timedelta(hours=30))
    assert lab.served_hash() == served
    operate.release(lab.world, lab.targets[0], by="me@here")
    lab.run()
    assert lab.served_hash() != served


def test_a_foreign_value_is_reported_and_never_overwritten_until_allowed() -> None:
    lab = Lab()
    lab.run()
    former = lab.served_hash()
    assert former is not None
    _paste(lab, "something-else")
    foreign = lab.served_hash()
    assert foreign is not None
    lab.excused.add(foreign)
    lab.live(timedelta(hours=30))
    assert lab.served_hash() == foreign
    assert lab.account.accepts(former)
    lab.run(demand=Demand(overwrite_foreign=True))
    assert lab.account.accepts(lab.served_hash() or "")
    lab.live(timedelta(hours=9))
    lab.check_at_rest()


def test_the_value_of_a_deleted_key_put_back_is_a_dead_key_and_is_replaced_at_once() -> None:
    lab = Lab()
    lab.run()
    old, old_hash = _value(lab), lab.served_hash()
    assert old_hash is not None
    lab.live(timedelta(hours=19))
    assert old_hash in lab.account.deleted
    lab.excused.add(old_hash)
    _paste(lab, old)
    lab.run()
    assert lab.account.accepts(lab.served_hash() or "")
    lab.live(timedelta(hours=9))
    lab.check_at_rest()


def test_a_foreign_value_that_a_key_explains_later_is_taken_up_at_the_next_resync() -> None:
    lab = Lab()
    lab.run()
    minted = lab.account.make(NewKey("made by hand"))
    lab.account.keys.pop(minted.key.hash)
    _paste(lab, minted.secret.reveal())
    lab.excused.add(minted.key.hash)
    lab.live(timedelta(hours=2))
    lab.account.keys[minted.key.hash] = minted.key
    lab.run(full=True)
    book = lab.ledger()
    assert book is not None
    assert book.served is not None
    assert book.served.hash == minted.key.hash
    assert not book.served.minted_by_us


def test_a_served_key_disabled_by_hand_is_left_alone_by_default() -> None:
    lab = Lab()
    lab.run()
    served = lab.served_hash()
    assert served is not None
    lab.excused.add(served)
    lab.account.set_disabled(served, disabled=True)
    lab.live(timedelta(hours=13))
    assert lab.served_hash() == served
    assert not lab.account.accepts(served)
    lab.run(demand=Demand())
    assert lab.account.accepts(lab.served_hash() or "")


def test_a_served_key_disabled_by_hand_is_replaced_where_the_policy_says_so() -> None:
    lab = Lab(targets=(target(policy=replace(POLICY, on_disabled=OnDisabled.ROTATE)),))
    lab.run()
    served = lab.served_hash()
    assert served is not None
    lab.excused.add(served)
    lab.account.set_disabled(served, disabled=True)
    lab.live(timedelta(hours=2))
    assert lab.account.accepts(lab.served_hash() or "")


def test_a_served_key_deleted_at_openrouter_is_replaced_at_the_next_resync() -> None:
    lab = Lab()
    lab.run()
    served = lab.served_hash()
    assert served is not None
    lab.excused.add(served)
    lab.account.keys.pop(served)
    lab.run(full=True)
    assert lab.account.accepts(lab.served_hash() or "")


def test_a_management_key_of_another_account_stops_everything() -> None:
    lab = Lab()
    lab.run()
    real = dict(lab.account.keys)
    lab.clock.advance(timedelta(hours=13))

    class Elsewhere(dict):  # type: ignore[type-arg]
        """An account that does not know our keys, while they go on working."""

    accepts = lab.account.accepts
    lab.account.keys = Elsewhere()
    lab.account.accepts = lambda key_hash: key_hash in real or accepts(key_hash)  # type: ignore[method-assign]
    before = lab.account.minted
    report = lab.run(full=True)
    assert report.plan is not None
    assert report.plan.reason is Reason.WRONG_ACCOUNT
    assert lab.account.minted == before


def test_a_lost_ledger_is_rebuilt_and_its_predecessors_get_a_full_grace() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    old = lab.served_hash()
    lab.run()
    lab.vault.forget("state/targets/app")
    lab.run(full=True)
    book = lab.ledger()
    assert book is not None
    assert [each.hash for each in book.retiring] == [old]
    assert book.retiring[0].why is Reason.ORPHANED
    lab.live(timedelta(hours=9))
    lab.check_at_rest()


def test_a_deleted_secret_gets_a_first_key_again_and_the_former_key_retires() -> None:
    lab = Lab()
    lab.run()
    former = lab.served_hash()
    lab.began.clear()
    lab.promises.other = None
    lab.vault.delete(PATH)
    lab.run(full=True)
    served = lab.served_hash()
    assert served is not None
    assert served != former
    assert lab.account.accepts(served)


def test_an_unreadable_ledger_stands_still_and_its_bytes_stay() -> None:
    lab = Lab()
    lab.run()
    lab.vault.put("state/targets/app", {"schema": 99})
    lab.clock.advance(timedelta(hours=20))
    before = len(lab.vault.paths["state/targets/app"])
    minted = lab.account.minted
    report = lab.run(full=True)
    assert report.plan is not None
    assert report.plan.reason is Reason.LEDGER_NEWER
    assert len(lab.vault.paths["state/targets/app"]) == before
    assert lab.account.minted == minted


def test_two_targets_that_serve_one_key_are_both_left_alone() -> None:
    lab = Lab(targets=(target(), target("twin", path="secret/twin")))
    lab.vault.put("secret/twin", {"OTHER": "stays"})
    lab.run()
    _paste(lab, _value(lab), "secret/twin")
    lab.run(full=True)
    lab.run(full=True)
    served = lab.served_hash()
    minted = lab.account.minted
    lab.clock.advance(timedelta(hours=13))
    report = lab.run(full=True)
    assert report.plan is not None
    assert report.plan.reason is Reason.SERVED_TWICE
    assert lab.served_hash() == served
    assert lab.account.minted == minted


def test_a_target_taken_out_of_the_configuration_still_finishes_its_old_keys() -> None:
    lab = Lab(targets=(target(), target("other", path="secret/other")))
    lab.vault.put("secret/other", {"OTHER": "stays"})
    lab.run()
    lab.clock.advance(timedelta(hours=12, minutes=1))
    lab.run(full=True)
    book = lab.ledger("other")
    assert book is not None
    old = book.retiring[0].hash
    lab.targets = lab.targets[:1]
    served = lab.served_hash("secret/other")
    lab.live(timedelta(hours=9))
    assert old in lab.account.deleted
    assert served is not None
    assert lab.account.accepts(served)
    assert lab.served_hash("secret/other") == served


def test_a_target_moved_to_another_path_starts_there_with_a_first_key() -> None:
    lab = Lab()
    lab.run()
    left = lab.served_hash()
    lab.vault.put("secret/new", {"OTHER": "stays"})
    lab.targets = (target(path="secret/new"),)
    lab.began.clear()
    lab.live(timedelta(hours=9))
    assert lab.account.accepts(lab.served_hash("secret/new") or "")
    assert left is not None
    assert lab.account.accepts(left)
    assert lab.served_hash(PATH) == left


def test_a_target_that_moves_takes_its_spending_cap_and_workspace_along() -> None:
    plain = target(key=KeySettings())
    lab = Lab((plain,))
    by_hand = NewKey("by hand", 20.0, "monthly", workspace_id="w-1", creator_user_id="user-1")
    _paste(lab, lab.account.make(by_hand).secret.reveal())
    lab.run()
    lab.vault.put("secret/new", {"OTHER": "stays"})
    lab.targets = (replace(plain, secret=SecretRef("secret/new", FIELD)),)
    lab.began.clear()
    lab.run(full=True)
    new = lab.account.keys[lab.served_hash("secret/new") or ""]
    assert (new.limit, new.limit_reset) == (20.0, "monthly")
    assert (new.workspace_id, new.creator_user_id) == ("w-1", "user-1")


def test_a_target_that_moves_takes_along_what_is_left_of_a_lifetime_cap() -> None:
    lab = Lab((target(key=KeySettings(limit=50.0)),))
    lab.run()
    left = lab.served_hash() or ""
    lab.account.change(left, limit_remaining=2.0)
    lab.vault.put("secret/new", {"OTHER": "stays"})
    lab.targets = (target(path="secret/new", key=KeySettings(limit=50.0)),)
    lab.began.clear()
    lab.run(full=True)
    assert lab.account.keys[lab.served_hash("secret/new") or ""].limit == 2.0


def test_a_held_target_is_not_rotated_and_keeps_its_old_keys() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    old = lab.served_hash()
    lab.run()
    operate.hold(lab.world, lab.targets[0], why="audit", by="me@here")
    served = lab.served_hash()
    lab.live(timedelta(hours=40))
    assert lab.served_hash() == served
    assert old is not None
    assert lab.account.accepts(old)
    operate.release(lab.world, lab.targets[0], by="me@here")
    lab.live(timedelta(hours=10))
    lab.check_at_rest()


def test_retiring_by_hand_disables_a_blocked_key_at_once() -> None:
    lab = Lab(cache=timedelta(days=30))
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    old = lab.served_hash()
    assert old is not None
    lab.run()
    lab.live(timedelta(hours=7))
    assert lab.account.accepts(old)
    lab.excused.add(old)
    assert operate.retire(lab.world, lab.targets[0], key=None, by="me@here") == (old,)
    lab.run()
    assert not lab.account.accepts(old)


def test_a_retiring_key_that_is_served_at_a_path_left_behind_is_left_alone_and_reported() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    old_value, old = _value(lab), lab.served_hash()
    lab.run()
    lab.vault.put("secret/new", {"OTHER": "stays"})
    lab.targets = (target(path="secret/new"),)
    lab.began.clear()
    lab.run(full=True)
    _paste(lab, old_value, PATH)
    writes = len(lab.vault.paths["state/targets/app"])
    lab.live(timedelta(hours=9))
    assert old is not None
    assert lab.account.accepts(old)
    book = lab.ledger()
    assert book is not None
    entry = book.entry(old)
    assert entry is not None
    assert entry.why is Reason.LEFT_BEHIND
    assert len(lab.vault.paths["state/targets/app"]) - writes < 12, "it does not claim for ever"
