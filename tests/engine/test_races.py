"""What others do in the middle of a step, and a slow call there: the step sees it and stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.reasons import Reason
from rotator.core.snapshot import Demand
from rotator.errors import CheckAndSetConflict
from rotator.ports import Written
from rotator.secret import SecretFields
from tests.engine.lab import CLAIM_TIMEOUT, PATH, Lab
from tests.engine.promises import FIELD
from tests.fakes.faults import Kind, nth

LEDGER = "state/targets/app"


def due_lab() -> Lab:
    """A target that serves a key, which is due."""
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=13))
    return lab


def removing() -> tuple[Lab, str, str]:
    """A target whose old key can be disabled now; that key's hash, and its plaintext."""
    lab = Lab()
    lab.run()
    text = str((lab.vault.current(PATH) or {})[FIELD])
    old = lab.served_hash()
    assert old is not None
    lab.clock.advance(timedelta(hours=13))
    lab.run()
    lab.clock.advance(timedelta(hours=1, minutes=1))
    return lab, old, text


def expired_lab() -> Lab:
    """A target whose claim expired before anything was made."""
    lab = due_lab()
    lab.faults.choose = nth("openrouter.create", 1, Kind.DIE_BEFORE)
    lab.run()
    lab.faults.choose = lambda *_: None
    lab.clock.advance(CLAIM_TIMEOUT + timedelta(seconds=2))
    return lab


def just_before(
    lab: Lab, call: str, deed: Callable[[], object], *, after: str = "", times: int = 1
) -> list[str]:
    """Let somebody do something just before a call; only once another was made, if one is named.

    Returns the calls that this came before, so far.
    """
    earlier, begins = lab.faults.before_each, len(lab.faults.calls)
    done: list[str] = []

    def before(service: str, name: str, acts: bool) -> None:
        made = lab.faults.calls[begins:]
        if f"{service}.{name}" == call and (not after or after in made) and len(done) < times:
            done.append(call)
            deed()
        earlier(service, name, acts)

    lab.faults.before_each = before
    return done


def write_other_field(lab: Lab) -> None:
    """Somebody writes a field of the secret that is none of ours."""
    lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), "THEIRS": "new"})


def test_an_old_value_pasted_back_while_its_key_is_being_disabled_works_again_at_once() -> None:
    lab, old, text = removing()
    lab.excused.add(old)
    done = just_before(
        lab,
        "vault.read",
        lambda: lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), FIELD: text}),
        after="openrouter.disable",
    )
    report = lab.run()
    assert done
    assert report.failure is None
    assert lab.served_hash() == old
    assert lab.account.accepts(old)
    book = lab.ledger()
    assert book is not None
    assert book.pending is None
    assert book.served is not None
    assert book.served.hash == old


def test_a_compromised_value_pasted_back_while_its_key_is_being_disabled_works_no_more() -> None:
    lab = Lab()
    lab.run()
    text, old = str((lab.vault.current(PATH) or {})[FIELD]), lab.served_hash()
    assert old is not None
    lab.clock.advance(timedelta(minutes=5))
    lab.excused.add(old)

    def paste() -> None:
        lab.excused.add(lab.served_hash() or "")  # it goes without its grace as well
        lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), FIELD: text})

    done = just_before(lab, "vault.read", paste, after="openrouter.disable")
    before = len(lab.faults.calls)
    lab.run(demand=Demand(compromised=True))
    assert done
    assert "openrouter.enable" not in lab.faults.calls[before:]
    assert not lab.account.accepts(old)
    assert lab.account.accepts(lab.served_hash() or "")


def test_a_key_that_another_target_begins_to_serve_meanwhile_is_not_disabled() -> None:
    lab, old, _ = removing()

    def other_serves_it() -> None:
        lab.world.fleet.fill(["app", "other"])
        lab.world.fleet.serves("other", old)

    done = just_before(lab, "vault.read", other_serves_it)
    before = len(lab.faults.calls)
    report = lab.run()
    assert done
    assert report.failure is None
    assert "openrouter.disable" not in lab.faults.calls[before:]
    assert lab.account.accepts(old)
    assert report.plan is not None
    assert Reason.STILL_SERVED in {each.reason for each in report.plan.findings}


def test_a_read_that_grew_old_while_the_intent_was_written_allows_no_removal() -> None:
    lab, old, _ = removing()
    lab.faults.slow_by = timedelta(seconds=30)
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
    assert later.index("vault.read") < later.index("openrouter.disable")
    assert not lab.account.accepts(old)


