"""``rollback``: serve an older key again, and prove that Vault does."""

from __future__ import annotations

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
from rotator.cli.rotate import as_document
from rotator.core.request import Arguments, Request, Verb
from rotator.core.target import Target
from rotator.engine import operate
from rotator.engine.attempts import WayBack, until
from rotator.engine.outcomes import Outcome, UnknownKey, Verdict, served_before, whole_hash
from rotator.engine.world import World


@click.command(short_help="Serve the previous key again.")
@click.argument("name", shell_complete=complete_target)
@click.argument("key", metavar="[HASH]", required=False)
@timeout_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@pass_session
def rollback(
    session: Session, *, name: str, key: str | None, timeout: float | None, as_json: bool
) -> None:
    """Serve the previous key again, as long as it is kept; a hold does not stop this.

    The old key is enabled if need be and proven to work, then its value, which Vault's
    older versions must still hold, is published again; other fields stay as they are now.
    The newer key retires with a full grace period, and the schedule starts afresh.
    HASH is a retiring key's hash as `rotator status NAME` shows it, or the beginning of
    one; without it the key that was served last is taken.

    Exit code: 0 it is served; 1 failed, or not done in time; 3 a person is needed.

    \b
    Examples:
      rotator rollback billing-api
      rotator rollback billing-api 3f9a21c07b44
    """  # noqa: D301 - click's mark, not an escape
    config = session.config(logs="critical")
    target = named_targets(config, [name])[0]
    interrupt = Interrupt()
    with interrupt.listening(), services_for(config, "rollback", interrupt) as services:
        acting = Acting.of(services, timeout)
        world = acting.world

        def wish(target: Target) -> tuple[Verb, Arguments]:
            if key is None:
                return Verb.ROLLBACK, Arguments()
            book = acting.book(target)
            whole = whole_hash(target, book, key) if book is not None else key
            return Verb.ROLLBACK, Arguments(keys=(whole,))

        def act(target: Target, request: Request | None, limit: float) -> Outcome:
            def note(chosen: str) -> None:
                operate.note_command(
                    world, target, command="rollback", by=operator(), detail=chosen, key=chosen
                )

            old = request.served if request is not None else served_before(world, target)
            return until(WayBack(world, target, key, note, old), limit, warn)

        try:
            (outcome,) = acting.carry_out((target,), wish, act)
        except UnknownKey as error:
            raise click.UsageError(str(error)) from None
        acting.end()
    if as_json:
        document(as_document(outcome))
    else:
        _tell(outcome)
    click.get_current_context().exit(_code(world, outcome))


def _code(world: World, outcome: Outcome) -> int:
    """Return the exit code."""
    if outcome.verdict in (Verdict.ROLLED_BACK, Verdict.UNCHANGED):
        return exits.DONE
    refused = world.fleet.refused() is not None
    return exits.ATTENTION if refused or outcome.verdict is Verdict.ATTENTION else exits.FAILURE


def _tell(outcome: Outcome) -> None:
    """Print how it ended."""
    if outcome.verdict is Verdict.ROLLED_BACK:
        say(f"{outcome.name}: {outcome.old} -> {outcome.new} (version {outcome.version})")
    elif outcome.verdict is Verdict.UNCHANGED:
        say(f"{outcome.name}: {outcome.new} is served already (version {outcome.version})")
    else:
        warn(f"{outcome.name}: {outcome.detail}")
