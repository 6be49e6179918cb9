"""What a process does not know of the other targets: no key goes while one may serve it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest

from rotator.core.reasons import Reason
from rotator.core.target import Target
from rotator.engine.index import fill_index
from rotator.engine.reconcile import Report
from rotator.engine.world import Fleet
from rotator.errors import Refused, ServiceError, Transient
from rotator.ports import SecretMetadata, SecretVersion
from tests.engine.lab import PATH, Lab, target
from tests.engine.promises import FIELD
from tests.fakes.faults import Faults, Kind, nth
from tests.fakes.vault import FakeSecrets, FakeVault

OTHER = "secret/two"
ONE, TWO = "1" * 64, "2" * 64

AWAY = Transient("vault", f"read {OTHER}", "no answer in time")
DENIED = Refused("vault", f"read {OTHER}", "permission denied", status=403)


class Blind(FakeSecrets):
    """Secrets of which one path's metadata, or its value, cannot be read."""

    def __init__(
        self, vault: FakeVault, faults: Faults, error: ServiceError, what: str = "metadata"
    ) -> None:
        super().__init__(vault, faults)
        self._error, self._what = error, what

    def metadata(self, path: str) -> SecretMetadata:
        if path == OTHER and self._what == "metadata":
            raise self._error
        return super().metadata(path)

    def read(self, path: str, version: int | None = None) -> SecretVersion:
        if path == OTHER:
            raise self._error
        return super().read(path, version)


def _value(lab: Lab, key_hash: str) -> str:
    """The plaintext of a key that `PATH` has served."""
    for entry in lab.vault.paths[PATH]:
        text = (entry.data or {}).get(FIELD)
        if text is not None and sha256(text.encode()).hexdigest() == key_hash:
            return str(text)
    raise AssertionError(key_hash)


def _old_key_about_to_go(after: timedelta = timedelta(hours=3)) -> tuple[Lab, str]:
    """Two targets; the first one's old key could be disabled by whoever starts next."""
    lab = Lab(targets=(target(), target("two", path=OTHER)))
    lab.vault.put(OTHER, {"OTHER": "stays"})
    lab.run(full=True)
    old = lab.served_hash()
    assert old is not None
    lab.clock.advance(timedelta(hours=13))
    lab.run(full=True)
    assert lab.served_hash() != old
    lab.clock.advance(after)
    return lab, old


def _put_by_hand(lab: Lab, key_hash: str) -> None:
    lab.vault.put(OTHER, {"OTHER": "stays", FIELD: _value(lab, key_hash)})


def _boot(lab: Lab, *, blind: ServiceError | None = None, what: str = "metadata") -> None:
    """Start the process anew; it knows nothing, and may not be able to read the second secret."""
    lab.process.boot()
    if blind is not None:
        secrets = Blind(lab.vault, lab.faults, blind, what)
        lab.process.world = replace(lab.world, secrets=secrets)


def _sees_again(lab: Lab) -> None:
    lab.process.world = replace(lab.world, secrets=FakeSecrets(lab.vault, lab.faults))


def _disabled(lab: Lab, key_hash: str) -> bool:
    found = lab.account.keys.get(key_hash)
    return found is None or found.disabled


def _findings(report: Report) -> set[Reason]:
    assert report.plan is not None
    return {each.reason for each in report.plan.findings}


@pytest.mark.parametrize("what", ["metadata", "value"])
def test_a_key_that_a_target_unread_since_the_start_may_serve_is_kept_until_it_was_read(
    what: str,
) -> None:
    lab, old = _old_key_about_to_go()
    _put_by_hand(lab, old)
    _boot(lab, blind=AWAY, what=what)
    report = lab.run(full=True)
    assert not _disabled(lab, old)
    assert report.failure is None, "it waits, and nothing of it has failed"
    assert report.wake_at is not None
    lab.run(full=True)
    assert not _disabled(lab, old), "a second look that shows as little changes nothing"
    _sees_again(lab)
    report = lab.run(full=True)
    assert Reason.STILL_SERVED in _findings(report)
    assert not _disabled(lab, old)


def test_a_key_put_into_another_secret_while_nobody_ran_is_found_before_any_key_goes() -> None:
    lab, old = _old_key_about_to_go()
    _put_by_hand(lab, old)
    _boot(lab)
    report = lab.run(full=True)
    assert Reason.STILL_SERVED in _findings(report)
    assert not _disabled(lab, old)


def test_a_secret_that_may_not_be_read_keeps_what_its_ledger_names_and_no_other_key() -> None:
    lab, old = _old_key_about_to_go()
    _boot(lab, blind=DENIED)
    lab.run(full=True)
    assert _disabled(lab, old)
    assert lab.world.fleet.others_serving(lab.served_hash(OTHER) or "") == {"two"}


def test_a_key_of_an_unreadable_secret_is_kept_where_its_ledger_names_it() -> None:
    lab, old = _old_key_about_to_go()
    _put_by_hand(lab, old)
    lab.process.boot()
    lab.run(full=True)  # now both ledgers say so
    _boot(lab, blind=DENIED)
    report = lab.run(full=True)
    assert Reason.STILL_SERVED in _findings(report)
    assert not _disabled(lab, old)


