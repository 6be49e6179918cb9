"""Operators' commands beside a daemon that writes the same ledger; and what is settled later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from rotator.core.hand_edits import Release
from rotator.core.ledger import ClaimKind
from rotator.engine import operate
from rotator.engine.hand import StepFailed
from rotator.engine.resync import settle_interrupted
from rotator.errors import Refused, Transient
from rotator.events import KeyCreate, KeyEnable, LedgerChange, OperatorCommand, Phase, Result
from tests.engine.lab import Lab
from tests.fakes.faults import Kind, nth


def _interfere(lab: Lab, times: int) -> list[int]:
    """Write the ledger anew, unchanged, right after each of some reads of it."""
    done: list[int] = []
    check = lab.faults.after_each

    def after() -> None:
        check()
        if lab.faults.calls[-1] == "vault.metadata" and len(done) < times:
            done.append(len(done))
            lab.vault.put("state/targets/app", lab.vault.current("state/targets/app") or {})

    lab.faults.after_each = after
    return done


def test_a_command_that_meets_another_writer_observes_anew_and_is_done() -> None:
    lab = Lab()
    lab.run()
    interfered = _interfere(lab, times=3)
    operate.hold(lab.world, lab.targets[0], why="audit", by="me@here")
    book = lab.ledger()
    assert len(interfered) == 3
    assert book is not None
    assert book.hold is not None
    assert (book.hold.why, book.hold.by) == ("audit", "me@here")
    assert not lab.trail.unsettled()


def test_a_command_that_never_gets_through_fails_and_changes_nothing() -> None:
    lab = Lab()
    lab.run()
    interfered = _interfere(lab, times=100)
    with pytest.raises(StepFailed, match="another process changed the ledger"):
        operate.hold(lab.world, lab.targets[0], why="audit", by="me@here")
    assert len(interfered) == 5
    book = lab.ledger()
    assert book is not None
    assert book.hold is None


def test_a_hold_that_arrives_in_the_middle_of_a_rotation_keeps_its_claim_and_lets_it_end() -> None:
    lab = Lab()
    lab.run()
    old = lab.served_hash()
    lab.clock.advance(timedelta(hours=12))
    operator = lab.another("operator")
    claims: list[ClaimKind | None] = []

    def meanwhile(seconds: float) -> None:
        operate.hold(operator.world, lab.targets[0], why="audit", by="me@here")
        book = lab.ledger()
        assert book is not None
        claims.append(book.pending.kind if book.pending is not None else None)

    lab.faults.sleep = meanwhile
    lab.faults.choose = nth("openrouter.create", 1, Kind.SLOW)
    report = lab.run()
    assert report.failure is None
    assert claims == [ClaimKind.ROTATE]
    assert lab.served_hash() != old
    book = lab.ledger()
    assert book is not None
    assert book.hold is not None
    assert book.pending is None


def commands_of(lab: Lab) -> dict[str, Callable[[], object]]:
    """Everything that changes a ledger for an operator, by the word in its refusal."""
    world, first = lab.world, lab.targets[0]
    return {
        "hold": lambda: operate.hold(world, first, why="audit", by="me"),
        "release": lambda: operate.release(world, first, by="me"),
        "change": lambda: operate.retire(world, first, key=None, by="me"),
        "change ": lambda: operate.change(world, first, Release()),
    }


@pytest.mark.parametrize("word", ["hold", "release", "change", "change "])
def test_a_command_for_a_target_without_a_ledger_is_refused(word: str) -> None:
    lab = Lab()
    with pytest.raises(Refused) as caught:
        commands_of(lab)[word]()
    why = "it has no ledger yet; let one pass observe it first"
    assert str(caught.value) == f"vault: {word.strip()} app: {why}"
    assert lab.ledger() is None


@pytest.mark.parametrize("word", ["hold", "release", "change", "change "])
def test_a_command_for_a_target_whose_ledger_is_not_understood_says_what_is_wrong_there(
    word: str,
) -> None:
    lab = Lab()
    lab.vault.put("state/targets/app", {"schema": 9999})
    with pytest.raises(Refused) as caught:
        commands_of(lab)[word]()
    assert str(caught.value).startswith(f"vault: {word.strip()} app: ")
    assert "9999" in str(caught.value)


def test_a_command_names_the_key_that_it_is_about_and_the_request_that_asked_for_it() -> None:
    lab = Lab()
    operate.note_command(
        lab.world,
        lab.targets[0],
        command="rollback",
        by="me",
        detail="",
        key="1" * 64,
        request="2" * 16,
    )
    (event,) = lab.trail.events(OperatorCommand.name)
    assert (event.key_hash, event.op) == ("1" * 64, f"{'2' * 16}/rollback")


def test_a_key_that_is_not_retiring_is_not_retired() -> None:
    lab = Lab()
    lab.run()
    served = lab.served_hash()
    with pytest.raises(Refused) as caught:
        operate.retire(lab.world, lab.targets[0], key=served, by="me")
    assert str(caught.value) == f"vault: retire a key of app: {served} is not retiring there"
    assert operate.retire(lab.world, lab.targets[0], key=None, by="me") == ()


def test_old_keys_that_an_operator_retires_are_named_in_the_trail_and_disabled_at_once() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    lab.run()
    book = lab.ledger()
    assert book is not None
    (old,) = book.retiring
    lab.excused.add(old.hash)  # an operator says so
    assert operate.retire(lab.world, lab.targets[0], key=old.hash, by="me") == (old.hash,)
    (command,) = lab.trail.events(OperatorCommand.name)
    assert isinstance(command, OperatorCommand)
    assert (command.command, command.by, command.detail) == ("retire", "me", old.hash)
    lab.run()
    assert lab.account.keys[old.hash].disabled
    assert operate.retire(lab.world, lab.targets[0], key=None, by="me") == ()


def test_an_old_intent_without_a_claim_is_closed_as_interrupted_once() -> None:
    lab = Lab()
    lab.run()
    intent = LedgerChange(
        phase=Phase.INTENT, op="dead/look", target="app", change="look", base_version=3
    )
    lab.trail.add(intent)
    assert settle_interrupted(lab.world, lab.targets) == 0, "its process may still live"
    lab.clock.advance(timedelta(minutes=6))
    assert settle_interrupted(lab.world, lab.targets) == 1
    last = lab.trail.lines[-1][1]
    assert (last.op, last.phase, last.result) == ("dead/look", Phase.OUTCOME, Result.INTERRUPTED)
    assert settle_interrupted(lab.world, lab.targets) == 0


def test_an_intent_under_a_standing_claim_is_left_to_its_recovery() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    lab.faults.choose = nth("openrouter.create", 1, Kind.DIE_AFTER)
    lab.run()
    lab.clock.advance(timedelta(minutes=6))
    book = lab.ledger()
    assert book is not None
    assert book.pending is not None
    assert settle_interrupted(lab.world, lab.targets) == 0
    assert [each.event for each in lab.trail.unsettled()] == [KeyCreate.name]
    lab.run()
    found = [each.result for _, each in lab.trail.lines if each.op == f"{book.pending.op}/mint"]
    assert found == [None, Result.FOUND]


def test_nothing_is_closed_while_the_ledgers_cannot_be_read() -> None:
    lab = Lab()
    lab.run()
    lab.trail.add(KeyEnable(phase=Phase.INTENT, op="dead/enable", target="app"))
    lab.clock.advance(timedelta(minutes=6))
    lab.faults.choose = lambda _service, name, _acts: Kind.ERROR if name == "read_ledger" else None
    with pytest.raises(Transient):
        settle_interrupted(lab.world, lab.targets)
    assert [each.op for each in lab.trail.unsettled()] == ["dead/enable"]
