"""Every edit: what it changes, and that it can be applied again to a newer ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from rotator.core import edits, hand_edits
from rotator.core.edits import Edit
from rotator.core.ledger import ANSWERS_KEPT, ClaimKind, Ledger, PutBack
from rotator.core.reasons import Reason
from rotator.core.request import Answer, Arguments, Request, Result, Verb
from tests.core.builders import (
    DAY,
    FAILURE,
    FOREIGN,
    HELD,
    HOUR,
    NONCE,
    NOW,
    OTHER_NONCE,
    OTHER_PATH,
    PATH,
    WRITTEN,
    A,
    B,
    C,
    claim,
    ledger,
    quarantined,
    retiring,
    served,
)
from tests.core.strategies import ledgers

REQUEST = Request("4711", Verb.ROTATE, Arguments(), "me@here", NOW, NOW + HOUR, A)
ANSWER = Answer("4711", Result.DONE, None, "", (B,), "replica-2", NOW)

ALL: tuple[Edit, ...] = (
    edits.TakeClaim(claim()),
    edits.TakeClaim(claim(ClaimKind.DISABLE)),
    edits.TakeClaim(claim(ClaimKind.DELETE)),
    edits.RenewClaim(5, NOW, B, C),
    edits.TakeOver("replica-9", NOW),
    edits.DropClaim(FAILURE),
    edits.NoteFailure(FAILURE),
    edits.FailureOver(),
    edits.Promote(served(B)),
    edits.Promote(served(B), compromised=True),
    edits.Abandon(NONCE, retiring(B), FAILURE),
    edits.RetireKeys((retiring(B), retiring(C)), NOW, FAILURE),
    edits.KeyDisabled(B, NOW),
    edits.KeyRemoved(B),
    edits.LookRecorded(B, NOW, NOW - DAY, 1.0, NOW - HOUR),
    edits.EnabledByHand(B),
    edits.ServedThere(B),
    edits.GraceAfresh(B, NOW),
    hand_edits.ValueSeen(
        served(B), None, Reason.PUT_ASIDE, NOW, frozenset({C}), PutBack(B, NOW), HELD, NONCE
    ),
    hand_edits.ValueSeen(None, FOREIGN, Reason.FOREIGN_REPLACED, NOW),
    hand_edits.Moved(OTHER_PATH, NOW),
    hand_edits.SetHold(HELD),
    hand_edits.Release(),
    hand_edits.RetireByHand(frozenset({A, B, C})),
    hand_edits.Adopt(A, NOW),
    hand_edits.Ask(REQUEST),
    hand_edits.Withdraw("4711"),
    hand_edits.Answered(ANSWER),
)


def classes(module: Any) -> set[type]:
    """The edits that a module defines."""
    return {
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and value is not Edit
    }


def test_every_edit_is_in_this_test_and_has_a_name_of_its_own() -> None:
    everything = classes(edits) | classes(hand_edits)
    assert {type(each) for each in ALL} == everything
    assert len({each.change for each in everything}) == len(everything)  # type: ignore[attr-defined]


@pytest.mark.parametrize("edit", ALL, ids=lambda edit: edit.change)
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(book=ledgers())
def test_every_edit_applies_to_every_ledger_and_twice_is_once(edit: Edit, book: Ledger) -> None:
    once = edit.apply(book)
    assert edit.apply(once) == once
    hashes = [each.hash for each in once.retiring]
    assert len(hashes) == len(set(hashes))


@pytest.mark.parametrize("edit", ALL, ids=lambda edit: edit.change)
def test_a_hold_written_meanwhile_survives_every_edit_but_a_release(edit: Edit) -> None:
    held = edit.apply(ledger(hold=HELD, pending=claim(), retiring=(retiring(B),))).hold
    assert held == (None if isinstance(edit, hand_edits.Release) else HELD)


@pytest.mark.parametrize("edit", ALL, ids=lambda edit: edit.change)
def test_no_edit_forgets_a_key_but_one_that_is_gone(edit: Edit) -> None:
    book = ledger(pending=claim(), retiring=(retiring(B), retiring(C)))
    known = edit.apply(book)
    lost = {each for each in (A, B, C) if not known.knows(each)}
    assert lost == ({B} if isinstance(edit, edits.KeyRemoved) else set())


ENDING = (
    edits.DropClaim,
    edits.Promote,
    edits.Abandon,
    edits.RetireKeys,
    edits.KeyDisabled,
    edits.KeyRemoved,
    edits.GraceAfresh,
    edits.ServedThere,
)


@pytest.mark.parametrize("edit", ALL, ids=lambda edit: edit.change)
def test_the_write_of_an_outcome_ends_the_claim_and_nothing_else_does(edit: Edit) -> None:
    pending = edit.apply(ledger(pending=claim(), retiring=(retiring(B),))).pending
    assert (pending is None) == isinstance(edit, ENDING)


# One by one.


@pytest.mark.parametrize("edit", ALL, ids=lambda edit: edit.change)
def test_an_edit_that_brings_a_failure_leaves_it_and_another_none_of_its_own(edit: Edit) -> None:
    brought = getattr(edit, "failure", None)
    left = edit.apply(ledger(pending=claim(), retiring=(retiring(B),))).failure
    assert left == brought
    if hasattr(edit, "failure"):
        mine = replace(FAILURE, count=9)
        bringing = replace(edit, failure=mine)  # type: ignore[type-var]
        assert bringing.apply(ledger(pending=claim(), failure=FAILURE)).failure == mine


def test_a_renewal_writes_down_the_odd_digest_that_it_names() -> None:
    book = edits.RenewClaim(5, NOW, B, C).apply(ledger(pending=claim()))
    assert book.pending == replace(
        claim(), base_version=5, base_created_time=NOW, key=B, value_sha256=C
    )


def test_a_grace_begun_afresh_forgets_since_when_the_spending_stood_still() -> None:
    quiet = retiring(B, quiet_since=NOW - DAY)
    book = ledger(served=None, retiring=(quiet,))
    afresh = retiring(B, since=NOW)
    assert edits.Promote(served(C, published_at=NOW)).apply(book).retiring == (afresh,)
    seen = hand_edits.ValueSeen(served(), None, Reason.VALUE_MOVED, NOW, frozenset({B}))
    assert seen.apply(ledger(retiring=(quiet,))).retiring == (afresh,)


def test_a_promotion_over_a_foreign_value_ends_its_being_foreign() -> None:
    book = edits.Promote(served(B)).apply(ledger(served=None, foreign=FOREIGN))
    assert (book.foreign, book.served) == (None, served(B))


def test_a_key_that_is_served_at_its_old_path_is_left_behind() -> None:
    book = ledger(retiring=(retiring(B, secret=OTHER_PATH), retiring(C)))
    left = retiring(B, secret=OTHER_PATH, why=Reason.LEFT_BEHIND)
    assert set(edits.ServedThere(B).apply(book).retiring) == {left, retiring(C)}


def test_a_hold_is_set_over_an_earlier_one() -> None:
    mine = replace(HELD, why="mine")
    assert hand_edits.SetHold(mine).apply(ledger()).hold == mine
    assert hand_edits.SetHold(mine).apply(ledger(hold=HELD)).hold == mine


def test_a_key_retired_by_hand_goes_although_a_person_enabled_it_again() -> None:
    back = quarantined(B, enabled_by_hand=True)
    book = hand_edits.RetireByHand(frozenset({B})).apply(ledger(retiring=(back, retiring(C))))
    gone = replace(back, why=Reason.RETIRED, enabled_by_hand=False, disabled_at=None)
    assert set(book.retiring) == {gone, retiring(C)}


def test_a_claimed_disable_or_delete_stays_with_its_key() -> None:
    book = ledger(retiring=(retiring(B), retiring(C)))
    book = edits.TakeClaim(claim(ClaimKind.DISABLE)).apply(book)
    book = edits.DropClaim().apply(book)
    book = edits.TakeClaim(claim(ClaimKind.DELETE, key=C)).apply(book)
    flags = {each.hash: (each.disable_claimed, each.delete_claimed) for each in book.retiring}
    assert flags == {B: (True, False), C: (False, True)}


def test_a_claimed_rotation_or_rollback_marks_no_key() -> None:
    book = ledger(retiring=(retiring(B),))
    for kind in (ClaimKind.ROTATE, ClaimKind.ROLLBACK, ClaimKind.FENCE):
        assert edits.TakeClaim(claim(kind, key=B)).apply(book).retiring == book.retiring


def test_a_take_over_keeps_kind_nonce_and_op_and_changes_holder_and_clock() -> None:
    book = edits.TakeOver("replica-9", NOW).apply(ledger(pending=claim()))
    assert book.pending == replace(claim(), holder="replica-9", started_at=NOW)


def test_a_renewal_keeps_what_it_does_not_name() -> None:
    odd = claim(key=B, value_sha256=C)
    book = edits.RenewClaim(5, NOW).apply(ledger(pending=odd))
    assert book.pending == replace(odd, base_version=5, base_created_time=NOW)
    assert edits.RenewClaim(5, NOW).apply(ledger()) == ledger()
    assert edits.TakeOver("replica-9", NOW).apply(ledger()) == ledger()


def test_a_promotion_retires_the_old_key_from_the_publish_and_forgets_the_failure() -> None:
    new = served(B, published_at=NOW - HOUR)
    book = ledger(failure=FAILURE, pending=claim(), served=served(disable_claimed=True))
    book = edits.Promote(new).apply(book)
    (old,) = book.retiring
    assert (book.served, book.failure, book.foreign) == (new, None, None)
    assert (old.since, old.why, old.disable_claimed) == (NOW - HOUR, Reason.SUPERSEDED, True)


def test_a_promotion_into_an_empty_field_gives_every_predecessor_its_grace_afresh() -> None:
    """A person may have put one back, and removed it again, while nothing was remembered."""
    lost = retiring(A, why=Reason.NEVER_SERVED)
    book = ledger(served=None, retiring=(retiring(C), lost))
    book = edits.Promote(served(B, published_at=NOW)).apply(book)
    assert book.retiring == (retiring(C, since=NOW), lost)


def test_a_promotion_of_the_served_key_itself_retires_nothing() -> None:
    book = edits.Promote(served(due_from=NOW)).apply(ledger())
    assert (book.retiring, book.served) == ((), served(due_from=NOW))


def test_a_compromised_promotion_dooms_every_predecessor() -> None:
    book = ledger(retiring=(retiring(C, why=Reason.MAYBE_SERVED), quarantined(OTHER_NONCE)))
    book = edits.Promote(served(B), compromised=True).apply(book)
    assert {each.why for each in book.retiring} == {Reason.COMPROMISED}


@pytest.mark.parametrize("noticed", [True, False])
def test_a_compromised_promotion_does_not_believe_that_a_key_is_disabled_still(
    noticed: bool,
) -> None:
    book = ledger(retiring=(replace(quarantined(C), enabled_by_hand=noticed),))
    entry = edits.Promote(served(B), compromised=True).apply(book).entry(C)
    assert entry is not None
    assert (entry.disabled_at, entry.enabled_by_hand) == (None, False)


def test_a_compromised_promotion_leaves_a_key_of_another_path_alone() -> None:
    left = retiring(C, why=Reason.LEFT_BEHIND, secret=OTHER_PATH)
    book = edits.Promote(served(B), compromised=True).apply(ledger(retiring=(left,)))
    assert book.entry(C) == left


def test_retired_keys_that_are_known_already_are_left_as_they_are() -> None:
    known = retiring(B, why=Reason.SUPERSEDED)
    book = edits.RetireKeys((retiring(B, why=Reason.ORPHANED), retiring(A))).apply(
        ledger(retiring=(known,))
    )
    assert book.retiring == (known,)  # and A is served


def test_a_restart_needs_a_served_key() -> None:
    assert edits.RetireKeys((), NOW).apply(ledger(served=None)).served is None
    restarted = edits.RetireKeys((), NOW).apply(ledger()).served
    assert restarted is not None
    assert restarted.due_from == NOW


def test_a_failure_outlives_an_ending_that_brings_none() -> None:
    for edit in (edits.DropClaim(), edits.Abandon(NONCE), edits.RetireKeys(())):
        assert edit.apply(ledger(failure=FAILURE)).failure == FAILURE


def test_a_success_forgets_the_failure() -> None:
    for edit in (edits.KeyDisabled(B, NOW), edits.KeyRemoved(B), edits.FailureOver()):
        assert edit.apply(ledger(failure=FAILURE)).failure is None


@pytest.mark.parametrize("edit", [edits.KeyDisabled(B, NOW), edits.KeyRemoved(B)])
def test_to_clean_up_after_a_failed_rotation_does_not_end_its_wait(edit: Edit) -> None:
    lost = ledger(retiring=(retiring(B, why=Reason.NEVER_SERVED),), failure=FAILURE)
    assert edit.apply(lost).failure == FAILURE
    old = ledger(retiring=(retiring(B, why=Reason.SUPERSEDED),), failure=FAILURE)
    assert edit.apply(old).failure is None


def test_the_last_five_predecessors_that_went_are_remembered_each_once() -> None:
    book = ledger()
    for name in ("1", "2", "3", "4", "5", "6", "3"):
        key = name * 64
        book = edits.KeyRemoved(key).apply(book.with_entry(retiring(key)))
    assert [each.hash[0] for each in book.deleted] == ["2", "4", "5", "6", "3"]


def test_what_was_never_served_is_not_remembered_once_it_is_gone() -> None:
    book = ledger(retiring=(retiring(B, why=Reason.NEVER_SERVED),))
    assert edits.KeyRemoved(B).apply(book).deleted == ()


@pytest.mark.parametrize(
    "edit",
    [
        edits.KeyDisabled(C, NOW),
        edits.LookRecorded(C, NOW, None, None, None),
        edits.EnabledByHand(C),
        edits.GraceAfresh(C, NOW),
        hand_edits.RetireByHand(frozenset({C})),
    ],
    ids=lambda edit: edit.change,
)
def test_an_edit_of_a_key_that_is_gone_changes_no_other(edit: Edit) -> None:
    book = ledger(retiring=(retiring(B),))
    assert edit.apply(book).retiring == book.retiring


def test_a_look_is_remembered_with_its_evidence() -> None:
    look = edits.LookRecorded(B, NOW, NOW - DAY, 2.5, NOW - HOUR)
    (entry,) = look.apply(ledger(retiring=(retiring(B),))).retiring
    assert (entry.looked_at, entry.last_used_at) == (NOW, NOW - DAY)
    assert (entry.usage, entry.quiet_since) == (2.5, NOW - HOUR)


def test_a_disable_starts_the_quarantine_and_forgets_an_enabling_by_hand() -> None:
    book = ledger(retiring=(quarantined(B, enabled_by_hand=True),))
    (entry,) = edits.KeyDisabled(B, NOW).apply(book).retiring
    assert (entry.disabled_at, entry.enabled_by_hand) == (NOW, False)


def test_a_grace_afresh_takes_back_an_earlier_haste() -> None:
    for why in (Reason.RETIRED, Reason.COMPROMISED, Reason.NEVER_SERVED):
        book = ledger(retiring=(quarantined(B, why=why),))
        (entry,) = edits.GraceAfresh(B, NOW).apply(book).retiring
        assert (entry.why, entry.since, entry.disabled_at) == (Reason.MAYBE_SERVED, NOW, None)
    (entry,) = edits.GraceAfresh(B, NOW).apply(ledger(retiring=(retiring(B),))).retiring
    assert entry.why is Reason.SUPERSEDED


def test_a_move_leaves_the_served_key_behind_and_forgets_what_the_old_field_held() -> None:
    book = hand_edits.Moved(OTHER_PATH, NOW).apply(ledger(put_back=PutBack(B, NOW)))
    (left,) = book.retiring
    assert (left.secret, left.why, left.since) == (PATH, Reason.LEFT_BEHIND, NOW)
    assert (book.secret, book.served, book.put_back) == (OTHER_PATH, None, None)
    foreign = ledger(served=None, foreign=FOREIGN)
    assert hand_edits.Moved(OTHER_PATH, NOW).apply(foreign).foreign is None


def test_a_release_forgets_hold_put_back_and_failure() -> None:
    book = ledger(hold=HELD, put_back=PutBack(B, NOW), failure=FAILURE)
    assert hand_edits.Release().apply(book) == ledger()


def test_a_served_key_keeps_its_claims_terms_and_expiry_into_retirement() -> None:
    key = served(delete_claimed=True, expires_at=NOW + DAY, workspace="work-1", minted_by_us=False)
    entry = edits.retire(key, PATH, since=NOW, why=Reason.SUPERSEDED)
    assert (entry.delete_claimed, entry.disable_claimed) == (True, False)
    assert (entry.expires_at, entry.workspace, entry.terms) == (NOW + DAY, "work-1", key.terms)
    assert (entry.minted_by_us, entry.minted_at, entry.looked_at) == (False, WRITTEN, None)


def test_a_served_key_that_was_called_compromised_retires_as_that_again() -> None:
    entry = edits.retire(served(compromised=True), PATH, since=NOW, why=Reason.SUPERSEDED)
    assert entry.why is Reason.COMPROMISED


def test_a_value_seen_twice_gives_no_second_grace() -> None:
    edit = hand_edits.ValueSeen(served(), None, Reason.VALUE_MOVED, NOW, frozenset({B}))
    book = edit.apply(ledger(retiring=(retiring(B, since=NOW - timedelta(days=9)),)))
    assert [each.since for each in book.retiring] == [NOW]


def test_an_answer_takes_the_place_of_its_request_and_makes_its_edit_with_the_same_write() -> None:
    book = ledger(request=REQUEST)
    answered = hand_edits.Answered(ANSWER, hand_edits.SetHold(HELD)).apply(book)
    assert (answered.request, answered.answers, answered.hold) == (None, (ANSWER,), HELD)


def test_the_answer_to_a_request_that_was_withdrawn_or_replaced_changes_nothing() -> None:
    other = replace(REQUEST, id="0815")
    for book in (ledger(), ledger(request=other)):
        assert hand_edits.Answered(ANSWER, hand_edits.SetHold(HELD)).apply(book) == book


def test_the_last_answers_are_kept_and_the_oldest_goes() -> None:
    book = ledger()
    for number in range(ANSWERS_KEPT + 1):
        book = hand_edits.Ask(replace(REQUEST, id=str(number))).apply(book)
        book = hand_edits.Answered(replace(ANSWER, id=str(number))).apply(book)
    assert [each.id for each in book.answers] == [str(each) for each in range(1, ANSWERS_KEPT + 1)]
    assert book.answer_to("0") is None
    assert book.answer_to("1") == replace(ANSWER, id="1")


def test_a_request_leaves_the_answer_to_the_last_one_to_be_read() -> None:
    asked = replace(REQUEST, id="0815")
    book = hand_edits.Ask(asked).apply(ledger(answers=(ANSWER,)))
    assert (book.request, book.answers) == (asked, (ANSWER,))


def test_a_command_withdraws_its_own_request_only() -> None:
    book = ledger(request=REQUEST)
    assert hand_edits.Withdraw("0815").apply(book) == book
    assert hand_edits.Withdraw("4711").apply(book) == ledger()


def test_an_adopted_key_ages_from_then_on_unless_another_one_is_served_by_now() -> None:
    book = hand_edits.Adopt(A, NOW).apply(ledger(served=served(A)))
    assert book.served is not None
    assert book.served.due_from == NOW
    other = ledger(served=served(B))
    assert hand_edits.Adopt(A, NOW).apply(other) == other
