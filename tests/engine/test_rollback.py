"""An operator goes back to an older key: from each of its stages, and with everything going wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from rotator.core.keys import IssuedKey, NewKey
from rotator.core.ledger import Ledger, RetiringKey, ServedKey
from rotator.core.reasons import Reason
from rotator.core.snapshot import Demand, Rollback
from rotator.core.target import KeySettings
from rotator.engine import operate
from rotator.engine.reconcile import Report
from rotator.errors import CheckAndSetConflict, OutcomeUnknown
from rotator.events import KeyEnable, KeyVerify, Phase, SecretPublish
from rotator.ports import Written
from rotator.secret import SecretFields
from tests.engine.lab import CLAIM_TIMEOUT, PATH, Lab, target
from tests.engine.promises import FIELD
from tests.fakes.faults import Kind, nth


def rotated(lab: Lab) -> tuple[str, str]:
    """Let a target be rotated once; the old key and the new one."""
    lab.run()
    old = lab.served_hash()
    lab.clock.advance(timedelta(hours=12))
    lab.run()
    new = lab.served_hash()
    assert old is not None
    assert new not in (None, old)
    return old, new or ""


def quarantined(lab: Lab) -> tuple[str, str]:
    """The same, and the old key is disabled."""
    old, new = rotated(lab)
    while not lab.account.keys[old].disabled:
        lab.live(timedelta(minutes=10))
    return old, new


def back(lab: Lab, key: str) -> Report:
    """The operator's command: one pass, with the demand."""
    return lab.run(demand=Demand(rollback=Rollback(key)))


def book_of(lab: Lab) -> Ledger:
    """The ledger as it stands."""
    book = lab.ledger()
    assert book is not None
    return book


def served_by(lab: Lab) -> ServedKey:
    """The served key as the ledger knows it."""
    served = book_of(lab).served
    assert served is not None
    return served


def entry_of(lab: Lab, key: str) -> RetiringKey:
    """A retiring key as the ledger knows it."""
    entry = book_of(lab).entry(key)
    assert entry is not None
    return entry


def publishes(lab: Lab) -> int:
    """How often a publish was begun."""
    return sum(
        isinstance(each, SecretPublish) and each.phase is Phase.INTENT
        for _, each in lab.trail.lines
    )


def assert_rolled_back(lab: Lab, old: str, new: str) -> None:
    """The old key is served, its schedule starts afresh, and the newer one has its full grace."""
    assert lab.served_hash() == old
    assert lab.account.accepts(old)
    assert served_by(lab).hash == old
    assert lab.clock.now() - served_by(lab).due_from < CLAIM_TIMEOUT
    newer = entry_of(lab, new)
    assert newer.why is Reason.PUT_ASIDE
    assert newer.since == served_by(lab).published_at
    assert newer.disabled_at is None
    assert book_of(lab).pending is None


def test_a_rollback_in_grace_serves_the_old_key_again_and_the_newer_one_retires() -> None:
    lab = Lab()
    old, new = rotated(lab)
    report = back(lab, old)
    assert report.failure is None
    assert report.plan is not None
    assert report.plan.reason is Reason.ROLLED_BACK
    assert_rolled_back(lab, old, new)
    lab.live(timedelta(hours=9))
    assert lab.served_hash() == old
    assert new in lab.account.deleted
    lab.check_at_rest()


def test_a_rollback_while_the_old_key_drains_finds_it_enabled_and_enables_nothing() -> None:
    lab = Lab(cache=timedelta(hours=3))
    old, new = rotated(lab)
    lab.live(timedelta(minutes=90))
    assert entry_of(lab, old).looked_at is not None, "it drains"
    back(lab, old)
    assert_rolled_back(lab, old, new)
    assert not [each for _, each in lab.trail.lines if isinstance(each, KeyEnable)]


