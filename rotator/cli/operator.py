"""``hold``, ``release`` and ``retire``: what a person says about one target."""

from __future__ import annotations

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
)
from rotator.cli.output import document, say, warn
from rotator.cli.root import Session
from rotator.cli.rotating import NO_FAILURE, why_of
from rotator.core.ledger import Ledger
from rotator.core.target import Target
from rotator.engine import operate
from rotator.engine.observe import ledger_seen
from rotator.engine.reconcile import Report, reconcile
from rotator.engine.world import World, ledger_name
from rotator.redaction import redact

_LONGEST_WHY = 500


def _why(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """Read ``--why``, which is kept in Vault and shown to whoever asks for the status."""
    del ctx, parameter
    words = value.strip()
    if not words or len(words) > _LONGEST_WHY:
        raise click.BadParameter(f"must have 1 to {_LONGEST_WHY} characters")
    if any("\ud800" <= character <= "\udfff" for character in words):
        raise click.BadParameter("is not text in the encoding that this session has (see LANG)")
    if redact(words) != words:
        raise click.BadParameter(
            "holds what looks like a secret, and would be kept in Vault and shown: leave that out"
        )
    return words


@click.command()
@click.argument("name", shell_complete=complete_target)
@click.option(
    "--why", required=True, callback=_why, help="Stands beside the hold wherever it is shown."
)
@pass_session
def hold(session: Session, *, name: str, why: str) -> None:
    """Stop scheduled rotation, disable and delete of a target until it is released.

    A rotation that names the target goes through all the same.

    \b
    Examples:
      rotator hold billing-api --why "incident 4711: consumers cannot reload"
    """  # noqa: D301 - click's mark, not an escape
    config = session.config(logs="critical")
    target = named_targets(config, [name])[0]
    with services_for(config, "hold") as services:
        world = services.world()
        services.announce(world)
        operate.hold(world, target, why=why, by=operator())
        services.say_goodbye(world)
    say(f"{name} is held: {why}")


@click.command()
@click.argument("name", shell_complete=complete_target)
@pass_session
def release(session: Session, *, name: str) -> None:
    """End a hold, whoever set it, and forget past failures.

    \b
    Examples:
      rotator release billing-api
    """  # noqa: D301 - click's mark, not an escape
    config = session.config(logs="critical")
    target = named_targets(config, [name])[0]
    with services_for(config, "release") as services:
        world = services.world()
        services.announce(world)
        operate.release(world, target, by=operator())
        services.say_goodbye(world)
    say(f"{name} is released")


@click.command()
@click.argument("name", shell_complete=complete_target)
@click.argument("key", metavar="[HASH]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@pass_session
def retire(session: Session, *, name: str, key: str | None, as_json: bool) -> None:
    """Disable old keys of a target now, without waiting for grace or proof of quiet.

    Consumers that still use them fail from then on. The served key is never touched.
    HASH is a retiring key's hash as `rotator status --json` shows it, or the beginning of
    one; without it all old keys of the target are retired.

    \b
    Examples:
      rotator retire billing-api
      rotator retire billing-api 3f9a21c07b44
    """  # noqa: D301 - click's mark, not an escape
    config = session.config(logs="critical")
    target = named_targets(config, [name])[0]
    interrupt = Interrupt()
    with interrupt.listening(), services_for(config, "retire", interrupt) as services:
        world = services.world()
        services.announce(world)
        fill(world, config)
        whole = None if key is None else _whole_hash(world, target, key)
        keys = operate.retire(world, target, key=whole, by=operator())
        report = reconcile(world, target) if keys else None
        services.say_goodbye(world)
    disabled = _disabled(report, keys)
    left = tuple(each for each in keys if each not in disabled)
    if as_json:
        document({"name": name, "retired": list(keys), "disabled": list(disabled)})
    else:
        _tell(name, keys, disabled)
    if left and report is not None:
        warn(f"{name}: {len(left)} not disabled yet: {why_of(report)}")
    failed = left and report is not None and _failed(report)
    code = exits.FAILURE if failed else exits.ATTENTION if left else exits.DONE
    click.get_current_context().exit(code)


def _whole_hash(world: World, target: Target, key: str) -> str:
    """Return the one retiring key whose hash begins so.

    Raises:
        click.UsageError: there is none, or more than one.
    """
    book = ledger_seen(world.ledgers.read(ledger_name(target.name))).ledger
    entries = book.retiring if book is not None else ()
    found = [entry.hash for entry in entries if entry.hash.startswith(key.lower())]
    if len(found) != 1:
        many = "no retiring key" if not found else "more than one retiring key"
        raise click.UsageError(f"{target.name} has {many} whose hash begins with {key!r}")
    return found[0]


def _disabled(report: Report | None, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return which of the retired keys are disabled, or gone, by now."""
    book = _book(report)
    if book is None:
        return ()
    waiting = {entry.hash for entry in book.retiring if entry.disabled_at is None}
    return tuple(each for each in keys if each not in waiting)


def _book(report: Report | None) -> Ledger | None:
    if report is None or report.snapshot is None:
        return None
    return report.snapshot.ledger.ledger


def _failed(report: Report) -> bool:
    return report.failure is not None and report.failure.reason not in NO_FAILURE


def _tell(name: str, keys: tuple[str, ...], disabled: tuple[str, ...]) -> None:
    """Print what became of each key."""
    if not keys:
        say(f"{name} has no old key that is still enabled")
    for key in keys:
        say(f"{name}: {key} {'is disabled' if key in disabled else 'is retired'}")
