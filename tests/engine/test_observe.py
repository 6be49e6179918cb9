"""What a snapshot says: all that was seen, nothing that was not, and no plaintext."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rotator.core.snapshot import Demand, Draft, SecretSeen, Snapshot, ValueSeen
from rotator.core.steps import NeedListing, NeedLook, NeedProbe, NeedValue, NeedVersions
from rotator.core.target import KeySettings
from rotator.engine.observe import Observation, ledger_seen, observe, renewed, satisfy
from tests.engine.lab import PATH, Lab, target
from tests.engine.promises import FIELD
from tests.fakes.faults import Kind, nth


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
