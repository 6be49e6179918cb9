"""Bugs that a test of ours must see, as a list: what is broken, and the life that shows it.

Each scenario is the smallest life in which the bug does harm, and passes where nothing is
planted. `tests.engine.test_planted_bugs` runs them, and keeps the table beside it true.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from rotator.adapters.openrouter import (
    OpenRouterIssuer,
    OpenRouterSettings,
    failures,
    listing,
)
from rotator.core import edits, recovery, removal, retirement, rotation, served
from rotator.core import plan as planning
from rotator.core.keys import IssuedKey, NewKey
from rotator.core.ledger import Claim, ClaimKind, Ledger, ServedKey
from rotator.core.marker import Marker, parse_marker
from rotator.core.reasons import Reason
from rotator.core.snapshot import Demand, Look, Rollback, Snapshot
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
    Settle,
    Step,
    TakeOverClaim,
    Verify,
)
from rotator.core.target import AfterDeadline, KeySettings
from rotator.engine import acting, execute, hand, observe, reconcile, remove, rotate
from rotator.engine.hand import StepFailed, change_ledger
from rotator.engine.observe import Observation
from rotator.engine.world import Fleet, World
from rotator.errors import OutcomeUnknown, Refused, Transient
from rotator.ports import MintedKey, Written
from rotator.secret import Secret, SecretFields
from tests.adapters.openrouter.raw_server import RawServer, cut
from tests.adapters.openrouter.test_listing import Account, hash_of
from tests.engine import lab as lab_module
from tests.engine.crash import calls
from tests.engine.lab import PATH, POLICY, Lab, target
from tests.engine.promises import FIELD, BrokenPromiseError
from tests.engine.troubles import TROUBLES, another_account, for_a_while, rest
from tests.fakes.clock import FakeClock
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


def named(name: str, scenario: Callable[[], None]) -> Callable[[], None]:
    """Give a scenario the name that stands in the table."""
    scenario.__name__ = name
    return scenario


def fault(
    call: str,
    number: int,
    kind: Kind,
    *,
    late_by: timedelta = timedelta(minutes=15),
    slow_by: timedelta = timedelta(minutes=10),
) -> Callable[[], None]:
    """Return the life in which one fault befalls the given call, the given time it is made."""

    def scenario() -> None:
        lab = Lab()
        lab.faults.very_late_by, lab.faults.slow_by = late_by, slow_by
        lab.faults.choose = nth(call, number, kind)
        lab.live(28 * HOUR)
        assert lab.faults.hit
        lab.come_to_rest()

    return named(f"{kind} at {call} {number}", scenario)


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

    return named(f"{kind} at {call} {number} while another lives", scenario)


def troubled(name: str, call: str, number: int) -> Callable[[], None]:
    """Return the life with a row of the crash table at the given call, the given time it is made."""
    trouble = next(each for each in TROUBLES if each.name == name)

    def scenario() -> None:
        found = [at for at, each in enumerate(calls(), start=1) if each == call]
        lab = Lab()
        trouble.begin(lab, found[number - 1])
        lab.live(28 * HOUR)
        rest(lab)

    return named(f"{name} at {call} {number}", scenario)


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


def paste_back_in_grace() -> None:
    lab = Lab()
    lab.run()
    old = (lab.vault.current(PATH) or {})[FIELD]
    lab.clock.advance(12 * HOUR)
    lab.run()
    lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), FIELD: old})
    lab.live(9 * HOUR)
    lab.check_at_rest()


def paste_back_after_the_delete() -> None:
    lab = Lab()
    lab.run()
    data = lab.vault.current(PATH) or {}
    lab.live(19 * HOUR)
    lab.excused.add(hashlib.sha256(data[FIELD].encode()).hexdigest())
    lab.vault.put(PATH, data)
    lab.live(2 * HOUR)
    lab.excused.clear()
    lab.live(9 * HOUR)
    lab.check_at_rest()


def two_rotations_within_one_grace() -> None:
    lab = Lab()
    lab.run()
    for _ in range(2):
        lab.clock.advance(timedelta(minutes=20))
        lab.run(demand=Demand())
    lab.live(9 * HOUR)
    lab.check_at_rest()


def nobody_tells_of_use() -> None:
    """OpenRouter does not say when a key was last used: the old one is kept, and reported."""
    lab = Lab()
    lab.clock.on_advance = lambda: lab.late.land(lab.clock.now())
    lab.live(18 * HOUR)
    book = lab.ledger()
    assert book is not None
    assert [lab.account.accepts(each.hash) for each in book.retiring] == [True]


def rollback_while_a_delete_is_under_way() -> None:
    """A delete is claimed and lands late; an operator goes back to its key meanwhile."""
    lab = Lab()
    lab.run()
    old = lab.served_hash() or ""
    lab.faults.very_late_by = 2 * HOUR
    lab.faults.choose = nth("openrouter.delete", 1, Kind.VERY_LATE)
    lab.clock.advance(12 * HOUR)
    while not lab.faults.hit:
        lab.run()
        lab.clock.advance(timedelta(minutes=1))
    lab.clock.advance(timedelta(minutes=6))
    lab.run(demand=Demand(rollback=Rollback(old)))
    lab.live(9 * HOUR)
    lab.come_to_rest()


def another_account_while_a_claim_is_recovered() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(12 * HOUR)
    lab.faults.choose = nth("openrouter.create", 1, Kind.DIE_AFTER)
    for_a_while(another_account, HOUR)(lab, len(lab.faults.calls) + 11)
    lab.live(15 * HOUR)
    assert lab.faults.hit
    rest(lab)


def somebody_elses_key(name: str) -> Callable[[], None]:
    """Return the life beside a key that bears nearly our mark."""

    def scenario() -> None:
        lab = Lab()
        lab.run()
        made = lab.account.make(NewKey(name))
        lab.account.use(made.key.hash)
        lab.live(18 * HOUR)
        if not lab.account.accepts(made.key.hash):
            raise BrokenPromiseError("a foreign key was changed")

    return named(f"a key called {name} beside ours", scenario)


@dataclass
class LeapingClock:
    """A process's own clock, which may be wrong."""

    true: FakeClock
    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return self.true.now() + self.ahead

    def monotonic(self) -> float:
        return self.true.monotonic()

    def sleep(self, seconds: float) -> None:
        self.true.sleep(seconds)


