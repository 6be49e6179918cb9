"""Each promise, broken by a list of steps made by hand: the planner's own check must say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rotator.core.edits import Abandon, DropClaim, KeyDisabled, KeyRemoved, Promote, RetireKeys
from rotator.core.hand_edits import SetHold
from rotator.core.invariants import assert_safe
from rotator.core.keys import NewKey
from rotator.core.ledger import ClaimKind
from rotator.core.reasons import Reason
from rotator.core.snapshot import LedgerSeen, Snapshot
from rotator.core.steps import (
    CreateLedger,
    Delete,
    Disable,
    Enable,
    Fence,
    MakeClaim,
    Mint,
    PromoteMinted,
    PromoteRecalled,
    Publish,
    Recall,
    Record,
    RecordDisabled,
    Settle,
    Step,
    TakeOverClaim,
    Verify,
)
from rotator.errors import InvariantViolation
from tests.core.builders import (
    DAY,
    DELETED,
    FOREIGN,
    HELD,
    HOUR,
    LIMITS,
    MINUTE,
    NONCE,
    NOW,
    PATH,
    A,
    B,
    C,
    claim,
    issued,
    ledger,
    looks,
    quarantined,
    retiring,
    seen,
    served,
    snapshot,
    without_ledger,
)

CALM = snapshot()
ROTATE = MakeClaim(claim())
MINT = Mint(NewKey("name"))
PUBLISH = Publish(PATH)
PROMOTE = PromoteMinted(compromised=False)
DISABLE_B = (MakeClaim(claim(ClaimKind.DISABLE)), Disable(B, PATH))
DELETE_B = (MakeClaim(claim(ClaimKind.DELETE)), Delete(B, PATH))

OLD = snapshot(ledger(retiring=(retiring(),)), looks=looks(issued(B)))
"""B is retiring, its grace is over, and a look shows it quiet."""
OVER = snapshot(
    ledger(retiring=(quarantined(since=NOW - 9 * DAY, disabled_at=NOW - 3 * DAY),)),
    looks=looks(issued(B, disabled=True)),
)
"""B's quarantine is over, and a look shows it disabled."""
BACK = replace(OLD, versions={2: B})
"""B could be served again: version 2 holds it."""
RECALL = Recall(B, 2, PATH)
ROLL_BACK = (RECALL, MakeClaim(claim(ClaimKind.ROLLBACK)))
EXPIRED = snapshot(ledger(pending=claim()))
LIVE = snapshot(ledger=LedgerSeen(7, NOW, ledger(pending=claim())))
ENDING = snapshot(ledger=LedgerSeen(7, NOW - LIMITS.claim_timeout, ledger(pending=claim())))
"""The claim ends this very moment."""


def changed(base: Snapshot, *, book: dict[str, Any] | None = None, **changes: Any) -> Snapshot:
    """A snapshot with changes, some of them to its ledger."""
    if book:
        base = replace(base, ledger=replace(base.ledger, ledger=replace(base.book, **book)))
    return replace(base, **changes)


def entry(base: Snapshot, **changes: Any) -> Snapshot:
    """A snapshot whose one retiring key is changed."""
    (only,) = base.book.retiring
    return changed(base, book={"retiring": (replace(only, **changes),)})


