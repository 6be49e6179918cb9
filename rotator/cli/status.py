"""``status`` and ``plan``: two views of the same observation, which changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import click

from rotator.cli import exits
from rotator.cli.common import pass_session, services_for, spread_over
from rotator.cli.documents import plan_document, target_document, unreachable_document
from rotator.cli.output import document, in_future, say, span, table
from rotator.cli.root import Session, tell
from rotator.config import Config
from rotator.core.plan import plan as plan_for
from rotator.core.reasons import MEANING
from rotator.core.steps import NeedLook, Plan
from rotator.core.target import Target
from rotator.core.view import State, TargetView, view
from rotator.engine.observe import Observation, observe, satisfy
from rotator.engine.world import World
from rotator.errors import ServiceError, Unauthorised

_LOOKS = 12
_WEIGHT = {state: index for index, state in enumerate(State)}


@dataclass(frozen=True, slots=True)
class Row:
    """One target as it was observed.

    Attributes:
        target: it.
        seen: what people are shown, or None where it could not be observed.
        plan: what would be done, or None likewise.
        error: why it could not be observed, or None.
    """

    target: Target
    seen: TargetView | None = None
    plan: Plan | None = None
    error: ServiceError | None = None

    @property
    def state(self) -> State:
        """The target's state in one word."""
        return self.seen.state if self.seen is not None else State.UNREACHABLE


def rows(world: World, config: Config, *, look: bool) -> list[Row]:
    """Observe every target without reading a value, the gravest first.

    Args:
        world: the ports.
        config: the configuration.
        look: whether to ask OpenRouter for keys that are due or draining, one GET each.
    """
    threads = config.daemon.workers

    def read(target: Target) -> Observation | ServiceError:
        try:
            return observe(world, target, may_read_values=False)
        except ServiceError as error:
            return error

    observed = spread_over(threads, read, config.targets)
    index = world.fleet.served_by()
    seen = dict(zip((target.name for target in config.targets), observed, strict=True))

    def judge(target: Target) -> Row:
        observation = seen[target.name]
        if isinstance(observation, ServiceError):
            return Row(target, error=observation)
        observation.snapshot = replace(observation.snapshot, served_by=index)
        try:
            return _judged(world, target, observation, look=look)
        except ServiceError as error:
            return Row(target, error=error)

    judged = spread_over(threads, judge, config.targets) if look else map(judge, config.targets)
    return sorted(judged, key=lambda row: (_WEIGHT[row.state], row.target.name))


def _judged(world: World, target: Target, observation: Observation, *, look: bool) -> Row:
    """Plan for one target, looking at keys where the plan needs that and it is allowed."""
    now = world.clock.now()
    chosen = plan_for(observation.snapshot, now)
    for _ in range(_LOOKS if look else 0):
        looks = tuple(need for need in chosen.needs if isinstance(need, NeedLook))
        if not looks:
            break
        satisfy(world, observation, looks)
        chosen = plan_for(observation.snapshot, now)
    return Row(target, view(observation.snapshot, chosen, now), chosen)


def _observed(session: Session, mode: str, *, look: bool) -> tuple[list[Row], datetime]:
    """Observe all targets for one of the two commands."""
    config = session.config(logs="warning")
    with services_for(config, mode) as services:
        world = services.world()
        return rows(world, config, look=look), services.clock.now()


def _errors_of(found: Iterable[Row]) -> list[ServiceError]:
    """Return each different cause once, in the order in which they were met."""
    return list({str(row.error): row.error for row in found if row.error is not None}.values())


def _code(found: list[Row]) -> int:
    """Return the exit code of what was observed."""
    errors = _errors_of(found)
    refused = any(
        isinstance(error, Unauthorised) and error.service == "openrouter" for error in errors
    )
    return exits.exit_code((row.state for row in found), refused=refused)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@pass_session
def status(session: Session, *, as_json: bool) -> None:
    """Show each target: served key, age, next due, what is retiring, held, blocked or failing.

    Reads ledgers and metadata in Vault, no value of a secret, and asks OpenRouter nothing.

    \b
    Examples:
      rotator status
      rotator status --json | jq '.targets[] | select(.state != "ok")'
    """  # noqa: D301 - click's mark, not an escape
    found, now = _observed(session, "status", look=False)
    if as_json:
        document({"targets": [_status_document(row) for row in found]})
    else:
        _status_table(found, now)
        for error in _errors_of(found):
            tell(error)
    click.get_current_context().exit(_code(found))


