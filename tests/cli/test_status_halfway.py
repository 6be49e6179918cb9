"""A rotation that stops half-way is visible, wherever it stopped: the lab's lives, as `status` shows them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.cli.details import _lines
from rotator.core.ledger import ClaimKind
from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.view import State, TargetView, view
from rotator.core.words import moment
from rotator.engine.observe import observe
from tests.engine.lab import CLAIM_TIMEOUT, PATH, Lab, target
from tests.engine.troubles import for_a_while, forbidden, new_keys_refused, nobody_let_in, sealed
from tests.fakes.faults import Kind, nth


def shown(lab: Lab) -> TargetView:
    """What `status` shows of the target now, in another process that may read no value."""
    world = lab.another("status").world
    snapshot = observe(world, lab.targets[0], may_read_values=False).snapshot
    now = lab.clock.now()
    return view(snapshot, plan(snapshot, now), now)


def told(lab: Lab) -> dict[str, str]:
    """The lines of `status NAME`, by their headings."""
    return dict(_lines(shown(lab), lab.clock.now()))


def due(lab: Lab) -> Lab:
    """The lab at the moment at which its rotation is due."""
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    return lab


FAILING = {
    "the create is refused": ("openrouter.create", Kind.REFUSED, Reason.MINT_REFUSED),
    "the create is limited": ("openrouter.create", Kind.LIMITED, Reason.UNAVAILABLE),
    "the create's answer is lost": ("openrouter.create", Kind.ANSWER_LOST, Reason.MINT_UNKNOWN),
    "the publish is lost": ("vault.write", Kind.NO_EFFECT_LOST, Reason.PUBLISH_UNKNOWN),
    "the publish is refused": ("vault.write", Kind.REFUSED, Reason.REFUSED),
    "the management key is refused": ("openrouter.create", Kind.UNAUTHORISED, Reason.UNAUTHORISED),
}
"""By what fails, the call, how, and the reason that is told."""


@pytest.mark.parametrize("name", FAILING)
def test_a_step_that_fails_is_told_with_cause_time_safety_and_the_next_try(name: str) -> None:
    call, kind, reason = FAILING[name]
    lab = due(Lab())
    lab.faults.choose = nth(call, 1, kind)
    begun = lab.clock.now()
    lab.run()
    assert lab.faults.hit
    seen = shown(lab)
    assert seen.failure is not None
    assert seen.failure.reason is reason
    assert (seen.failure.since, seen.failure.count) == (begun, 1)
    assert seen.failure.next_try > lab.clock.now()
    assert seen.safe == "The served key goes on working."
    assert lab.account.accepts(lab.served_hash() or "")
    line = told(lab)["failing"]
    assert str(moment(begun)) in line
    assert "The served key goes on working. Tried again in" in line
    assert seen.state in (State.FAILING, State.CHANGING)


@pytest.mark.parametrize("number", range(1, 26))
@pytest.mark.parametrize("kind", [Kind.DIE_BEFORE, Kind.ERROR, Kind.UNSETTLED])
def test_wherever_a_rotation_stops_status_says_so(kind: Kind, number: int) -> None:
    """Either it went through all the same, or there is a claim or a failure, and a time for each."""
    lab = due(Lab())
    old = lab.served_hash()
    lab.faults.plan = {len(lab.faults.calls) + number: kind}
    report = lab.run()
    seen = shown(lab)
    rotated = lab.served_hash() != old and seen.claim is None
    not_begun = lab.served_hash() == old and seen.state is State.DUE
    if not rotated and not not_begun:
        assert seen.claim is not None or seen.failure is not None, report
    if seen.claim is not None:
        assert seen.claim.until <= lab.clock.now() + CLAIM_TIMEOUT + timedelta(seconds=1)
        assert "it is settled in" in told(lab)["changing"]
    assert seen.served is not None
    assert lab.account.accepts(lab.served_hash() or "")


def test_a_claim_that_ran_out_is_told_as_interrupted() -> None:
    lab = due(Lab())
    lab.faults.choose = nth("openrouter.create", 1, Kind.DIE_AFTER)
    lab.run()
    assert told(lab)["changing"].startswith("rotate by process-1 since ")
    seen = shown(lab)
    assert seen.claim is not None
    assert (seen.claim.kind, seen.state) == (ClaimKind.ROTATE, State.CHANGING)
    lab.clock.advance(CLAIM_TIMEOUT + timedelta(seconds=1))
    assert "interrupted. The next pass settles it." in told(lab)["changing"]
    lab.run()
    assert "changing" not in told(lab), "it was settled, and followed up at once"


def test_a_first_key_that_fails_is_not_called_safe() -> None:
    lab = Lab()
    lab.faults.choose = lambda _service, name, _acts: Kind.REFUSED if name == "create" else None
    lab.run()
    seen = shown(lab)
    assert seen.failure is not None
    assert seen.safe == "No key is served yet, so consumers wait for the first one."
    assert "goes on working" not in told(lab)["failing"]


def test_an_expired_served_key_is_not_called_safe() -> None:
    lab = Lab()
    key = replace(lab.targets[0].key, expires_in=timedelta(hours=20))
    lab.targets = (target(key=key),)
    lab.run()
    served = lab.served_hash()
    assert served is not None
    assert shown(lab).safe == (
        f"The served key goes on working until {moment(lab.clock.now() + timedelta(hours=20))}, "
        "when it expires."
    )
    lab.excused.add(served)
    lab.faults.choose = lambda _service, name, _acts: Kind.REFUSED if name == "create" else None
    lab.live(timedelta(hours=21))
    assert "expired at" in shown(lab).safe
    assert "consumers are refused" in told(lab)["failing"]


def test_an_outage_says_that_the_served_key_was_refused_too() -> None:
    lab = due(Lab())
    for_a_while(nobody_let_in)(lab, len(lab.faults.calls) + 1)
    lab.run()
    seen = shown(lab)
    assert seen.failure is not None
    assert seen.failure.reason is Reason.OUTAGE
    assert "did not accept it either" in seen.safe


def test_a_new_key_that_is_refused_leaves_the_old_one_working() -> None:
    lab = due(Lab())
    for_a_while(new_keys_refused(timedelta(hours=1)))(lab, len(lab.faults.calls) + 1)
    lab.run()
    seen = shown(lab)
    assert seen.failure is not None
    assert seen.failure.reason is Reason.NEW_KEY_REFUSED
    assert seen.safe == "The served key goes on working."


@pytest.mark.parametrize("alter", [forbidden, sealed])
def test_while_vault_takes_no_note_the_report_still_says_what_failed(alter: object) -> None:
    """The daemon keeps what the ledger cannot; a `status` that reads Vault is told so itself."""
    lab = due(Lab())
    for_a_while(alter)(lab, len(lab.faults.calls) + 1)  # type: ignore[arg-type]
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason in (Reason.REFUSED, Reason.UNAVAILABLE)
    assert report.failure.next_try > lab.clock.now()


def test_a_foreign_value_that_fails_to_be_looked_at_is_said_to_stay() -> None:
    lab = Lab()
    lab.run()
    lab.vault.put(PATH, {"OTHER": "stays", "OPENROUTER_API_KEY": "by hand"})
    lab.excused.add(lab.served_hash() or "")
    lab.run()
    assert shown(lab).safe == "The foreign value stays as it is."


def test_before_the_first_pass_nothing_is_claimed_of_what_is_served() -> None:
    seen = shown(Lab())
    assert (seen.state, seen.claim) == (State.NEW, None)
    assert seen.safe == "What is served stays as it is."
