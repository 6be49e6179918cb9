"""``hold``, ``release``, ``retire`` and ``adopt``: what a person says about one target."""

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
from rotator.core.ledger import Ledger
from rotator.core.request import Arguments, Request, Verb
from rotator.core.target import Target
from rotator.engine import operate
from rotator.engine.attempts import Adoption, until
from rotator.engine.outcomes import (
    NO_FAILURE,
    Outcome,
    UnknownKey,
    Verdict,
    served_before,
    whole_hash,
    why_of,
)
from rotator.engine.reconcile import reconcile
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


@click.command(short_help="Stop the schedule of a target until it is released.")
@click.argument("name", shell_complete=complete_target)
@click.option(
    "--why", required=True, callback=_why, help="Stands beside the hold wherever it is shown."
)
@timeout_option
@pass_session
def hold(session: Session, *, name: str, why: str, timeout: float | None) -> None:
    """Stop scheduled rotation, disable and delete of a target until it is released.

    A rotation that names the target goes through all the same.

    \b
    Examples:
      rotator hold billing-api --why "incident 4711: consumers cannot reload"
    """  # noqa: D301 - click's mark, not an escape
    outcome = _said(session, name, Verb.HOLD, Arguments(why=why), timeout)
    _end(outcome, f"{name} is held: {why}")


@click.command(short_help="End a hold, and forget past failures.")
@click.argument("name", shell_complete=complete_target)
@timeout_option
@pass_session
def release(session: Session, *, name: str, timeout: float | None) -> None:
    """End a hold, whoever set it, and forget past failures.

    \b
    Examples:
      rotator release billing-api
    """  # noqa: D301 - click's mark, not an escape
    outcome = _said(session, name, Verb.RELEASE, Arguments(), timeout)
    _end(outcome, f"{name} is released")


def _said(
    session: Session, name: str, verb: Verb, arguments: Arguments, timeout: float | None
) -> Outcome:
    """Have a hold set or ended, which is one edit of the ledger."""
    config = session.config(logs="critical")
    targets = named_targets(config, [name])
    interrupt = Interrupt()
    with interrupt.listening(), services_for(config, str(verb), interrupt) as services:
        acting = Acting.of(services, timeout, index=False)

        def act(target: Target, request: Request | None, limit: float) -> Outcome:
            del request, limit
            if verb is Verb.HOLD:
                operate.hold(acting.world, target, why=arguments.why, by=operator())
            else:
                operate.release(acting.world, target, by=operator())
            return Outcome(target.name, Verdict.DONE)

        (outcome,) = acting.carry_out(targets, lambda _: (verb, arguments), act)
        acting.end()
    return outcome


def _end(outcome: Outcome, done: str) -> None:
    """Print how it ended, and end the process accordingly."""
    if outcome.verdict is Verdict.DONE:
        say(done)
        return
    warn(f"{outcome.name}: {outcome.detail}")
    click.get_current_context().exit(exits.FAILURE)


@click.command(short_help="Disable old keys of a target now, used or not.")
@click.argument("name", shell_complete=complete_target)
@click.argument("key", metavar="[HASH]", required=False)
@timeout_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@pass_session
def retire(
    session: Session, *, name: str, key: str | None, timeout: float | None, as_json: bool
) -> None:
    """Disable old keys of a target now, without waiting for grace or proof of quiet.

    Consumers that still use them fail from then on. The served key is never touched.
    HASH is a retiring key's hash as `rotator status NAME` shows it, or the beginning of
    one; without it all old keys of the target are retired.

    Exit code: 0 they are disabled, or there were none; 1 failed; 3 one is not disabled yet, and
    the daemon, or the next pass, does it.

    \b
    Examples:
      rotator retire billing-api
      rotator retire billing-api 3f9a21c07b44
    """  # noqa: D301 - click's mark, not an escape
    config = session.config(logs="critical")
    targets = named_targets(config, [name])
    interrupt = Interrupt()
    with interrupt.listening(), services_for(config, "retire", interrupt) as services:
        acting = Acting.of(services, timeout)
        retiring = _Retiring(acting, targets[0], key)
        try:
            (outcome,) = acting.carry_out(targets, retiring.wish, retiring.act)
        except UnknownKey as error:
            raise click.UsageError(str(error)) from None
        disabled = retiring.disabled(outcome.keys)
        acting.end()
    if outcome.verdict is not Verdict.DONE:
        _end(outcome, "")
    keys, why, failed = outcome.keys, outcome.detail, outcome.reason is not None
    left = tuple(each for each in keys if each not in disabled)
    if as_json:
        document({"name": name, "retired": list(keys), "disabled": list(disabled)})
    else:
        _tell(name, keys, disabled)
    if left:
        warn(f"{name}: {len(left)} not disabled yet: {why or 'see `rotator status`'}")
    code = exits.FAILURE if failed and left else exits.ATTENTION if left else exits.DONE
    click.get_current_context().exit(code)


