"""The recovery table, row by row: an expired claim is settled by what is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rotator.core.edits import Abandon, DropClaim, GraceAfresh, KeyDisabled, Promote, RetireKeys
from rotator.core.hand_edits import ValueSeen
from rotator.core.keys import IssuedKey
from rotator.core.ledger import ClaimKind, KeyTerms, RetiringKey, ServedKey
from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.recovery import VERSIONS_READ, retiring_from, served_again, served_from
from rotator.core.retirement import Stage, standing
from rotator.core.snapshot import Demand, LedgerSeen, Look, Snapshot
from rotator.core.steps import (
    Enable,
    Fence,
    Finding,
    MakeClaim,
    NeedListing,
    NeedLook,
    NeedProbe,
    NeedValue,
    NeedVersions,
    Record,
    Settle,
    TakeOverClaim,
)
from tests.core.builders import (
    ABSENT,
    DAY,
    DELETED,
    FAILURE,
    FOREIGN,
    HOUR,
    LIMITS,
    MINUTE,
    NO_SECRET,
    NONCE,
    NOW,
    ODD,
    OTHER_NONCE,
    OTHER_PATH,
    PATH,
    WRITTEN,
    A,
    B,
    C,
    after,
    claim,
    edits_of,
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
)

ROTATING = ledger(pending=claim())
SERVED = issued(A, name=marked("b2" * 8))
NEW = issued(B, created_at=NOW - HOUR)
"""The key that the claimed rotation made."""
NOT_OURS = issued(A, name="by hand")


def pending(kind: ClaimKind, **changes: object) -> Snapshot:
    """A target on which a claim of a kind about B has expired; B is retiring."""
    book = ledger(pending=claim(kind), retiring=(retiring(),))
    return replace(snapshot(book), **changes)  # type: ignore[arg-type]


# When a claim is dead, by which clock, and what is asked for first.


def test_while_a_live_claim_stands_nothing_is_done_until_it_expires() -> None:
    seen_ledger = LedgerSeen(7, NOW - MINUTE, ROTATING)
    chosen = plan(snapshot(ledger=seen_ledger, secret=seen(4)), NOW)
    assert chosen.reason is Reason.CLAIMED
    assert (chosen.steps, chosen.needs) == ((), ())
    rollback = LedgerSeen(7, NOW - MINUTE, ledger(pending=claim(ClaimKind.ROLLBACK)))
    assert plan(snapshot(ledger=rollback), NOW).findings == (
        Finding(Reason.CLAIMED, "rollback claimed by replica-2", B),
    )
    assert chosen.wake_at is not None
    assert 4 * MINUTE <= chosen.wake_at - NOW <= 5 * MINUTE


@pytest.mark.parametrize("holder", ["replica-2", "replica-1"])
def test_even_our_own_live_claim_is_left_alone_after_a_restart(holder: str) -> None:
    book = ledger(pending=claim(holder=holder))
    chosen = plan(snapshot(ledger=LedgerSeen(7, NOW - MINUTE, book)), NOW)
    assert chosen.reason is Reason.CLAIMED


def test_a_claim_ends_by_vaults_clock_and_not_by_ours() -> None:
    fresh = LedgerSeen(7, NOW - MINUTE, ROTATING)
    assert plan(snapshot(ledger=fresh), NOW + HOUR).reason is Reason.CLAIMED
    old = LedgerSeen(7, NOW - LIMITS.claim_timeout, ROTATING)
    assert plan(snapshot(ledger=old), NOW - HOUR).reason is Reason.CLAIM_EXPIRED


def test_while_a_live_claim_stands_a_served_key_disabled_by_us_is_enabled_all_the_same() -> None:
    book = ledger(pending=claim(ClaimKind.DISABLE), served=served(disable_claimed=True))
    observed = snapshot(
        ledger=LedgerSeen(7, NOW, book), looks=looks(issued(A, disabled=True)), secret=seen(3, A)
    )
    assert plan(observed, NOW).steps == (Enable(A),)


@pytest.mark.parametrize("found", [None, listing(NEW, fresh=False)], ids=["none", "stale"])
def test_a_rotation_is_settled_only_by_a_listing_begun_after_the_expiry(found: object) -> None:
    observed = replace(snapshot(ROTATING, secret=seen(3, A)), listing=found)  # type: ignore[arg-type]
    assert plan(observed, NOW).needs == (NeedListing(frozenset()),)


def test_the_listing_covers_the_workspace_that_the_claim_names() -> None:
    book = ledger(pending=claim(workspace="work-1"))
    assert plan(snapshot(book), NOW).needs == (NeedListing(frozenset({"work-1"})),)


@pytest.mark.parametrize(
    "changes",
    [
        {"pending": claim(workspace="work-1")},
        {"served": served(workspace="work-1")},
        {"retiring": (retiring(B, workspace="work-1"),)},
    ],
    ids=["claim", "served", "retiring"],
)
def test_a_listing_without_a_workspace_that_the_target_names_settles_no_rotation(
    changes: dict[str, Any],
) -> None:
    book = replace(ROTATING, **changes)
    observed = snapshot(book, secret=seen(3, A), listing=listing(issued(A)))
    (need,) = plan(observed, NOW).needs
    assert isinstance(need, NeedListing)
    whole = replace(observed, listing=listing(issued(A), workspaces=("work-1", "work-2")))
    assert plan(whole, NOW).needs == ()
    assert plan(whole, NOW).steps


def test_a_workspace_that_the_account_lacks_is_told_of_at_the_targets_that_name_it() -> None:
    book = ledger(served=served(workspace="work-1"))
    observed = snapshot(book, unlisted=frozenset({"work-1", "work-2"}))
    (finding,) = plan(observed, NOW).findings
    assert finding == Finding(Reason.WORKSPACE_UNKNOWN, "It is work-1.", attention=True)
    assert plan(replace(observed, demand=Demand()), NOW).findings == ()
    assert plan(replace(observed, unlisted=frozenset({"work-2"})), NOW).findings == ()


def test_a_rotation_is_settled_only_once_the_secret_was_read() -> None:
    assert plan(snapshot(ROTATING, listing=listing()), NOW).needs == (NeedValue(),)


def test_where_no_value_may_be_read_an_expired_claim_is_only_told_of() -> None:
    chosen = plan(snapshot(ROTATING, may_read_values=False), NOW)
    assert (chosen.reason, chosen.steps, chosen.needs) == (Reason.CLAIM_EXPIRED, (), ())
    assert chosen.findings == (Finding(Reason.CLAIM_EXPIRED, "rotate by replica-2."),)
    told = plan(pending(ClaimKind.DISABLE, may_read_values=False), NOW).findings
    assert told == (Finding(Reason.CLAIM_EXPIRED, "disable by replica-2.", B),)


# No key with the nonce.


def test_no_key_with_the_nonce_take_over_fence_abandon_the_nonce() -> None:
    observed = snapshot(ROTATING, secret=seen(3, A), listing=listing(NOT_OURS))
    chosen = plan(observed, NOW)
    settle, take, fence, record = chosen.steps
    assert isinstance(settle, Settle)
    assert dict(settle.found) == {"claim": True, "mint": False, "publish": False, "promote": False}
    assert (take, fence) == (TakeOverClaim(NOW), Fence(PATH))
    book = after(observed, chosen)
    assert (book.pending, book.abandoned, book.retiring) == (None, (NONCE,), ())
    assert isinstance(record, Record)
    assert book.failure is not None
    assert book.failure.reason is Reason.CLAIM_EXPIRED


@pytest.mark.parametrize(
    ("name", "key_target", "installation"),
    [
        ("another nonce", "billing", None),
        ("another target", "payroll", None),
        ("another installation", "billing", "f" * 16),
    ],
)
def test_a_key_of_another_nonce_target_or_installation_is_not_the_claims(
    name: str, key_target: str, installation: str | None
) -> None:
    nonce = OTHER_NONCE if name == "another nonce" else NONCE
    marker = marked(nonce, target=key_target)
    if installation:
        marker = marked(nonce, installation=installation)
    found = listing(SERVED, issued(C, name=marker))
    chosen = plan(snapshot(ROTATING, secret=seen(3, A), listing=found), NOW)
    assert the_edit(chosen, Abandon).key is None


@pytest.mark.parametrize("secret", [NO_SECRET, DELETED], ids=["never one", "deleted"])
def test_no_key_with_the_nonce_and_no_live_version_forgets_the_nonce(secret: object) -> None:
    observed = replace(snapshot(ROTATING, listing=listing(SERVED)), secret=secret)  # type: ignore[arg-type]
    chosen = plan(observed, NOW)
    assert kinds(chosen) == ["Settle", "Record"]
    assert isinstance(the_edit(chosen, DropClaim), DropClaim)
    assert after(observed, chosen).abandoned == ()


def test_the_last_twenty_abandoned_nonces_are_kept_and_each_once() -> None:
    old = tuple(f"{number:016x}" for number in range(20))
    book = ledger(pending=claim(nonce=old[5]), abandoned=old)
    observed = snapshot(book, secret=seen(3, A), listing=listing(SERVED))
    kept = after(observed, plan(observed, NOW)).abandoned
    assert kept == (*old[:5], *old[6:], old[5])
    book = ledger(pending=claim(), abandoned=old)
    observed = snapshot(book, secret=seen(3, A), listing=listing(SERVED))
    assert after(observed, plan(observed, NOW)).abandoned == (*old[1:], NONCE)


@pytest.mark.parametrize(
    ("look", "works", "believed"),
    [(None, True, False), (None, False, True), (issued(A), None, True)],
    ids=["another account", "the served key is gone", "only left out"],
)
def test_a_listing_without_the_served_key_is_doubted(
    look: IssuedKey | None, works: bool | None, believed: bool
) -> None:
    observed = snapshot(ROTATING, secret=seen(3, A), listing=listing())
    assert plan(observed, NOW).needs == (NeedLook(A),)
    observed = replace(observed, looks={A: Look(look)})
    if look is None:
        assert plan(observed, NOW).needs == (NeedProbe(),)
    chosen = plan(replace(observed, served_works=works), NOW)
    doubt = (Finding(Reason.WRONG_ACCOUNT, "", A, attention=True),)
    assert (chosen.reason is Reason.WRONG_ACCOUNT) is not believed
    assert chosen.findings == (() if believed else doubt)
    assert bool(chosen.steps) is believed


@pytest.mark.parametrize("value", [ABSENT, ODD, None], ids=["no field", "no text", "no version"])
def test_a_listing_is_not_doubted_where_no_value_could_be_asked_about_itself(
    value: object,
) -> None:
    secret = DELETED if value is None else seen(3, value=value)
    observed = snapshot(ROTATING, secret=secret, listing=listing(), looks=looks(gone=(A,)))
    chosen = plan(observed, NOW)
    assert (chosen.needs, kinds(chosen)[0]) == ((), "Settle")


def test_a_listing_with_the_key_whose_value_is_served_is_ours_whatever_the_ledger_remembers() -> (
    None
):
    found = listing(issued(B, name=marked("b2" * 8)))
    chosen = plan(snapshot(ROTATING, secret=seen(4, B), listing=found), NOW)
    assert the_edit(chosen, Abandon).key is None


def test_a_first_key_has_nothing_that_its_listing_could_be_doubted_by() -> None:
    book = ledger(served=None, pending=claim())
    chosen = plan(snapshot(book, secret=seen(3, C), listing=listing()), NOW)
    assert the_edit(chosen, Abandon).key is None


# Such a key, and it is the served one.


def test_died_between_publish_and_promote_promotes() -> None:
    observed = snapshot(ROTATING, secret=seen(4, B), listing=listing(NEW))
    chosen = plan(observed, NOW)
    assert kinds(chosen) == ["Settle", "Record"]
    book = after(observed, chosen)
    assert book.served is not None
    assert (book.served.hash, book.served.minted_by_us, book.pending) == (B, True, None)
    assert (book.served.claimed_at, book.served.due_from) == (NOW - HOUR, NOW - HOUR)
    assert (book.served.secret_version, book.served.published_at) == (4, NOW - MINUTE)
    assert [(each.hash, each.since, each.why) for each in book.retiring] == [
        (A, NOW - MINUTE, Reason.SUPERSEDED)
    ]


def test_a_promoted_key_whose_limits_nobody_told_is_remembered_without_terms() -> None:
    untold = replace(NEW, limits_known=False)
    observed = snapshot(ROTATING, secret=seen(4, B), listing=listing(untold))
    promoted = after(observed, plan(observed, NOW)).served
    assert promoted is not None
    assert promoted.terms is None


def test_an_old_key_served_between_publish_and_recovery_gets_its_grace_afresh() -> None:
    book = ledger(pending=claim(), retiring=(retiring(C, since=NOW - 9 * DAY),))
    observed = snapshot(book, secret=seen(6, B), listing=listing(NEW))
    promoted = after(observed, plan(observed, NOW))
    again = snapshot(promoted, secret=seen(6, B))
    assert plan(again, NOW).needs == (NeedVersions((4, 5)),)
    again = replace(again, versions={4: B, 5: C})
    entry = after(again, plan(again, NOW)).entry(C)
    assert entry is not None
    assert entry.since == NOW


def test_died_between_publish_and_promote_of_a_first_key_promotes() -> None:
    book = ledger(served=None, pending=claim(base_version=0, base_created_time=None))
    observed = snapshot(book, secret=seen(1, B), listing=listing(NEW))
    after_it = after(observed, plan(observed, NOW))
    assert after_it.served is not None
    assert (after_it.served.hash, after_it.retiring) == (B, ())


def test_died_between_publish_and_promote_of_a_compromised_key_dooms_all_predecessors() -> None:
    book = ledger(pending=claim(reason=Reason.COMPROMISED), retiring=(retiring(C),))
    observed = snapshot(book, secret=seen(4, B), listing=listing(NEW))
    promoted = after(observed, plan(observed, NOW))
    assert {each.hash: each.why for each in promoted.retiring} == {
        A: Reason.COMPROMISED,
        C: Reason.COMPROMISED,
    }


def test_a_key_whose_digest_is_not_its_hash_goes_by_the_pair_in_the_claim() -> None:
    digest = h("the odd plaintext of B")
    book = ledger(pending=claim(key=B, value_sha256=digest))
    nameless = issued(B, name="renamed")
    observed = snapshot(book, secret=seen(4, digest), listing=listing(nameless))
    promoted = after(observed, plan(observed, NOW)).served
    assert promoted is not None
    assert (promoted.hash, promoted.value_sha256, promoted.minted_by_us) == (B, digest, True)


# What is remembered of a key.

FULL = issued(
    B,
    created_at=NOW - 3 * DAY,
    expires_at=NOW + 30 * DAY,
    limit=50.0,
    limit_reset="monthly",
    include_byok_in_limit=True,
    workspace_id="work-1",
    creator_user_id="user-1",
)
FULL_TERMS = KeyTerms(50.0, "monthly", include_byok_in_limit=True, creator_user_id="user-1")
RECREATED = seen(7, B, created_time=NOW - HOUR)


def test_all_that_is_known_of_a_key_is_remembered_when_it_is_served() -> None:
    assert served_from(
        snapshot(secret=RECREATED), FULL, NOW, due_from=NOW - DAY, claimed_at=NOW - 2 * DAY
    ) == ServedKey(
        hash=B,
        value_sha256=B,
        minted_by_us=True,
        workspace="work-1",
        minted_at=NOW - 3 * DAY,
        claimed_at=NOW - 2 * DAY,
        published_at=NOW - HOUR,
        due_from=NOW - DAY,
        secret_version=7,
        secret_created_time=NOW - HOUR,
        expires_at=NOW + 30 * DAY,
        terms=FULL_TERMS,
    )


@pytest.mark.parametrize("disabled", [False, True])
def test_all_that_is_known_of_a_key_is_remembered_when_it_retires_and_when_it_returns(
    disabled: bool,
) -> None:
    entry = retiring_from(
        replace(FULL, disabled=disabled), PATH, since=NOW, why=Reason.ORPHANED, value_sha256=C
    )
    assert entry == RetiringKey(
        hash=B,
        value_sha256=C,
        minted_by_us=True,
        workspace="work-1",
        minted_at=NOW - 3 * DAY,
        secret=PATH,
        since=NOW,
        why=Reason.ORPHANED,
        disabled_at=NOW if disabled else None,
        terms=FULL_TERMS,
        expires_at=NOW + 30 * DAY,
    )
    assert served_again(snapshot(secret=RECREATED), entry, NOW) == ServedKey(
        hash=B,
        value_sha256=C,
        minted_by_us=True,
        workspace="work-1",
        minted_at=NOW - 3 * DAY,
        claimed_at=None,
        published_at=NOW - HOUR,
        due_from=NOW,
        secret_version=7,
        secret_created_time=NOW - HOUR,
        expires_at=NOW + 30 * DAY,
        terms=FULL_TERMS,
    )


# What is written into the audit trail for the dead process, and kept in the ledger of its claim.


def settled_as(observed: Snapshot) -> tuple[dict[str, bool], str | None]:
    """What the trail is told: the effects that were found, and the key concerned."""
    first = plan(observed, NOW).steps[0]
    assert isinstance(first, Settle)
    assert first.claim == observed.claim
    return dict(first.found), first.key


@pytest.mark.parametrize(
    ("secret", "found", "minted", "published"),
    [
        (seen(3, A), listing(SERVED), False, False),
        (seen(3, A), listing(SERVED, NEW), True, False),
        (seen(4, B), listing(NEW), True, True),
    ],
    ids=["nothing was made", "made", "made and published"],
)
def test_the_trail_of_a_rotation_is_told_how_far_it_came(
    secret: object, found: object, minted: bool, published: bool
) -> None:
    observed = replace(snapshot(ROTATING), secret=secret, listing=found)  # type: ignore[arg-type]
    assert settled_as(observed) == (
        {"claim": True, "mint": minted, "publish": published, "promote": False},
        B if minted else None,
    )


@pytest.mark.parametrize(("digest", "back"), [(A, False), (B, True)])
def test_the_trail_of_a_rollback_is_told_whether_its_key_is_served(digest: str, back: bool) -> None:
    observed = pending(ClaimKind.ROLLBACK, secret=seen(4, digest))
    assert settled_as(observed) == ({"claim": True, "publish": back, "promote": False}, B)


@pytest.mark.parametrize(
    ("kind", "look", "done"),
    [
        (ClaimKind.DISABLE, issued(B), False),
        (ClaimKind.DISABLE, issued(B, disabled=True), True),
        (ClaimKind.DISABLE, None, True),
        (ClaimKind.DELETE, issued(B), False),
        (ClaimKind.DELETE, issued(B, disabled=True), False),
        (ClaimKind.DELETE, None, True),
    ],
)
def test_the_trail_of_a_removal_is_told_whether_it_was_done(
    kind: ClaimKind, look: IssuedKey | None, done: bool
) -> None:
    step, record = {
        ClaimKind.DISABLE: ("disable", "disabled"),
        ClaimKind.DELETE: ("delete", "removed"),
    }[kind]
    observed = pending(kind, secret=seen(3, A), looks={B: Look(look)})
    assert settled_as(observed) == ({"claim": True, step: done, record: False}, B)


def test_the_trail_of_a_fence_is_told_that_it_was_not_written() -> None:
    assert settled_as(pending(ClaimKind.FENCE)) == ({"claim": True, "fence": False}, None)


def lost(base: Snapshot, **changes: object) -> Snapshot:
    """The same with changes, after a failure."""
    book = replace(base.book, failure=FAILURE)
    return replace(base, ledger=replace(base.ledger, ledger=book), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "observed",
    [
        lost(snapshot(ROTATING, secret=seen(3, A), listing=listing(SERVED))),
        lost(snapshot(ROTATING, secret=DELETED, listing=listing(SERVED))),
        lost(snapshot(ROTATING, secret=seen(3, A), listing=listing(SERVED, NEW))),
        lost(snapshot(ROTATING, secret=seen(4, A), listing=listing(SERVED, NEW))),
    ],
    ids=["not minted", "not minted, no version", "lost", "maybe served"],
)
def test_a_lost_attempt_is_remembered_as_one_more_failure(observed: Snapshot) -> None:
    failure = after(observed, plan(observed, NOW)).failure
    assert failure is not None
    assert (failure.reason, failure.count) == (Reason.CLAIM_EXPIRED, FAILURE.count + 1)
    assert failure.detail.endswith("(rotate by replica-2)")


@pytest.mark.parametrize("kind", [ClaimKind.ROTATE, ClaimKind.ROLLBACK, ClaimKind.DISABLE])
@pytest.mark.parametrize("base", [3, 5], ids=["not renewed", "renewed"])
def test_a_promotion_after_strange_versions_is_recorded_as_of_what_the_ledger_last_saw(
    kind: ClaimKind, base: int
) -> None:
    """So that the next plan reads those in between, also those to which the claim was renewed."""
    observed = pending(kind, secret=seen(6, B), listing=listing(NEW))
    renewed = replace(observed.book, pending=replace(claim(kind), base_version=base))
    observed = replace(observed, ledger=replace(observed.ledger, ledger=renewed))
    promoted = the_edit(plan(observed, NOW), Promote)
    assert promoted.served.hash == B
    assert (promoted.served.secret_version, promoted.served.secret_created_time) == (3, WRITTEN)
    why = Reason.SUPERSEDED if kind is ClaimKind.ROTATE else Reason.PUT_ASIDE
    assert promoted.why is why


# Such a key, not served, and the secret has not moved.


def test_its_plaintext_is_lost_take_over_fence_abandon_nonce_and_key() -> None:
    observed = snapshot(ROTATING, secret=seen(3, A), listing=listing(NEW))
    chosen = plan(observed, NOW)
    assert kinds(chosen) == ["Settle", "TakeOverClaim", "Fence", "Record"]
    book = after(observed, chosen)
    assert (book.abandoned, book.pending) == ((NONCE,), None)
    (entry,) = book.retiring
    assert (entry.hash, entry.why) == (B, Reason.NEVER_SERVED)
    assert standing(entry, book.policy, NOW).stage is Stage.DISABLE


def test_a_lost_key_is_disabled_and_deleted_without_a_grace() -> None:
    lost = retiring(why=Reason.NEVER_SERVED, since=NOW)
    observed = snapshot(ledger(retiring=(lost,)), looks=looks(issued(B)))
    assert kinds(plan(observed, NOW)) == ["MakeClaim", "Disable", "RecordDisabled"]
    gone = replace(lost, disabled_at=NOW, disable_claimed=True)
    observed = snapshot(ledger(retiring=(gone,)), looks=looks(issued(B, disabled=True)))
    assert kinds(plan(observed, NOW)) == ["MakeClaim", "Delete", "Record"]


# Such a key, not served, and the version moved.


def moved(**changes: object) -> Snapshot:
    """A rotation died; the secret is at version 5, which serves A again."""
    base = snapshot(ROTATING, secret=seen(5, A), listing=listing(NEW))
    return replace(base, **changes)  # type: ignore[arg-type]


def test_the_version_moved_so_it_may_have_been_served_and_gets_a_full_grace() -> None:
    observed = moved(versions={4: h("nobody's")})
    chosen = plan(observed, NOW)
    assert kinds(chosen) == ["Settle", "Record"]
    book = after(observed, chosen)
    (entry,) = book.retiring
    assert (entry.hash, entry.since, entry.why) == (B, NOW, Reason.MAYBE_SERVED)
    assert (book.abandoned, book.pending) == ((), None)
    assert standing(entry, book.policy, NOW + DAY - MINUTE).stage is Stage.GRACE
    assert book.served is not None
    assert book.served.due_from == WRITTEN


def test_the_versions_since_the_claims_base_are_read_first() -> None:
    assert plan(moved(), NOW).needs == (NeedVersions((4,)),)


def test_if_a_version_since_base_holds_it_a_person_rolled_it_back_and_the_schedule_restarts() -> (
    None
):
    observed = moved(versions={4: B})
    book = after(observed, plan(observed, NOW))
    assert book.served is not None
    assert book.served.due_from == NOW


def test_a_secret_recreated_up_to_the_same_version_has_moved() -> None:
    recreated = seen(3, A, created_time=NOW - MINUTE)
    observed = moved(secret=recreated)
    entry = the_edit(plan(observed, NOW), RetireKeys).keys[0]
    assert entry.why is Reason.MAYBE_SERVED


def test_more_versions_than_are_read_count_as_unreadable() -> None:
    most = tuple(range(4, 4 + VERSIONS_READ))
    assert plan(moved(secret=seen(most[-1] + 1, A)), NOW).needs == (NeedVersions(most),)
    observed = moved(secret=seen(most[-1] + 2, A))
    assert the_edit(plan(observed, NOW), RetireKeys).restart is None


def test_a_lost_key_whose_hash_is_not_its_digest_is_remembered_with_that_digest() -> None:
    book = ledger(pending=claim(key=B, value_sha256=C))
    observed = snapshot(book, secret=seen(3, A), listing=listing(SERVED, NEW))
    (lost,) = after(observed, plan(observed, NOW)).retiring
    assert (lost.hash, lost.value_sha256) == (B, C)


@pytest.mark.parametrize("secret", [NO_SECRET, DELETED], ids=["never one", "deleted"])
def test_a_key_without_a_live_version_retires_with_a_full_grace_and_no_fence(
    secret: object,
) -> None:
    observed = moved(secret=secret)
    chosen = plan(observed, NOW)
    assert kinds(chosen) == ["Settle", "Record"]
    entry = the_edit(chosen, RetireKeys).keys[0]
    assert (entry.why, entry.since) == (Reason.MAYBE_SERVED, NOW)


def test_a_claim_made_at_another_path_is_not_fenced_at_the_new_one() -> None:
    """The fence would not stop a late publish at the old path, so nothing is abandoned."""
    elsewhere = target(secret=OTHER_PATH)
    for found in (listing(SERVED), listing(SERVED, NEW)):
        observed = snapshot(ROTATING, target=elsewhere, secret=seen(3, C), listing=found)
        chosen = plan(observed, NOW)
        assert kinds(chosen) == ["Settle", "Record"]
        assert after(observed, chosen).abandoned == ()


# A rollback that was claimed.


def test_a_claimed_rollback_reads_the_secret_first() -> None:
    assert plan(pending(ClaimKind.ROLLBACK), NOW).needs == (NeedValue(),)


def test_a_claimed_rollback_whose_key_is_served_is_promoted_and_the_schedule_restarts() -> None:
    observed = pending(ClaimKind.ROLLBACK, secret=seen(4, B))
    book = after(observed, plan(observed, NOW))
    assert book.served is not None
    assert (book.served.hash, book.served.due_from, book.pending) == (B, NOW, None)
    (newer,) = book.retiring
    assert (newer.hash, newer.why, newer.since) == (A, Reason.PUT_ASIDE, NOW - MINUTE)


def test_a_claimed_rollback_whose_key_is_not_served_is_fenced_and_its_key_gets_a_full_grace() -> (
    None
):
    old = retiring(since=NOW - 5 * DAY, disabled_at=NOW - DAY, disable_claimed=True)
    book = ledger(pending=claim(ClaimKind.ROLLBACK), retiring=(old,))
    observed = snapshot(book, secret=seen(3, A))
    chosen = plan(observed, NOW)
    assert kinds(chosen) == ["Settle", "TakeOverClaim", "Fence", "Record"]
    settled = after(observed, chosen)
    (entry,) = settled.retiring
    assert standing(entry, settled.policy, NOW + DAY - MINUTE).stage is Stage.GRACE
    assert standing(entry, settled.policy, NOW + DAY).stage is Stage.LOOK
    assert entry.disable_claimed  # that stays with the key
    assert settled.pending is None


def test_a_claimed_rollback_without_a_live_version_is_not_fenced() -> None:
    chosen = plan(pending(ClaimKind.ROLLBACK, secret=DELETED), NOW)
    assert kinds(chosen) == ["Settle", "Record"]
    assert isinstance(edits_of(chosen.steps)[0], GraceAfresh)


def test_a_claimed_rollback_of_a_key_that_no_entry_knows_is_dropped_behind_a_fence() -> None:
    book = ledger(pending=claim(ClaimKind.ROLLBACK))
    chosen = plan(snapshot(book, secret=seen(3, A)), NOW)
    assert kinds(chosen) == ["Settle", "TakeOverClaim", "Fence", "Record"]
    assert isinstance(the_edit(chosen, DropClaim), DropClaim)


# A disable or delete that was claimed.

REMOVALS = pytest.mark.parametrize("kind", [ClaimKind.DISABLE, ClaimKind.DELETE])


@REMOVALS
def test_a_claimed_removal_asks_for_the_key_and_for_the_secret(kind: ClaimKind) -> None:
    assert plan(pending(kind), NOW).needs == (NeedValue(), NeedLook(B))


@REMOVALS
@pytest.mark.parametrize("disabled", [True, False])
def test_a_claimed_removal_whose_key_is_served_enables_it_and_it_is_the_served_one(
    kind: ClaimKind, disabled: bool
) -> None:
    marked_entry = retiring(disable_claimed=True, delete_claimed=kind is ClaimKind.DELETE)
    book = ledger(pending=claim(kind), retiring=(marked_entry,))
    observed = snapshot(book, secret=seen(4, B), looks=looks(issued(B, disabled=disabled)))
    chosen = plan(observed, NOW)
    healed = ["Enable"] if disabled else []
    assert kinds(chosen) == ["Settle", *healed, "Record"]
    assert chosen.urgent == disabled
    now_served = after(observed, chosen).served
    assert now_served is not None
    assert (now_served.hash, now_served.disable_claimed) == (B, True)
    assert now_served.delete_claimed == (kind is ClaimKind.DELETE)


@REMOVALS
def test_a_claimed_removal_whose_key_was_called_compromised_does_not_enable_it(
    kind: ClaimKind,
) -> None:
    entry = retiring(why=Reason.COMPROMISED, disable_claimed=True)
    observed = snapshot(
        ledger(pending=claim(kind), retiring=(entry,)),
        secret=seen(4, B),
        looks=looks(issued(B, disabled=True)),
    )
    chosen = plan(observed, NOW)
    assert kinds(chosen) == ["Settle", "Record"]
    now_served = after(observed, chosen).served
    assert now_served is not None
    assert (now_served.hash, now_served.compromised) == (B, True)


def test_a_claimed_rollback_to_a_compromised_key_was_meant_and_is_not_undone() -> None:
    book = ledger(pending=claim(ClaimKind.ROLLBACK), retiring=(retiring(why=Reason.COMPROMISED),))
    observed = snapshot(book, secret=seen(4, B))
    now_served = after(observed, plan(observed, NOW)).served
    assert now_served is not None
    assert (now_served.hash, now_served.compromised) == (B, False)


def test_a_claimed_disable_that_is_found_done_is_recorded() -> None:
    observed = pending(ClaimKind.DISABLE, secret=seen(3, A), looks=looks(issued(B, disabled=True)))
    chosen = plan(observed, NOW)
    assert the_edit(chosen, KeyDisabled) == KeyDisabled(B, NOW)
    settle = chosen.steps[0]
    assert isinstance(settle, Settle)
    assert dict(settle.found) == {"claim": True, "disable": True, "disabled": False}


def test_a_claimed_disable_that_is_found_undone_drops_the_claim() -> None:
    observed = pending(ClaimKind.DISABLE, secret=seen(3, A), looks=looks(issued(B)))
    assert isinstance(the_edit(plan(observed, NOW), DropClaim), DropClaim)


def test_a_claimed_delete_that_is_found_undone_drops_the_claim_though_the_key_is_disabled() -> None:
    observed = pending(ClaimKind.DELETE, secret=seen(3, A), looks=looks(issued(B, disabled=True)))
    assert isinstance(the_edit(plan(observed, NOW), DropClaim), DropClaim)


@REMOVALS
def test_a_claimed_removal_of_an_absent_key_removes_the_entry_once_another_key_answers(
    kind: ClaimKind,
) -> None:
    observed = pending(kind, secret=seen(3, A), looks=looks(gone=(B,)))
    chosen = plan(observed, NOW)
    dropped = after(observed, chosen)
    assert dropped.pending is None
    again = snapshot(dropped, secret=seen(3, A), looks=looks(issued(A), gone=(B,)))
    assert after(again, plan(again, NOW)).retiring == ()


@pytest.mark.parametrize("value", [ABSENT, None], ids=["no field", "no live version"])
def test_a_claimed_disable_is_settled_by_the_look_where_nothing_is_served(value: object) -> None:
    secret = DELETED if value is None else seen(3, value=value)
    observed = pending(ClaimKind.DISABLE, secret=secret, looks=looks(issued(B, disabled=True)))
    assert isinstance(the_edit(plan(observed, NOW), KeyDisabled), KeyDisabled)


def test_a_claimed_fence_is_dropped() -> None:
    chosen = plan(pending(ClaimKind.FENCE), NOW)
    assert kinds(chosen) == ["Settle", "Record"]
    assert isinstance(the_edit(chosen, DropClaim), DropClaim)


# Keys of ours that no ledger knows.

CALM = snapshot(secret=seen(3, A))


def late(key_hash: str = B, nonce: str = NONCE, **changes: object) -> object:
    """A marked key in a listing."""
    return issued(key_hash, name=marked(nonce), **changes)


def test_a_marked_key_with_an_abandoned_nonce_was_born_late_and_goes_without_a_grace() -> None:
    book = ledger(abandoned=(NONCE,))
    observed = snapshot(book, secret=seen(3, A), listing=listing(NEW))
    chosen = plan(observed, NOW)
    assert kinds(chosen) == ["Record"]
    (entry,) = after(observed, chosen).retiring
    assert (entry.hash, entry.why) == (B, Reason.NEVER_SERVED)


def test_a_born_late_key_is_judged_only_after_a_read_of_the_secret() -> None:
    observed = snapshot(ledger(abandoned=(NONCE,)), listing=listing(NEW))
    assert plan(observed, NOW).needs == (NeedValue(),)


def test_a_born_late_key_that_is_served_leaves_the_abandoned_nonces() -> None:
    book = ledger(abandoned=(OTHER_NONCE, NONCE))
    observed = snapshot(book, secret=seen(4, B), listing=listing(NEW))
    chosen = plan(observed, NOW)
    assert isinstance(the_edit(chosen, ValueSeen), ValueSeen)
    follows = after(observed, chosen)
    assert follows.served is not None
    assert (follows.served.hash, follows.served.minted_by_us) == (B, True)
    assert follows.abandoned == (OTHER_NONCE,)


def test_a_marked_key_in_no_ledger_is_fenced_and_retires_with_a_full_grace() -> None:
    observed = replace(CALM, listing=listing(NEW, issued(C, name=marked(OTHER_NONCE))))
    chosen = plan(observed, NOW)
    make, fence, record = chosen.steps
    assert isinstance(make, MakeClaim)
    assert make.claim.kind is ClaimKind.FENCE
    assert (make.claim.base_version, make.claim.base_created_time) == (3, WRITTEN)
    assert fence == Fence(PATH)
    assert isinstance(record, Record)
    book = after(observed, chosen)
    assert [(each.hash, each.why, each.since) for each in book.retiring] == [
        (B, Reason.ORPHANED, NOW),
        (C, Reason.ORPHANED, NOW),
    ]
    assert standing(book.retiring[0], book.policy, NOW).stage is Stage.GRACE


def test_an_orphan_without_a_live_version_retires_without_a_fence() -> None:
    book = ledger(served=None)
    observed = snapshot(book, secret=NO_SECRET, listing=listing(NEW))
    chosen = plan(observed, NOW)
    assert kinds(chosen) == ["Record"]
    assert the_edit(chosen, RetireKeys).keys[0].why is Reason.ORPHANED


def test_an_orphan_that_is_disabled_already_still_waits_its_quarantine() -> None:
    observed = replace(CALM, listing=listing(replace(NEW, disabled=True)))
    (entry,) = after(observed, plan(observed, NOW)).retiring
    place = standing(entry, ledger().policy, NOW)
    assert (place.stage, place.until) == (Stage.QUARANTINE, NOW + 3 * DAY)


def test_a_listing_begun_before_the_ledger_was_read_makes_no_orphan() -> None:
    observed = replace(CALM, listing=listing(NEW, fresh=False))
    assert plan(observed, NOW).needs == (NeedListing(frozenset()),)


@pytest.mark.parametrize(
    "key",
    [
        issued(B, name="made by hand"),
        issued(B, name=marked() + " (copy)"),
        issued(B, name="x" + marked()),
        issued(B, name=marked().upper()),
        issued(B, name=marked(installation="f" * 16)),
        issued(B, name=marked(target="payroll")),
    ],
    ids=["unmarked", "suffixed", "prefixed", "upper case", "other installation", "other target"],
)
def test_foreign_keys_are_never_touched(key: object) -> None:
    observed = replace(CALM, listing=listing(key, issued(A)))  # type: ignore[arg-type]
    chosen = plan(observed, NOW)
    assert (chosen.reason, chosen.steps, chosen.needs) == (Reason.NOT_DUE, (), ())


def test_a_marked_key_that_another_target_serves_is_no_orphan() -> None:
    observed = replace(CALM, listing=listing(NEW), served_by={B: frozenset({"payroll"})})
    assert plan(observed, NOW).steps == ()


def test_a_key_in_the_ledger_is_no_orphan() -> None:
    book = ledger(retiring=(quarantined(),))
    observed = snapshot(book, secret=seen(3, A), listing=listing(NEW, issued(A)))
    assert plan(observed, NOW).steps == ()


def test_where_no_value_may_be_read_no_orphan_is_looked_for() -> None:
    chosen = plan(snapshot(listing=listing(NEW, issued(A)), may_read_values=False), NOW)
    assert (chosen.reason, chosen.steps, chosen.needs) == (Reason.NOT_DUE, (), ())


def test_an_orphan_of_a_target_that_is_configured_no_more_is_left_alone() -> None:
    observed = replace(CALM, listing=listing(NEW), target=target(configured=False))
    assert plan(observed, NOW).steps == ()


def test_an_orphan_is_taken_up_even_while_the_value_is_foreign() -> None:
    book = ledger(served=None, foreign=FOREIGN)
    observed = snapshot(
        book,
        secret=seen(3, h("nobody's")),
        listing=listing(NEW),
        looks=looks(gone=(h("nobody's"),)),
    )
    assert kinds(plan(observed, NOW)) == ["MakeClaim", "Fence", "Record"]


# Let go: a target that is configured no more, or at another path or field.


def test_a_served_key_of_a_target_that_is_configured_no_more_is_left_alone_and_reported() -> None:
    book = ledger(served=served(due_from=NOW - 900 * DAY))
    chosen = plan(snapshot(book, target=target(configured=False)), NOW)
    assert (chosen.steps, chosen.needs) == ((), ())
    assert chosen.findings == (Finding(Reason.LEFT_BEHIND, "", A),)


def test_retiring_keys_of_a_target_let_go_are_finished_by_the_ledgers_durations() -> None:
    long_grace = replace(ledger().policy, grace=9 * DAY)
    let_go = target(configured=False, policy=policy(grace=HOUR))
    waiting = ledger(policy=long_grace, retiring=(retiring(),))
    observed = snapshot(waiting, target=let_go, looks=looks(issued(B)))
    assert plan(observed, NOW).steps == ()
    finished = ledger(retiring=(retiring(),))
    observed = snapshot(finished, target=target(configured=False, policy=policy(grace=9 * DAY)))
    observed = replace(observed, looks=looks(issued(B)))
    assert kinds(plan(observed, NOW)) == ["MakeClaim", "Disable", "RecordDisabled"]


def test_a_target_let_go_whose_ledger_is_gone_gets_no_new_one() -> None:
    observed = snapshot(ledger=LedgerSeen(9, NOW, None), target=target(configured=False))
    chosen = plan(observed, NOW)
    assert (chosen.steps, chosen.needs) == ((), ())


@pytest.mark.parametrize("place", [OTHER_PATH, replace(PATH, field="OTHER")], ids=["path", "field"])
def test_a_new_path_or_field_starts_as_a_first_key_and_the_old_one_is_left_behind(
    place: object,
) -> None:
    elsewhere = target(secret=place)
    observed = snapshot(ledger(retiring=(retiring(),)), target=elsewhere, secret=NO_SECRET)
    chosen = plan(observed, NOW)
    book = after(observed, chosen)
    assert (chosen.reason, book.served, book.secret) == (Reason.MOVED, None, place)
    by_hash = {each.hash: each for each in book.retiring}
    assert (by_hash[A].why, by_hash[A].secret) == (Reason.LEFT_BEHIND, PATH)
    assert by_hash[B].secret == PATH
    moved = replace(observed, ledger=LedgerSeen(8, NOW, book))
    assert plan(moved, NOW).needs == (NeedLook(A),), "its cap goes along"
    nexts = plan(replace(moved, looks=looks(issued(A))), NOW)
    assert nexts.reason is Reason.FIRST_KEY
    assert kinds(nexts) == ["MakeClaim", "Mint", "Verify", "Publish", "PromoteMinted"]


def test_a_key_left_behind_is_reported_and_never_removed() -> None:
    left = retiring(why=Reason.LEFT_BEHIND, since=NOW - 900 * DAY, secret=OTHER_PATH)
    observed = snapshot(ledger(retiring=(left,)), looks=looks(issued(B)))
    chosen = plan(observed, NOW)
    assert chosen.steps == ()
    assert chosen.findings == (Finding(Reason.LEFT_BEHIND, "", B, attention=True),)


def test_a_look_in_a_listing_is_enough_to_settle_a_removal() -> None:
    observed = pending(ClaimKind.DISABLE, secret=seen(3, A), listing=listing(issued(B)))
    assert isinstance(the_edit(plan(observed, NOW), DropClaim), DropClaim)
    assert observed.look(B) == Look(issued(B))


def test_a_recovered_promotion_takes_the_key_out_of_retiring() -> None:
    book = ledger(pending=claim(), retiring=(retiring(B, why=Reason.MAYBE_SERVED),))
    observed = snapshot(book, secret=seen(4, B), listing=listing(NEW))
    promoted = the_edit(plan(observed, NOW), Promote)
    assert [each.hash for each in promoted.apply(book).retiring] == [A]
