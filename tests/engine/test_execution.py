"""What carrying out a plan comes to: what was done, what is put off, and what is remembered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.ledger import Failure, Ledger
from rotator.core.reasons import Reason
from rotator.engine.observe import observe
from rotator.engine.pace import Pace
from rotator.engine.reconcile import reconcile
from rotator.engine.world import World
from rotator.errors import CheckAndSetConflict, Refused, Transient
from tests.engine.lab import PATH, Lab
from tests.fakes.faults import Kind, nth


def due_lab() -> Lab:
    """A target that serves a key, which is due."""
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=13))
    return lab


def removing_lab() -> Lab:
    """A target whose old key can be disabled now."""
    lab = due_lab()
    lab.run()
    lab.clock.advance(timedelta(hours=1, minutes=1))
    return lab


def book_of(lab: Lab) -> Ledger:
    """The ledger as it stands."""
    book = lab.ledger()
    assert book is not None
    return book


def test_a_report_names_the_steps_that_were_carried_out() -> None:
    lab = due_lab()
    assert lab.run().changed == ("MakeClaim", "Mint", "Verify", "Publish", "PromoteMinted")
    lab = due_lab()
    lab.faults.choose = nth("openrouter.create", 1, Kind.REFUSED)
    assert lab.run().changed == ("MakeClaim",)


def test_a_failure_that_the_ledger_remembers_is_the_one_that_is_reported() -> None:
    lab = due_lab()
    now = lab.clock.now()
    earlier = Failure(Reason.UNAVAILABLE, "vault was away", now, 3, now)
    lab.faults.choose = nth("openrouter.create", 1, Kind.REFUSED)
    report = reconcile(lab.world, lab.targets[0], earlier=earlier)
    assert report.failure is not None
    assert report.failure == book_of(lab).failure


@pytest.mark.parametrize(
    "still",
    [
        lambda world: replace(world, leads=lambda: False),
        lambda world: replace(world, stopping=lambda: True),
    ],
    ids=["leads no more", "stopping"],
)
def test_a_process_that_is_to_begin_nothing_writes_nothing_either(
    still: Callable[[World], World],
) -> None:
    lab = due_lab()
    lab.process.world = still(lab.world)
    versions = len(lab.vault.paths["state/targets/app"])
    report = lab.run()
    assert report.failure is None
    assert report.wake_at == report.at
    assert len(lab.vault.paths["state/targets/app"]) == versions


def test_a_claim_says_when_it_was_begun_and_not_when_its_write_began_to_queue() -> None:
    lab = due_lab()
    lab.process.world = replace(lab.world, pace=Pace(lab.clock, 6))
    lab.world.pace.obtain()
    queued = lab.clock.now()
    lab.faults.choose = nth("openrouter.create", 1, Kind.DIE_BEFORE)
    lab.run()
    claim = book_of(lab).pending
    assert claim is not None
    assert claim.started_at == lab.clock.now() == queued + timedelta(seconds=10)


def test_a_served_key_that_is_disabled_is_enabled_before_all_that_queues() -> None:
    lab = removing_lab()
    lab.run()
    (old,) = book_of(lab).retiring
    assert lab.account.keys[old.hash].disabled
    lab.excused.add(old.hash)
    first = next(each.data for each in lab.vault.paths[PATH][1:] if each.data)
    lab.vault.put(PATH, first)  # a person pastes its value back
    lab.process.world = replace(lab.world, pace=Pace(lab.clock, 1))
    lab.world.pace.obtain()
    pasted = lab.clock.now()
    lab.run()
    assert lab.account.accepts(old.hash)
    assert lab.clock.now() == pasted


@pytest.mark.parametrize(("timeout", "seconds"), [(300, 15), (40, 10)])
def test_a_removal_before_all_targets_were_seen_is_tried_again_after_a_short_while(
    timeout: int, seconds: int, caplog: pytest.LogCaptureFixture
) -> None:
    lab = removing_lab()
    limits = replace(lab.world.limits, claim_timeout=timedelta(seconds=timeout))
    world = replace(lab.world, limits=limits)
    world.fleet.unfill()
    with caplog.at_level(logging.INFO):
        report = reconcile(world, lab.targets[0])
    assert report.failure is None
    assert report.wake_at == report.at + timedelta(seconds=seconds)
    assert caplog.messages[-1] == f"target app: {Reason.INDEX_EMPTY}"
    world.fleet.fill(["app", "d", "c", "b", "a"])
    with caplog.at_level(logging.INFO):
        reconcile(world, lab.targets[0])
    assert caplog.messages[-1].endswith("4 of them, such as a, b, c")
    assert "openrouter.disable" not in lab.faults.calls


def test_a_removal_does_not_wait_for_a_look_at_its_own_target() -> None:
    lab = removing_lab()
    observation = observe(lab.world, lab.targets[0])
    lab.world.fleet.unfill()  # a reload
    lab.world.fleet.fill(["app", "new"])
    lab.world.fleet.serves("new", None)
    assert lab.world.fleet.unseen() == frozenset({"app"})
    report = reconcile(lab.world, lab.targets[0], observation=observation)
    assert "Disable" in report.changed


def test_what_waits_for_a_pause_or_is_stopped_meanwhile_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = due_lab()
    lab.world.pace.pause(60)
    with caplog.at_level(logging.INFO):
        report = lab.run()
    assert report.failure is None
    assert report.wake_at == report.at + timedelta(seconds=60)
    assert "writes are paused or queued for 60 s" in caplog.text
    asked = [False]
    pace = Pace(lab.clock, 60, stopping=lambda: asked[0])
    pace.pause(10)
    asked[0] = True
    lab.process.world = replace(lab.world, pace=pace)
    with caplog.at_level(logging.INFO):
        report = lab.run()
    assert report.failure is None
    assert caplog.messages[-1] == f"target app: {Reason.STOPPING}: asked to stop"


def test_vault_is_left_alone_for_as_long_as_it_asks_for() -> None:
    lab = due_lab()

    def busy(service: str, name: str, acts: bool) -> Kind | None:
        if name == "write_ledger":
            raise Transient(service, name, "busy", status=503, retry_after=7200.0 * acts)
        return None

    lab.faults.choose = busy
    report = lab.run()
    assert report.failure is not None
    assert report.failure.detail == "vault: write_ledger: busy"
    assert report.failure.next_try >= lab.clock.now() + timedelta(hours=2)


def test_an_audit_trail_that_cannot_be_written_is_told_with_its_cause() -> None:
    lab = due_lab()
    lab.faults.choose = nth("audit.append", 1, Kind.ERROR)
    report = lab.run()
    assert report.failure is not None
    assert report.failure.detail == "append: disk full"


@pytest.mark.parametrize(
    ("kind", "reason", "stands"),
    [
        (Kind.NO_EFFECT_LOST, Reason.MINT_UNKNOWN, True),
        (Kind.ERROR, Reason.UNAVAILABLE, False),
        (Kind.REFUSED, Reason.MINT_REFUSED, False),
    ],
)
def test_a_mint_that_fails_says_why_and_keeps_its_claim_only_where_a_key_may_be_made(
    kind: Kind, reason: Reason, stands: bool
) -> None:
    lab = due_lab()
    lab.faults.choose = nth("openrouter.create", 1, kind)
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is reason
    assert report.failure.detail.startswith("openrouter: create")
    assert (book_of(lab).pending is not None) is stands


@pytest.mark.parametrize(
    ("error", "reason", "tries"),
    [
        (CheckAndSetConflict("vault", "write", "did not match", status=400), Reason.CONFLICT, 4),
        (Refused("vault", "write", "no such policy", status=403), Reason.REFUSED, 1),
    ],
)
def test_a_publish_that_vault_refuses_gives_the_key_up_and_says_why(
    error: Refused, reason: Reason, tries: int
) -> None:
    lab = due_lab()
    served, calls = lab.served_hash(), len(lab.faults.calls)

    def refusing(service: str, name: str, acts: bool) -> Kind | None:
        if (service, name) == ("vault", "write"):
            raise error
        return None

    lab.faults.choose = refusing
    report = lab.run()
    assert report.failure is not None
    assert (report.failure.reason, report.failure.detail) == (reason, str(error))
    assert lab.faults.calls[calls:].count("vault.write") == tries
    book = book_of(lab)
    assert book.pending is None
    assert set(lab.account.keys) == {served}
    assert lab.served_hash() == served


def test_openrouter_is_left_alone_for_as_long_as_it_asks_for_when_a_mint_fails() -> None:
    lab = due_lab()

    def busy(service: str, name: str, acts: bool) -> Kind | None:
        if name == "create":
            raise Transient(service, name, "busy", status=503, retry_after=7200.0 * acts)
        return None

    lab.faults.choose = busy
    report = lab.run()
    assert report.failure is not None
    assert report.failure.next_try >= lab.clock.now() + timedelta(hours=2)


def test_a_vault_that_stays_away_when_the_key_is_to_be_published_is_told_with_its_words() -> None:
    lab = due_lab()
    lab.faults.choose = lambda service, name, _: (
        Kind.ERROR if (service, name) == ("vault", "write") else None
    )
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.UNAVAILABLE
    assert report.failure.detail.startswith("vault: write")