@pytest.mark.parametrize("call", ["vault.read", "vault.write"])
def test_a_fence_on_a_secret_that_somebody_writes_meanwhile_is_put_up_on_their_version(
    call: str,
) -> None:
    lab = expired_lab()
    done = just_before(lab, call, lambda: write_other_field(lab), after="vault.write_ledger")
    before = len(lab.vault.paths[PATH])
    report = lab.run()
    assert done
    assert report.failure is None or report.failure.reason is Reason.CLAIM_EXPIRED
    assert (lab.vault.current(PATH) or {})["THEIRS"] == "new"
    lab.live(timedelta(hours=1))
    assert len(lab.vault.paths[PATH]) > before + 1, "the fence came on top of theirs"
    assert (lab.vault.current(PATH) or {})["THEIRS"] == "new"
    lab.come_to_rest()


def test_a_listing_that_fails_does_not_prolong_the_claim_that_it_was_to_settle() -> None:
    lab = expired_lab()
    versions = len(lab.vault.paths[LEDGER])
    lab.faults.choose = lambda _service, name, _acts: Kind.ERROR if name == "list" else None
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.UNAVAILABLE
    assert len(lab.vault.paths[LEDGER]) == versions
    lab.faults.choose = lambda *_: None
    lab.live(timedelta(hours=1))
    lab.come_to_rest()


def test_a_ledger_that_changes_at_every_try_stops_the_step_and_its_claim_is_recovered() -> None:
    lab = due_lab()
    first = lab.served_hash()
    before = len(lab.faults.calls)
    done = just_before(
        lab,
        "vault.write_ledger",
        lambda: lab.vault.put(LEDGER, lab.vault.current(LEDGER) or {}),
        after="vault.write",
        times=5,
    )
    report = lab.run()
    assert len(done) == 5
    assert report.failure is None, "somebody else was first each time; nothing failed"
    assert lab.faults.calls[before:].count("openrouter.create") == 1
    lab.live(timedelta(hours=1))
    book = lab.ledger()
    assert book is not None
    assert book.served is not None
    assert book.served.hash == lab.served_hash() != first
    assert lab.account.minted == 2
    lab.come_to_rest()


def test_a_secret_that_changes_at_every_try_costs_the_new_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = due_lab()
    first = lab.served_hash()
    tries: list[int] = []

    def meddling(path: str, fields: SecretFields, cas: int) -> Written:
        del path, fields
        tries.append(cas)
        write_other_field(lab)
        raise CheckAndSetConflict("vault", "write", "did not match", status=400)

    monkeypatch.setattr(lab.world.secrets, "write", meddling)
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.CONFLICT
    assert report.failure.detail == "vault: write: did not match"
    assert len(tries) == 4
    assert lab.served_hash() == first
    assert set(lab.account.keys) == {first}, "the key that was never published is gone"


def test_a_secret_that_is_deleted_just_before_its_value_is_read_gets_a_first_key() -> None:
    lab = Lab()
    lab.run()
    first = lab.served_hash()
    lab.vault.forget(LEDGER)  # so the value must be read

    def delete_it() -> None:
        lab.began.clear()
        lab.promises.other = None
        lab.vault.delete(PATH)

    done = just_before(lab, "vault.read", delete_it)
    lab.run(full=True)
    assert done
    lab.live(timedelta(minutes=10))
    served = lab.served_hash()
    assert served not in (None, first)
    assert lab.account.accepts(served or "")


def test_a_new_key_that_is_deleted_right_after_its_promotion_is_replaced_in_the_same_pass() -> None:
    lab = due_lab()
    gone: list[str] = []

    def delete_it() -> None:
        served = lab.served_hash()
        assert served is not None
        gone.append(served)
        lab.excused.add(served)
        del lab.account.keys[served]

    just_before(lab, "openrouter.get", delete_it, after="vault.write")
    report = lab.run(full=True)
    assert report.failure is None
    assert len(gone) == 1
    assert lab.served_hash() not in gone
    assert lab.account.accepts(lab.served_hash() or "")


def test_a_process_that_leads_no_more_begins_nothing_and_has_not_failed() -> None:
    lab = due_lab()
    first = lab.served_hash()
    lab.process.world = replace(lab.world, leads=lambda: False)
    report = lab.run()
    assert report.failure is None
    assert lab.served_hash() == first
    assert lab.account.minted == 1
    book = lab.ledger()
    assert book is not None
    assert book.pending is None


def test_a_refused_management_key_lets_nothing_begin() -> None:
    lab = due_lab()
    lab.world.fleet.refuse("the management key is refused")
    report = lab.run()
    assert report.failure is not None
    assert report.failure.reason is Reason.UNAUTHORISED
    assert report.failure.detail == "the management key is refused"
    assert lab.account.minted == 1
    lab.live(timedelta(hours=1))
    assert lab.account.minted == 2