def test_a_rollback_to_a_blocked_key_serves_it() -> None:
    lab = Lab(cache=timedelta(days=30))
    old, new = rotated(lab)
    lab.live(timedelta(hours=7))
    assert lab.account.accepts(old)
    back(lab, old)
    assert_rolled_back(lab, old, new)


def test_a_rollback_in_quarantine_enables_proves_and_then_publishes_the_old_key() -> None:
    lab = Lab()
    old, new = quarantined(lab)
    begun = len(lab.trail.lines)
    assert back(lab, old).failure is None
    assert_rolled_back(lab, old, new)
    steps = [
        (type(each), each.key_hash, each.reason)
        for _, each in lab.trail.lines[begun:]
        if each.phase is Phase.INTENT and isinstance(each, KeyEnable | KeyVerify | SecretPublish)
    ]
    assert steps == [(kind, old, "rolled_back") for kind in (KeyEnable, KeyVerify, SecretPublish)]
    assert served_by(lab).disable_claimed, "a disable that lands late is healed"
    lab.live(timedelta(hours=9))
    lab.check_at_rest()


def test_the_same_command_again_changes_nothing() -> None:
    lab = Lab()
    old, _ = rotated(lab)
    back(lab, old)
    written = len(lab.trail.lines)
    report = back(lab, old)
    assert report.plan is not None
    assert report.plan.reason is Reason.ROLLED_BACK
    assert len(lab.trail.lines) == written


def test_a_rollback_can_be_rolled_back() -> None:
    lab = Lab()
    old, new = rotated(lab)
    back(lab, old)
    lab.live(timedelta(minutes=10))
    back(lab, new)
    assert_rolled_back(lab, new, old)
    lab.live(timedelta(hours=9))
    assert lab.served_hash() == new
    lab.check_at_rest()


def test_other_fields_stay_as_they_are_now() -> None:
    lab = Lab()
    old, _ = rotated(lab)
    lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), "THEIRS": "newer than the old value"})
    back(lab, old)
    assert (lab.vault.current(PATH) or {})["THEIRS"] == "newer than the old value"
    assert lab.served_hash() == old


def test_a_hold_does_not_stop_a_rollback_and_stays() -> None:
    lab = Lab()
    old, new = rotated(lab)
    operate.hold(lab.world, lab.targets[0], why="incident", by="me@here")
    back(lab, old)
    assert_rolled_back(lab, old, new)
    assert book_of(lab).hold is not None


def test_a_rollback_goes_before_a_rotation_that_is_due() -> None:
    lab = Lab(cache=timedelta(days=30))
    old, new = rotated(lab)
    lab.clock.advance(timedelta(hours=13))
    back(lab, old)
    assert_rolled_back(lab, old, new)


def test_rollbacks_are_never_counted_as_paste_backs() -> None:
    lab = Lab()
    old, new = rotated(lab)
    for key in (old, new, old):
        back(lab, key)
    assert book_of(lab).put_back is None
    value = (lab.vault.paths[PATH][2].data or {})[FIELD]
    lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), FIELD: value})
    lab.run()
    assert lab.served_hash() == new
    assert book_of(lab).put_back is not None
    assert book_of(lab).hold is None, "the first paste-back by hand"
    back(lab, old)
    assert book_of(lab).put_back is not None, "nor does a rollback forget one"
    lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), FIELD: value})
    lab.run()
    hold = book_of(lab).hold
    assert hold is not None
    assert hold.reason is Reason.CONTESTED


def test_a_value_that_is_gone_from_vault_is_refused_before_anything_changes() -> None:
    lab = Lab()
    old, new = quarantined(lab)
    for version in range(1, len(lab.vault.paths[PATH])):
        lab.vault.destroy(PATH, version)
    written = len(lab.trail.lines)
    report = back(lab, old)
    assert report.plan is not None
    assert report.plan.reason is Reason.VALUE_GONE
    assert len(lab.trail.lines) == written
    assert lab.served_hash() == new
    assert lab.account.keys[old].disabled