BROKEN: list[tuple[str, Snapshot, tuple[Step, ...], str]] = [
    (
        "steps on an unusable ledger",
        snapshot(ledger=LedgerSeen(7, NOW, None, Reason.LEDGER_NEWER, "")),
        (Settle(claim(), (), None),),
        "steps on a ledger that is not usable",
    ),
    ("a second claim", LIVE, (ROTATE,), "a claim stands already"),
    ("a claim over an expired one", EXPIRED, (ROTATE,), "a claim stands already"),
    ("two claims at once", CALM, (ROTATE, ROTATE), "a claim stands already"),
    ("a live claim taken over", LIVE, (TakeOverClaim(NOW),), "no expired claim to take over"),
    ("no claim taken over", CALM, (TakeOverClaim(NOW),), "no expired claim to take over"),
    ("a ledger over a ledger", CALM, (CreateLedger(ledger()),), "there is a ledger already"),
    ("a mint without a claim", CALM, (MINT,), "no claim of ours to rotate"),
    ("a mint under another's claim", LIVE, (MINT,), "no claim of ours to rotate"),
    ("a mint under a fence's claim", CALM, (MakeClaim(claim(ClaimKind.FENCE)), MINT), "to rotate"),
    ("two mints", CALM, (ROTATE, MINT, MINT), "a claim mints once"),
    ("nothing verified", CALM, (ROTATE, Verify()), "nothing to verify"),
    ("an unproven key published", CALM, (ROTATE, MINT, PUBLISH), "proven to work is published"),
    ("nothing minted published", CALM, (ROTATE, PUBLISH), "proven to work is published"),
    ("unpublished promoted", CALM, (ROTATE, MINT, Verify(), PROMOTE), "published key is promoted"),
    (
        "a mint after the promotion",
        CALM,
        (ROTATE, MINT, Verify(), PUBLISH, PROMOTE, MINT),
        "no claim of ours to rotate",
    ),
    (
        "a removal in a plan that adds",
        changed(OLD, book={"pending": claim(ClaimKind.DISABLE)}),
        (TakeOverClaim(NOW), Disable(B, PATH), MINT),
        "no claim of ours to rotate",
    ),
    (
        "a removal before an addition",
        OLD,
        (*DISABLE_B, RecordDisabled(B), ROTATE, MINT),
        "additions come before removals",
    ),
    ("a fence without a claim", CALM, (Fence(PATH),), "needs a claim of ours and a live version"),
    (
        "a fence of nothing",
        changed(CALM, secret=DELETED),
        (MakeClaim(claim(ClaimKind.FENCE)), Fence(PATH)),
        "needs a claim of ours and a live version",
    ),
    ("an old key enabled under a claim", BACK, (ROLL_BACK[1], Enable(B)), "only a recalled key"),
    ("an old key enabled without a claim", BACK, (RECALL, Enable(B)), "only a served key"),
    (
        "an old key enabled under a disable's claim",
        BACK,
        (RECALL, DISABLE_B[0], Enable(B)),
        "only a recalled key",
    ),
    ("another key enabled", BACK, (*ROLL_BACK, Enable(C)), "only a served key is enabled"),
    ("a key in no entry recalled", BACK, (Recall(C, 2, PATH),), "only a retiring key"),
    ("a version not read recalled", OLD, (RECALL,), "seen to hold the key"),
    ("another version recalled", BACK, (Recall(B, 1, PATH),), "seen to hold the key"),
    (
        "a key recalled whose delete was claimed",
        entry(BACK, delete_claimed=True),
        (RECALL,),
        "a delete of this key was claimed once",
    ),
    (
        "a key recalled that serves elsewhere",
        changed(BACK, served_by={B: frozenset({"payroll"})}),
        (RECALL,),
        "another target serves this key",
    ),
    (
        "a key recalled over a foreign value",
        changed(BACK, book={"served": None, "foreign": FOREIGN}),
        (RECALL,),
        "over a foreign value",
    ),
    (
        "a key recalled without a live version",
        changed(BACK, secret=DELETED),
        (RECALL,),
        "without a live version",
    ),
    ("a key recalled after a mint", BACK, (ROTATE, MINT, RECALL), "only a retiring key"),
    ("a rollback unverified", BACK, (*ROLL_BACK, PUBLISH), "proven to work is published"),
    (
        "a disabled key published",
        changed(BACK, looks=looks(issued(B, disabled=True))),
        (*ROLL_BACK, Verify(), PUBLISH),
        "proven to work is published",
    ),
    (
        "a recalled key under a rotation's claim",
        BACK,
        (RECALL, ROTATE, Verify()),
        "no claim of ours to roll back",
    ),
    ("a rollback without a recall", BACK, (ROLL_BACK[1], Verify()), "no claim of ours to rotate"),
    ("a mint in a rollback", BACK, (*ROLL_BACK, MINT), "serves the key that it claimed"),
    (
        "a recalled key promoted as a new one",
        BACK,
        (*ROLL_BACK, Verify(), PUBLISH, PROMOTE),
        "serves the key that it claimed",
    ),
    (
        "another key promoted",
        BACK,
        (*ROLL_BACK, Verify(), PUBLISH, PromoteRecalled(C)),
        "serves the key that it claimed",
    ),
    (
        "another key claimed",
        BACK,
        (RECALL, MakeClaim(claim(ClaimKind.ROLLBACK, key=C)), Verify()),
        "serves the key that it claimed",
    ),
    (
        "a rollback promoted before its publish",
        BACK,
        (*ROLL_BACK, Verify(), PromoteRecalled(B)),
        "only a published key is promoted",
    ),
    (
        "a rollback promoted twice",
        BACK,
        (*ROLL_BACK, Verify(), PUBLISH, PromoteRecalled(B), PromoteRecalled(B)),
        "no claim of ours",
    ),
    ("an old key enabled", OLD, (Enable(B),), "only a served key is enabled"),
    ("an unknown key enabled", CALM, (Enable(C),), "only a served key is enabled"),
    ("a key enabled without a ledger", without_ledger(), (Enable(A),), "only a served key"),
    ("a disable without a claim", OLD, (Disable(B, PATH),), "no claim of ours to disable"),
    ("a disable under a delete's claim", OLD, (DELETE_B[0], Disable(B, PATH)), "to disable"),
    ("a delete under a disable's claim", OVER, (DISABLE_B[0], Delete(B, PATH)), "to delete"),
    ("a claim about another key", OLD, (DISABLE_B[0], Disable(C, PATH)), "to disable this key"),
    (
        "the served key",
        CALM,
        (MakeClaim(claim(ClaimKind.DISABLE, key=A)), Disable(A, PATH)),
        "only a retiring key is removed",
    ),
    ("a key in no entry", CALM, DISABLE_B, "only a retiring key is removed"),
    (
        "a served and retiring key",
        changed(OLD, book={"served": served(B)}),
        DISABLE_B,
        "only a retiring key is removed",
    ),
    ("a key of a lost ledger", without_ledger(), DISABLE_B, "nothing is removed in a plan that"),
    ("a value that is it", changed(OLD, secret=seen(4, B)), DISABLE_B, "the target serves this"),
    (
        "another target serves it",
        changed(OLD, served_by={B: frozenset({"payroll"})}),
        DISABLE_B,
        "another target serves this key",
    ),
    (
        "a foreign value",
        changed(OLD, book={"served": None, "foreign": FOREIGN}),
        DISABLE_B,
        "under a foreign value",
    ),
    ("no live version", changed(OLD, secret=DELETED), DISABLE_B, "without a live version"),
    ("disagreeing clocks", changed(OLD, vault_now=NOW - HOUR), DISABLE_B, "the clocks disagree"),
    (
        "grace not over",
        entry(OLD, since=NOW - DAY + MINUTE),
        DISABLE_B,
        "its grace period is not over",
    ),
    (
        "grace not over by Vault's clock",
        changed(OLD, vault_now=NOW - MINUTE),
        DISABLE_B,
        "its grace period is not over",
    ),
    ("no look", changed(OLD, looks={}), DISABLE_B, "no proof that it went quiet"),
    (
        "a key in use",
        changed(OLD, looks=looks(issued(B, last_used_at=NOW))),
        DISABLE_B,
        "no proof that it went quiet",
    ),
    (
        "a key that is gone",
        changed(OLD, looks=looks(gone=(B,))),
        DISABLE_B,
        "no proof that it went quiet",
    ),
    (
        "a delete without a look",
        changed(OVER, looks={}),
        DELETE_B,
        "only a key that a look shows disabled is deleted",
    ),
    (
        "a delete of an enabled key",
        changed(OVER, looks=looks(issued(B))),
        DELETE_B,
        "only a key that a look shows disabled is deleted",
    ),
    ("a delete before a disable", entry(OVER, disabled_at=None), DELETE_B, "has not begun"),
    ("a delete against a hand", entry(OVER, enabled_by_hand=True), DELETE_B, "has not begun"),
    (
        "a delete in quarantine",
        entry(OVER, disabled_at=NOW - 3 * DAY + MINUTE),
        DELETE_B,
        "its quarantine is not over",
    ),
    (
        "a compromised key in quarantine",
        entry(OVER, why=Reason.COMPROMISED, disabled_at=NOW - DAY),
        DELETE_B,
        "its quarantine is not over",
    ),
    ("nothing disabled recorded", OLD, (RecordDisabled(B),), "nothing was disabled"),
    (
        "a promotion of what is not read",
        CALM,
        (Record(Promote(served(B))),),
        "only a key that the secret was seen to hold is promoted",
    ),
    (
        "a promotion of another value",
        changed(CALM, secret=seen(4, C)),
        (Record(Promote(served(B))),),
        "only a key that the secret was seen to hold is promoted",
    ),
    (
        "a nonce abandoned without a fence",
        EXPIRED,
        (TakeOverClaim(NOW), Record(Abandon(NONCE))),
        "only behind a fence",
    ),
    (
        "a nonce abandoned behind the fence of an earlier claim",
        EXPIRED,
        (TakeOverClaim(NOW), Fence(PATH), Record(DropClaim()), ROTATE, Record(Abandon(NONCE))),
        "only behind a fence",
    ),
    (
        "a step after its claim was dropped",
        EXPIRED,
        (TakeOverClaim(NOW), Record(DropClaim()), MINT),
        "no claim of ours to rotate",
    ),
]


