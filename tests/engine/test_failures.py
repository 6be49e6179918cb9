"""What happens between two failures: the wait stands, whatever is tidied up meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from rotator.core.keys import NewKey
from rotator.core.reasons import Reason
from rotator.core.snapshot import Demand
from rotator.core.target import KeySettings
from rotator.ports import MintedKey
from tests.engine.lab import Lab, target
from tests.fakes.faults import Kind, nth

Make = Callable[[NewKey], MintedKey]


def refuse_new_keys(lab: Lab) -> Make:
    """From now on OpenRouter never lets a new key in; return how keys were made before."""
    make = lab.account.make

    def refused(new: NewKey) -> MintedKey:
        minted = make(new)
        lab.account.refuses.add(minted.key.hash)
        return minted

    lab.account.make = refused  # type: ignore[method-assign]
    return make


def give_another_limit(lab: Lab) -> Make:
    """From now on a new key has a limit that nobody asked for; return how keys were made before."""
    make = lab.account.make
    lab.account.make = lambda new: make(replace(new, limit=5000.0))  # type: ignore[method-assign]
    return make


def test_new_keys_that_never_work_are_made_one_by_one_with_growing_waits_and_cleaned_up() -> None:
    lab = Lab()
    lab.run()
    make = refuse_new_keys(lab)
    lab.clock.advance(timedelta(hours=12))
    before = lab.account.minted
    lab.run()
    assert lab.account.minted == before + 1
    book = lab.ledger()
    assert book is not None
    assert book.failure is not None
    assert book.failure.reason is Reason.NEW_KEY_REFUSED
    assert not book.retiring, "the key that never worked is gone at once"
    lab.live(timedelta(hours=6))
    book = lab.ledger()
    assert book is not None
    assert book.failure is not None
    assert book.failure.count == lab.account.minted - before < 20
    lab.account.make = make  # type: ignore[assignment, method-assign]
    lab.live(timedelta(hours=9))
    lab.come_to_rest()


def test_a_request_whose_new_key_never_works_makes_one_key_and_cleans_it_up() -> None:
    lab = Lab()
    lab.run()
    refuse_new_keys(lab)
    lab.clock.advance(timedelta(hours=1))
    before = lab.account.minted
    report = lab.run(demand=Demand())
    assert lab.account.minted == before + 1
    assert report.failure is not None
    assert report.failure.reason is Reason.NEW_KEY_REFUSED
    book = lab.ledger()
    assert book is not None
    assert not book.retiring


def test_a_failure_to_look_waits_no_longer_than_half_of_what_the_served_key_has_left() -> None:
    lab = Lab(targets=(target(key=KeySettings(expires_in=timedelta(hours=17))),))
    lab.run()
    lab.clock.advance(timedelta(hours=17, seconds=-20))
    lab.faults.choose = nth("openrouter.get", 1, Kind.ERROR)
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.UNAVAILABLE
    assert report.failure.next_try - report.at <= timedelta(seconds=10)


def test_a_vault_that_takes_no_writes_is_tried_again_with_growing_waits() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    lab.faults.choose = lambda _service, name, _acts: (
        Kind.REFUSED if name == "write_ledger" else None
    )
    began, waits = lab.clock.now(), []
    for count in range(1, 7):
        report = lab.run()
        assert report.failure is not None
        assert (report.failure.count, report.failure.since) == (count, began)
        waits.append(report.failure.next_try - report.at)
        lab.clock.advance(waits[-1])
    assert waits[-1] > 8 * waits[0]


def test_a_first_key_that_is_refused_is_the_keys_own_fault_and_is_cleaned_up() -> None:
    lab = Lab()
    refuse_new_keys(lab)
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.NEW_KEY_REFUSED
    assert lab.served_hash() is None
    assert not lab.account.keys


def test_a_key_with_another_limit_than_was_asked_for_is_never_served() -> None:
    lab = Lab()
    lab.run()
    first = lab.served_hash()
    make = give_another_limit(lab)
    lab.clock.advance(timedelta(hours=12))
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.NOT_AS_ORDERED
    assert "asked for limit 50.0 daily, got 5000.0 daily" in report.failure.detail
    assert lab.served_hash() == first
    assert set(lab.account.keys) == {first}
    lab.account.make = make  # type: ignore[assignment, method-assign]
    lab.live(timedelta(hours=9))
    lab.come_to_rest()


def test_a_request_whose_new_key_is_given_up_at_once_makes_no_second_one_in_its_pass() -> None:
    lab = Lab()
    lab.run()
    first = lab.served_hash()
    give_another_limit(lab)
    lab.clock.advance(timedelta(hours=1))
    before = lab.account.minted
    report = lab.run(demand=Demand(named=True))
    assert report.failure is not None
    assert report.failure.reason is Reason.NOT_AS_ORDERED
    assert lab.account.minted == before + 1
    assert set(lab.account.keys) == {first}, "what was given up is gone"


def test_a_key_whose_hash_is_not_that_of_its_plaintext_is_known_by_both() -> None:
    lab = Lab()
    make, accepts = lab.account.make, lab.account.accepts
    digests: dict[str, str] = {}

    def otherwise(new: NewKey) -> MintedKey:
        minted = make(new)
        key = replace(minted.key, hash="f" * 64)
        digests[minted.key.hash] = key.hash
        del lab.account.keys[minted.key.hash]
        lab.account.keys[key.hash] = key
        return MintedKey(key, minted.secret)

    lab.account.make = otherwise  # type: ignore[method-assign]
    lab.account.accepts = lambda key_hash: accepts(digests.get(key_hash, key_hash))  # type: ignore[method-assign]
    assert lab.run().failure is None
    book = lab.ledger()
    assert book is not None
    assert book.served is not None
    assert book.served.hash == "f" * 64
    assert book.served.value_sha256 == lab.served_hash()
