"""``rotate``: replace keys now, and prove that Vault serves the new ones."""

from __future__ import annotations

from typing import Any

import click

from rotator.cli import exits
from rotator.cli.acting import Acting, timeout_option
from rotator.cli.common import (
    Interrupt,
    complete_target,
    named_targets,
    operator,
    pass_session,
    services_for,
)
from rotator.cli.output import document, say, warn
from rotator.cli.root import Session
from rotator.core.asked import rotation_demand
from rotator.core.request import Arguments, Request, Verb
from rotator.core.target import Target
from rotator.engine.attempts import Rotation, until
from rotator.engine.operate import note_command
from rotator.engine.outcomes import Outcome, Verdict, served_before
from rotator.engine.world import World


@click.command(short_help="Replace keys now; return when the new key is served.")
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
@timeout_option
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

    Beside a daemon, the daemon rotates and this waits for it. Without one it is done here:
    it waits while another process changes the target, and tries again until it is done
    or the time is up.

    Exit code 0: Vault serves the very key whose hash is printed (the secret is read once more
    for that), or a hold left the target of --all alone. 1: not done in time, or failed; the old
    key is still served. 3: a person is needed, such as for a foreign value.

    \b
    Examples:
      rotator rotate billing-api
      rotator rotate billing-api search --timeout 2m
      rotator rotate --all --json
      rotator rotate billing-api --compromised
    """  # noqa: D301 - click's mark, not an escape
    if bool(names) == everything:
        both = "either name targets or say --all, not both"
        raise click.UsageError(both if everything else "name targets, or say --all")
    config = session.config(logs="critical")
    targets = config.targets if everything else named_targets(config, names)
    arguments = Arguments(
        named=not everything, compromised=compromised, overwrite_foreign=overwrite_foreign
    )
    interrupt = Interrupt()
    with interrupt.listening(), services_for(config, "rotate", interrupt) as services:
        acting = Acting.of(services, timeout)
        outcomes = acting.carry_out(
            targets,
            lambda _: (Verb.ROTATE, arguments),
            _Rotating(acting, arguments),
            (lambda _: None) if as_json else _tell,
        )
        acting.end()
    if as_json:
        document({"targets": [as_document(each) for each in outcomes]})
    click.get_current_context().exit(_code(acting.world, outcomes))


class _Rotating:
    """Rotates in this process."""

    def __init__(self, acting: Acting, arguments: Arguments) -> None:
        self._world = acting.world
        self._arguments = arguments

    def __call__(self, target: Target, request: Request | None, limit: float) -> Outcome:
        world, arguments = self._world, self._arguments
        flags = {
            "--compromised": arguments.compromised,
            "--overwrite-foreign": arguments.overwrite_foreign,
        }
        asked = " ".join(flag for flag, given in flags.items() if given)
        note_command(world, target, command="rotate", by=operator(), detail=asked)
        # What was done for the request is not done once more.
        before = request.before if request is not None else None
        demand, old = rotation_demand(arguments, before), served_before(world, target)
        return until(Rotation(world, target, demand, old), limit, warn)


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
        where = f"version {outcome.version}" if outcome.version else "replaced since"
        say(f"{outcome.name}: {old} -> {outcome.new} ({where})")
    elif outcome.verdict is Verdict.HELD:
        say(f"{outcome.name}: left alone: {outcome.detail}")
    else:
        warn(f"{outcome.name}: {outcome.detail}")