def breach(observed: Snapshot, steps: tuple[Step, ...]) -> str | None:
    """What the check says of some steps, or None where they keep every promise."""
    try:
        assert_safe(observed, steps, NOW)
    except InvariantViolation as violation:
        return str(violation)
    return None


@pytest.mark.parametrize(
    ("observed", "steps", "promise"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_a_broken_promise_is_named(
    observed: Snapshot, steps: tuple[Step, ...], promise: str
) -> None:
    broken = breach(observed, steps)
    assert broken is not None
    assert promise in broken
    assert broken.startswith("billing: ")


def test_a_broken_promise_names_the_step() -> None:
    with pytest.raises(InvariantViolation, match=r"billing: Mint: "):
        assert_safe(CALM, (MINT,), NOW)


@pytest.mark.parametrize(
    "ending",
    [DropClaim(), RetireKeys(()), KeyDisabled(B, NOW), KeyRemoved(B), Promote(served(A))],
    ids=lambda edit: edit.change,
)
def test_a_claim_ends_with_its_outcome_so_nothing_more_is_done_under_it(ending: Any) -> None:
    observed = changed(EXPIRED, secret=seen(3, A))
    steps = (TakeOverClaim(NOW), Record(ending), Fence(PATH))
    with pytest.raises(InvariantViolation, match="a fence needs a claim of ours"):
        assert_safe(observed, steps, NOW)
    assert breach(observed, (TakeOverClaim(NOW), Record(ending), ROTATE)) is None


KEPT: list[tuple[str, Snapshot, tuple[Step, ...]]] = [
    ("nothing", CALM, ()),
    ("a rotation", CALM, (ROTATE, MINT, Verify(), PUBLISH, PROMOTE)),
    (
        "a claim that outlives a record of something else",
        CALM,
        (ROTATE, Record(SetHold(HELD)), MINT, Verify(), PUBLISH, PROMOTE),
    ),
    ("a claim taken over at its end", ENDING, (TakeOverClaim(NOW), Record(DropClaim()))),
    ("a rollback", BACK, (*ROLL_BACK, Verify(), PUBLISH, PromoteRecalled(B))),
    (
        "a rollback out of quarantine",
        changed(BACK, looks=looks(issued(B, disabled=True))),
        (*ROLL_BACK, Enable(B), Verify(), PUBLISH, PromoteRecalled(B)),
    ),
    ("a disable", OLD, (*DISABLE_B, RecordDisabled(B))),
    ("a delete", OVER, (*DELETE_B, Record(KeyRemoved(B)))),
    ("a served key enabled", CALM, (Enable(A),)),
    ("a key enabled that the secret holds", changed(OLD, secret=seen(4, B)), (Enable(B),)),
    ("a first ledger", without_ledger(), (CreateLedger(ledger()),)),
    (
        "a nonce abandoned behind a fence",
        EXPIRED,
        (TakeOverClaim(NOW), Fence(PATH), Record(Abandon(NONCE))),
    ),
    (
        "a compromised key without a grace",
        entry(changed(OLD, looks={}), why=Reason.COMPROMISED, since=NOW),
        DISABLE_B,
    ),
    ("audit of a dead process", EXPIRED, (Settle(claim(), (), None), Record(DropClaim()))),
]


@pytest.mark.parametrize(
    ("observed", "steps"), [row[1:] for row in KEPT], ids=[row[0] for row in KEPT]
)
def test_what_keeps_every_promise_passes(observed: Snapshot, steps: tuple[Step, ...]) -> None:
    assert breach(observed, steps) is None
