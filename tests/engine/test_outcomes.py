"""What a command tells of what it has done, and how long it waits between two looks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.ledger import Failure
from rotator.core.reasons import MEANING, Reason
from rotator.core.snapshot import Demand, Rollback
from rotator.core.steps import Finding, Plan
from rotator.core.target import KeySettings
from rotator.engine.outcomes import Outcome, Verdict, proved_key, sleep, wait_after, why_of
from rotator.engine.reconcile import Report
from rotator.errors import Refused, Transient, Unauthorised
from tests.engine.lab import PATH, Lab, target
from tests.fakes.faults import Kind

KEY, DIGEST = "1" * 64, "2" * 64


def test_what_is_done_is_told_with_the_old_key_the_new_one_and_its_version() -> None:
    lab = Lab()
    lab.run()
    served = lab.served_hash() or ""
    version = len(lab.vault.paths[PATH])
    told = proved_key(lab.world, lab.targets[0], (served, served), "old", Verdict.ROTATED)
    assert told == Outcome("app", Verdict.ROTATED, "old", served, version)


def test_what_cannot_be_proved_is_told_with_both_keys_and_no_version() -> None:
    lab = Lab()
    lab.run()
    held = (
        f"done, but version {len(lab.vault.paths[PATH])} of the secret holds another value by now"
    )
    told = proved_key(lab.world, lab.targets[0], (KEY, DIGEST), "old", Verdict.ROTATED)
    assert told == Outcome("app", Verdict.FAILED, "old", KEY, None, Reason.FIELD_CHANGED, held)
    lab.faults.choose = lambda *_: Kind.ERROR
    away = "done, but the secret could not be read back: vault: read: not now"
    told = proved_key(lab.world, lab.targets[0], (KEY, DIGEST), "old", Verdict.ROTATED)
    assert told == Outcome("app", Verdict.FAILED, "old", KEY, None, Reason.UNAVAILABLE, away)


@pytest.mark.parametrize(
    ("wakes_in", "failed", "wait"),
    [
        (None, False, 0.5),
        (None, True, 0.5),
        (-3, False, 0.5),
        (0.25, True, 0.5),
        (1.5, False, 1.5),
        (4, False, 2.0),
        (4, True, 4.0),
        (60, True, 5.0),
    ],
)
def test_the_next_look_is_at_the_wake_up_but_soon_enough_for_a_person(
    wakes_in: float | None, failed: bool, wait: float
) -> None:
    lab = Lab()
    now = lab.clock.now()
    wake = now + timedelta(seconds=wakes_in) if wakes_in is not None else None
    failure = Failure(Reason.UNAVAILABLE, "", now, 1, now) if failed else None
    report = Report("app", now, None, None, failure=failure, wake_at=wake)
    assert wait_after(lab.world, report) == wait


def test_what_stands_in_the_way_is_a_failure_or_a_finding_or_why_the_plan_rests() -> None:
    now = Lab().clock.now()
    finding = Finding(Reason.HELD, "held for the audit")
    plain, found = Plan(Reason.NOT_DUE), Plan(Reason.NOT_DUE, findings=(finding,))
    failure = Failure(Reason.UNAVAILABLE, "vault: read: no", now, 1, now)
    report = Report("app", now, found, None)
    assert why_of(report) == finding.sentence
    assert why_of(replace(report, plan=plain)) == MEANING[Reason.NOT_DUE]
    why = why_of(replace(report, failure=failure))
    assert why == f"{MEANING[Reason.UNAVAILABLE]} vault: read: no"
    silent = replace(failure, detail="")
    assert why_of(replace(report, failure=silent)) == MEANING[Reason.UNAVAILABLE]


def test_a_wait_ends_in_time_and_within_a_nap_of_a_stop() -> None:
    lab = Lab()
    sleep(lab.world, 1.5)
    assert lab.clock.monotonic() == pytest.approx(1.5)
    sleep(replace(lab.world, stopping=lambda: lab.clock.monotonic() > 2), 60)
    assert lab.clock.monotonic() <= 2.3


@pytest.mark.parametrize(
    "error",
    [
        Transient("openrouter", "enable", "busy", status=503, retry_after=7200.0),
        Unauthorised("openrouter", "enable", "refused", status=401),
        Refused("openrouter", "enable", "refused", status=400),
        Refused("openrouter", "enable", "gone", status=404),
    ],
    ids=lambda each: f"{type(each).__name__} {each.status}",
)
def test_an_old_key_that_cannot_be_enabled_is_told_in_the_words_of_openrouter(
    error: Transient | Unauthorised | Refused,
) -> None:
    lab = Lab()
    lab.run()
    first = lab.served_hash()
    for hours in (12, 1):
        lab.clock.advance(timedelta(hours=hours, minutes=1))
        lab.run()

    def refuse(service: str, name: str, acts: bool) -> Kind | None:
        del service, acts
        if name == "enable":
            raise error
        return None

    lab.faults.choose = refuse
    report = lab.run(demand=Demand(rollback=Rollback(first)))
    assert report.failure is not None
    assert report.failure.detail == str(error)
    if isinstance(error, Transient):
        assert report.failure.next_try >= lab.clock.now() + timedelta(hours=2)
    book = lab.ledger()
    assert book is not None
    assert book.pending is None


@pytest.mark.parametrize("told", [True, False], ids=["all", "nothing"])
def test_a_key_that_is_served_again_keeps_its_terms_where_openrouter_tells_none(told: bool) -> None:
    settings = KeySettings(limit=5.0, limit_reset="weekly", workspace_id="w1")
    lab = Lab((target(key=settings),))
    lab.run()
    first = lab.served_hash() or ""
    lab.clock.advance(timedelta(hours=12, minutes=1))
    lab.run()
    book = lab.ledger()
    assert book is not None
    entry = book.entry(first)
    assert entry is not None
    assert entry.terms is not None
    if not told:
        lab.account.change(first, limits_known=False, workspace_id=None)
    else:
        lab.account.change(first, limit=6.0, workspace_id="w2")
    lab.run(demand=Demand(rollback=Rollback(first)))
    book = lab.ledger()
    assert book is not None
    served = book.served
    now = lab.world.secrets.metadata(PATH)
    assert served is not None
    assert (served.hash, served.workspace) == (first, "w2" if told else "w1")
    assert served.terms == (replace(entry.terms, limit=6.0) if told else entry.terms)
    assert (served.secret_version, served.secret_created_time) == (now.version, now.created_time)
