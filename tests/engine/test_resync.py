"""The full comparison: what it counts, what it tells, and what cannot be looked at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.codec import encode_ledger
from rotator.core.keys import NewKey
from rotator.core.ledger import Failure
from rotator.core.marker import Marker
from rotator.core.reasons import Reason
from rotator.core.snapshot import Demand
from rotator.core.steps import Delete, Plan
from rotator.core.target import KeySettings, Target
from rotator.engine import reconcile
from rotator.engine.observe import observe
from rotator.engine.reconcile import Report
from rotator.engine.resync import ResyncReport, resync
from rotator.events import Resync
from tests.engine.lab import INSTALLATION, PATH, Lab, target
from tests.engine.promises import FIELD
from tests.fakes.faults import Kind, nth


def test_keys_that_are_not_ours_are_counted_and_those_of_a_copied_configuration_are_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = Lab()
    lab.run()
    lab.account.make(NewKey("made by hand"))
    lab.account.make(NewKey(str(Marker("test", "ff" * 8, "app", "0" * 16))))
    lab.account.make(NewKey(str(Marker("another", "ff" * 8, "app", "0" * 16))))
    report = resync(lab.world, lab.targets)
    assert (report.keys, report.foreign, report.copied) == (4, 3, 1)
    assert "was the configuration copied?" in caplog.text
    assert len(lab.account.keys) == 4, "none of them is touched"


def test_a_comparison_whose_count_cannot_be_written_down_says_so_and_stands(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = Lab()
    lab.run()
    lab.faults.choose = nth("audit.append", 1, Kind.ERROR)
    report = resync(lab.world, lab.targets)
    assert lab.faults.hit == [("audit.append", Kind.ERROR)]
    assert (report.failed, report.keys) == (None, 1)
    assert "the audit trail cannot be written" in caplog.text


def test_a_listing_that_fails_is_no_refusal_and_a_new_target_gets_its_first_key() -> None:
    lab = Lab()
    lab.faults.choose = lambda _service, name, _acts: Kind.ERROR if name == "list" else None
    report = resync(lab.world, lab.targets)
    assert report.failed is not None
    assert report.keys == 0
    assert lab.world.fleet.refused() is None
    assert lab.account.accepts(lab.served_hash() or "")


def test_a_failed_look_that_cannot_be_noted_in_the_ledger_is_remembered_by_the_report(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=13))
    lab.faults.choose = lambda _service, name, _acts: (
        Kind.ERROR if name in ("get", "write_ledger") else None
    )
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.UNAVAILABLE
    assert "could not be noted in the ledger" in caplog.text
    book = lab.ledger()
    assert book is not None
    assert book.failure is None


def test_a_secret_that_was_never_written_serves_no_key_and_holds_nobody_up() -> None:
    lab = Lab(targets=(target(), target("new", path="secret/new")))
    lab.world.fleet.fill(["app", "new"])
    observe(lab.world, lab.targets[1])
    assert lab.world.fleet.unseen() == frozenset({"app"})


def test_a_finding_that_cannot_be_written_into_the_audit_trail_stops_the_pass() -> None:
    lab = Lab()
    lab.run()
    lab.vault.put(PATH, {FIELD: "theirs", "OTHER": "stays"})
    lab.excused.add(lab.served_hash() or "")
    lab.run(full=True)
    lab.world.fleet.report_over("app", frozenset())  # as in a new process
    before = lab.account.minted
    lab.faults.choose = nth("audit.append", 1, Kind.ERROR)
    report = reconcile.reconcile(lab.world, lab.targets[0])
    assert report.failure is not None
    assert report.failure.reason is Reason.AUDIT_UNAVAILABLE
    assert lab.account.minted == before


def test_a_plan_that_would_break_a_promise_is_a_defect_and_none_of_it_is_carried_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lab = Lab()
    lab.run()
    served = lab.served_hash()
    assert served is not None
    wrong = Plan(Reason.GONE, (Delete(served, lab.targets[0].secret),))
    monkeypatch.setattr("rotator.core.plan._plan", lambda *_: wrong)
    with caplog.at_level(logging.ERROR):
        report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.DEFECT
    assert "Delete" in report.failure.detail
    assert lab.account.accepts(served)


def test_a_plan_that_never_has_seen_enough_is_given_up_for_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=13))
    monkeypatch.setattr(reconcile, "_LOOKS", 1)
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.UNAVAILABLE
    assert report.failure.detail == "rotator: plan: still asks for more after 1 observations"
    assert lab.account.minted == 1


@pytest.mark.parametrize("meddled", [False, True])
def test_a_rotation_that_is_asked_for_in_a_comparison_is_made_though_it_is_observed_anew(
    meddled: bool,
) -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=1))
    first, before_each = lab.served_hash(), lab.faults.before_each
    left = ["write_ledger"] if meddled else []

    def before(service: str, name: str, acts: bool) -> None:
        if name in left:
            left.remove(name)
            lab.vault.put("state/targets/app", lab.vault.current("state/targets/app") or {})
        before_each(service, name, acts)

    lab.faults.before_each = before
    lab.run(demand=Demand(), full=True)
    assert not left
    assert lab.served_hash() != first


def test_a_comparison_goes_on_counting_the_failures_that_no_ledger_could_keep() -> None:
    lab = Lab()
    lab.run()
    now = lab.clock.now()
    lab.faults.choose = lambda service, *_: Kind.ERROR if service == "vault" else None
    earlier = {"app": Failure(Reason.UNAVAILABLE, "vault was away", now, 3, now)}
    (report,) = resync(lab.world, lab.targets, earlier=earlier).reports
    assert report.failure is not None
    assert report.failure.count == 4


def test_a_comparison_during_which_all_must_be_looked_at_anew_does_not_count_as_that() -> None:
    lab = Lab()
    lab.run()
    lab.world.fleet.unfill()
    before_each, left = lab.faults.before_each, ["metadata"]

    def before(service: str, name: str, acts: bool) -> None:
        if name in left:
            left.remove(name)
            lab.world.fleet.unfill()
        before_each(service, name, acts)

    lab.faults.before_each = before
    resync(lab.world, lab.targets)
    assert not left
    assert not lab.world.fleet.filled()
    resync(lab.world, lab.targets)
    assert lab.world.fleet.filled()


def test_what_needs_a_person_is_written_down_once_also_where_it_is_about_a_key() -> None:
    lab = Lab()
    lab.run()
    lab.vault.put("secret/moved", {"OTHER": "stays"})
    lab.targets = (target(path="secret/moved"),)
    lab.began.clear()
    for _ in range(3):
        lab.run(full=True)
    (event,) = lab.trail.events("target.attention")
    assert (event.reason, event.key_hash) == (Reason.LEFT_BEHIND, lab.served_hash(PATH))


def test_every_workspace_that_a_target_names_is_listed() -> None:
    keys = [KeySettings(workspace_id=each) for each in ("w1", "w2", None)]
    lab = Lab(tuple(target(f"t{n}", path=f"secret/t{n}", key=key) for n, key in enumerate(keys)))
    lab.promises.other = None
    lab.run(full=True)
    report = resync(lab.world, lab.targets)
    assert (report.keys, report.foreign) == (3, 0)
    assert lab.world.fleet.dead() == frozenset()


def test_a_listing_that_is_refused_for_our_credential_stops_all_changes() -> None:
    lab = Lab()
    lab.run()
    lab.faults.choose = nth("openrouter.list", 1, Kind.UNAUTHORISED)
    report = resync(lab.world, lab.targets)
    assert report.failed == "openrouter: list: refused"
    assert lab.world.fleet.refused() == report.failed


def test_the_dead_are_those_whose_key_is_gone_disabled_by_others_or_expired() -> None:
    names = ("a_new", "alive", "gone", "disabled", "ours", "expired", "lasting")
    lab = Lab(tuple(target(each, path=f"secret/{each}") for each in names[1:]))
    lab.promises.other = None
    lab.run(full=True)
    served = {each: lab.served_hash(f"secret/{each}") or "" for each in names[1:]}
    lab.excused.update(served.values())
    now = lab.world.ledgers.read("targets/alive").vault_time
    del lab.account.keys[served["gone"]]
    lab.account.change(served["disabled"], disabled=True)
    lab.account.change(served["ours"], disabled=True)
    lab.account.change(served["expired"], expires_at=now)
    lab.account.change(served["lasting"], expires_at=now + timedelta(hours=1))
    book = lab.ledger("ours")
    assert book is not None
    assert book.served is not None
    claimed = replace(book, served=replace(book.served, disable_claimed=True))
    lab.vault.put("state/targets/ours", encode_ledger(claimed))
    lab.targets = (target("a_new", path="secret/a_new"), *lab.targets)
    found: list[frozenset[str]] = []

    def spread(work: Callable[[Target], Report], targets: Iterable[Target]) -> Iterable[Report]:
        found.append(lab.world.fleet.dead())
        return (
            [work(each) for each in targets if each.name == "alive"]
            if found[1:]
            else [work(each) for each in targets]
        )

    reports = resync(lab.world, lab.targets, spread=spread).reports
    assert found[1] == {"gone", "disabled", "expired"}
    (alive,) = reports
    assert alive.snapshot is not None
    assert alive.snapshot.dead == found[1]


@pytest.mark.parametrize("trouble", ["forgotten", "unreadable"])
def test_a_target_let_go_of_which_nothing_can_be_told_holds_up_no_other(trouble: str) -> None:
    lab = Lab(tuple(target(each, path=f"secret/{each}") for each in ("app", "one", "two")))
    lab.run(full=True)
    lab.targets = lab.targets[:1]
    if trouble == "forgotten":
        lab.vault.forget("state/targets/one")
    else:
        lab.faults.choose = nth("vault.read_ledger", 2, Kind.ERROR)
    reports = resync(lab.world, lab.targets).reports
    assert [each.target for each in reports] == ["app", "two"]


WORKSPACE = "7b3b1c9e-4c2f-4a5e-9a53-0d7d5a1f9f10"
APART = KeySettings(limit=50.0, limit_reset="daily", workspace_id=WORKSPACE)


def _apart(*, known: bool) -> Lab:
    """A target in the default workspace, and one whose workspace OpenRouter may not know (yet)."""
    lab = Lab()
    lab.account.workspaces = {WORKSPACE} if known else set()
    lab.vault.put("secret/two", {"OTHER": "stays"})
    lab.run()
    lab.targets = (target(), target("two", path="secret/two", key=APART))
    lab.process.boot()
    return lab


def _of(report: ResyncReport, name: str) -> Report:
    return next(each for each in report.reports if each.target == name)


def test_a_workspace_that_openrouter_does_not_know_leaves_the_other_targets_looked_after(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = _apart(known=False)
    dead = lab.served_hash() or ""
    lab.excused.add(dead)
    del lab.account.keys[dead]
    stray = lab.account.make(NewKey(str(Marker("test", INSTALLATION, "app", "0" * 16)))).key.hash
    lab.account.use(stray)
    report = resync(lab.world, lab.targets)
    assert report.failed is None
    assert lab.account.accepts(lab.served_hash() or ""), "the dead key was noticed"
    lab.live(timedelta(hours=6))
    assert stray not in lab.account.keys, "the orphan was removed"
    app, two = (_of(report, each) for each in ("app", "two"))
    assert app.plan is not None
    assert app.plan.findings == ()
    assert two.failure is not None
    assert two.failure.reason is Reason.MINT_REFUSED
    assert f"list keys of workspace {WORKSPACE}" in caplog.text
    assert "named by two" in caplog.text


def test_a_target_is_told_of_its_unknown_workspace_until_the_workspace_is_known() -> None:
    lab = _apart(known=True)
    lab.run(full=True)
    served = lab.served_hash("secret/two") or ""
    lab.account.workspaces = set()
    for _ in range(2):
        lab.run(full=True)
        two = _of(resync(lab.world, lab.targets), "two")
        again = reconcile.reconcile(lab.world, lab.targets[1])
        for report in (two, again):
            assert report.plan is not None
            assert report.failure is None, "its key is served and works"
            (finding,) = report.plan.findings
            assert (finding.reason, finding.attention) == (Reason.WORKSPACE_UNKNOWN, True)
            assert WORKSPACE in finding.detail
    (event,) = lab.trail.events("target.attention")
    assert (event.target, event.reason) == ("two", Reason.WORKSPACE_UNKNOWN)
    lab.account.workspaces = {WORKSPACE}
    two = _of(resync(lab.world, lab.targets), "two")
    assert two.plan is not None
    assert two.plan.findings == ()
    assert lab.account.accepts(served)
    assert lab.served_hash("secret/two") == served


def test_a_key_of_a_workspace_that_is_not_listed_does_not_count_as_dead() -> None:
    lab = _apart(known=True)
    lab.run(full=True)
    lab.account.workspaces = set()
    found: list[frozenset[str]] = []

    def spread(work: Callable[[Target], Report], targets: Iterable[Target]) -> Iterable[Report]:
        found.append(lab.world.fleet.dead())
        return [work(each) for each in targets]

    resync(lab.world, lab.targets, spread=spread)
    assert set(found) == {frozenset()}


def test_a_claim_is_not_settled_by_a_listing_that_lacks_its_workspace() -> None:
    lab = _apart(known=True)
    lab.faults.choose = nth("openrouter.create", 1, Kind.DIE_AFTER)
    lab.run(full=True)
    lab.faults.choose = lambda *_: None
    made = next(each for each in lab.account.keys.values() if each.workspace_id == WORKSPACE)
    lab.clock.advance(timedelta(minutes=10))
    lab.account.workspaces = set()
    two = _of(resync(lab.world, lab.targets), "two")
    assert two.failure is not None
    assert two.failure.reason is Reason.REFUSED
    assert WORKSPACE in two.failure.detail
    book = lab.ledger("two")
    assert book is not None
    assert book.pending is not None, "whether a key was made is open"
    lab.account.workspaces = {WORKSPACE}
    lab.clock.advance(timedelta(minutes=10))
    lab.live(timedelta(hours=6))
    assert made.hash not in lab.account.keys
    assert lab.account.accepts(lab.served_hash("secret/two") or "")


@pytest.mark.parametrize("kind", [Kind.ERROR, Kind.FORBIDDEN, Kind.UNAUTHORISED])
def test_a_listing_of_one_workspace_that_fails_for_another_reason_is_none(kind: Kind) -> None:
    lab = _apart(known=True)
    lab.faults.choose = nth("openrouter.list", 2, kind)
    report = resync(lab.world, lab.targets)
    assert lab.faults.hit == [("openrouter.list", kind)]
    assert report.failed is not None


def _let_go_apart() -> tuple[Lab, str]:
    """A target alone in its workspace was rotated, then taken out; its old key is enabled still."""
    lab = _apart(known=True)
    lab.run(full=True)
    old = lab.served_hash("secret/two") or ""
    lab.account.use(old)
    lab.clock.advance(timedelta(hours=12, minutes=1))
    lab.run(full=True)
    assert lab.served_hash("secret/two") != old
    lab.targets = lab.targets[:1]
    lab.process.boot()
    return lab, old


def test_a_target_let_go_that_was_alone_in_its_workspace_is_finished() -> None:
    lab, old = _let_go_apart()
    served = lab.served_hash("secret/two") or ""
    lab.live(timedelta(hours=30))
    assert old not in lab.account.keys
    assert lab.account.accepts(served), "what a target let go serves is left alone"


@pytest.mark.parametrize("kind", [Kind.FORBIDDEN, Kind.ERROR])
def test_where_the_workspaces_cannot_be_asked_for_those_that_targets_name_are_listed(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    lab, old = _let_go_apart()
    lab.faults.choose = lambda _service, name, _acts: kind if name == "workspaces" else None
    report = resync(lab.world, lab.targets)
    assert report.failed is None
    assert [each.target for each in report.reports] == ["app"]
    assert lab.account.accepts(old)
    assert "only workspaces that targets name are listed" in caplog.text


@pytest.mark.parametrize("kind", [Kind.FORBIDDEN, Kind.ERROR])
def test_a_workspace_that_no_target_names_is_left_out_where_it_cannot_be_listed(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    lab, old = _let_go_apart()
    lab.faults.choose = nth("openrouter.list", 2, kind)
    report = resync(lab.world, lab.targets)
    assert report.failed is None
    assert [each.target for each in report.reports] == ["app"]
    assert "(named by no target)" in caplog.text
    assert lab.world.fleet.unlisted() == frozenset()
    (_, two) = resync(lab.world, lab.targets).reports
    assert two.target == "two"
    assert lab.account.accepts(old), "its grace is not over"


def test_a_listing_of_a_workspace_that_is_refused_for_our_credential_is_none() -> None:
    lab, _ = _let_go_apart()
    lab.faults.choose = nth("openrouter.list", 2, Kind.UNAUTHORISED)
    report = resync(lab.world, lab.targets)
    assert report.failed is not None
    assert lab.world.fleet.refused() == report.failed


def test_a_claim_of_a_target_let_go_is_settled_by_a_listing_begun_after_its_ledger_was_read() -> (
    None
):
    lab = _apart(known=True)
    lab.run(full=True)
    lab.clock.advance(timedelta(hours=12, minutes=1))
    lab.faults.choose = nth("openrouter.create", 2, Kind.DIE_AFTER)
    lab.run(full=True)
    assert lab.faults.hit == [("openrouter.create", Kind.DIE_AFTER)]
    book = lab.ledger("two")
    assert book is not None
    assert book.pending is not None
    lab.faults.choose = lambda *_: None
    lab.targets = lab.targets[:1]
    *_, made = lab.account.keys
    lab.excused.add(made)  # the judge calls what was never served foreign once its target is gone
    lab.clock.advance(timedelta(minutes=10))
    before = lab.faults.calls.count("openrouter.list")
    resync(lab.world, lab.targets)
    assert made not in lab.account.keys
    assert lab.faults.calls.count("openrouter.list") - before == 2 + 2
    book = lab.ledger("two")
    assert book is not None
    assert book.pending is None


def test_what_a_comparison_counts_of_keys_that_no_ledger_knows() -> None:
    lab = Lab(targets=(target(), target("b", path="secret/b")))
    for _ in range(2):
        lab.run(full=True)
        lab.clock.advance(timedelta(hours=13))
    for name in ("gone", "lost"):
        lab.account.make(NewKey(str(Marker("test", INSTALLATION, name, "0" * 16))))
    lab.account.make(NewKey(str(Marker("another", "ff" * 8, "app", "0" * 16))))
    lab.account.make(NewKey(str(Marker("another", "ff" * 8, "b", "0" * 16))))
    report = resync(lab.world, lab.targets)
    assert (report.foreign, report.copied) == (2, 0)
    told = lab.trail.events(Resync.name)[-1]
    assert isinstance(told, Resync)
    assert (told.orphans, told.foreign) == (2, 2)


def test_a_rotation_is_made_also_where_the_first_look_at_its_target_failed() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=1))
    first = lab.served_hash()
    lab.faults.choose = nth("vault.read_ledger", 1, Kind.ERROR)
    resync(lab.world, lab.targets, demand=lambda _: Demand())
    assert lab.faults.hit == [("vault.read_ledger", Kind.ERROR)]
    assert lab.served_hash() != first