def the_clock_leaps_after_a_rotation() -> None:
    """By four minutes: so little that nobody need call the clocks at odds."""
    lab = Lab()
    clock = LeapingClock(lab.clock)
    lab.process.world = replace(lab.world, clock=clock)
    lab.live(12 * HOUR + timedelta(minutes=5))
    clock.ahead = timedelta(minutes=4)
    for _ in range(60):
        lab.live(timedelta(minutes=1))
    lab.live(9 * HOUR)
    lab.come_to_rest()


def every_key_is_gone_at_once() -> None:
    """Five targets, three dead are believed: something larger is wrong, and no key is made."""
    names = ("app", "two", "three", "four", "five")
    lab = Lab(targets=tuple(target(each, path=f"secret/{each}") for each in names))
    lab.run(full=True)
    for each in names:
        lab.excused.add(lab.served_hash(f"secret/{each}") or "")
    lab.account.keys.clear()
    lab.live(3 * HOUR)
    if lab.account.minted > len(names):
        raise BrokenPromiseError(f"{lab.account.minted - len(names)} keys made in a larger trouble")


def another_target_serves_the_key() -> None:
    """The old key is served by a second target, whose secret a person fills with it."""
    drain = replace(POLICY.drain, then=AfterDeadline.DISABLE)
    policy = replace(POLICY, drain=drain)
    lab = Lab(targets=(target(policy=policy), target("two", path="secret/two")))
    lab.run(full=True)
    old = (lab.vault.current(PATH) or {})[FIELD]
    lab.clock.advance(12 * HOUR)
    lab.run(full=True)
    lab.excused.add(lab.served_hash("secret/two") or "")
    lab.vault.put("secret/two", {FIELD: old})
    lab.excused.clear()
    lab.live(9 * HOUR)
    assert lab.account.accepts(hashlib.sha256(old.encode()).hexdigest())


def many_keys_in_the_account() -> None:
    """The adapter lists two hundred and fifty keys, a hundred a page."""
    account = Account({"": list(range(250))})
    issuer = OpenRouterIssuer(
        OpenRouterSettings(base_url="https://openrouter.invalid/api/v1"),
        lambda: Secret("sk-or-mgmt-made-up"),
        FakeClock(),
        transport=httpx.MockTransport(account.handle),
    )
    found = {each.hash for each in issuer.list_keys(None)}
    issuer.close()
    missed = {hash_of(number) for number in range(250)} - found
    if missed:
        raise BrokenPromiseError(f"the listing misses {len(missed)} keys")