def _status_document(row: Row) -> dict[str, Any]:
    if row.seen is None:
        return unreachable_document(row.target.name, str(row.target.secret), str(row.error))
    return target_document(row.seen)


def _status_table(found: list[Row], now: datetime) -> None:
    """Print one line for each target, and below it what a person should see."""
    lines = []
    for row in found:
        seen = row.seen
        served = seen.served if seen is not None else None
        age = span((now - served.minted_at).total_seconds()) if served is not None else "-"
        key = served.hash[:12] if served is not None else "-"
        due = in_future(seen.next_due, now) if seen is not None else "-"
        retiring = str(len(seen.retiring)) if seen is not None and seen.retiring else "-"
        lines.append([str(row.state), row.target.name, key, age, due, retiring])
    table(("STATE", "TARGET", "KEY", "AGE", "NEXT", "OLD"), lines)
    _notes(found)


def _notes(found: list[Row]) -> None:
    """Print the sentences that explain what is not in order, one line for each target."""
    noted = False
    for row in found:
        seen = row.seen
        if seen is None:
            continue
        told = [each.sentence for each in seen.findings]
        if seen.failure is not None:
            told.append(f"{MEANING[seen.failure.reason]} {seen.failure.detail}")
        if told and not noted:
            say()
            noted = True
        for sentence in told:
            say(f"{row.target.name}: {sentence}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@pass_session
def plan(session: Session, *, as_json: bool) -> None:
    """Show what would be done, when and why. Changes nothing.

    The same planner decides as in the daemon. Reads no value of a secret: where one was
    changed by another hand, it says so.

    \b
    Examples:
      rotator plan
      rotator plan --json | jq '.targets[] | select(.steps != [])'
    """  # noqa: D301 - click's mark, not an escape
    found, now = _observed(session, "plan", look=True)
    if as_json:
        document({"targets": [_plan_document(row) for row in found]})
    else:
        _plan_table(found, now)
        for error in _errors_of(found):
            tell(error)
    click.get_current_context().exit(_code(found))


def _plan_document(row: Row) -> dict[str, Any]:
    if row.seen is None or row.plan is None:
        return {
            "name": row.target.name,
            "state": str(State.UNREACHABLE),
            "reason": None,
            "steps": [],
            "needs": [],
            "wake_at": None,
            "next_due": None,
            "urgent": False,
            "findings": [],
            "error": str(row.error),
        }
    return plan_document(row.seen, row.plan)


def _plan_table(found: list[Row], now: datetime) -> None:
    """Print one line for each target: when, what, why."""
    lines = []
    for row in found:
        if row.plan is None:
            lines.append([str(row.state), row.target.name, "-", "-"])
            continue
        acts = bool(row.plan.steps or row.plan.needs)
        when = "now" if acts else in_future(row.plan.wake_at, now)
        lines.append([str(row.state), row.target.name, when, what_of(row)])
    table(("STATE", "TARGET", "WHEN", "WHAT"), lines)


def what_of(row: Row) -> str:
    """Return what would be done about a target, in a few words, with the reason's code."""
    chosen, seen = row.plan, row.seen
    assert chosen is not None
    assert seen is not None
    names = [type(step).__name__ for step in chosen.steps]
    for name, words in _WORDS:
        if name in names:
            return f"{words} ({chosen.reason})"
    if names or chosen.needs:
        return f"{'record' if names else 'look closer'} ({chosen.reason})"
    if chosen.wake_at is not None and seen.next_due == chosen.wake_at:
        return f"rotate ({seen.due_why})"
    return f"nothing yet ({chosen.reason})" if chosen.wake_at is None else f"look ({chosen.reason})"


_WORDS = (
    ("Mint", "rotate"),
    ("Delete", "delete the old key"),
    ("Disable", "disable the old key"),
    ("Enable", "enable the served key"),
    ("TakeOverClaim", "settle an interrupted change"),
    ("Fence", "fence"),
    ("CreateLedger", "begin to keep it"),
)
