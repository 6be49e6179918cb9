"""What looks like an answer, and is none: the listing of another account."""

from __future__ import annotations

from datetime import timedelta

from rotator.core.reasons import Reason
from tests.engine.lab import CLAIM_TIMEOUT, Lab
from tests.fakes.faults import Kind, nth


def test_a_listing_of_another_account_settles_no_claim() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    lab.faults.choose = nth("openrouter.create", 1, Kind.DIE_AFTER)
    lab.run()
    lab.clock.advance(CLAIM_TIMEOUT)
    ours, accepts = lab.account.keys, lab.account.accepts
    served = lab.served_hash()
    lab.account.keys = {}
    lab.account.accepts = lambda key_hash: key_hash == served or accepts(key_hash)  # type: ignore[method-assign]
    report = lab.run(full=True)
    assert report.plan is not None
    assert report.plan.reason is Reason.WRONG_ACCOUNT
    book = lab.ledger()
    assert book is not None
    assert book.pending is not None
    assert not book.abandoned
    lab.account.keys = ours
    lab.run(full=True)
    book = lab.ledger()
    assert book is not None
    assert book.pending is None
    lab.live(timedelta(hours=9))
    lab.come_to_rest()