def a_refusal_cut_half_way() -> None:
    """The adapter's create is answered by a 403 of which only a part arrives."""
    with RawServer() as server:
        server.will(cut(403, {"error": {"code": 403, "message": "No."}}))
        issuer = OpenRouterIssuer(
            OpenRouterSettings(base_url=server.url, timeout=timedelta(seconds=10)),
            lambda: Secret("sk-or-mgmt-made-up"),
            FakeClock(),
        )
        try:
            issuer.create(NewKey("a key"))
        except OutcomeUnknown:
            return
        except Refused:
            raise BrokenPromiseError("an answer that was cut is taken for a definite no") from None
        finally:
            issuer.close()


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

    def list_keys(self: FakeIssuer, workspace: str | None) -> tuple[IssuedKey, ...]:
        try:
            return original(self, workspace)
        except Transient:
            return ()

    patch.setattr(FakeIssuer, "list_keys", list_keys)


def no_quarantine(patch: Patch) -> None:
    original = removal.durations
    patch.setattr(
        removal, "durations", lambda each: replace(original(each), quarantine=timedelta(0))
    )


def fence_before_takeover(patch: Patch) -> None:
    """Fence under the claim of the dead, and only then take it over."""

    def alter(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        fences = [each for each in steps if isinstance(each, Fence)]
        if not any(isinstance(each, TakeOverClaim) for each in steps):
            return steps
        rest_of = [each for each in steps if not isinstance(each, Fence)]
        at = next(i for i, each in enumerate(rest_of) if isinstance(each, TakeOverClaim))
        return (*rest_of[:at], *fences, *rest_of[at:])

    # The holder's own check would stop it before the promise sees it.
    patch.setattr(hand.Hand, "assert_time_left", lambda _: None)
    altered(patch, alter)


def orphans_on_the_first_page_only(patch: Patch) -> None:
    patch.setattr(listing, "gather", lambda page_at: {each.hash: each for each in page_at(0)})


def cut_answer_is_definite(patch: Patch) -> None:
    def is_definite_no(exchange: Any) -> bool:
        return getattr(exchange, "status", 500) // 100 == 4

    patch.setattr(failures, "is_definite_no", is_definite_no)


def ledger_believed(patch: Patch) -> None:
    """Whatever stands in the secret, what the ledger says is served is served."""
    patch.setattr(Snapshot, "version_moved", lambda _: False)


def base_read_is_proof(patch: Patch) -> None:
    """A publish without an answer is given up as soon as a read shows what stood there before."""

    def settle(hand: hand.Hand, secret: Any, detail: str) -> None:
        raise StepFailed(Reason.PUBLISH_UNKNOWN, detail, ending=rotate._give_up(hand))

    patch.setattr(rotate, "_settle_publish", settle)


def claim_dropped_at_once(patch: Patch) -> None:
    """A create without an answer is forgotten instead of waited for."""
    original = rotate.mint

    def mint(hand: hand.Hand, step: Any) -> None:
        try:
            original(hand, step)
        except StepFailed as error:
            error.ending = edits.DropClaim()
            raise

    patch.setattr(execute, "mint", mint)


def one_slot(patch: Patch) -> None:
    patch.setattr(Ledger, "with_entry", lambda self, entry: replace(self, retiring=(entry,)))


def no_evidence_is_quiet(patch: Patch) -> None:
    original = retirement.is_quiet

    def is_quiet(entry: Any, look: IssuedKey, policy: Any, now: datetime) -> bool:
        return look.last_used_at is None or original(entry, look, policy, now)

    patch.setattr(retirement, "is_quiet", is_quiet)


def claimed_delete_forgotten(patch: Patch) -> None:
    original = edits.TakeClaim.apply

    def apply(self: edits.TakeClaim, ledger: Ledger) -> Ledger:
        book = original(self, ledger)
        kept = tuple(replace(each, delete_claimed=False) for each in book.retiring)
        return replace(book, retiring=kept)

    patch.setattr(edits.TakeClaim, "apply", apply)


def quarantine_from_the_claim(patch: Patch) -> None:
    patch.setattr(execute, "_disabled_at", lambda hand: hand.our_claim.started_at)


def any_account_believed(patch: Patch) -> None:
    patch.setattr(recovery, "_of_another_account", lambda _: None)


def field_overwritten(patch: Patch) -> None:
    """A field that somebody changed meanwhile is overwritten, on the version that is there now."""

    def check(hand: hand.Hand, secret: Any, read: Any) -> None:
        if not hand.our_claim.is_based_on(read.version, read.created_time):
            change = edits.RenewClaim(read.version, read.created_time)
            change_ledger(hand, change)

    patch.setattr(rotate, "_check_base", check)


def marker_by_prefix(patch: Patch) -> None:
    def marker_of(self: Snapshot, key: IssuedKey) -> Marker | None:
        ours = f"rotator/{self.identity.instance}/{self.identity.installation}/{self.target.name}"
        found = parse_marker(key.name)
        return found if found is not None and key.name.startswith(ours) else None

    patch.setattr(Snapshot, "marker_of", marker_of)


def any_installation_is_ours(patch: Patch) -> None:
    def marker_of(self: Snapshot, key: IssuedKey) -> Marker | None:
        found = parse_marker(key.name)
        return found if found is not None and found.target == self.target.name else None

    patch.setattr(Snapshot, "marker_of", marker_of)


def local_clock_alone(patch: Patch) -> None:
    patch.setattr(Snapshot, "safe_now", lambda _, now: now)


def all_dead_believed(patch: Patch) -> None:
    patch.setattr(served, "too_many_dead", lambda *_: None)


def deleted_keys_forgotten(patch: Patch) -> None:
    original = edits.KeyRemoved.apply
    patch.setattr(
        edits.KeyRemoved, "apply", lambda self, ledger: replace(original(self, ledger), deleted=())
    )


def other_targets_ignored(patch: Patch) -> None:
    patch.setattr(Snapshot, "served_elsewhere", lambda *_: frozenset())
    patch.setattr(Fleet, "others_serving", lambda *_: frozenset())


def nothing_settled(patch: Patch) -> None:
    patch.setattr(lab_module, "settle_interrupted", lambda *_: 0)
    left_out(Settle)(patch)


@dataclass(frozen=True)
class Bug:
    """A bug, and what shows it.

    Attributes:
        plant: puts it into the program.
        scenario: the life (or, for an adapter, the calls) in which it does harm.
        seen_as: what the broken promise says.
    """

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
    "fence before the takeover": Bug(
        fence_before_takeover, fault("openrouter.create", 2, Kind.DIE_AFTER), "without a claim"
    ),
    "orphans looked for on the first page only": Bug(
        orphans_on_the_first_page_only, many_keys_in_the_account, "the listing misses 150 keys"
    ),
    "a refusal that was cut taken for a whole one": Bug(
        cut_answer_is_definite, a_refusal_cut_half_way, "taken for a definite no"
    ),
    "a ledger believed without checking": Bug(
        ledger_believed, paste_back_in_grace, "does not know the served key"
    ),
    "a read of the old version taken as proof that nothing was published": Bug(
        base_read_is_proof, fault("vault.write", 2, Kind.LATE), "serves a"
    ),
    "a claim dropped before its expiry": Bug(
        claim_dropped_at_once, fault("openrouter.create", 2, Kind.VERY_LATE), "did not come to rest"
    ),
    "one slot for predecessors": Bug(
        one_slot, two_rotations_within_one_grace, "come to rest|left over"
    ),
    "no evidence of use taken for quiet": Bug(
        no_evidence_is_quiet, nobody_tells_of_use, "without proof"
    ),
    "a claimed delete forgotten": Bug(
        claimed_delete_forgotten, rollback_while_a_delete_is_under_way, "deleted while enabled"
    ),
    "quarantine counted from the claim": Bug(
        quarantine_from_the_claim,
        fault("openrouter.disable", 1, Kind.SLOW, slow_by=timedelta(minutes=2)),
        "within its quarantine",
    ),
    "a listing of another account believed": Bug(
        any_account_believed, another_account_while_a_claim_is_recovered, "yet its key exists"
    ),
    "a foreign value overwritten": Bug(
        field_overwritten,
        troubled("foreign value pasted", "openrouter.whoami", 2),
        "a foreign value was overwritten",
    ),
    "a marker matched by its beginning": Bug(
        marker_by_prefix,
        somebody_elses_key("rotator/test/00112233445566aa/app-two/00000000000000ff"),
        "a foreign key",
    ),
    "another installation's marker taken for ours": Bug(
        any_installation_is_ours,
        somebody_elses_key("rotator/test/ffffffffffffffff/app/00000000000000ff"),
        "a foreign key",
    ),
    "the local clock alone": Bug(
        local_clock_alone, the_clock_leaps_after_a_rotation, "grace period"
    ),
    "any number of dead keys believed": Bug(
        all_dead_believed, every_key_is_gone_at_once, "in a larger trouble"
    ),
    "a deleted key's value taken for foreign": Bug(
        deleted_keys_forgotten, paste_back_after_the_delete, "dead key"
    ),
    "other targets' keys not looked at": Bug(
        other_targets_ignored, another_target_serves_the_key, "disabled while served"
    ),
    "a dead process's steps left open": Bug(
        nothing_settled, fault("openrouter.create", 2, Kind.DIE_AFTER), "without an outcome"
    ),
}
"""By what is broken, every bug that is planted."""