def test_a_value_destroyed_after_it_was_seen_is_refused_before_anything_changes() -> None:
    lab = Lab()
    old, _ = quarantined(lab)
    read, seen = lab.world.secrets.read, list[int | None]()

    def destroying(path: str, version: int | None = None) -> object:
        found = read(path, version)
        if version == 2 and not seen:
            lab.vault.destroy(PATH, version)
        seen.append(version)
        return found

    lab.world.secrets.read = destroying  # type: ignore[method-assign, assignment]
    written = len(lab.trail.lines)
    report = back(lab, old)
    assert report.plan is not None
    assert report.plan.reason is Reason.VALUE_GONE
    assert len(lab.trail.lines) == written


def test_a_key_that_is_deleted_in_the_console_is_refused() -> None:
    lab = Lab()
    old, new = rotated(lab)
    lab.account.keys.pop(old)
    report = back(lab, old)
    assert report.plan is not None
    assert report.plan.reason is Reason.OLD_KEY_GONE
    assert lab.served_hash() == new


def test_an_old_key_that_does_not_work_is_not_published_and_gets_a_full_grace() -> None:
    lab = Lab()
    old, new = quarantined(lab)
    accepts = lab.account.accepts
    lab.account.accepts = lambda key_hash: key_hash != old and accepts(key_hash)  # type: ignore[method-assign]
    report = back(lab, old)
    assert report.failure is not None
    assert report.failure.reason is Reason.OLD_KEY_REFUSED
    assert lab.served_hash() == new
    entry = entry_of(lab, old)
    assert entry.disabled_at is None
    assert lab.clock.now() - entry.since < CLAIM_TIMEOUT
    lab.account.accepts = accepts  # type: ignore[method-assign]
    lab.live(timedelta(hours=9))
    assert old in lab.account.deleted
    lab.check_at_rest()


def test_while_nothing_works_it_is_an_outage_and_the_newer_key_stays() -> None:
    lab = Lab()
    old, new = rotated(lab)
    accepts = lab.account.accepts
    lab.world.issuer.whoami = lambda secret: None  # type: ignore[method-assign]
    report = back(lab, old)
    assert report.failure is not None
    assert report.failure.reason is Reason.OUTAGE
    assert lab.served_hash() == new
    assert accepts(new)


Write = Callable[[str, SecretFields, int], Written]


def meddle(lab: Lab, fields: dict[str, str]) -> None:
    """Right before our first publish, somebody else writes these fields."""
    write, done = lab.world.secrets.write, list[bool]()

    def meddling(path: str, ours: SecretFields, cas: int) -> Written:
        if not done:
            done.append(True)
            lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), **fields})
            raise CheckAndSetConflict("vault", "write", "did not match", status=400)
        return write(path, ours, cas)

    lab.world.secrets.write = meddling  # type: ignore[method-assign, assignment]


def test_a_stranger_who_writes_another_field_costs_one_more_try() -> None:
    lab = Lab()
    old, new = quarantined(lab)
    meddle(lab, {"THEIRS": "new"})
    assert back(lab, old).failure is None
    assert_rolled_back(lab, old, new)
    assert (lab.vault.current(PATH) or {})["THEIRS"] == "new"


def test_a_third_key_that_was_put_back_for_a_while_during_a_rollback_gets_its_grace_afresh() -> (
    None
):
    lab = Lab()
    third, old = rotated(lab)
    lab.clock.advance(timedelta(minutes=50))
    lab.run(demand=Demand())
    values = [(each.data or {})[FIELD] for each in lab.vault.paths[PATH][1:]]
    write, done = lab.world.secrets.write, list[bool]()

    def meddling(path: str, ours: SecretFields, cas: int) -> Written:
        if not done:
            done.append(True)
            for value in (values[0], values[-1]):
                lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), FIELD: value})
        return write(path, ours, cas)

    lab.world.secrets.write = meddling  # type: ignore[method-assign, assignment]
    began = lab.clock.now()
    assert back(lab, old).failure is None
    lab.run()
    assert lab.served_hash() == old
    assert entry_of(lab, third).since >= began


