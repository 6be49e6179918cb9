"""The wrapper around everything that acts: intent, guard, call, outcome; and what errors do."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import NoReturn

import pytest

from rotator.core.reasons import Reason
from rotator.engine.acting import act
from rotator.engine.hand import StepFailed
from rotator.errors import (
    AuditUnavailable,
    OutcomeUnknown,
    Refused,
    ServiceError,
    Transient,
    Unauthorised,
)
from rotator.events import KeyDelete, Phase, Result
from tests.engine.lab import Lab
from tests.fakes.faults import Kind, nth

_REVOKED = "openrouter: whoami_management: the management key is refused"

INTENT = KeyDelete(phase=Phase.INTENT, op="op/delete", target="app", key_hash="1" * 64)


def _raises(error: Exception) -> NoReturn:
    raise error


def _results(lab: Lab) -> list[tuple[Phase, Result | None]]:
    return [(each.phase, each.result) for _, each in lab.trail.lines if each.name == INTENT.name]


def test_the_intent_is_on_disk_before_the_call_and_the_outcome_after() -> None:
    lab = Lab()
    seen = act(lab.world, INTENT, lambda: _results(lab), tell=lambda _: {"reason": "because"})
    assert seen == [(Phase.INTENT, None)]
    assert _results(lab) == [(Phase.INTENT, None), (Phase.OUTCOME, Result.DONE)]
    assert lab.trail.lines[-1][1].reason == "because"


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (Transient("vault", "write", "busy"), Result.FAILED),
        (Refused("vault", "write", "no"), Result.REFUSED),
        (Unauthorised("vault", "write", "no"), Result.REFUSED),
        (OutcomeUnknown("vault", "write", "no answer"), Result.UNKNOWN),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_failure_is_the_outcome_and_is_raised(error: ServiceError, result: Result) -> None:
    lab = Lab()
    with pytest.raises(type(error)):
        act(lab.world, INTENT, lambda: _raises(error))
    assert _results(lab)[-1] == (Phase.OUTCOME, result)
    assert lab.trail.lines[-1][1].error == str(error)
    assert not lab.trail.unsettled()


def test_nothing_is_called_where_the_intent_cannot_be_written() -> None:
    lab = Lab()
    lab.faults.choose = nth("audit.append", 1, Kind.ERROR)
    with pytest.raises(AuditUnavailable):
        act(lab.world, INTENT, lambda: pytest.fail("called without an intent"))
    assert lab.trail.lines == []


def test_nothing_is_called_where_the_guard_refuses_and_the_outcome_says_so() -> None:
    lab = Lab()
    refusal = StepFailed(Reason.CLAIM_RUNNING_OUT)
    with pytest.raises(StepFailed) as caught:
        act(
            lab.world,
            INTENT,
            lambda: pytest.fail("called though the guard refused"),
            guard=lambda: _raises(refusal),
        )
    assert caught.value is refusal
    assert _results(lab) == [(Phase.INTENT, None), (Phase.OUTCOME, Result.FAILED)]
    assert lab.trail.lines[-1][1].error == str(refusal)


@pytest.mark.parametrize("way", ["refused by the guard", "failed", "done"])
def test_with_patience_every_outcome_is_waited_for(way: str) -> None:
    lab = Lab()
    asked: list[float] = []

    def guard() -> None:
        asked.append(lab.clock.monotonic())
        lab.faults.choose = lambda *_: Kind.ERROR if lab.clock.monotonic() < 5 else None
        if way == "refused by the guard":
            _raises(StepFailed(Reason.CLAIM_RUNNING_OUT))

    def call() -> None:
        if way == "failed":
            _raises(Refused("vault", "write", "no"))

    with contextlib.suppress(StepFailed, Refused):
        act(lab.world, INTENT, call, guard=guard, patience=30.0)
    assert asked == [0.0]
    assert lab.clock.monotonic() == 5.0
    assert not lab.trail.unsettled()


def test_an_audit_trail_is_tried_again_as_long_as_the_next_try_is_within_the_patience() -> None:
    lab = Lab()
    lab.faults.choose = lambda *_: Kind.ERROR if lab.clock.monotonic() < 2 else None
    act(lab.world, INTENT, lambda: None, patience=2.0)
    assert lab.clock.monotonic() == 2.0


def test_a_429_that_names_no_time_pauses_all_writes_for_a_second() -> None:
    lab = Lab()
    with pytest.raises(Transient):
        act(
            lab.world,
            INTENT,
            lambda: _raises(Transient("openrouter", "delete", "busy", pauses_writes=True)),
        )
    assert lab.world.pace.paused_until(lab.clock.now()) == lab.clock.now() + timedelta(seconds=1)


def test_what_vault_asks_for_pauses_no_writes_to_openrouter() -> None:
    lab = Lab()
    busy = Transient("vault", "write", "busy", retry_after=12.0, pauses_writes=True)
    with pytest.raises(Transient):
        act(lab.world, INTENT, lambda: _raises(busy))
    assert lab.world.pace.paused_until(lab.clock.now()) is None


@pytest.mark.parametrize("error", [Refused("openrouter", "delete", "no", status=404), None])
def test_only_a_403_of_openrouter_has_the_management_key_asked_about(error: Refused | None) -> None:
    lab = Lab()
    refused = error or Refused("vault", "write", "no", status=403)
    lab.account.manages = False
    with pytest.raises(Refused):
        act(lab.world, INTENT, lambda: _raises(refused))
    assert "openrouter.whoami_management" not in lab.faults.calls
    assert lab.world.fleet.refused() is None


def test_the_guard_is_asked_after_the_intent_took_its_time() -> None:
    lab = Lab()
    lab.faults.slow_by = timedelta(minutes=10)
    lab.faults.choose = nth("audit.append", 1, Kind.SLOW)
    asked: list[float] = []
    act(lab.world, INTENT, lambda: None, guard=lambda: asked.append(lab.clock.monotonic()))
    assert asked == [600.0]


def test_an_outcome_that_cannot_be_written_is_an_error_though_the_call_is_done() -> None:
    lab = Lab()
    lab.faults.choose = nth("audit.append", 2, Kind.ERROR)
    called: list[int] = []
    with pytest.raises(AuditUnavailable):
        act(lab.world, INTENT, lambda: called.append(1))
    assert called == [1]
    assert [each.op for each in lab.trail.unsettled()] == [INTENT.op]


def test_with_patience_an_audit_trail_that_fails_for_a_while_costs_nothing() -> None:
    lab = Lab()
    down = lab.clock.now() + timedelta(seconds=5)
    lab.faults.choose = lambda service, *_: Kind.ERROR if lab.clock.now() < down else None
    act(lab.world, INTENT, lambda: None, patience=30.0)
    assert _results(lab) == [(Phase.INTENT, None), (Phase.OUTCOME, Result.DONE)]
    assert lab.clock.monotonic() == 5.0


def test_patience_ends() -> None:
    lab = Lab()
    lab.faults.choose = lambda service, *_: Kind.ERROR
    with pytest.raises(AuditUnavailable):
        act(lab.world, INTENT, lambda: None, patience=30.0)
    assert 29.0 <= lab.clock.monotonic() <= 30.0


def test_a_429_pauses_all_writes_for_as_long_as_it_says() -> None:
    lab = Lab()
    busy = Transient("openrouter", "delete key", "busy", retry_after=12.0, pauses_writes=True)
    with pytest.raises(Transient):
        act(lab.world, INTENT, lambda: _raises(busy))
    assert lab.world.pace.paused_until(lab.clock.now()) == lab.clock.now() + timedelta(seconds=12)


def test_a_failure_that_is_no_429_pauses_nothing() -> None:
    lab = Lab()
    busy = Transient("openrouter", "delete key", "busy", retry_after=12.0)
    with pytest.raises(Transient):
        act(lab.world, INTENT, lambda: _raises(busy))
    assert lab.world.pace.paused_until(lab.clock.now()) is None


def test_a_401_of_openrouter_stops_all_changes() -> None:
    lab = Lab()
    with pytest.raises(Unauthorised):
        act(lab.world, INTENT, lambda: _raises(Unauthorised("openrouter", "delete key", "no")))
    assert lab.world.fleet.refused() == "openrouter: delete key: no"


def test_a_401_of_vault_fails_its_own_step_only() -> None:
    lab = Lab()
    with pytest.raises(Unauthorised):
        act(lab.world, INTENT, lambda: _raises(Unauthorised("vault", "write", "no")))
    assert lab.world.fleet.refused() is None


@pytest.mark.parametrize("revoked", [True, False])
def test_a_403_stops_all_changes_only_where_the_management_key_itself_is_refused(
    revoked: bool,
) -> None:
    lab = Lab()
    lab.account.manages = not revoked
    forbidden = Refused("openrouter", "delete key", "forbidden", status=403)
    with pytest.raises(Refused):
        act(lab.world, INTENT, lambda: _raises(forbidden))
    assert lab.faults.calls.count("openrouter.whoami_management") == 1
    assert lab.world.fleet.refused() == (_REVOKED if revoked else None)


def test_a_403_that_cannot_be_confirmed_fails_its_own_step_only() -> None:
    lab = Lab()
    lab.faults.choose = nth("openrouter.whoami_management", 1, Kind.ERROR)
    forbidden = Refused("openrouter", "delete key", "forbidden", status=403)
    with pytest.raises(Refused):
        act(lab.world, INTENT, lambda: _raises(forbidden))
    assert lab.world.fleet.refused() is None


def test_while_the_management_key_is_refused_nothing_is_claimed_and_then_all_goes_on() -> None:
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    lab.account.manages = False
    lab.run(full=True)
    assert lab.world.fleet.refused() is not None
    before = lab.faults.calls.count("openrouter.create")
    lab.live(timedelta(hours=2))
    book = lab.ledger()
    assert book is not None
    assert book.pending is None
    assert lab.faults.calls.count("openrouter.create") <= before + 1
    lab.account.manages = True
    lab.live(timedelta(hours=9))
    lab.come_to_rest()
