"""Which key is served is read, not remembered: by another hand, lost ledgers, dead keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.hand_edits import ValueSeen
from rotator.core.ledger import ClaimKind, ForeignValue, Hold, PutBack
from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.request import Before
from rotator.core.retirement import Stage, standing
from rotator.core.rotation import Due, due
from rotator.core.snapshot import Demand, LedgerSeen, SecretSeen, Snapshot
from rotator.core.steps import (
    CreateLedger,
    Enable,
    Finding,
    Mint,
    NeedLook,
    NeedProbe,
    NeedValue,
    NeedVersions,
    Plan,
)
from rotator.core.target import OnDisabled
from tests.core.builders import (
    ABSENT,
    DAY,
    DELETED,
    FOREIGN,
    HELD,
    HOUR,
    MINUTE,
    NO_SECRET,
    NONCE,
    NOW,
    ODD,
    OTHER_PATH,
    PATH,
    WRITTEN,
    A,
    B,
    C,
    after,
    claim,
    h,
    issued,
    kinds,
    ledger,
    listing,
    looks,
    marked,
    policy,
    quarantined,
    retiring,
    seen,
    served,
    snapshot,
    target,
    the_edit,
    without_ledger,
)

NOBODYS = h("nobody's")
"""A value that no key of the account explains."""


def created(chosen: Plan) -> CreateLedger:
    """The only step of a plan, which creates a ledger."""
    (step,) = chosen.steps
    assert isinstance(step, CreateLedger)
    return step


# A ledger that is lost, older, newer or unreadable.


def test_a_lost_ledger_is_rebuilt_and_every_grace_starts_afresh() -> None:
    book = created(plan(without_ledger(secret=seen(3, A), looks=looks(issued(A))), NOW)).ledger
    assert book.served is not None
    assert (book.served.hash, book.served.minted_by_us, book.served.due_from) == (A, True, WRITTEN)
    assert (book.retiring, book.first_seen) == ((), NOW)
    orphaned = snapshot(book, secret=seen(3, A), listing=listing(issued(A), issued(B)))
    (entry,) = after(orphaned, plan(orphaned, NOW)).retiring
    assert standing(entry, book.policy, NOW + DAY - MINUTE).stage is Stage.GRACE


def test_a_lost_ledger_needs_the_value_and_then_its_key() -> None:
    assert plan(without_ledger(), NOW).needs == (NeedValue(),)
    assert plan(without_ledger(secret=seen(3, A)), NOW).needs == (NeedLook(A),)


def test_a_deleted_ledger_is_rebuilt_like_a_lost_one() -> None:
    observed = snapshot(ledger=LedgerSeen(9, NOW, None), secret=NO_SECRET)
    assert created(plan(observed, NOW)).ledger.served is None


@pytest.mark.parametrize("value", [ABSENT, None], ids=["no field", "no secret"])
def test_a_first_key_begins_with_an_empty_ledger(value: object) -> None:
    secret = NO_SECRET if value is None else seen(3, value=value)
    observed = without_ledger(secret=secret)
    book = created(plan(observed, NOW)).ledger
    assert (book.served, book.foreign) == (None, None)
    chosen = plan(snapshot(book, secret=secret), NOW)
    assert chosen.reason is Reason.FIRST_KEY
    assert kinds(chosen) == ["MakeClaim", "Mint", "Verify", "Publish", "PromoteMinted"]


def test_a_key_of_ours_by_its_hash_is_served_whatever_target_its_name_says() -> None:
    renamed = issued(A, name=marked(target="old-name"))
    book = created(plan(without_ledger(secret=seen(3, A), looks=looks(renamed)), NOW)).ledger
    assert book.served is not None
    assert book.served.minted_by_us


@pytest.mark.parametrize("name", ["by hand", marked(installation="f" * 16)])
def test_a_hand_made_or_copied_key_is_taken_under_management_but_is_not_ours(name: str) -> None:
    by_hand = issued(A, name=name)
    book = created(plan(without_ledger(secret=seen(3, A), looks=looks(by_hand)), NOW)).ledger
    assert book.served is not None
    assert not book.served.minted_by_us


@pytest.mark.parametrize("trouble", [Reason.LEDGER_NEWER, Reason.LEDGER_UNREADABLE])
def test_a_ledger_that_cannot_be_used_makes_its_target_stand_still(trouble: Reason) -> None:
    bad = LedgerSeen(7, NOW, None, trouble, "line 1")
    everything = snapshot(
        ledger=bad, secret=seen(4, NOBODYS), listing=listing(issued(B)), demand=Demand()
    )
    chosen = plan(everything, NOW)
    assert (chosen.steps, chosen.needs) == ((), ())
    assert chosen.findings == (Finding(trouble, "line 1", attention=True),)


def test_an_older_ledger_put_back_by_hand_is_brought_up_to_the_secret() -> None:
    """The ledger says B, restored from an old backup; the secret serves A, which it never knew."""
    old = ledger(served=served(B, secret_version=2, secret_created_time=WRITTEN - DAY))
    observed = snapshot(old, secret=seen(3, A), looks=looks(issued(A)))
    book = after(observed, plan(observed, NOW))
    assert book.served is not None
    assert book.served.hash == A
    assert [(each.hash, each.since) for each in book.retiring] == [(B, NOW)]


def test_a_ledger_that_names_another_key_at_the_very_version_yields_to_what_is_read() -> None:
    observed = snapshot(ledger(retiring=(retiring(),)), secret=seen(3, B), looks=looks(issued(B)))
    chosen = plan(observed, NOW)
    assert after(observed, chosen).served == replace(
        served(B, minted_at=NOW - 50 * DAY, claimed_at=None, due_from=NOW, terms=None)
    )


# The version moved by another hand.


def test_where_the_version_has_not_moved_the_value_is_not_read() -> None:
    assert plan(snapshot(), NOW).needs == ()


@pytest.mark.parametrize(
    "secret", [seen(4), seen(3, created_time=NOW)], ids=["newer", "recreated to the same version"]
)
def test_where_the_version_moved_the_value_is_read(secret: SecretSeen) -> None:
    assert plan(snapshot(secret=secret), NOW).needs == (NeedValue(),)


def test_status_and_plan_say_changed_not_read() -> None:
    chosen = plan(snapshot(secret=seen(4), may_read_values=False), NOW)
    assert (chosen.reason, chosen.needs) == (Reason.CHANGED_NOT_READ, ())
    assert chosen.findings == (Finding(Reason.CHANGED_NOT_READ, "Version 4."),)


def test_status_and_plan_do_not_read_a_target_seen_for_the_first_time() -> None:
    chosen = plan(without_ledger(may_read_values=False), NOW)
    assert (chosen.reason, chosen.steps, chosen.needs) == (Reason.FIRST_SEEN, (), ())


def test_if_only_other_fields_changed_the_served_key_stays_and_its_age_too() -> None:
    observed = snapshot(secret=seen(4, A))
    book = after(observed, plan(observed, NOW))
    assert book.served is not None
    assert (book.served.secret_version, book.served.due_from) == (4, WRITTEN)
    assert book.retiring == ()


def busy(**changes: object) -> Snapshot:
    """B and C are retiring, almost done with their grace; the secret went from 3 to 6."""
    since = NOW - 3 * DAY
    book = ledger(retiring=(retiring(B, since=since), retiring(C, since=since)))
    return replace(snapshot(book, secret=seen(6, A)), **changes)  # type: ignore[arg-type]


def test_the_versions_in_between_are_read() -> None:
    assert plan(busy(), NOW).needs == (NeedVersions((4, 5)),)
    assert plan(busy(versions={4: A}), NOW).needs == (NeedVersions((5,)),)


def test_without_retiring_keys_no_version_in_between_is_read() -> None:
    assert plan(snapshot(secret=seen(6, A)), NOW).needs == ()


def fresh(observed: Snapshot) -> set[str]:
    """Which retiring keys got their grace afresh."""
    return {
        each.hash for each in after(observed, plan(observed, NOW)).retiring if each.since == NOW
    }


def test_a_retiring_key_among_the_versions_in_between_gets_its_grace_afresh() -> None:
    assert fresh(busy(versions={4: B, 5: A})) == {B}
    assert fresh(busy(versions={4: NOBODYS, 5: A})) == set()


def test_every_retiring_key_gets_its_grace_afresh_if_they_cannot_be_read() -> None:
    assert fresh(busy(versions={4: None, 5: A})) == {B, C}
    assert fresh(busy(secret=seen(60, A))) == {B, C}
    assert fresh(busy(secret=seen(3, A, created_time=NOW))) == {B, C}


def test_a_key_in_quarantine_that_was_served_in_between_has_its_quarantine_afresh() -> None:
    book = ledger(retiring=(quarantined(B, disabled_at=NOW - 3 * DAY),))
    observed = snapshot(book, secret=seen(5, A), versions={4: B})
    (entry,) = after(observed, plan(observed, NOW)).retiring
    assert standing(entry, book.policy, NOW + DAY).stage is Stage.QUARANTINE


def test_a_never_served_key_that_was_served_in_between_gets_a_full_grace_after_all() -> None:
    book = ledger(retiring=(retiring(B, why=Reason.NEVER_SERVED),))
    observed = snapshot(book, secret=seen(5, A), versions={4: B})
    (entry,) = after(observed, plan(observed, NOW)).retiring
    assert standing(entry, book.policy, NOW).stage is Stage.GRACE


def test_what_was_retired_by_hand_or_compromised_gets_no_grace_by_being_served_in_between() -> None:
    hurried = (retiring(B, why=Reason.RETIRED), retiring(C, why=Reason.COMPROMISED))
    observed = snapshot(ledger(retiring=hurried), secret=seen(6, A), versions={4: B, 5: C})
    book = after(observed, plan(observed, NOW))
    assert [each.why for each in book.retiring] == [Reason.RETIRED, Reason.COMPROMISED]


def test_a_key_served_between_two_foreign_values_gets_its_grace_afresh() -> None:
    book = ledger(served=None, foreign=FOREIGN, retiring=(retiring(B), retiring(C)))
    observed = snapshot(book, secret=seen(5, NOBODYS), looks=looks(gone=(NOBODYS,)))
    assert plan(observed, NOW).needs == (NeedVersions((4,)),)
    assert fresh(replace(observed, versions={4: B})) == {B}


def test_a_value_after_a_time_without_one_gives_every_retiring_key_its_grace_afresh() -> None:
    """Since when it was there is not known, so the versions in between are not either."""
    book = ledger(served=None, retiring=(retiring(B), retiring(C)))
    observed = snapshot(book, secret=seen(9, NOBODYS), looks=looks(gone=(NOBODYS,)))
    assert fresh(observed) == {B, C}


def test_a_grace_begins_by_the_later_clock_so_that_a_corrected_one_does_not_cut_it_short() -> None:
    behind = NOW - 2 * DAY
    observed = busy(versions={4: B, 5: A})
    book = after(observed, plan(observed, behind))
    assert {each.hash: each.since for each in book.retiring}[B] == NOW


@pytest.mark.parametrize(
    "secret",
    [NO_SECRET, DELETED, seen(4, value=ABSENT)],
    ids=["destroyed", "deleted", "field removed"],
)
def test_if_the_value_vanished_the_key_retires_and_a_first_key_follows(secret: SecretSeen) -> None:
    observed = snapshot(secret=secret)
    chosen = plan(observed, NOW)
    book = after(observed, chosen)
    assert (chosen.reason, book.served) == (Reason.WITHDRAWN, None)
    assert [(each.hash, each.why, each.since) for each in book.retiring] == [
        (A, Reason.WITHDRAWN, NOW)
    ]
    again = replace(observed, ledger=LedgerSeen(8, NOW, book))
    assert plan(again, NOW).needs == (NeedLook(A),)
    nexts = plan(replace(again, looks=looks(issued(A, limit=7.0, limit_remaining=2.0))), NOW)
    assert nexts.reason is Reason.FIRST_KEY
    minting = [step for step in nexts.steps if isinstance(step, Mint)]
    assert [step.new.limit for step in minting] == [2.0], "a withdrawn key's cap is not lifted"


def test_if_a_foreign_value_vanished_the_target_gets_a_first_key() -> None:
    book = ledger(served=None, foreign=FOREIGN)
    observed = snapshot(book, secret=DELETED)
    cleared = after(observed, plan(observed, NOW))
    assert cleared.foreign is None


# Put back by hand, contested.


def put_back(**changes: object) -> Snapshot:
    """A person pastes B, a retiring key, over A."""
    book = ledger(retiring=(retiring(B), quarantined(C)))
    return replace(snapshot(book, secret=seen(4, B)), **changes)  # type: ignore[arg-type]


def test_a_value_pasted_back_by_hand_is_the_served_one_and_the_newer_key_gets_a_full_grace() -> (
    None
):
    observed = put_back()
    chosen = plan(observed, NOW)
    book = after(observed, chosen)
    assert chosen.reason is Reason.PUT_BACK
    assert book.served is not None
    assert (book.served.hash, book.served.due_from) == (B, NOW)
    by_hash = {each.hash: each for each in book.retiring}
    assert set(by_hash) == {A, C}
    assert (by_hash[A].why, by_hash[A].since) == (Reason.PUT_ASIDE, NOW)
    assert (book.put_back, book.hold) == (PutBack(B, NOW), None)
    nexts = plan(snapshot(book, secret=seen(4, B)), NOW)
    assert nexts.reason is Reason.NOT_DUE  # the schedule started afresh


@pytest.mark.parametrize("before", [A, B, C], ids=["another", "the same", "a third"])
def test_a_known_key_put_back_a_second_time_within_one_period_is_served_but_contested(
    before: str,
) -> None:
    book = ledger(retiring=(retiring(B),), put_back=PutBack(before, NOW - 29 * DAY))
    observed = snapshot(book, secret=seen(4, B))
    held = after(observed, plan(observed, NOW))
    assert held.served is not None
    assert held.served.hash == B
    why = "known keys were put back twice within one period"
    assert held.hold == Hold(Reason.CONTESTED, why, "rotator", NOW)
    later = NOW + 300 * DAY
    nexts = plan(snapshot(held, secret=seen(4, B), vault_now=later), later)
    assert (nexts.reason, nexts.steps) == (Reason.CONTESTED, ())
    assert any(each.attention for each in nexts.findings)


def test_a_known_key_put_back_a_second_time_a_period_later_is_not_contested() -> None:
    book = ledger(retiring=(retiring(B),), put_back=PutBack(A, NOW - 30 * DAY))
    observed = snapshot(book, secret=seen(4, B))
    assert after(observed, plan(observed, NOW)).hold is None


def test_a_contested_target_that_an_operator_holds_stays_his() -> None:
    book = ledger(retiring=(retiring(B),), put_back=PutBack(A, NOW - DAY), hold=HELD)
    observed = snapshot(book, secret=seen(4, B))
    assert after(observed, plan(observed, NOW)).hold == HELD


def test_a_disabled_key_put_back_by_hand_is_enabled_at_once() -> None:
    book = ledger(retiring=(quarantined(),))
    observed = snapshot(book, secret=seen(4, B))
    back = after(observed, plan(observed, NOW))
    assert back.served is not None
    assert back.served.disable_claimed  # that stays with the key
    again = snapshot(back, secret=seen(4, B))
    assert plan(again, NOW).needs == (NeedLook(B),)
    chosen = plan(replace(again, looks=looks(issued(B, disabled=True))), NOW)
    assert (chosen.steps, chosen.reason, chosen.urgent) == (
        (Enable(B),),
        Reason.DISABLED_BY_US,
        True,
    )


@pytest.mark.parametrize("off", [True, False], ids=["disabled", "not yet"])
def test_a_compromised_key_put_back_by_hand_is_replaced_at_once_and_not_enabled(off: bool) -> None:
    entry = retiring(B, why=Reason.COMPROMISED, disable_claimed=True)
    observed = snapshot(ledger(retiring=(entry,)), secret=seen(4, B))
    told = Finding(Reason.PUT_BACK_COMPROMISED, "", B, attention=True)
    assert plan(observed, NOW).findings == (told,)
    book = after(observed, plan(observed, NOW))
    again = snapshot(book, secret=seen(4, B), looks=looks(issued(B, disabled=off)))
    chosen = plan(again, NOW)
    assert (chosen.reason, chosen.urgent) == (Reason.PUT_BACK_COMPROMISED, True)
    assert kinds(chosen)[:2] == ["MakeClaim", "Mint"]
    assert due(again, NOW) == Due(NOW, Reason.PUT_BACK_COMPROMISED)


def test_a_compromised_key_put_back_waits_for_the_release_of_a_hold_and_is_reported() -> None:
    book = ledger(served=served(compromised=True, disable_claimed=True), hold=HELD)
    observed = snapshot(book, secret=seen(3, A), looks=looks(issued(disabled=True)))
    chosen = plan(observed, NOW)
    assert (chosen.reason, chosen.steps) == (Reason.HELD, ())
    assert Finding(Reason.PUT_BACK_COMPROMISED, "", A, attention=True) in chosen.findings


def test_a_compromised_key_that_another_account_lacks_is_not_replaced_there() -> None:
    book = ledger(served=served(compromised=True))
    observed = snapshot(book, secret=seen(3, A), looks=looks(gone=(A,)))
    assert plan(observed, NOW).needs == (NeedProbe(),)
    assert plan(replace(observed, served_works=True), NOW).reason is Reason.WRONG_ACCOUNT


def test_a_late_delete_of_a_key_that_was_pasted_back_is_met_by_a_new_mint() -> None:
    gone = served(disable_claimed=True, delete_claimed=True)
    observed = snapshot(
        ledger(served=gone), secret=seen(3, A), looks=looks(gone=(A,)), served_works=False
    )
    chosen = plan(observed, NOW)
    assert (chosen.reason, chosen.urgent) == (Reason.GONE, True)
    assert kinds(chosen)[:2] == ["MakeClaim", "Mint"]


def test_a_served_key_marked_and_found_disabled_was_disabled_by_us_and_is_enabled_never_held() -> (
    None
):
    book = ledger(served=served(disable_claimed=True), hold=HELD)
    observed = snapshot(book, listing=listing(issued(A, disabled=True)))
    assert plan(observed, NOW).steps == (Enable(A),)


def test_a_key_disabled_by_us_is_not_enabled_where_the_secret_moved_away_from_it() -> None:
    book = ledger(served=served(disable_claimed=True), retiring=(retiring(B),))
    observed = snapshot(book, secret=seen(4, B), looks=looks(issued(A, disabled=True)))
    assert kinds(plan(observed, NOW)) == ["Record"]


def test_an_unknown_key_of_the_account_pasted_over_the_served_one_is_followed() -> None:
    by_hand = issued(C, name="by hand", created_at=NOW - 400 * DAY)
    observed = snapshot(secret=seen(4, C), looks=looks(by_hand))
    chosen = plan(observed, NOW)
    book = after(observed, chosen)
    assert book.served is not None
    assert (book.served.hash, book.served.minted_by_us, book.served.due_from) == (C, False, NOW)
    assert [(each.hash, each.why) for each in book.retiring] == [(A, Reason.SUPERSEDED)]


def test_a_moved_value_that_no_entry_knows_is_looked_up() -> None:
    assert plan(snapshot(secret=seen(4, C)), NOW).needs == (NeedLook(C),)


# Foreign values.


def test_a_value_that_no_key_explains_is_foreign_and_the_former_key_retires() -> None:
    observed = snapshot(secret=seen(4, NOBODYS), looks=looks(gone=(NOBODYS,)))
    chosen = plan(observed, NOW)
    book = after(observed, chosen)
    assert chosen.reason is Reason.FOREIGN_VALUE
    assert (book.served, book.foreign is not None) == (None, True)
    assert [(each.hash, each.why) for each in book.retiring] == [(A, Reason.FOREIGN_REPLACED)]


def test_a_value_that_is_not_a_string_is_foreign() -> None:
    observed = snapshot(secret=seen(4, value=ODD))
    assert after(observed, plan(observed, NOW)).foreign is not None
    assert created(plan(without_ledger(secret=seen(4, value=ODD)), NOW)).ledger.foreign is not None


def test_a_foreign_value_on_the_first_day_is_recorded_as_such() -> None:
    observed = without_ledger(secret=seen(3, NOBODYS), looks=looks(gone=(NOBODYS,)))
    foreign = created(plan(observed, NOW)).ledger.foreign
    assert foreign == ForeignValue(3, WRITTEN, since=NOW)


@pytest.mark.parametrize("days", [0, 1000])
def test_a_foreign_value_is_never_overwritten_whatever_is_due_and_nothing_is_removed(
    days: int,
) -> None:
    old = (retiring(B), quarantined(C, disabled_at=NOW - 900 * DAY))
    book = ledger(served=None, foreign=FOREIGN, retiring=old)
    keys = (issued(B), issued(C, disabled=True))
    observed = snapshot(book, looks=looks(*keys), vault_now=NOW + days * DAY)
    chosen = plan(observed, NOW + days * DAY)
    assert (chosen.steps, chosen.needs) == ((), ())
    assert Finding(Reason.FOREIGN_VALUE, f"At {PATH}.", attention=True) in chosen.findings


@pytest.mark.parametrize("demand", [Demand(), Demand(compromised=True), Demand(named=False)])
def test_a_foreign_value_gives_way_to_no_other_demand(demand: Demand) -> None:
    book = ledger(served=None, foreign=FOREIGN)
    assert plan(snapshot(book, demand=demand), NOW).steps == ()


@pytest.mark.parametrize("compromised", [True, False])
def test_a_foreign_value_gives_way_to_overwrite_foreign(compromised: bool) -> None:
    book = ledger(served=None, foreign=FOREIGN, retiring=(retiring(A),))
    demand = Demand(compromised=compromised, overwrite_foreign=True)
    chosen = plan(snapshot(book, demand=demand), NOW)
    assert kinds(chosen) == ["MakeClaim", "Mint", "Verify", "Publish", "PromoteMinted"]
    expected = Reason.COMPROMISED if compromised else Reason.OVERWRITE_FOREIGN
    assert chosen.reason is expected


def test_a_foreign_value_that_moved_stays_foreign_since_it_was_first_seen() -> None:
    book = ledger(served=None, foreign=FOREIGN)
    observed = snapshot(book, secret=seen(4, NOBODYS), looks=looks(gone=(NOBODYS,)))
    now_foreign = after(observed, plan(observed, NOW)).foreign
    assert now_foreign is not None
    assert (now_foreign.secret_version, now_foreign.since) == (4, FOREIGN.since)


def test_a_foreign_value_is_compared_with_each_listing_until_a_key_explains_it() -> None:
    book = ledger(served=None, foreign=FOREIGN)
    observed = snapshot(book, secret=seen(3, C), listing=listing(issued(C, name="by hand")))
    explained = after(observed, plan(observed, NOW))
    assert explained.served is not None
    assert (explained.served.hash, explained.foreign) == (C, None)
    assert explained.served.due_from == WRITTEN  # its age counts from its making
    still = replace(observed, listing=listing(), looks=looks(gone=(C,)))
    assert plan(still, NOW).reason is Reason.FOREIGN_VALUE or not plan(still, NOW).steps


def test_a_foreign_value_replaced_by_a_known_key_is_a_paste_back() -> None:
    book = ledger(served=None, foreign=FOREIGN, retiring=(retiring(A),))
    observed = snapshot(book, secret=seen(4, A))
    chosen = plan(observed, NOW)
    assert chosen.reason is Reason.PUT_BACK
    assert isinstance(the_edit(chosen, ValueSeen), ValueSeen)


# Dead keys.


def dead(why: Reason, **changes: object) -> Snapshot:
    """The served key is dead for a reason, as a GET said, and it is refused itself."""
    seen_as = {
        Reason.GONE: looks(gone=(A,)),
        Reason.EXPIRED: looks(issued(A, expires_at=NOW)),
        Reason.DISABLED: looks(issued(A, disabled=True)),
    }[why]
    rotating = target(policy=policy(on_disabled=OnDisabled.ROTATE))
    base = snapshot(target=rotating, secret=seen(3, A), looks=seen_as, served_works=False)
    return replace(base, **changes)  # type: ignore[arg-type]


DEATHS = pytest.mark.parametrize("why", [Reason.GONE, Reason.EXPIRED, Reason.DISABLED])


@DEATHS
def test_a_served_key_that_died_is_due_at_once(why: Reason) -> None:
    chosen = plan(dead(why), NOW)
    assert (chosen.reason, chosen.urgent) == (why, True)
    assert kinds(chosen) == ["MakeClaim", "Mint", "Verify", "Publish", "PromoteMinted"]


@DEATHS
def test_a_death_is_believed_only_if_the_key_itself_is_refused_too(why: Reason) -> None:
    assert plan(dead(why, served_works=None), NOW).needs == (NeedProbe(),)
    assert plan(dead(why, served_works=None, secret=seen(3)), NOW).needs == (NeedValue(),)


@DEATHS
def test_if_the_key_still_works_the_management_key_belongs_to_another_account(why: Reason) -> None:
    chosen = plan(dead(why, served_works=True), NOW)
    assert (chosen.reason, chosen.steps) == (Reason.WRONG_ACCOUNT, ())
    assert chosen.findings == (Finding(Reason.WRONG_ACCOUNT, "", A, attention=True),)
    assert chosen.findings[0].attention


@DEATHS
def test_another_account_is_never_rotated_into_not_even_by_name(why: Reason) -> None:
    demand = Demand(compromised=True)
    assert plan(dead(why, served_works=True, demand=demand), NOW).steps == ()


@DEATHS
def test_many_dead_at_once_stop_everything(why: Reason) -> None:
    others = frozenset({"t1", "t2", "t3"})
    chosen = plan(dead(why, dead=others), NOW)
    assert (chosen.reason, chosen.steps) == (Reason.TOO_MANY_DEAD, ())
    crowd = Finding(Reason.TOO_MANY_DEAD, "4 dead, 3 are believed.", attention=True)
    assert crowd in chosen.findings
    assert chosen.findings[0].attention
    assert plan(dead(why, dead=frozenset({"t1", "t2"})), NOW).steps
    assert plan(dead(why, dead=frozenset({"t1", "t2", "billing"})), NOW).steps


def test_a_served_key_that_a_person_disabled_is_left_alone_by_default() -> None:
    chosen = plan(dead(Reason.DISABLED, target=target()), NOW + 300 * DAY)
    assert (chosen.reason, chosen.steps) == (Reason.DISABLED_BY_HAND, ())
    assert chosen.findings[0] == Finding(Reason.DISABLED_BY_HAND, "", A, attention=True)


@pytest.mark.parametrize(
    ("demand", "passes"),
    [
        (Demand(), True),
        (Demand(named=False), False),
        (Demand(named=False, compromised=True), True),
        (Demand(compromised=True), True),
        (Demand(before=Before(B)), False),
    ],
    ids=["named", "all", "all compromised", "compromised", "done already"],
)
def test_only_a_rotate_that_names_it_or_compromised_passes_a_key_disabled_by_hand(
    demand: Demand, passes: bool
) -> None:
    overdue = ledger(served=served(due_from=NOW - 300 * DAY))
    observed = dead(Reason.DISABLED, target=target(), demand=demand)
    observed = replace(observed, ledger=LedgerSeen(7, NOW - HOUR, overdue))
    assert bool(plan(observed, NOW).steps) == passes


@pytest.mark.parametrize("why", [Reason.EXPIRED, Reason.GONE])
def test_a_compromised_dead_key_dooms_its_predecessors_and_passes_a_hold(why: Reason) -> None:
    held = LedgerSeen(7, NOW - HOUR, ledger(hold=HELD))
    observed = dead(why, ledger=held, demand=Demand(compromised=True))
    chosen = plan(observed, NOW)
    assert chosen.reason is Reason.COMPROMISED
    assert kinds(chosen)[-1] == "PromoteMinted"


def test_a_dead_key_of_a_held_target_waits_for_a_rotate_that_names_it() -> None:
    held = LedgerSeen(7, NOW - HOUR, ledger(hold=HELD))
    assert plan(dead(Reason.GONE, ledger=held), NOW).steps == ()
    assert plan(dead(Reason.GONE, ledger=held, demand=Demand()), NOW).steps


def test_a_key_that_a_listing_leaves_out_is_asked_for() -> None:
    assert plan(snapshot(listing=listing()), NOW).needs == (NeedLook(A),)


def test_where_no_value_may_be_read_a_dead_key_is_planned_for_without_a_proof() -> None:
    observed = dead(Reason.GONE, may_read_values=False, served_works=None, secret=seen(3))
    assert plan(observed, NOW).reason is Reason.GONE


def test_an_expiry_is_judged_by_the_earlier_clock() -> None:
    key = issued(A, expires_at=NOW)
    observed = dead(Reason.EXPIRED, looks=looks(key), vault_now=NOW - timedelta(seconds=1))
    assert plan(observed, NOW).reason is not Reason.EXPIRED


@pytest.mark.parametrize(
    "trouble", [Reason.DISABLED_BY_HAND, Reason.WRONG_ACCOUNT, Reason.TOO_MANY_DEAD]
)
def test_while_the_served_key_is_in_doubt_no_old_key_is_disabled_or_deleted(
    trouble: Reason,
) -> None:
    old = (retiring(B), quarantined(C, disabled_at=NOW - 9 * DAY))
    book = LedgerSeen(7, NOW - HOUR, ledger(retiring=old))
    found = looks(issued(A, disabled=True), issued(B), issued(C, disabled=True))
    observed = dead(
        Reason.DISABLED,
        target=target(),
        ledger=book,
        looks=found,
        served_works=trouble is Reason.WRONG_ACCOUNT,
        dead=frozenset({"a", "b", "c"} if trouble is Reason.TOO_MANY_DEAD else ()),
    )
    chosen = plan(observed, NOW)
    assert (chosen.reason, chosen.steps) == (trouble, ())


def test_while_the_served_key_is_in_doubt_an_operator_may_still_retire_an_old_one() -> None:
    book = LedgerSeen(7, NOW - HOUR, ledger(retiring=(retiring(B, why=Reason.RETIRED),)))
    found = looks(issued(A, disabled=True), issued(B))
    observed = dead(Reason.DISABLED, target=target(), ledger=book, looks=found)
    assert kinds(plan(observed, NOW)) == ["MakeClaim", "Disable", "RecordDisabled"]


def test_a_path_changed_and_changed_back_takes_the_left_behind_key_again() -> None:
    left = retiring(A, why=Reason.LEFT_BEHIND)
    book = ledger(secret=OTHER_PATH, served=served(B), retiring=(left,))
    observed = snapshot(book, secret=seen(3, A))
    home = after(observed, plan(observed, NOW))
    assert (home.secret, home.served) == (PATH, None)
    again = snapshot(home, secret=seen(3, A))
    back = after(again, plan(again, NOW))
    assert back.served is not None
    assert back.served.hash == A
    assert [(each.hash, each.why, each.secret) for each in back.retiring] == [
        (B, Reason.LEFT_BEHIND, OTHER_PATH)
    ]


def test_a_claim_of_any_kind_is_settled_before_the_secret_is_followed() -> None:
    for kind in ClaimKind:
        book = ledger(pending=claim(kind), retiring=(retiring(B),))
        chosen = plan(snapshot(book, secret=seen(5, C)), NOW)
        assert chosen.reason is Reason.CLAIM_EXPIRED


def test_the_served_key_keeps_the_nonces_of_others_abandoned() -> None:
    book = ledger(abandoned=(NONCE,))
    by_hand = issued(C, name="by hand")
    observed = snapshot(book, secret=seen(4, C), looks=looks(by_hand))
    assert after(observed, plan(observed, NOW)).abandoned == (NONCE,)


def test_a_key_that_says_it_was_made_in_the_future_is_due_a_period_from_now() -> None:
    future = issued(A, created_at=NOW + 3650 * DAY)
    book = created(plan(without_ledger(secret=seen(3, A), looks=looks(future)), NOW)).ledger
    assert book.served is not None
    assert (book.served.minted_at, book.served.due_from) == (NOW, NOW)


def test_a_deleted_key_put_back_is_the_served_one_among_several_that_were_deleted() -> None:
    book = ledger(deleted=(quarantined(C), quarantined(B)))
    observed = snapshot(book, secret=seen(4, B), looks=looks(gone=(B,)))
    chosen = plan(observed, NOW)
    assert chosen.reason is Reason.PUT_BACK
    back = after(observed, chosen).served
    assert back is not None
    assert back.hash == B
    nobodys = snapshot(book, secret=seen(4, NOBODYS), looks=looks(gone=(NOBODYS,)))
    assert plan(nobodys, NOW).reason is Reason.FOREIGN_VALUE
