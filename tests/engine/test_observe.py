"""What a snapshot says: all that was seen, nothing that was not, and no plaintext."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rotator.core.keys import IssuedKey, NewKey
from rotator.core.reasons import Reason
from rotator.core.snapshot import Demand, Draft, LedgerSeen, SecretSeen, Snapshot, ValueSeen
from rotator.core.steps import NeedListing, NeedLook, NeedProbe, NeedValue, NeedVersions
from rotator.core.target import KeySettings, SecretRef
from rotator.engine.observe import (
    Observation,
    ledger_seen,
    list_keys,
    observe,
    renewed,
    satisfy,
    secret_seen,
)
from rotator.engine.world import Fleet
from rotator.errors import Refused, ServiceError
from rotator.ports import LedgerRecord, SecretVersion
from rotator.secret import Secret
from tests.engine.lab import PATH, Lab, target
from tests.engine.promises import FIELD
from tests.fakes.faults import Kind, nth
from tests.fakes.issuer import FakeIssuer


def living() -> Lab:
    """A target that serves its second key."""
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=13))
    lab.run()
    return lab


def drawn(snapshot: Snapshot) -> Snapshot:
    """The same with the drawn numbers of no importance."""
    return replace(snapshot, draft=Draft("a", "b"))


def test_a_snapshot_holds_what_vault_and_this_process_know_of_a_target() -> None:
    lab = living()
    lab.world.fleet.died("other")
    lab.world.fleet.serves("other", "3" * 64)
    demand = Demand(named=False)
    seen = observe(lab.world, lab.targets[0], demand=demand, may_read_values=False)
    record, now = lab.world.ledgers.read("targets/app"), lab.world.secrets.metadata(PATH)
    assert drawn(seen.snapshot) == Snapshot(
        target=lab.targets[0],
        identity=lab.world.identity,
        limits=lab.world.limits,
        draft=Draft("a", "b"),
        vault_now=max(record.vault_time, now.vault_time),
        ledger=ledger_seen(record),
        secret=SecretSeen(now.version, now.created_time, now.live),
        served_by=lab.world.fleet.served_by(),
        dead=frozenset({"other"}),
        demand=seen.snapshot.demand,
        may_read_values=False,
    )
    assert seen.snapshot.demand is not None
    assert not seen.snapshot.demand.named
    assert seen.snapshot.draft.op != seen.snapshot.draft.nonce
    assert observe(lab.world, lab.targets[0]).snapshot.may_read_values
    assert (seen.value, seen.looked_at) == (None, {})


def test_what_a_plan_needs_is_put_into_its_snapshot_the_listing_first() -> None:
    lab = living()
    seen = observe(lab.world, lab.targets[0])
    served = lab.served_hash() or ""
    calls = len(lab.faults.calls)
    needs = (
        NeedLook(served),
        NeedValue(),
        NeedVersions((2, 99)),
        NeedProbe(),
        NeedListing(frozenset({"w9"})),
    )
    satisfy(lab.world, seen, needs)
    found = seen.snapshot
    assert lab.faults.calls[calls] == "openrouter.list"
    assert found.listing is not None
    assert (found.listing.keys, found.listing.fresh) == (lab.account.keys, True)
    assert found.looks[served].key == lab.account.keys[served]
    assert seen.looked_at == {served: lab.clock.monotonic()}
    assert found.secret.value == ValueSeen(served)
    assert seen.value is not None
    assert seen.value.sha256() == served
    assert found.served_works is True
    older = next(each for each in lab.account.keys if each != served)
    assert found.versions == {2: older, 99: None}


def test_a_version_that_may_not_be_read_is_noted_as_nothing_and_the_next_one_is_read() -> None:
    lab = living()
    seen = observe(lab.world, lab.targets[0])
    lab.faults.choose = nth("vault.read", 1, Kind.FORBIDDEN)
    satisfy(lab.world, seen, (NeedVersions((2, 3)),))
    assert seen.snapshot.versions == {2: None, 3: lab.served_hash()}


def test_the_served_value_is_read_before_it_is_asked_about_and_then_not_again() -> None:
    lab = living()
    seen = observe(lab.world, lab.targets[0])
    calls = len(lab.faults.calls)
    satisfy(lab.world, seen, (NeedProbe(),))
    satisfy(lab.world, seen, (NeedProbe(),))
    made = lab.faults.calls[calls:]
    assert made == ["vault.read", "openrouter.whoami", "openrouter.whoami"]
    lab.excused.add(lab.served_hash() or "")
    lab.account.refuses.add(lab.served_hash() or "")
    satisfy(lab.world, seen, (NeedProbe(),))
    assert seen.snapshot.served_works is False


def test_a_field_that_holds_no_text_is_odd_and_one_that_is_not_there_is_not() -> None:
    lab = Lab((target(key=KeySettings(workspace_id="w1")),))
    seen = observe(lab.world, lab.targets[0])
    satisfy(lab.world, seen, (NeedValue(),))
    assert seen.snapshot.secret.value == ValueSeen(None, odd=False)
    lab.vault.put(PATH, {"OTHER": "stays", FIELD: 5})
    satisfy(lab.world, seen, (NeedValue(),))
    assert seen.snapshot.secret.value == ValueSeen(None, odd=True)
    assert seen.snapshot.secret.version == len(lab.vault.paths[PATH])
    assert seen.value is None


def test_what_is_planned_from_after_a_plan_knows_what_was_written_and_asks_for_the_rest() -> None:
    lab = living()
    seen = observe(lab.world, lab.targets[0])
    served = lab.served_hash() or ""
    satisfy(lab.world, seen, (NeedLook(served), NeedValue(), NeedVersions((2,)), NeedProbe()))
    before = seen.snapshot
    lab.clock.advance(timedelta(hours=13))
    lab.run()
    lab.world.fleet.died("other")
    ledger = ledger_seen(lab.world.ledgers.read("targets/app"))
    fresh = renewed(lab.world, seen, ledger)
    now = lab.world.secrets.metadata(PATH)
    assert isinstance(fresh, Observation)
    assert drawn(fresh.snapshot) == drawn(
        replace(
            before,
            ledger=ledger,
            secret=SecretSeen(now.version, now.created_time, live=True),
            looks={},
            versions={},
            served_works=None,
            served_by=lab.world.fleet.served_by(),
            dead=frozenset({"other"}),
        )
    )
    assert fresh.snapshot.draft not in (before.draft, Draft("", ""))
    assert (fresh.value, fresh.looked_at) == (None, {})


def test_a_newer_version_than_the_ledger_serves_stays_in_what_is_planned_from() -> None:
    lab = living()
    lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), "THEIRS": "new"})
    seen = observe(lab.world, lab.targets[0])
    fresh = renewed(lab.world, seen, seen.snapshot.ledger)
    assert fresh.snapshot.secret == seen.snapshot.secret


WHEN = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_ledger_that_is_not_there_or_not_understood_is_seen_with_its_version_and_why() -> None:
    def seen_of(document: dict[str, Any] | None) -> LedgerSeen:
        return ledger_seen(LedgerRecord(3, WHEN, document, WHEN))

    assert seen_of(None) == LedgerSeen(3, WHEN, None)
    for document, trouble in (
        ({"schema": 99}, Reason.LEDGER_NEWER),
        ({"schema": 1, "what": "?"}, Reason.LEDGER_UNREADABLE),
    ):
        found = seen_of(document)
        assert (found.version, found.created_time, found.ledger) == (3, WHEN, None)
        assert found.trouble is trouble
        assert found.detail not in ("", "None")


def test_a_version_that_was_deleted_is_seen_with_its_number_and_time_and_is_not_live() -> None:
    found = secret_seen(SecretVersion(4, WHEN, None, WHEN), SecretRef(PATH, FIELD))
    assert found == SecretSeen(4, WHEN, live=False)


@pytest.mark.parametrize("call", ["metadata", "read"])
@pytest.mark.parametrize(("kind", "waits"), [(Kind.ERROR, True), (Kind.REFUSED, False)])
def test_what_the_ledger_says_is_served_counts_where_the_secret_cannot_be_read(
    call: str, kind: Kind, waits: bool
) -> None:
    lab = living()
    served = lab.served_hash() or ""
    seen = observe(lab.world, lab.targets[0])
    lab.process.world = replace(lab.world, fleet=Fleet())
    lab.world.fleet.fill(["app"])
    lab.faults.choose = lambda _service, name, _acts: kind if name == call else None
    if call == "read":
        with pytest.raises(ServiceError):
            satisfy(lab.world, seen, (NeedValue(),))
    else:
        with pytest.raises(ServiceError):
            observe(lab.world, lab.targets[0])
    assert lab.world.fleet.served_by() == {served: frozenset({"app"})}
    assert lab.world.fleet.unseen() == frozenset({"app"} if waits else ())


def test_of_a_target_whose_secret_moved_it_is_not_known_yet_what_it_serves() -> None:
    lab = living()
    lab.process.world = replace(lab.world, fleet=Fleet())
    lab.world.fleet.fill(["app"])
    observe(lab.world, target(path="secret/elsewhere"))
    assert lab.world.fleet.unseen() == frozenset({"app"})
    observe(lab.world, lab.targets[0])
    assert lab.world.fleet.unseen() == frozenset()


def test_a_value_without_a_ledger_counts_as_served_by_its_own_hash() -> None:
    lab = Lab()
    digest = Secret("made by hand").sha256()
    lab.excused.add(digest)
    lab.vault.put(PATH, {FIELD: "made by hand", "OTHER": "stays"})
    seen = observe(lab.world, lab.targets[0])
    satisfy(lab.world, seen, (NeedValue(),))
    assert lab.world.fleet.served_by() == {digest: frozenset({"app"})}


def test_a_read_value_brings_vault_s_clock_with_it() -> None:
    lab = living()
    seen = observe(lab.world, lab.targets[0])
    before = seen.snapshot.vault_now
    lab.clock.advance(timedelta(minutes=1))
    satisfy(lab.world, seen, (NeedValue(),))
    assert seen.snapshot.vault_now >= before + timedelta(minutes=1)


class Workspaces(FakeIssuer):
    """An account with one key in each of some workspaces, and no others."""

    def __init__(self, lab: Lab, *there: str) -> None:
        super().__init__(lab.account, lab.faults)
        self.there = there

    def list_keys(self, workspace: str | None) -> tuple[IssuedKey, ...]:
        if workspace is None:
            return ()
        if workspace not in self.there:
            raise Refused("openrouter", "list", "no such workspace", status=404)
        return (replace(self.account.make(NewKey(workspace)).key, hash=workspace),)


def test_a_listing_that_leaves_a_workspace_out_goes_on_with_the_next() -> None:
    lab = Lab()
    world = replace(lab.world, issuer=Workspaces(lab, "w2", "w3"))
    listing, left_out = list_keys(world, frozenset({"w1", "w2"}), frozenset({"w3"}))
    assert set(listing.keys) == listing.workspaces == {"w2", "w3"}
    assert set(left_out) == {"w1"}


def test_a_listing_for_a_plan_is_of_what_it_needs_and_of_the_target_s_own_workspace() -> None:
    lab = Lab((target(key=KeySettings(workspace_id="w1")),))
    world = replace(lab.world, issuer=Workspaces(lab, "w1", "w2"))
    seen = observe(world, lab.targets[0])
    satisfy(world, seen, (NeedListing(frozenset({"w2"})),))
    assert seen.snapshot.listing is not None
    assert set(seen.snapshot.listing.keys) == {"w1", "w2"}


def test_what_is_planned_from_after_a_plan_reads_the_value_anew_and_knows_what_is_unlisted() -> (
    None
):
    lab = living()
    seen = observe(lab.world, lab.targets[0])
    satisfy(lab.world, seen, (NeedValue(),))
    assert seen.snapshot.secret.value is not None
    lab.world.fleet.leave_out(frozenset({"w9"}))
    fresh = renewed(lab.world, seen, seen.snapshot.ledger)
    assert fresh.snapshot.secret.value is None
    assert fresh.snapshot.unlisted == frozenset({"w9"})
