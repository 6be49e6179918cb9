"""What a step may still send under its claim, whom it waits for, and what stands in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core import edits
from rotator.core.keys import NewKey
from rotator.core.ledger import Ledger, PolicyDurations
from rotator.core.reasons import Reason
from rotator.core.steps import Fence
from rotator.core.target import KeySettings
from rotator.engine.hand import Hand, StepFailed, change_ledger
from rotator.engine.observe import ledger_seen, observe
from rotator.engine.remove import fence
from rotator.events import Event, KeyCreate, Phase
from rotator.ports import MintedKey
from tests.engine.lab import CLAIM_TIMEOUT, PATH, POLICY, Lab, target
from tests.fakes.faults import Kind, nth

LEDGER = "state/targets/app"


def due_lab() -> Lab:
    """A target that serves a key, which is due."""
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=13))
    return lab


def claimed_lab() -> Lab:
    """A target whose process died right after it had claimed."""
    lab = due_lab()
    lab.faults.choose = nth("openrouter.create", 1, Kind.DIE_BEFORE)
    lab.run()
    lab.faults.choose = lambda *_: None
    return lab


def expired_lab() -> Lab:
    """The same, and its claim has expired."""
    lab = claimed_lab()
    lab.clock.advance(CLAIM_TIMEOUT + timedelta(seconds=2))
    return lab


def book_of(lab: Lab) -> Ledger:
    """The ledger as it stands."""
    book = lab.ledger()
    assert book is not None
    return book


def hand_of(lab: Lab, *, holds: bool) -> Hand:
    """What a process has in hand that observed the target just now, with or without its claim."""
    observation = observe(lab.world, lab.targets[0])
    hand = Hand(lab.world, observation, observation.snapshot.ledger, "op", Reason.EVERY)
    if holds:
        hand.claim, hand.claimed_at = book_of(lab).pending, lab.clock.monotonic()
    return hand


def after_intent(lab: Lab, name: str, deed: Callable[[], object]) -> None:
    """Let something happen once the first intent of a name is on disk, before the act."""
    on_append, done = lab.trail.on_append, list[str]()

    def appended(event: Event) -> None:
        on_append(event)
        if (event.name, event.phase) == (name, Phase.INTENT) and not done:
            done.append(name)
            deed()

    lab.trail.on_append = appended


@pytest.mark.parametrize(
    ("made", "intent", "call"),
    [
        (due_lab, "key.create", "openrouter.create"),
        (due_lab, "secret.publish", "vault.write"),
        (expired_lab, "secret.fence", "vault.write"),
    ],
)
@pytest.mark.parametrize(("seconds", "goes"), [(224.5, True), (225, False)])
def test_nothing_is_sent_in_the_last_quarter_of_the_claim_though_its_intent_is_written(
    made: Callable[[], Lab], intent: str, call: str, seconds: float, goes: bool
) -> None:
    lab = made()
    after_intent(lab, intent, lambda: lab.clock.advance(timedelta(seconds=seconds)))
    before = len(lab.faults.calls)
    report = lab.run()
    if goes:
        assert call in lab.faults.calls[before:]
    else:
        assert call not in lab.faults.calls[before:]
        assert report.failure is not None
        assert report.failure.reason is Reason.CLAIM_RUNNING_OUT
    lab.live(timedelta(hours=1))
    lab.come_to_rest()


@pytest.mark.parametrize(
    "call", ["openrouter.create", "openrouter.whoami", "vault.write", "vault.write_ledger"]
)
def test_a_key_in_hand_outlasts_an_audit_trail_that_cannot_be_written_for_a_while(
    call: str,
) -> None:
    lab = due_lab()
    before, old = len(lab.faults.calls), lab.served_hash()
    began: list[float] = []

    def choose(service: str, name: str, acts: bool) -> Kind | None:
        del name, acts
        made = lab.faults.calls[before:]
        if service != "audit" or "openrouter.create" not in made or call not in made[5:]:
            return None
        began.append(lab.clock.monotonic())
        return Kind.ERROR if lab.clock.monotonic() < began[0] + 30 else None

    lab.faults.choose = choose
    report = lab.run()
    assert report.failure is None
    assert lab.clock.monotonic() >= began[0] + 30
    assert lab.served_hash() != old
    assert lab.account.minted == 2
    assert not lab.trail.unsettled()


def test_the_intent_of_a_create_is_waited_for_while_the_claim_lasts() -> None:
    lab = due_lab()
    old, claimed = lab.served_hash(), len(lab.trail.lines) + 2
    back = lab.clock.now() + timedelta(seconds=30)

    def choose(service: str, name: str, acts: bool) -> Kind | None:
        del name, acts
        away = len(lab.trail.lines) == claimed and lab.clock.now() < back
        return Kind.ERROR if service == "audit" and away else None

    lab.faults.choose = choose
    report = lab.run()
    assert report.failure is None
    assert lab.clock.now() >= back
    assert lab.served_hash() != old


def test_without_a_key_in_hand_an_audit_trail_that_fails_is_not_waited_for() -> None:
    lab = due_lab()
    lab.faults.choose = lambda service, *_: Kind.ERROR if service == "audit" else None
    began, calls = lab.clock.now(), len(lab.faults.calls)
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.AUDIT_UNAVAILABLE
    assert lab.clock.now() == began
    assert lab.faults.calls[calls:].count("audit.append") == 1


def test_each_version_of_the_ledger_holds_the_head_of_the_trail_as_its_intent_left_it() -> None:
    lab = due_lab()
    before_each, heads = lab.faults.before_each, list[str]()

    def before(service: str, name: str, acts: bool) -> None:
        if name == "write_ledger":
            heads.append(lab.world.audit.head())
        before_each(service, name, acts)

    lab.faults.before_each = before
    lab.run()
    assert len(set(heads)) == 2
    assert book_of(lab).audit_head == heads[-1]


def test_each_version_of_the_ledger_holds_the_policy_that_was_in_force() -> None:
    lab = Lab()
    lab.run()
    assert book_of(lab).policy == PolicyDurations.of(POLICY)
    changed = replace(POLICY, grace=timedelta(hours=2))
    lab.targets = (target(policy=changed),)
    lab.clock.advance(timedelta(hours=13))
    lab.run()
    assert book_of(lab).policy == PolicyDurations.of(changed)


def test_what_is_planned_from_after_a_write_is_what_stands_in_vault() -> None:
    lab = due_lab()
    report = lab.run()
    assert report.changed
    assert report.snapshot is not None
    assert report.snapshot.ledger == ledger_seen(lab.world.ledgers.read("targets/app"))


def test_a_claim_that_is_renewed_lasts_from_then_on() -> None:
    lab = claimed_lab()
    hand = hand_of(lab, holds=True)
    lab.clock.advance(timedelta(seconds=100))
    assert hand.held_for() == 100
    at = lab.clock.now()
    change_ledger(hand, edits.RenewClaim(7, at))
    assert hand.held_for() == 0
    assert hand.claim == book_of(lab).pending
    assert (hand.our_claim.base_version, hand.our_claim.base_created_time) == (7, at)


def test_a_change_beside_the_claim_of_another_process_does_not_make_it_ours() -> None:
    lab = claimed_lab()
    hand = hand_of(lab, holds=False)
    change_ledger(hand, edits.RenewClaim(7, None))
    assert book_of(lab).pending is not None
    assert hand.claim is None
    with pytest.raises(StepFailed):
        hand.assert_time_left()


def test_a_fence_leaves_the_secret_as_it_was_and_the_claim_based_on_it() -> None:
    lab = expired_lab()
    fields = lab.vault.current(PATH)
    hand = hand_of(lab, holds=True)
    hand.op = hand.our_claim.op
    change_ledger(hand, edits.TakeOver(lab.world.identity.holder, lab.clock.now()))
    fence(hand, Fence(lab.targets[0].secret))
    now = lab.world.secrets.metadata(PATH)
    assert lab.vault.current(PATH) == fields
    assert hand.secret is not None
    assert (hand.secret.version, hand.secret.created_time) == (now.version, now.created_time)
    assert hand.secret.live
    assert hand.our_claim.is_based_on(now.version, now.created_time)
    assert hand.claim == book_of(lab).pending


def test_a_ledger_that_another_process_has_changed_is_observed_anew_and_nothing_failed() -> None:
    lab = due_lab()
    before_each, done = lab.faults.before_each, list[str]()
    old = lab.served_hash()

    def before(service: str, name: str, acts: bool) -> None:
        if name == "write_ledger" and not done:
            done.append(name)
            lab.vault.put(LEDGER, lab.vault.current(LEDGER) or {})
        before_each(service, name, acts)

    lab.faults.before_each = before
    report = lab.run()
    assert done
    assert report.failure is None
    assert lab.served_hash() != old


def test_the_intent_of_a_create_says_what_openrouter_is_asked_for() -> None:
    settings = KeySettings(
        limit=5.0, limit_reset="weekly", expires_in=timedelta(days=30), workspace_id="w1"
    )
    lab = Lab((target(key=settings),))
    on_make, asked = lab.account.on_make, list[NewKey]()

    def made(new: NewKey) -> None:
        asked.append(new)
        on_make(new)

    lab.account.on_make = made
    lab.run()
    (new,) = asked
    assert new.expires_at is not None
    for phase in Phase:
        (event,) = lab.trail.events("key.create", phase)
        assert isinstance(event, KeyCreate)
        assert event.key_name == new.name
        assert (event.limit, event.limit_reset) == (5.0, "weekly")
        assert (event.expires_at, event.workspace_id) == (new.expires_at, "w1")


def test_a_key_whose_hash_is_not_its_digest_is_written_down_before_it_is_proven() -> None:
    lab = due_lab()
    odd: list[MintedKey] = []

    def instead(service: str, name: str, acts: bool, effect: Callable[[], object]) -> object:
        del service, acts
        done = effect()
        if name != "create":
            return done
        assert isinstance(done, MintedKey)
        key = replace(done.key, hash="f" * 64)
        lab.account.keys[key.hash] = key
        del lab.account.keys[done.key.hash]
        odd.append(MintedKey(key, done.secret))
        return odd[0]

    lab.faults.instead = instead
    lab.faults.choose = nth("openrouter.whoami", 1, Kind.DIE_BEFORE)
    lab.run()
    claim = book_of(lab).pending
    assert claim is not None
    assert (claim.key, claim.value_sha256) == ("f" * 64, odd[0].secret.sha256())


def test_a_step_that_failed_says_why_and_what_is_known_of_it() -> None:
    plain, detailed = StepFailed(Reason.STOPPING), StepFailed(Reason.REFUSED, "vault said no")
    assert (str(plain), plain.detail) == (str(Reason.STOPPING), "")
    assert (str(detailed), detailed.detail) == ("refused: vault said no", "vault said no")
