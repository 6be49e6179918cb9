"""``status`` and ``plan``: two views of the same observation, which changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import click

from rotator.cli import exits
from rotator.cli.common import (
    complete_target,
    named_targets,
    pass_session,
    services_for,
    spread_over,
)
from rotator.cli.details import failing, print_details
from rotator.cli.documents import plan_document, target_document, unreachable_document
from rotator.cli.leader import leader_document, leader_of, print_leader
from rotator.cli.output import counted, document, is_terminal, say, table
from rotator.cli.root import Session, tell
from rotator.config import Config
from rotator.core.lease import LeaseSeen
from rotator.core.plan import plan as plan_for
from rotator.core.reasons import Reason
from rotator.core.retirement import Stage
from rotator.core.steps import NeedLook, Plan
from rotator.core.target import Target
from rotator.core.view import FAILED, NEEDS_A_PERSON, State, TargetView, view
from rotator.core.words import in_future, span
from rotator.engine.lease import read_lease
from rotator.engine.observe import Observation, observe, satisfy
from rotator.engine.world import World
from rotator.errors import ServiceError, Unauthorised

_LOOKS = 12
_EVERYTHING = "On a terminal too, leave out no line of the many that are in order."
_MOST_FINE = 20
_MOST_NOTES = 20
_STYLES = {str(state): "red" for state in FAILED | NEEDS_A_PERSON} | {
    str(state): "yellow" for state in (State.DISABLED, State.HELD, State.CHANGED, State.DUE)
}
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

    def judge(target: Target, *, may_look: bool = False) -> Row:
        observation = seen[target.name]
        if isinstance(observation, ServiceError):
            return Row(target, error=observation)
        observation.snapshot = replace(observation.snapshot, served_by=index)
        try:
            return _judged(world, target, observation, look=may_look)
        except ServiceError as error:
            return Row(target, error=error)

    judged = {target.name: judge(target) for target in config.targets}
    if look:
        unsure = [row.target for row in judged.values() if _asks_for_looks(row)]
        again = spread_over(threads, lambda target: judge(target, may_look=True), unsure)
        judged |= {row.target.name: row for row in again}
    return sorted(judged.values(), key=lambda row: (_WEIGHT[row.state], row.target.name))


def _asks_for_looks(row: Row) -> bool:
    return row.plan is not None and any(isinstance(need, NeedLook) for need in row.plan.needs)


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


def _observed(
    session: Session, mode: str, *, look: bool
) -> tuple[list[Row], datetime, LeaseSeen | None]:
    """Observe all targets for one of the two commands, and for the one who acts.

    The lease is None where it was not looked at, or where there is none by configuration.
    """
    config = session.config(logs="critical")
    with services_for(config, mode) as services:
        world = services.world()
        lease = None
        if not look and config.daemon.lease:
            with suppress(ServiceError):  # what is wrong shows at the targets
                lease = read_lease(world.ledgers)
        return rows(world, config, look=look), services.clock.now(), lease


def _errors_of(found: Iterable[Row]) -> list[ServiceError]:
    """Return each different cause once, in the order in which they were met."""
    return list({str(row.error): row.error for row in found if row.error is not None}.values())


def _code(found: list[Row]) -> int:
    """Return the exit code of what was observed."""
    refused = any(_refused(row) for row in found)
    return exits.exit_code((row.state for row in found), refused=refused)


def _refused(row: Row) -> bool:
    """Tell whether OpenRouter refuses the management key, as far as this target shows."""
    if row.error is not None:
        return isinstance(row.error, Unauthorised) and row.error.service == "openrouter"
    failure = row.seen.failure if row.seen is not None else None
    refused = failure is not None and failure.reason is Reason.UNAUTHORISED
    return refused and failure is not None and failure.detail.startswith("openrouter")


@click.command(short_help="Show each target: its key, when it is due, what is wrong.")
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete_target)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@click.option("--all", "everything", is_flag=True, help=_EVERYTHING)
@pass_session
def status(session: Session, *, names: tuple[str, ...], as_json: bool, everything: bool) -> None:
    """Show each target: served key, age, next due, what is retiring, held, blocked or failing.

    With names, shows those targets in full: whole hashes, each old key with what it waits
    for, and a failure with its cause and when it is tried again.

    Reads ledgers and metadata in Vault, no value of a secret, and asks OpenRouter nothing.

    Exit code: 0 all is well, or held; 1 a target fails, or Vault cannot be read; 3 a target
    needs a person. The columns are explained in docs/operations.md.

    \b
    Examples:
      rotator status
      rotator status billing-api
      rotator status --json | jq '.targets[] | select(.state != "ok")'
    """  # noqa: D301 - click's mark, not an escape
    if names:
        named_targets(session.config(logs="critical"), names)
    found, now, lease = _observed(session, "status", look=False)
    leader = None if lease is None else leader_of(lease, session.config(logs="critical"))
    found = [row for row in found if not names or row.target.name in names]
    if as_json:
        told = leader_document(leader) if leader is not None else None
        document({"leader": told, "targets": [_status_document(row) for row in found]})
    elif names:
        _status_in_full(found, now)
    else:
        print_leader(leader, now)
        _status_table(found, now, everything=everything)
        for error in _errors_of(found):
            tell(error)
    click.get_current_context().exit(_code(found))


def _status_in_full(found: list[Row], now: datetime) -> None:
    """Print the named targets one below the other."""
    for row in found:
        if row.seen is not None:
            print_details(row.seen, now)
    for error in _errors_of(found):
        tell(error)


def _status_document(row: Row) -> dict[str, Any]:
    if row.seen is None:
        return unreachable_document(row.target.name, str(row.target.secret), str(row.error))
    return target_document(row.seen)


def _status_table(found: list[Row], now: datetime, *, everything: bool) -> None:
    """Print one line for each target, and below it what a person should see."""
    lines = []
    shown = _shown(found, everything=everything)
    for row in shown:
        seen = row.seen
        served = seen.served if seen is not None else None
        age = span((now - served.minted_at).total_seconds()) if served is not None else "-"
        key = served.hash[:12] if served is not None else "-"
        due = in_future(seen.next_due, now) if seen is not None else "-"
        lines.append([str(row.state), row.target.name, key, age, due, _old_keys(seen)])
    table(("STATE", "TARGET", "KEY", "AGE", "NEXT", "OLD"), lines, styles=_STYLES)
    _notes(found, now, everything=everything)
    _summary(found, shown)


def _old_keys(seen: TargetView | None) -> str:
    """Return how many keys are on their way out, and where the first of them is."""
    if seen is None or not seen.retiring:
        return "-"
    return f"{len(seen.retiring)} {seen.retiring[0].stage}"


def _shown(found: list[Row], *, everything: bool) -> list[Row]:
    """Return the rows to print: on a terminal not every one of many that are in order."""
    if everything or not is_terminal():
        return found
    fine = [row for row in found if row.state is State.OK]
    return [row for row in found if row.state is not State.OK] + fine[:_MOST_FINE]


def _summary(found: list[Row], shown: list[Row]) -> None:
    """Print how many targets are in which state, and how many lines were left out."""
    counts = Counter(row.state for row in found)
    told = ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
    left = len(found) - len(shown)
    more = f" ({left} of them not shown: --all shows them)" if left else ""
    say()
    say(f"{counted(len(found), 'target')}: {told}{more}" if found else "no targets")


def _notes(found: list[Row], now: datetime, *, everything: bool) -> None:
    """Print the sentences that explain what is not in order, the gravest first."""
    notes = []
    for row in found:
        seen = row.seen
        if seen is None:
            continue
        told = [each.sentence for each in seen.findings]
        if seen.failure is not None:
            told.append(f"failing {failing(seen.failure, seen.safe, now)}")
        notes += [f"{row.target.name}: {sentence}" for sentence in told]
    most = len(notes) if everything or not is_terminal() else _MOST_NOTES
    if notes:
        say()
    for note in notes[:most]:
        say(note)
    if notes[most:]:
        say(f"... and {len(notes) - most} more: --all shows them")


@click.command(short_help="Show what would be done, when and why.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@click.option("--all", "everything", is_flag=True, help=_EVERYTHING)
@pass_session
def plan(session: Session, *, as_json: bool, everything: bool) -> None:
    """Show what would be done, when and why. Changes nothing.

    The same planner decides as in the daemon. Reads no value of a secret: where one was
    changed by another hand, it says so. A word in brackets is a reason of docs/reasons.md.

    Exit codes are those of `rotator status`.

    \b
    Examples:
      rotator plan
      rotator plan --json | jq '.targets[] | select(.steps != [])'
    """  # noqa: D301 - click's mark, not an escape
    found, now, _ = _observed(session, "plan", look=True)
    if as_json:
        document({"targets": [_plan_document(row) for row in found]})
    else:
        _plan_table(found, now, everything=everything)
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


def _plan_table(found: list[Row], now: datetime, *, everything: bool) -> None:
    """Print one line for each target: when, what, why."""
    lines = []
    shown = _shown(found, everything=everything)
    for row in shown:
        if row.plan is None:
            lines.append([str(row.state), row.target.name, "-", "-"])
            continue
        acts = row.plan.steps or row.plan.needs or row.plan.reason in _AT_ONCE
        when = "now" if acts else in_future(row.plan.wake_at, now)
        lines.append([str(row.state), row.target.name, when, what_of(row)])
    table(("STATE", "TARGET", "WHEN", "WHAT"), lines, styles=_STYLES)
    _notes(found, now, everything=everything)
    _summary(found, shown)


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
    if chosen.reason in _AT_ONCE:
        return f"{_AT_ONCE[chosen.reason]} ({chosen.reason})"
    if chosen.wake_at is not None and seen.next_due is not None and seen.next_due <= chosen.wake_at:
        return f"rotate ({seen.due_why})"
    if chosen.wake_at is None:
        return f"nothing ({chosen.reason})"
    coming = [
        (each.until, each.stage)
        for each in seen.retiring
        if each.until is not None and each.stage in _NEXT
    ]
    if not coming:
        return f"look ({chosen.reason})"
    _, stage = min(coming)
    return f"{_NEXT[stage]} ({stage})"


_NEXT = {
    Stage.GRACE: "look at the old key",
    Stage.DRAIN: "look at the old key",
    Stage.BLOCKED: "look at the old key",
    Stage.QUARANTINE: "delete the old key",
}

_AT_ONCE = {
    Reason.FIRST_SEEN: "read it for the first time",
    Reason.CHANGED_NOT_READ: "read the changed value",
}
_WORDS = (
    ("Mint", "rotate"),
    ("Delete", "delete the old key"),
    ("Disable", "disable the old key"),
    ("Enable", "enable the served key"),
    ("TakeOverClaim", "settle an interrupted change"),
    ("Fence", "fence"),
    ("CreateLedger", "begin to keep it"),
)