def test_a_stranger_who_writes_our_field_keeps_his_value_and_the_old_key_retires_anew() -> None:
    lab = Lab()
    old, _ = quarantined(lab)
    third = lab.account.make(NewKey("made by hand"))
    meddle(lab, {FIELD: third.secret.reveal()})
    report = back(lab, old)
    assert report.failure is not None
    assert report.failure.reason is Reason.FIELD_CHANGED
    assert lab.served_hash() == third.key.hash
    entry = entry_of(lab, old)
    assert entry.disabled_at is None
    assert lab.clock.now() - entry.since < CLAIM_TIMEOUT
    lab.live(timedelta(hours=9))
    assert old in lab.account.deleted


def test_a_stranger_who_puts_the_old_value_back_himself_has_done_the_same() -> None:
    lab = Lab()
    old, new = rotated(lab)
    value = (lab.vault.paths[PATH][1].data or {})[FIELD]
    meddle(lab, {FIELD: value})
    assert back(lab, old).failure is None
    assert_rolled_back(lab, old, new)
    assert book_of(lab).put_back is None


def test_a_lost_answer_with_another_value_behind_it_lets_the_old_key_retire_anew() -> None:
    lab = Lab()
    old, _ = quarantined(lab)
    third = lab.account.make(NewKey("made by hand"))
    write = lab.world.secrets.write

    def lost(path: str, ours: SecretFields, cas: int) -> Written:
        write(path, ours, cas)
        lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), FIELD: third.secret.reveal()})
        raise OutcomeUnknown("vault", "write", "no answer")

    lab.world.secrets.write = lost  # type: ignore[method-assign, assignment]
    report = back(lab, old)
    assert report.failure is not None
    assert report.failure.reason is Reason.PUBLISH_UNKNOWN
    book = book_of(lab)
    assert (book.pending, book.failure) == (None, report.failure)
    entry = entry_of(lab, old)
    assert entry.disabled_at is None
    assert lab.clock.now() - entry.since < CLAIM_TIMEOUT


def test_a_version_that_was_made_again_with_another_value_is_not_published() -> None:
    lab = Lab()
    old, new = quarantined(lab)
    read, seen = lab.world.secrets.read, list[int | None]()

    def remade(path: str, version: int | None = None) -> object:
        found = read(path, version)
        if version == 2 and not seen:
            lab.vault.paths[PATH][1].data = {FIELD: "another"}
        seen.append(version)
        return found

    lab.world.secrets.read = remade  # type: ignore[method-assign, assignment]
    report = back(lab, old)
    assert report.plan is not None
    assert report.plan.reason is Reason.VALUE_GONE
    assert lab.served_hash() == new
    assert book_of(lab).pending is None


def test_what_openrouter_says_of_the_old_key_now_stands_in_the_ledger() -> None:
    lab = Lab()
    old, _ = rotated(lab)
    expires_at = lab.clock.now() + timedelta(days=90)
    lab.account.change(old, expires_at=expires_at)
    back(lab, old)
    assert served_by(lab).expires_at == expires_at


def test_an_expiry_of_the_old_key_that_openrouter_leaves_out_now_is_not_forgotten() -> None:
    lab = Lab((target(key=KeySettings(expires_in=timedelta(days=30))),))
    old, _ = rotated(lab)
    expires_at = lab.account.keys[old].expires_at
    lab.account.change(old, expires_at=None)
    back(lab, old)
    assert expires_at is not None
    assert served_by(lab).expires_at == expires_at


def test_nothing_is_enabled_once_writing_the_intent_has_used_up_the_claim() -> None:
    names = calls(quarantined)
    lab = Lab()
    old, new = quarantined(lab)
    begun = len(lab.faults.calls)
    intent = names.index("openrouter.enable")
    assert names[intent - 1] == "audit.append"
    lab.faults.plan = {begun + intent: Kind.SLOW_AFTER}
    report = back(lab, old)
    assert report.failure is not None
    assert report.failure.reason is Reason.CLAIM_RUNNING_OUT
    assert "openrouter.enable" not in lab.faults.calls[begun:]
    assert lab.account.keys[old].disabled
    assert lab.served_hash() == new