def test_what_a_target_with_a_ledger_of_a_newer_program_serves_is_read_from_its_secret() -> None:
    lab, old = _old_key_about_to_go()
    _put_by_hand(lab, old)
    ledger = next(path for path in lab.vault.paths if path.endswith("targets/two"))
    lab.vault.put(ledger, {"schema": 9_999})
    _boot(lab)
    report = lab.run(full=True)
    assert Reason.STILL_SERVED in _findings(report)
    assert not _disabled(lab, old)


def test_one_target_that_was_seen_once_and_is_away_now_holds_up_no_other() -> None:
    lab, old = _old_key_about_to_go(after=timedelta())
    _boot(lab)
    lab.run(full=True)
    assert not _disabled(lab, old)
    lab.process.world = replace(lab.world, secrets=Blind(lab.vault, lab.faults, AWAY))
    lab.clock.advance(timedelta(hours=3))
    lab.run(full=True)
    assert _disabled(lab, old)


def test_a_comparison_that_began_before_the_targets_changed_does_not_fill_the_index() -> None:
    fleet = Fleet()
    term = fleet.term()
    fleet.serves("a", ONE)
    fleet.unfill()
    fleet.fill(["a"], term)
    assert fleet.unseen() is None
    fleet.fill(["a", "b"], fleet.term())
    assert fleet.unseen() == frozenset({"a", "b"})
    fleet.serves("a", ONE)
    assert (fleet.unseen(), fleet.unseen(but="b")) == (frozenset({"b"}), frozenset())
    fleet.serves("b", TWO, sure=False)
    assert not fleet.filled()
    assert fleet.others_serving(TWO) == {"b"}, "what is only believed keeps a key all the same"
    fleet.serves("b", TWO)
    assert fleet.filled()


def test_a_target_let_go_whose_secret_cannot_be_read_holds_up_no_other() -> None:
    lab, old = _old_key_about_to_go()
    lab.targets = lab.targets[:1]
    _boot(lab, blind=AWAY)
    report = lab.run(full=True)
    assert report.failure is None
    assert _disabled(lab, old)
    assert lab.world.fleet.others_serving(lab.served_hash(OTHER) or "") == frozenset()


def test_the_keys_of_a_target_let_go_whose_ledger_is_gone_too_are_left_alone() -> None:
    lab, old = _old_key_about_to_go()
    theirs = {each.hash: each for each in lab.account.keys.values() if "/two/" in each.name}
    assert len(theirs) == 2
    lab.targets = lab.targets[:1]
    lab.vault.forget("state/targets/two")
    _boot(lab)
    lab.run(full=True)
    assert _disabled(lab, old)
    assert {key: lab.account.keys.get(key) for key in theirs} == theirs


def _one_by_one(work: Callable[[Target], None], some: Iterable[Target]) -> None:
    for each in some:
        work(each)


def test_an_index_filled_for_a_command_knows_what_every_target_serves() -> None:
    lab, _ = _old_key_about_to_go()
    lab.targets = (*lab.targets, target("new", path="secret/new"))
    _boot(lab)
    fill_index(lab.world, lab.targets, _one_by_one)
    assert lab.world.fleet.filled()
    assert lab.world.fleet.served_by() == {
        lab.served_hash(): frozenset({"app"}),
        lab.served_hash(OTHER): frozenset({"two"}),
    }


def test_a_ledger_that_cannot_be_read_leaves_the_index_unfilled() -> None:
    lab, _ = _old_key_about_to_go()
    _boot(lab)
    lab.faults.choose = nth("vault.read_ledger", 2, Kind.ERROR)
    with pytest.raises(Transient):
        fill_index(lab.world, lab.targets, _one_by_one)
    assert lab.world.fleet.unseen() is None


@pytest.mark.parametrize(
    "trouble", ["no ledger", "a ledger of a newer version", "a key put by hand"]
)
def test_the_index_of_a_command_knows_what_is_served_where_no_ledger_tells_it(trouble: str) -> None:
    lab, old = _old_key_about_to_go()
    _put_by_hand(lab, old)
    if trouble == "no ledger":
        lab.vault.forget("state/targets/two")
    if trouble == "a ledger of a newer version":
        lab.vault.put("state/targets/two", {"schema": 99})
    _boot(lab)
    fill_index(lab.world, lab.targets, _one_by_one)
    assert lab.world.fleet.filled()
    assert lab.world.fleet.others_serving(old) == {"two"}


def test_a_secret_that_was_deleted_serves_nothing_to_the_index_of_a_command() -> None:
    lab, _ = _old_key_about_to_go()
    lab.began.discard("two")  # a person takes it away
    lab.vault.delete(OTHER)
    _boot(lab)
    fill_index(lab.world, lab.targets, _one_by_one)
    assert lab.world.fleet.filled()
    assert lab.world.fleet.served_by() == {lab.served_hash(): frozenset({"app"})}


def test_a_ledger_that_may_not_be_read_leaves_a_command_without_the_right_to_disable() -> None:
    lab, _ = _old_key_about_to_go()
    _boot(lab)
    lab.faults.choose = nth("vault.read_ledger", 2, Kind.REFUSED)
    fill_index(lab.world, lab.targets, _one_by_one)
    assert lab.world.fleet.unseen() == frozenset({"two"})
