"""``rotate``: replace keys now, and prove that Vault serves the new ones."""

from __future__ import annotations

from typing import Any

import click

from rotator.cli import exits
from rotator.cli.common import (
    Interrupt,
    complete_target,
    fill,
    named_targets,
    operator,
    pass_session,
    services_for,
    spread_over,
)
from rotator.cli.output import document, say, warn
from rotator.cli.root import Session
from rotator.cli.rotating import Outcome, Verdict, rotate_one
from rotator.core.durations import parse_duration
from rotator.core.snapshot import Demand
from rotator.core.target import Target
from rotator.engine.operate import note_command
from rotator.engine.world import World


def seconds(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Read ``--timeout``."""
    del ctx, parameter
    if value is None:
        return None
    try:
        return parse_duration(value).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=complete_target)
@click.option("--all", "everything", is_flag=True, help="Every target that nobody holds.")
@click.option(
    "--compromised",
    is_flag=True,
    help="Skip windows, blackouts, grace, drain and hold; disable every old key at once.",
)
@click.option(
    "--overwrite-foreign",
    is_flag=True,
    help="Also where the field holds a value that no key of the account explains.",
)
@click.option(
    "--timeout",
    callback=seconds,
    metavar="DURATION",
    help="How long to try, such as 90s.  [default: twice claim_timeout]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@pass_session
def rotate(
    session: Session,
    *,
    names: tuple[str, ...],
    everything: bool,
    compromised: bool,
    overwrite_foreign: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Replace keys now, whatever the schedule; returns when the new key is served.

    Waits while another process changes the target, and tries again until it is done or
    the time is up. At the end the secret is read once more: exit code 0 means that Vault
    serves the very key whose hash is printed.

    \b
    Examples:
      rotator rotate billing-api
      rotator rotate billing-api search --timeout 2m
      rotator rotate --all --json
      rotator rotate billing-api --compromised
    """  # noqa: D301 - click's mark, not an escape
    if bool(names) == everything:
        raise click.UsageError("name targets, or say --all")
    config = session.config(logs="critical")
    targets = config.targets if everything else named_targets(config, names)
    interrupt = Interrupt()
    with interrupt.listening(), services_for(config, "rotate", interrupt) as services:
        world = services.world()
        services.announce(world)
        threads = config.daemon.workers
        fill(world, config)
        demand = Demand(world.clock.now(), not everything, compromised, overwrite_foreign)
        limit = timeout or 2 * config.daemon.claim_timeout.total_seconds()

        flags = {"--compromised": compromised, "--overwrite-foreign": overwrite_foreign}
        asked = " ".join(flag for flag, given in flags.items() if given)

        def work(target: Target) -> Outcome:
            note_command(world, target, command="rotate", by=operator(), detail=asked)
            outcome = rotate_one(world, target, demand, limit, warn)
            if not as_json:
                _tell(outcome)
            return outcome

        outcomes = spread_over(threads, work, targets)
        services.say_goodbye(world)
    if as_json:
        document({"targets": [as_document(each) for each in outcomes]})
    click.get_current_context().exit(_code(world, outcomes))


def _code(world: World, outcomes: list[Outcome]) -> int:
    """Return the exit code of all rotations together."""
    verdicts = {each.verdict for each in outcomes}
    if Verdict.FAILED in verdicts and world.fleet.refused() is None:
        return exits.FAILURE
    if verdicts & {Verdict.FAILED, Verdict.ATTENTION}:
        return exits.ATTENTION
    return exits.DONE


def as_document(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as ``--json`` shows it."""
    return {
        "name": outcome.name,
        "result": str(outcome.verdict),
        "old": outcome.old,
        "new": outcome.new,
        "secret_version": outcome.version,
        "reason": str(outcome.reason) if outcome.reason is not None else None,
        "detail": outcome.detail or None,
    }


def _tell(outcome: Outcome) -> None:
    """Print how one rotation ended."""
    if outcome.verdict is Verdict.ROTATED:
        old = outcome.old or "(no key)"
        say(f"{outcome.name}: {old} -> {outcome.new} (version {outcome.version})")
    elif outcome.verdict is Verdict.HELD:
        say(f"{outcome.name}: left alone: {outcome.detail}")
    else:
        warn(f"{outcome.name}: {outcome.detail}")