def test_a_key_that_is_deleted_right_before_it_is_enabled_is_told_as_gone() -> None:
    lab = Lab()
    old, new = quarantined(lab)
    get = lab.world.issuer.get

    def deleting(key_hash: str) -> IssuedKey | None:
        found = get(key_hash)
        lab.account.keys.pop(old, None)
        return found

    lab.world.issuer.get = deleting  # type: ignore[method-assign]
    report = back(lab, old)
    assert report.failure is not None
    assert report.failure.reason is Reason.OLD_KEY_GONE
    assert book_of(lab).pending is None
    assert lab.served_hash() == new


@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.ERROR, Kind.UNAUTHORISED])
def test_an_enable_that_did_definitely_not_happen_ends_the_claim(kind: Kind) -> None:
    lab = Lab()
    old, _ = quarantined(lab)
    before = entry_of(lab, old)
    lab.faults.choose = nth("openrouter.enable", 1, kind)
    assert back(lab, old).failure is not None
    assert book_of(lab).pending is None
    assert entry_of(lab, old) == before


def test_a_place_for_the_write_is_obtained_before_the_claim() -> None:
    lab = Lab()
    old, _ = quarantined(lab)
    claimed: list[bool] = []
    lab.world.pace.obtain = lambda **_: claimed.append(  # type: ignore[method-assign]
        book_of(lab).pending is not None
    )
    back(lab, old)
    assert claimed == [False]


def test_another_process_that_claims_is_waited_for() -> None:
    lab = Lab()
    old, new = rotated(lab)
    lab.faults.choose = nth("vault.write", 1, Kind.DIE_BEFORE)
    back(lab, old)
    lab.faults.choose = lambda *_: None
    assert book_of(lab).pending is not None
    report = back(lab, old)
    assert report.plan is not None
    assert report.plan.reason is Reason.CLAIMED
    assert lab.served_hash() == new
    lab.clock.advance(CLAIM_TIMEOUT + timedelta(seconds=1))
    assert back(lab, old).failure is None
    assert_rolled_back(lab, old, new)


def test_a_process_that_dies_after_the_publish_is_settled_by_a_promotion() -> None:
    lab = Lab()
    old, new = quarantined(lab)
    lab.faults.choose = nth("vault.write", 1, Kind.DIE_AFTER)
    back(lab, old)
    lab.faults.choose = lambda *_: None
    assert lab.served_hash() == old
    lab.live(timedelta(minutes=7))
    assert served_by(lab).hash == old
    assert lab.clock.now() - served_by(lab).due_from < timedelta(minutes=7)
    assert entry_of(lab, new).why is Reason.PUT_ASIDE
    assert book_of(lab).put_back is None, "the rollback was our own"
    lab.live(timedelta(hours=9))
    assert lab.served_hash() == old
    lab.check_at_rest()


@pytest.mark.parametrize("last", ["openrouter.enable", "openrouter.whoami"])
def test_a_key_that_an_interrupted_rollback_enabled_is_graced_drained_and_deleted(
    last: str,
) -> None:
    lab = Lab()
    old, new = quarantined(lab)
    lab.faults.choose = nth(last, 1, Kind.DIE_AFTER)
    back(lab, old)
    lab.faults.choose = lambda *_: None
    assert lab.account.accepts(old)
    lab.live(timedelta(minutes=7))
    entry = entry_of(lab, old)
    assert (entry.disabled_at, entry.enabled_by_hand) == (None, False)
    assert lab.clock.now() - entry.since < timedelta(minutes=7)
    lab.live(timedelta(hours=9))
    assert lab.served_hash() == new
    assert old in lab.account.deleted
    lab.check_at_rest()


