"""Whatever is observed, the planner has an answer, and the answer keeps the promises."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.snapshot import Snapshot
from rotator.core.steps import (
    CreateLedger,
    Delete,
    Disable,
    Enable,
    Fence,
    MakeClaim,
    Mint,
    NeedListing,
    NeedLook,
    NeedProbe,
    NeedValue,
    NeedVersions,
    Publish,
    Record,
    TakeOverClaim,
)
from tests.core.builders import NOW
from tests.core.strategies import snapshots

many = settings(max_examples=120, suppress_health_check=list(HealthCheck))
ACTING = (Mint, Publish, Fence, Disable, Delete)


@many
@given(snapshots())
def test_every_snapshot_has_a_plan_that_breaks_no_promise(snapshot: Snapshot) -> None:
    chosen = plan(snapshot, NOW)
    assert isinstance(chosen.reason, Reason)
    assert not (chosen.needs and chosen.steps)
    assert plan(snapshot, NOW) == chosen  # nothing is drawn


@many
@given(snapshots())
def test_only_what_was_not_observed_is_asked_for(snapshot: Snapshot) -> None:
    for need in plan(snapshot, NOW).needs:
        match need:
            case NeedValue():
                assert snapshot.secret.live
                assert snapshot.secret.value is None
            case NeedVersions(versions):
                assert versions
                assert not set(versions) & set(snapshot.versions)
            case NeedLook(key):
                assert key not in snapshot.looks
            case NeedListing():
                assert not snapshot.lists_all()
            case NeedProbe():
                assert snapshot.served_works is None


@many
@given(snapshots())
def test_where_no_value_may_be_read_none_is_asked_for(snapshot: Snapshot) -> None:
    chosen = plan(snapshot, NOW)
    if not snapshot.may_read_values:
        assert not any(isinstance(n, NeedValue | NeedVersions | NeedProbe) for n in chosen.needs)


@many
@given(snapshots())
def test_nothing_acts_under_anothers_live_claim(snapshot: Snapshot) -> None:
    claim = snapshot.claim
    if claim is not None and snapshot.vault_now < snapshot.claim_expires_at():
        assert all(isinstance(step, Enable) for step in plan(snapshot, NOW).steps)


@many
@given(snapshots())
def test_nothing_acts_before_its_claim_was_written(snapshot: Snapshot) -> None:
    claimed = False
    for step in plan(snapshot, NOW).steps:
        claimed = claimed or isinstance(step, MakeClaim | TakeOverClaim)
        assert claimed or not isinstance(step, ACTING)


@many
@given(snapshots())
def test_a_ledger_that_cannot_be_used_stays_as_it_is(snapshot: Snapshot) -> None:
    if snapshot.ledger.trouble is not None:
        chosen = plan(snapshot, NOW)
        assert (chosen.steps, chosen.needs) == ((), ())
        assert chosen.findings[0].attention


@many
@given(snapshots())
def test_a_plan_without_steps_that_waits_says_until_when_in_the_future(snapshot: Snapshot) -> None:
    chosen = plan(snapshot, NOW)
    if not chosen.steps and not chosen.needs and chosen.wake_at is not None:
        assert chosen.wake_at > NOW


@many
@given(snapshots())
def test_records_can_be_applied_and_end_or_keep_the_claim(snapshot: Snapshot) -> None:
    chosen = plan(snapshot, NOW)
    if any(isinstance(step, CreateLedger) for step in chosen.steps):
        assert snapshot.ledger.ledger is None
        return
    book = snapshot.ledger.ledger
    for step in chosen.steps:
        if isinstance(step, Record):
            assert book is not None
            book = step.edit.apply(book)
            hashes = [each.hash for each in book.retiring]
            assert len(hashes) == len(set(hashes))
            assert step.edit.apply(book) == book  # applied twice is applied once
