"""One fault at one call of a rotation or a removal: what is done about it, and what is remembered.

`test_crash_table.py` tries every fault at every call and asks whether the promises hold; here
stands what each of the telling ones comes to.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.lease import Open, Pulse
from rotator.core.ledger import ClaimKind
from rotator.core.reasons import Reason
from rotator.engine.hand import Hand
from rotator.engine.observe import observe
from rotator.engine.pulse import name_in_pulse, read_pulse, strike_from_pulse
from rotator.engine.remove import freshness
from rotator.errors import Transient
from tests.engine.lab import PATH, POLICY, Lab, target
from tests.fakes.faults import Kind, nth

HALF_A_DAY = timedelta(hours=13)


def due_lab() -> Lab:
    """A target that serves a key, which is due."""
    lab = Lab()
    lab.run()
    lab.clock.advance(HALF_A_DAY)
    return lab


def removing(stage: str) -> Lab:
    """A target whose old key can be disabled, or deleted, now."""
    lab = due_lab()
    lab.run()
    lab.clock.advance(timedelta(hours=1, minutes=1))
    if stage == "delete":
        lab.run()
        lab.clock.advance(timedelta(hours=2, minutes=1))
    return lab


def silent_lab() -> Lab:
    """One whose process writes no audit trail: the pulse needs none, and the lab would insist."""
    lab = Lab()
    lab.faults.before_each = lambda *_: None
    return lab


NEW, OLD = True, False
CLAIMED, FREE = ClaimKind.ROTATE, None


@pytest.mark.parametrize(
    ("call", "number", "kind", "failure", "claim", "serves"),
    [
        ("openrouter.create", 1, Kind.ERROR, Reason.UNAVAILABLE, FREE, OLD),
        ("openrouter.create", 1, Kind.REFUSED, Reason.MINT_REFUSED, FREE, OLD),
        ("openrouter.create", 1, Kind.UNSETTLED, Reason.MINT_UNKNOWN, CLAIMED, OLD),
        ("openrouter.create", 1, Kind.NO_EFFECT_LOST, Reason.MINT_UNKNOWN, CLAIMED, OLD),
        ("openrouter.whoami", 1, Kind.ERROR, None, FREE, NEW),
        ("openrouter.whoami", 1, Kind.REFUSED, None, FREE, NEW),
        ("vault.read", 1, Kind.ERROR, None, FREE, NEW),
        ("vault.read", 1, Kind.REFUSED, Reason.REFUSED, FREE, OLD),
        ("vault.write", 1, Kind.ERROR, None, FREE, NEW),
        ("vault.write", 1, Kind.REFUSED, Reason.REFUSED, FREE, OLD),
        ("vault.write", 1, Kind.UNSETTLED, None, FREE, NEW),
        ("vault.write", 1, Kind.NO_EFFECT_LOST, Reason.PUBLISH_UNKNOWN, CLAIMED, OLD),
        ("vault.read", 2, Kind.ERROR, None, FREE, NEW),
        ("openrouter.create", 1, Kind.UNAUTHORISED, Reason.UNAUTHORISED, FREE, OLD),
        ("vault.write_ledger", 1, Kind.ERROR, Reason.UNAVAILABLE, FREE, OLD),
        ("vault.write_ledger", 1, Kind.UNAUTHORISED, Reason.UNAUTHORISED, FREE, OLD),
        ("vault.write_ledger", 1, Kind.NO_EFFECT_LOST, Reason.UNKNOWN_OUTCOME, FREE, OLD),
        ("vault.write_ledger", 2, Kind.UNAUTHORISED, Reason.UNAUTHORISED, CLAIMED, NEW),
        ("vault.write_ledger", 2, Kind.ERROR, None, FREE, NEW),
        ("vault.write_ledger", 2, Kind.REFUSED, Reason.REFUSED, CLAIMED, NEW),
    ],
)
def test_a_rotation_meets_one_fault(  # noqa: PLR0917
    call: str,
    number: int,
    kind: Kind,
    failure: Reason | None,
    claim: ClaimKind | None,
    serves: bool,
) -> None:
    lab = due_lab()
    before = lab.served_hash()
    lab.faults.choose = nth(call, number, kind)
    report = lab.run()
    assert lab.faults.hit == [(call, kind)]
    assert (report.failure.reason if report.failure is not None else None) is failure
    if report.failure is not None:
        assert report.failure.detail.startswith(call.replace(".", ": "))
    book = lab.ledger()
    assert book is not None
    assert book.failure == report.failure
    assert (book.pending.kind if book.pending is not None else None) is claim
    assert (lab.served_hash() != before) is serves
    lab.live(timedelta(hours=1))
    lab.come_to_rest()
    assert lab.served_hash() != before


@pytest.mark.parametrize("read", ["vault.read", "openrouter.whoami"])
def test_where_no_key_can_be_asked_a_refusal_says_nothing_about_the_new_one(read: str) -> None:
    lab = due_lab()
    first_read = nth("vault.read", 1, Kind.ERROR)

    def choose(service: str, name: str, acts: bool) -> Kind | None:
        if name == "whoami":
            return Kind.ERROR
        return first_read(service, name, acts) if f"{service}.{name}" == read else None

    lab.faults.choose = choose
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.OUTAGE
    lab.faults.choose = lambda *_: None
    lab.live(timedelta(hours=1))
    lab.come_to_rest()


def test_a_publish_of_which_nothing_can_be_read_afterwards_is_left_to_its_claim() -> None:
    lab = due_lab()
    lost: list[bool] = []

    def choose(service: str, name: str, acts: bool) -> Kind | None:
        if (service, name) == ("vault", "write"):
            lost.append(acts)
            return Kind.UNSETTLED
        return Kind.ERROR if lost and (service, name) == ("vault", "read") else None

    lab.faults.choose = choose
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.PUBLISH_UNKNOWN
    book = lab.ledger()
    assert book is not None
    assert book.pending is not None
    lab.faults.choose = lambda *_: None
    lab.live(timedelta(hours=1))
    lab.come_to_rest()


def test_a_vault_that_stays_away_is_waited_for_no_longer_than_the_claim_lasts() -> None:
    lab = due_lab()
    lab.faults.choose = lambda service, name, _: (
        Kind.ERROR if (service, name) == ("vault", "read") else None
    )
    began = lab.clock.now()
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.UNAVAILABLE
    assert lab.clock.now() - began < timedelta(minutes=5)
    lab.faults.choose = lambda *_: None
    lab.live(timedelta(hours=1))
    lab.come_to_rest()


@pytest.mark.parametrize("stage", ["disable", "delete"])
@pytest.mark.parametrize(
    ("kind", "failure", "claimed"),
    [
        (Kind.ERROR, Reason.UNAVAILABLE, False),
        (Kind.REFUSED, Reason.REFUSED, False),
        (Kind.UNSETTLED, Reason.UNKNOWN_OUTCOME, True),
        (Kind.NO_EFFECT_LOST, Reason.UNKNOWN_OUTCOME, True),
    ],
)
def test_a_removal_meets_one_fault(stage: str, kind: Kind, failure: Reason, claimed: bool) -> None:
    lab = removing(stage)
    lab.faults.choose = nth(f"openrouter.{stage}", 1, kind)
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is failure
    assert report.failure.detail.startswith(f"openrouter: {stage}: ")
    book = lab.ledger()
    assert book is not None
    assert (book.pending is not None) is claimed
    lab.live(timedelta(hours=1))
    lab.come_to_rest()


@pytest.mark.parametrize("stage", ["disable", "delete"])
@pytest.mark.parametrize(("seconds", "reads"), [(10, 1), (11, 2)])
def test_a_read_that_took_too_long_is_repeated_before_a_removal(
    stage: str, seconds: int, reads: int
) -> None:
    lab = removing(stage)
    lab.faults.slow_by = timedelta(seconds=seconds)
    lab.faults.choose = nth("vault.read", 1, Kind.SLOW)
    calls = len(lab.faults.calls)
    assert lab.run().failure is None
    made = lab.faults.calls[calls:]
    before = made[: made.index(f"openrouter.{stage}")]
    assert before.count("vault.read") == reads


@pytest.mark.parametrize("stage", ["disable", "delete"])
def test_a_read_that_grew_old_while_the_intent_was_written_allows_no_removal(stage: str) -> None:
    lab = removing(stage)
    lab.faults.slow_by = timedelta(seconds=11)
    slow: list[int] = []

    def choose(service: str, name: str, acts: bool) -> Kind | None:
        del name, acts
        if service == "audit" and lab.faults.calls[-2] == "vault.read" and not slow:
            slow.append(len(lab.faults.calls))
            return Kind.SLOW
        return None

    lab.faults.choose = choose
    report = lab.run()
    assert report.failure is None
    later = lab.faults.calls[slow[0] :]
    assert later.index("vault.read") < later.index(f"openrouter.{stage}")


@pytest.mark.parametrize(
    ("grace", "quarantine", "seconds"),
    [(3600, 7200, 10.0), (8, 7200, 4.0), (3600, 6, 3.0), (1, 7200, 1.0), (3600, 0, 1.0)],
)
def test_a_read_allows_a_removal_for_ten_seconds_and_for_half_of_short_waits(
    grace: int, quarantine: int, seconds: float
) -> None:
    waits = replace(
        POLICY, grace=timedelta(seconds=grace), quarantine=timedelta(seconds=quarantine)
    )
    lab = Lab((target(policy=waits),))
    observation = observe(lab.world, lab.targets[0])
    hand = Hand(lab.world, observation, observation.snapshot.ledger, "op", Reason.DRAINED)
    assert freshness(hand) == seconds


@pytest.mark.parametrize("stage", ["create", "disable", "delete"])
def test_openrouter_is_left_alone_for_as_long_as_it_asks_for(stage: str) -> None:
    lab = due_lab() if stage == "create" else removing(stage)

    def busy(service: str, name: str, acts: bool) -> Kind | None:
        if name == stage:
            raise Transient(service, name, "busy", status=503, retry_after=7200.0 * acts)
        return None

    lab.faults.choose = busy
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.UNAVAILABLE
    assert report.failure.next_try >= lab.clock.now() + timedelta(hours=2)


@pytest.mark.parametrize("stage", ["disable", "delete"])
def test_a_key_that_is_gone_when_it_is_to_be_removed_is_no_failure(stage: str) -> None:
    lab = removing(stage)
    book = lab.ledger()
    assert book is not None
    (old,) = book.retiring
    lab.excused.add(old.hash)
    before_each = lab.faults.before_each

    def delete_it(service: str, name: str, acts: bool) -> None:
        if name == stage:
            lab.account.keys.pop(old.hash, None)
        before_each(service, name, acts)

    lab.faults.before_each = delete_it
    report = lab.run()
    assert f"openrouter.{stage}" in lab.faults.calls
    assert report.failure is None
    book = lab.ledger()
    assert book is not None
    assert (book.pending, book.retiring) == (None, ())


@pytest.mark.parametrize(
    ("stage", "deed", "goes"),
    [
        ("disable", "nothing", True),
        ("disable", "at most", True),
        ("disable", "used", False),
        ("disable", "gone", False),
        ("delete", "nothing", True),
        ("delete", "gone", False),
        ("delete", "enabled", False),
    ],
)
def test_a_look_that_grew_old_in_the_queue_for_writes_is_repeated(
    stage: str, deed: str, goes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = removing(stage)
    book = lab.ledger()
    assert book is not None
    (old,) = book.retiring
    lab.excused.add(old.hash)
    obtain = lab.world.pace.obtain
    waited: list[str] = []

    def queue(*, urgent: bool = False) -> None:
        if not waited:
            waited.append(deed)
            lab.clock.advance(timedelta(seconds=10 if deed == "at most" else 11))
            if deed == "used":
                lab.account.change(old.hash, last_used_at=lab.clock.now())
            if deed == "gone":
                del lab.account.keys[old.hash]
            if deed == "enabled":
                lab.account.change(old.hash, disabled=False)
        obtain(urgent=urgent)

    monkeypatch.setattr(lab.world.pace, "obtain", queue)
    before = len(lab.faults.calls)
    report = lab.run()
    assert waited
    assert report.failure is None, "the world moved on; nothing failed"
    made = lab.faults.calls[before:]
    assert (f"openrouter.{stage}" in made) is goes
    if goes:
        assert made.count("openrouter.get") == (1 if deed == "at most" else 2)
        assert made.count("vault.read_ledger") == 1, "in the very same pass"
    else:
        assert made.count("openrouter.get") >= 2


@pytest.mark.parametrize("stage", ["disable", "delete"])
def test_a_secret_that_is_deleted_just_before_a_removal_stops_it(stage: str) -> None:
    lab = removing(stage)
    before = len(lab.faults.calls)
    done: list[str] = []

    def delete_it(service: str, name: str, acts: bool) -> None:
        del acts
        if (service, name) == ("vault", "read") and not done:
            done.append(name)
            lab.promises.began, lab.promises.other = set(), None  # a person deletes both
            lab.vault.delete(PATH)

    lab.faults.before_each = delete_it
    report = lab.run()
    made = lab.faults.calls[before:]
    assert "vault.read" in made
    assert f"openrouter.{stage}" not in made
    assert report.failure is None
    book = lab.ledger()
    assert book is not None
    assert book.pending is None


def test_an_old_value_pasted_back_just_before_its_key_is_disabled_stops_that() -> None:
    lab = Lab()
    lab.run()
    value, old = dict(lab.vault.current(PATH) or {}), lab.served_hash()
    lab.clock.advance(HALF_A_DAY)
    lab.run()
    lab.clock.advance(timedelta(hours=1, minutes=1))
    before, before_each = len(lab.faults.calls), lab.faults.before_each

    def paste(service: str, name: str, acts: bool) -> None:
        if name == "read" and lab.served_hash() != old:
            lab.vault.put(PATH, value)
        before_each(service, name, acts)

    lab.faults.before_each = paste
    report = lab.run()
    assert lab.served_hash() == old
    assert "openrouter.disable" not in lab.faults.calls[before:]
    assert report.failure is None
    book = lab.ledger()
    assert book is not None
    assert book.pending is None


def test_an_old_value_put_where_its_target_has_moved_to_stops_the_removal_of_its_key() -> None:
    lab = Lab()
    lab.run()
    value, old = dict(lab.vault.current(PATH) or {}), lab.served_hash()
    assert old is not None
    lab.clock.advance(HALF_A_DAY)
    lab.run()
    lab.vault.put("secret/new", {"OTHER": "stays"})
    lab.targets = (target(path="secret/new"),)
    lab.began.clear()
    lab.run(full=True)
    lab.clock.advance(timedelta(hours=1, minutes=1))
    before, before_each = len(lab.faults.calls), lab.faults.before_each

    def paste(service: str, name: str, acts: bool) -> None:
        if name == "read" and lab.served_hash("secret/new") != old:
            lab.vault.put("secret/new", value)
        before_each(service, name, acts)

    lab.faults.before_each = paste
    report = lab.run()
    assert lab.served_hash("secret/new") == old
    assert "openrouter.disable" not in lab.faults.calls[before:]
    assert lab.account.accepts(old)
    assert report.failure is None
    book = lab.ledger()
    assert book is not None
    assert book.pending is None


def test_a_pulse_that_keeps_changing_is_given_up_after_a_few_tries() -> None:
    lab = silent_lab()
    lab.faults.choose = lambda _service, name, _acts: (
        Kind.NO_EFFECT_LOST if name == "write_ledger" else None
    )
    with pytest.raises(Transient, match=r"^vault: write pulse: it keeps changing$"):
        name_in_pulse(lab.world.ledgers, lab.clock, (Open("app", "4711"),))
    assert lab.faults.calls.count("vault.write_ledger") == 20
    assert lab.clock.monotonic() == pytest.approx(0.05 * sum(range(1, 21)))
    lab.faults.choose = lambda *_: None
    assert read_pulse(lab.world.ledgers) == Pulse()


def test_a_pulse_whose_writing_had_no_effect_is_written_anew() -> None:
    lab = silent_lab()
    lab.faults.choose = nth("vault.write_ledger", 1, Kind.NO_EFFECT_LOST)
    name_in_pulse(lab.world.ledgers, lab.clock, (Open("app", "4711"),))
    assert read_pulse(lab.world.ledgers) == Pulse((Open("app", "4711"),))


def test_a_pulse_that_says_already_what_it_should_is_not_written_again() -> None:
    lab = silent_lab()
    name_in_pulse(lab.world.ledgers, lab.clock, (Open("app", "4711"),))
    calls = len(lab.faults.calls)
    name_in_pulse(lab.world.ledgers, lab.clock, (Open("app", "4711"),))
    strike_from_pulse(lab.world.ledgers, lab.clock, frozenset({Open("app", "0815")}))
    assert lab.faults.calls[calls:] == ["vault.read_ledger"] * 2
    assert read_pulse(lab.world.ledgers) == Pulse((Open("app", "4711"),))


@pytest.mark.parametrize("document", [{}, {"schema": 1}, {"schema": 99, "requests": []}])
def test_a_pulse_that_is_not_understood_names_nothing_and_is_written_anew(
    document: dict[str, object],
) -> None:
    lab = silent_lab()
    lab.world.ledgers.write("pulse", document, 0)
    assert read_pulse(lab.world.ledgers) == Pulse()
    name_in_pulse(lab.world.ledgers, lab.clock, (Open("app", "4711"),))
    assert read_pulse(lab.world.ledgers) == Pulse((Open("app", "4711"),))