class _Retiring:
    """Retires keys in this process, and tells which of them are disabled by now."""

    def __init__(self, acting: Acting, target: Target, prefix: str | None) -> None:
        self._acting = acting
        self._target = target
        self._prefix = prefix
        self._whole: str | None = None

    def wish(self, target: Target) -> tuple[Verb, Arguments]:
        """Return what to ask for."""
        key = self._key(target)
        if key is not None:
            return Verb.RETIRE, Arguments(keys=(key,))
        book = self._acting.book(target)
        old = operate.retirable(book) if book is not None else ()
        return Verb.RETIRE, Arguments(keys=tuple(sorted(old)))

    def act(self, target: Target, request: Request | None, limit: float) -> Outcome:
        """Retire in this process, and let one pass disable what it can."""
        del request, limit
        world = self._acting.world
        keys = operate.retire(world, target, key=self._key(target), by=operator())
        if not keys:
            return Outcome(target.name, Verdict.DONE)
        report = reconcile(world, target)
        failure = report.failure
        failed = failure is not None and failure.reason not in NO_FAILURE
        reason = failure.reason if failure is not None and failed else None
        return Outcome(target.name, Verdict.DONE, reason=reason, detail=why_of(report), keys=keys)

    def disabled(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        """Return which of the retired keys are disabled, or gone, by now."""
        book: Ledger | None = self._acting.book(self._target) if keys else None
        if book is None:
            return ()
        waiting = {entry.hash for entry in book.retiring if entry.disabled_at is None}
        return tuple(each for each in keys if each not in waiting)

    def _key(self, target: Target) -> str | None:
        """Return the whole hash of the key that is meant, or None for all."""
        if self._prefix is None or self._whole is not None:
            return self._whole
        book = self._acting.book(target)
        if book is None:
            raise UnknownKey(f"{target.name} has no ledger yet, and so no retiring key")
        self._whole = whole_hash(target, book, self._prefix, served=False)
        return self._whole


def _tell(name: str, keys: tuple[str, ...], disabled: tuple[str, ...]) -> None:
    """Print what became of each key."""
    if not keys:
        say(f"{name} has no old key that is still enabled")
    for key in keys:
        say(f"{name}: {key} {'is disabled' if key in disabled else 'is to be disabled next'}")


@click.command(short_help="Take a key that people made under management as it is.")
@click.argument("name", shell_complete=complete_target)
@timeout_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@pass_session
def adopt(session: Session, *, name: str, timeout: float | None, as_json: bool) -> None:
    """Take the key that a target serves under management as it is, without rotating it.

    Keys of the account are taken over by themselves when they are seen. This compares a
    value that no key explained with the account once more, and has a key that is overdue
    for its age wait for its next turn. Where the value is still no key of the account, it
    says what the target waits for.

    Exit code: 0 it is under management; 1 failed; 3 the value is no key of the account.

    \b
    Examples:
      rotator adopt billing-api
    """  # noqa: D301 - click's mark, not an escape
    config = session.config(logs="critical")
    targets = named_targets(config, [name])
    interrupt = Interrupt()
    with interrupt.listening(), services_for(config, "adopt", interrupt) as services:
        acting = Acting.of(services, timeout)
        world = acting.world

        def act(target: Target, request: Request | None, limit: float) -> Outcome:
            del request
            operate.note_command(world, target, command="adopt", by=operator(), detail="")
            return until(Adoption(world, target, served_before(world, target)), limit, warn)

        (outcome,) = acting.carry_out(targets, lambda _: (Verb.ADOPT, Arguments()), act)
        acting.end()
    if as_json:
        document(_adoption(outcome))
    elif outcome.verdict is Verdict.ADOPTED:
        say(f"{name}: {outcome.new} is under management (version {outcome.version})")
    elif outcome.verdict is Verdict.UNCHANGED:
        say(f"{name}: {outcome.new} was made by rotator already (version {outcome.version})")
    else:
        warn(f"{name}: {outcome.detail}")
    good = outcome.verdict in (Verdict.ADOPTED, Verdict.UNCHANGED)
    attention = outcome.verdict is Verdict.ATTENTION or world.fleet.refused() is not None
    code = exits.DONE if good else exits.ATTENTION if attention else exits.FAILURE
    click.get_current_context().exit(code)


def _adoption(outcome: Outcome) -> dict[str, object]:
    """Return an adoption as ``--json`` shows it."""
    return {
        "name": outcome.name,
        "result": str(outcome.verdict),
        "key": outcome.new,
        "secret_version": outcome.version,
        "reason": str(outcome.reason) if outcome.reason is not None else None,
        "detail": outcome.detail or None,
    }