def test_an_enable_that_lands_hours_late_is_reported_and_a_person_ends_it() -> None:
    """The process stood still between its last check and the call, until the key was disabled."""
    lab = Lab()
    old, new = quarantined(lab)
    lab.let_another_live_in_pauses()
    lab.faults.slow_by = timedelta(minutes=150)
    lab.faults.choose = nth("openrouter.enable", 1, Kind.SLOW)
    back(lab, old)
    assert lab.account.accepts(old)
    lab.faults.choose = lambda *_: None
    lab.live(timedelta(hours=3))
    assert lab.served_hash() == new
    entry = entry_of(lab, old)
    assert entry.enabled_by_hand
    lab.excused.add(old)
    assert operate.retire(lab.world, lab.targets[0], key=old, by="me@here") == (old,)
    lab.live(timedelta(hours=3))
    lab.check_at_rest()


def calls(arrange: Callable[[Lab], tuple[str, str]]) -> tuple[str, ...]:
    """The names of the port calls of an undisturbed rollback."""
    lab = Lab()
    old, _ = arrange(lab)
    begun = len(lab.faults.calls)
    back(lab, old)
    return tuple(lab.faults.calls[begun:])


def test_the_undisturbed_rollback_reaches_every_kind_of_call() -> None:
    assert set(calls(quarantined)) >= {
        "audit.append",
        "openrouter.enable",
        "openrouter.get",
        "openrouter.whoami",
        "vault.metadata",
        "vault.read",
        "vault.read_ledger",
        "vault.write",
        "vault.write_ledger",
    }


@pytest.mark.parametrize("arrange", [rotated, quarantined])
@pytest.mark.parametrize("again", [True, False], ids=["asked again", "given up"])
@pytest.mark.parametrize("kind", list(Kind))
def test_a_single_fault_at_any_call_of_a_rollback_breaks_no_promise(
    kind: Kind, again: bool, arrange: Callable[[Lab], tuple[str, str]]
) -> None:
    """Every call of a rollback, once; the operator asks again, or his process never comes back."""
    broken: list[str] = []
    for number, name in enumerate(calls(arrange), start=1):
        lab = Lab()
        old, new = arrange(lab)
        lab.faults.plan = {len(lab.faults.calls) + number: kind}
        try:
            back(lab, old)
            if again:
                lab.live(timedelta(minutes=20), demand=lab_demand(lab, old))
                assert lab.served_hash() == old, "it is rolled back in the end"
            lab.live(timedelta(hours=6))
            assert lab.served_hash() in (old, new)
            lab.live(timedelta(hours=5))
            lab.come_to_rest()
        except AssertionError as error:
            broken.append(f"call {number} ({name}): {error}")
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "pause",
    [timedelta(minutes=2), timedelta(minutes=4), timedelta(minutes=10), timedelta(hours=5)],
    ids=str,
)
@pytest.mark.parametrize("kind", [Kind.SLOW, Kind.SLOW_AFTER])
def test_a_rollback_that_is_paused_at_any_call_while_another_process_lives_breaks_no_promise(
    kind: Kind, pause: timedelta
) -> None:
    """It wakes up after the other process took over, fenced, drained and disabled the old key."""
    broken: list[str] = []
    for number, name in enumerate(calls(quarantined), start=1):
        lab = Lab()
        old, _ = quarantined(lab)
        lab.let_another_live_in_pauses()
        lab.faults.slow_by = pause
        lab.faults.plan = {len(lab.faults.calls) + number: kind}
        try:
            back(lab, old)
            lab.live(timedelta(hours=11))
            lab.come_to_rest()
        except AssertionError as error:
            broken.append(f"call {number} ({name}): {error}")
    assert not broken, "\n".join(broken)


def lab_demand(lab: Lab, key: str) -> Demand:
    """The operator's command, given again."""
    return Demand(rollback=Rollback(key))
