"""The lab sees bugs: each is planted, and the smallest scenario that shows it is run.

The same scenario passes where nothing is planted. What the planner asserts of its own
plans is switched off here, so that the promises alone must see the bug.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rotator.core import edits, recovery, removal, rotation
from rotator.core import plan as planning
from rotator.core.keys import IssuedKey, NewKey
from rotator.core.ledger import Claim, ClaimKind, Ledger, ServedKey
from rotator.core.snapshot import Look, Snapshot
from rotator.core.steps import (
    Delete,
    Disable,
    Fence,
    MakeClaim,
    Plan,
    PromoteMinted,
    Publish,
    Record,
    RecordDisabled,
    Step,
    Verify,
)
from rotator.core.target import KeySettings
from rotator.engine import acting, execute, hand, observe, reconcile, remove, rotate
from rotator.engine.observe import Observation
from rotator.engine.world import World
from rotator.errors import OutcomeUnknown, Transient
from rotator.ports import MintedKey, Written
from rotator.secret import SecretFields
from tests.engine.crash import calls
from tests.engine.lab import PATH, Lab, target
from tests.engine.promises import FIELD, BrokenPromiseError
from tests.fakes.faults import Kind, nth
from tests.fakes.issuer import FakeIssuer
from tests.fakes.vault import FakeLedgers, FakeSecrets

HOUR = timedelta(hours=1)

Patch = pytest.MonkeyPatch


# Scenarios: each lives a life in which at most one thing goes wrong, or one hand acts.


def undisturbed() -> None:
    lab = Lab()
    lab.live(19 * HOUR)
    lab.check_at_rest()


def fault(
    call: str, number: int, kind: Kind, *, late_by: timedelta = timedelta(minutes=15)
) -> Callable[[], None]:
    """Return the life in which one fault befalls the given call, the given time it is made."""

    def scenario() -> None:
        lab = Lab()
        lab.faults.very_late_by = late_by
        lab.faults.choose = nth(call, number, kind)
        lab.live(28 * HOUR)
        assert lab.faults.hit
        lab.come_to_rest()

    return scenario


def a_slow_trail_before(call: str) -> Callable[[], None]:
    """Return the life in which the intent of the first such call takes long to write."""
    before = calls()[: calls().index(call)]
    return fault("audit.append", before.count("audit.append"), Kind.SLOW)


def paused(call: str, number: int, pause: timedelta, kind: Kind) -> Callable[[], None]:
    """Return the life in which the process is paused at one call while another one lives."""

    def scenario() -> None:
        lab = Lab()
        lab.let_another_live_in_pauses()
        lab.faults.slow_by = pause
        lab.faults.choose = nth(call, number, kind)
        lab.live(28 * HOUR)
        assert lab.faults.hit
        lab.come_to_rest()

    return scenario


def paste_back_when_a_disable_is_claimed() -> None:
    lab = Lab()
    lab.run()
    old = (lab.vault.current(PATH) or {})[FIELD]
    check = lab.faults.after_each
    pasted: list[Written] = []

    def claimed() -> None:
        check()
        book = lab.ledger()
        claim = book.pending if book is not None else None
        if claim is not None and claim.kind is ClaimKind.DISABLE and not pasted:
            pasted.append(lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), FIELD: old}))

    lab.faults.after_each = claimed
    lab.live(30 * HOUR)
    assert pasted
    lab.come_to_rest()


def paste_back_while_the_trail_is_slow() -> None:
    """The intent of the disable takes long to write; meanwhile the old value is put back."""
    lab = Lab()
    lab.run()
    old = (lab.vault.current(PATH) or {})[FIELD]
    pasted: list[Written] = []

    def meanwhile(seconds: float) -> None:
        pasted.append(lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), FIELD: old}))
        lab.clock.sleep(seconds)

    def choose(service: str, name: str, acts: bool) -> Kind | None:
        book = lab.ledger()
        claim = book.pending if book is not None else None
        claimed = claim is not None and claim.kind is ClaimKind.DISABLE
        read = lab.faults.calls[-2:-1] == ["vault.read"]
        return Kind.SLOW if claimed and service == "audit" and read and not pasted else None

    lab.faults.choose, lab.faults.sleep = choose, meanwhile
    lab.faults.slow_by = timedelta(minutes=2)
    lab.live(30 * HOUR)
    assert pasted
    lab.come_to_rest()


def enabled_by_hand_in_quarantine() -> None:
    lab = Lab()
    lab.run()
    old = lab.served_hash() or ""
    while not lab.account.keys[old].disabled:
        lab.live(timedelta(minutes=10))
    lab.account.set_disabled(old, disabled=False)
    lab.live(9 * HOUR)
    assert lab.account.accepts(old)


def ledger_lost_after_a_rotation() -> None:
    lab = Lab()
    lab.live(timedelta(hours=12, minutes=5))
    lab.vault.forget("state/targets/app")
    lab.live(9 * HOUR)
    lab.check_at_rest()


def claims_beside_each_other() -> None:
    """While the process is about to claim, another one claims and dies."""
    lab = Lab()
    lab.run()
    lab.clock.advance(12 * HOUR)
    rival = lab.another()
    rival.faults.choose = nth("openrouter.create", 1, Kind.DIE_BEFORE)

    def meanwhile(seconds: float) -> None:
        rival.run()

    lab.faults.sleep = meanwhile
    lab.faults.choose = nth("vault.write_ledger", 1, Kind.SLOW)
    lab.live(9 * HOUR)
    assert rival.faults.hit
    lab.come_to_rest()


def listings_fail_while_a_claim_is_recovered() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(12 * HOUR)
    again = lab.clock.now() + timedelta(minutes=20)
    death = nth("openrouter.create", 1, Kind.DIE_AFTER)

    def choose(service: str, name: str, acts: bool) -> Kind | None:
        if name == "list" and lab.clock.now() < again:
            return Kind.ERROR
        return death(service, name, acts)

    lab.faults.choose = choose
    lab.live(15 * HOUR)
    assert {name for name, _ in lab.faults.hit} == {"openrouter.create", "openrouter.list"}
    lab.come_to_rest()


def nothing_left_of_a_key_made_by_hand() -> None:
    lab = Lab(targets=(target(key=KeySettings()),))
    made = lab.account.make(NewKey("made by hand", limit=10.0))
    lab.account.change(made.key.hash, limit_remaining=0.0)
    lab.vault.put(PATH, {"OTHER": "stays", FIELD: made.secret.reveal()})
    lab.live(13 * HOUR)
    served = lab.account.keys[lab.served_hash() or ""]
    assert (served.hash != made.key.hash, served.limit) == (True, 0.0)


def new_keys_lag() -> None:
    """A fresh key is accepted only half a minute after it was made."""
    lab = Lab()
    make, waiting = lab.account.make, {}

    def made(new: NewKey) -> MintedKey:
        minted = make(new)
        lab.account.refuses.add(minted.key.hash)
        waiting[minted.key.hash] = lab.clock.now() + timedelta(seconds=30)
        return minted

    def passed() -> None:
        lab.account.refuses -= {each for each, at in waiting.items() if at <= lab.clock.now()}
        lab._time_passed()

    lab.account.make = made  # type: ignore[method-assign]
    lab.clock.on_advance = passed
    lab.live(19 * HOUR)
    lab.check_at_rest()


# Bugs.


def altered(patch: Patch, alter: Callable[[tuple[Step, ...]], tuple[Step, ...]]) -> None:
    """Change the steps of every plan after it was made."""
    original = planning.plan

    def plan(snapshot: Snapshot, now: datetime) -> Plan:
        made = original(snapshot, now)
        return replace(made, steps=alter(made.steps))

    patch.setattr(reconcile, "plan", plan)


def left_out(*kinds: type) -> Callable[[Patch], None]:
    """Leave steps of some kinds out of every plan."""
    return lambda patch: altered(
        patch, lambda steps: tuple(each for each in steps if not isinstance(each, kinds))
    )


def publish_without_check_and_set(patch: Patch) -> None:
    def write(self: FakeSecrets, path: str, fields: SecretFields, cas: int) -> Written:
        data = fields.reveal()
        return self._faults.call("vault", "write", lambda: self.vault.put(path, data), acts=True)

    patch.setattr(FakeSecrets, "write", write)


def ledger_without_check_and_set(patch: Patch) -> None:
    def write(self: FakeLedgers, name: str, document: dict[str, Any], cas: int) -> Written:
        path = self.prefix + name
        return self._faults.call(
            "vault", "write_ledger", lambda: self.vault.put(path, document), acts=True
        )

    patch.setattr(FakeLedgers, "write", write)


def promote_before_publish(patch: Patch) -> None:
    original = rotate.promote

    def promote(hand: hand.Hand, step: PromoteMinted) -> None:
        claim, now = hand.our_claim, hand.world.clock.now()
        hand.published = Written(claim.base_version + 1, now, now)
        original(hand, step)
        hand.published = None

    def alter(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        last = [each for each in steps if isinstance(each, Publish)]
        return (*(each for each in steps if not isinstance(each, Publish)), *last)

    patch.setattr(execute, "promote", promote)
    altered(patch, alter)


def delete_without_disable(patch: Patch) -> None:
    def alter(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        match steps:
            case (MakeClaim(claim), Disable(key, secret), RecordDisabled()):
                claimed = MakeClaim(replace(claim, kind=ClaimKind.DELETE))
                return (claimed, Delete(key, secret), Record(edits.KeyRemoved(key)))
        return steps

    altered(patch, alter)


def create_sent_again(patch: Patch) -> None:
    original = FakeIssuer.create

    def create(self: FakeIssuer, new: NewKey) -> MintedKey:
        try:
            return original(self, new)
        except OutcomeUnknown:
            return original(self, new)

    patch.setattr(FakeIssuer, "create", create)


def grace_from_the_mint(patch: Patch) -> None:
    original = edits.retire_served

    def retire_served(ledger: Ledger, **named: Any) -> Ledger:
        if isinstance(ledger.served, ServedKey):
            named["since"] = ledger.served.minted_at
        return original(ledger, **named)

    patch.setattr(edits, "retire_served", retire_served)


def null_for_nothing_left(patch: Patch) -> None:
    original = rotation.new_key

    def new_key(*args: Any) -> NewKey | None:
        new = original(*args)
        return replace(new, limit=new.limit or None) if new is not None else None

    patch.setattr(planning, "new_key", new_key)


def intent_after_the_act(patch: Patch) -> None:
    def act(world: World, intent: Any, call: Callable[[], Any], **named: Any) -> Any:
        done = call()
        acting.act(world, intent, lambda: done, **named)
        return done

    for module in (hand, remove, rotate):
        patch.setattr(module, "act", act)


def guard_before_the_intent(patch: Patch) -> None:
    def act(world: World, intent: Any, call: Callable[[], Any], **named: Any) -> Any:
        named.pop("guard", lambda: None)()
        return acting.act(world, intent, call, **named)

    for module in (hand, remove, rotate):
        patch.setattr(module, "act", act)


def claim_expired_too_early(patch: Patch) -> None:
    original = Snapshot.claim_expires_at
    patch.setattr(Snapshot, "claim_expires_at", lambda self: original(self) - timedelta(minutes=4))


def no_read_before_a_disable(patch: Patch) -> None:
    patch.setattr(remove, "_assert_unserved", lambda hand, _: hand.world.clock.monotonic())


def no_look_before_a_delete(patch: Patch) -> None:
    """A key that the ledger calls disabled is believed to be so."""
    original = observe.look

    def look(world: World, observation: Observation, key: str) -> None:
        entry = observation.snapshot.book.entry(key)
        if entry is None or entry.disabled_at is None:
            return original(world, observation, key)
        believed = IssuedKey(key, "", disabled=True, created_at=None)
        observation.looked_at[key] = world.clock.monotonic()
        looks = {**observation.snapshot.looks, key: Look(believed)}
        observation.snapshot = replace(observation.snapshot, looks=looks, listing=None)
        return None

    patch.setattr(observe, "look", look)
    patch.setattr(remove, "look", look)


def no_adoption_of_orphans(patch: Patch) -> None:
    patch.setattr(planning, "_adopt_orphans", lambda _snapshot, _now: None)


def abandoned_nonce_forgotten(patch: Patch) -> None:
    original = edits.Abandon.apply
    patch.setattr(
        edits.Abandon, "apply", lambda self, ledger: replace(original(self, ledger), abandoned=())
    )


def promote_whatever_is_served(patch: Patch) -> None:
    def recover_rotation(snapshot: Snapshot, claim: Claim, now: Any) -> Plan:
        made = original(snapshot, claim, now)
        key = recovery._key_of(snapshot, claim) if snapshot.listing is not None else None
        if made.needs or key is None:
            return made
        served = replace(recovery.served_from(snapshot, key, now), minted_by_us=True)
        return replace(made, steps=(made.steps[0], Record(edits.Promote(served))))

    original = recovery._recover_rotation
    patch.setattr(recovery, "_recover_rotation", recover_rotation)


def failed_listing_is_empty(patch: Patch) -> None:
    original = FakeIssuer.list_keys

    def list_keys(self: FakeIssuer, workspaces: frozenset[str]) -> tuple[IssuedKey, ...]:
        try:
            return original(self, workspaces)
        except Transient:
            return ()

    patch.setattr(FakeIssuer, "list_keys", list_keys)


def no_quarantine(patch: Patch) -> None:
    original = removal.durations
    patch.setattr(
        removal, "durations", lambda each: replace(original(each), quarantine=timedelta(0))
    )


@dataclass(frozen=True)
class Bug:
    plant: Callable[[Patch], None]
    scenario: Callable[[], None]
    seen_as: str


BUGS = {
    "publish without check-and-set": Bug(
        publish_without_check_and_set,
        fault("vault.write", 2, Kind.VERY_LATE),
        "serves a",
    ),
    "ledger write without check-and-set": Bug(
        ledger_without_check_and_set, claims_beside_each_other, "replaced the claim"
    ),
    "promote before publish": Bug(promote_before_publish, undisturbed, "without a claim"),
    "delete without disable": Bug(delete_without_disable, undisturbed, "deleted while enabled"),
    "no fence before an orphan is removed": Bug(
        left_out(Fence),
        fault("vault.write", 2, Kind.VERY_LATE, late_by=timedelta(minutes=5, seconds=10)),
        "serves a",
    ),
    "create sent again on an unknown answer": Bug(
        create_sent_again, fault("openrouter.create", 2, Kind.ANSWER_LOST), "second time"
    ),
    "grace counted from the mint": Bug(grace_from_the_mint, undisturbed, "grace period"),
    "null for nothing left": Bug(
        null_for_nothing_left, nothing_left_of_a_key_made_by_hand, "limit is None"
    ),
    "intent after the act": Bug(intent_after_the_act, undisturbed, "without an intent"),
    "claim asked for before the intent, not after": Bug(
        guard_before_the_intent,
        a_slow_trail_before("openrouter.create"),
        "without a claim",
    ),
    "claim expired too early": Bug(
        claim_expired_too_early,
        paused("openrouter.whoami", 2, timedelta(minutes=2), Kind.SLOW),
        "replaced the claim",
    ),
    "no read before a disable": Bug(
        no_read_before_a_disable, paste_back_when_a_disable_is_claimed, "disabled while served"
    ),
    "an old read before a disable": Bug(
        lambda patch: patch.setattr(remove, "freshness", lambda _: 1e9),
        paste_back_while_the_trail_is_slow,
        "disabled while served",
    ),
    "no look before a delete": Bug(
        no_look_before_a_delete, enabled_by_hand_in_quarantine, "deleted while enabled"
    ),
    "no quarantine": Bug(no_quarantine, undisturbed, "within its quarantine"),
    "no adoption of orphans": Bug(
        no_adoption_of_orphans, ledger_lost_after_a_rotation, "left over"
    ),
    "abandoned nonce forgotten while its key may be born": Bug(
        abandoned_nonce_forgotten,
        fault("openrouter.create", 2, Kind.VERY_LATE),
        "did not come to rest",
    ),
    "recovery promotes without looking at the secret": Bug(
        promote_whatever_is_served,
        fault("openrouter.create", 2, Kind.DIE_AFTER),
        "within its grace period",
    ),
    "failure of a listing read as empty": Bug(
        failed_listing_is_empty, listings_fail_while_a_claim_is_recovered, "yet its key exists"
    ),
    "no proof that a new key works": Bug(left_out(Verify), new_keys_lag, "dead key"),
}


@pytest.mark.parametrize("name", BUGS)
def test_the_lab_sees_a_planted_bug(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = BUGS[name]
    bug.scenario()
    monkeypatch.setattr(planning, "assert_safe", lambda *_: None)
    bug.plant(monkeypatch)
    with pytest.raises(BrokenPromiseError, match=bug.seen_as):
        bug.scenario()
