"""``rollback``: serve an older key again, and prove that Vault does."""

from __future__ import annotations

from dataclasses import dataclass, field

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
from rotator.cli.rotate import as_document, seconds
from rotator.cli.rotating import (
    HOPELESS,
    Outcome,
    Verdict,
    proved,
    served_before,
    sleep,
    wait_after,
    why_of,
)
from rotator.core.ledger import Failure, Ledger
from rotator.core.reasons import Reason
from rotator.core.rollback import choose
from rotator.core.snapshot import Demand, Rollback
from rotator.core.steps import Finding
from rotator.core.target import Target
from rotator.engine import operate
from rotator.engine.reconcile import Report, reconcile
from rotator.engine.world import World

_DEFINITE = HOPELESS | {
    Reason.OLD_KEY_GONE,
    Reason.OLD_KEY_REFUSED,
    Reason.VALUE_GONE,
    Reason.FIELD_CHANGED,
}


@click.command()
@click.argument("name", shell_complete=complete_target)
@click.argument("key", metavar="[HASH]", required=False)
@click.option(
    "--timeout",
    callback=seconds,
    metavar="DURATION",
    help="How long to try, such as 90s.  [default: twice claim_timeout]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@pass_session
def rollback(
    session: Session, *, name: str, key: str | None, timeout: float | None, as_json: bool
) -> None:
    """Serve the previous key again, as long as it is kept; a hold does not stop this.

    The old key is enabled if need be and proven to work, then its value, which Vault's
    older versions must still hold, is published again; other fields stay as they are now.
    The newer key retires with a full grace period, and the schedule starts afresh.
    HASH is a retiring key's hash as `rotator status --json` shows it, or the beginning of
    one; without it the key that was served last is taken.

    \b
    Examples:
      rotator rollback billing-api
      rotator rollback billing-api 3f9a21c07b44
    """  # noqa: D301 - click's mark, not an escape
    config = session.config(logs="critical")
    target = named_targets(config, [name])[0]
    interrupt = Interrupt()
    with interrupt.listening(), services_for(config, "rollback", interrupt) as services:
        world = services.world()
        services.announce(world)
        fill(world, config)
        limit = timeout or 2 * config.daemon.claim_timeout.total_seconds()
        outcome = _Attempt(world, target, key).until(limit)
        services.say_goodbye(world)
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


@dataclass(slots=True)
class _Attempt:
    """One rollback: what is open is settled, the key is chosen, and then it is tried.

    Attributes:
        world: the ports.
        target: which.
        prefix: how the wanted key's hash begins, or None for the one that was served last.
        old: the key that was served when the command began.
        key: the chosen key, once there is one.
        stale: the failure that the ledger remembered before anything was tried.
    """

    world: World
    target: Target
    prefix: str | None
    old: str | None = field(init=False)
    key: str | None = None
    stale: Failure | None = None

    def __post_init__(self) -> None:
        """Remember who is served."""
        self.old = served_before(self.world, self.target)

    def until(self, limit: float) -> Outcome:
        """Try until it is done, is refused, or so many seconds are over."""
        world, failure, told = self.world, None, ""
        give_up = world.clock.monotonic() + limit
        while True:
            key, report = self.key, self._once(failure)
            failure = report.failure
            outcome = self._ended(report)
            if outcome is not None:
                return outcome
            if self.key != key:
                continue
            wait, why = wait_after(world, report), why_of(report)
            if world.stopping() or world.clock.monotonic() + wait > give_up:
                when = "asked to stop" if world.stopping() else f"not done within {limit:.0f} s"
                reason = failure.reason if failure is not None else None
                return self._not_done(Verdict.FAILED, reason, f"{when}: {why}")
            if why != told:
                told = why
                warn(f"{self.target.name}: waiting: {why}")
            sleep(world, wait)

    def _once(self, failure: Failure | None) -> Report:
        """Make one pass."""
        demand = Demand(self.world.clock.now(), rollback=Rollback(self.key))
        return reconcile(self.world, self.target, demand=demand, earlier=failure)

    def _ended(self, report: Report) -> Outcome | None:
        """Return the outcome, or None where more is to be done; chooses the key where it can."""
        chosen, snapshot = report.plan, report.snapshot
        rests = chosen is not None and snapshot is not None and not chosen.steps
        if rests and chosen is not None and chosen.reason is not Reason.CLAIMED:
            assert snapshot is not None  # it rests
            if chosen.findings:
                return self._refused(chosen.findings[0])
            if self.key is None:
                return self._choose(snapshot.book)
            return proved(self.world, self.target, snapshot.book, self.old, Verdict.ROLLED_BACK)
        failure = report.failure if report.failure != self.stale else None
        if failure is not None and failure.reason in _DEFINITE:
            return self._not_done(Verdict.FAILED, failure.reason, why_of(report))
        return None

    def _choose(self, book: Ledger) -> Outcome | None:
        """Choose the key, now that nothing is open any more.

        Raises:
            click.UsageError: no key's hash begins as the operator says, or more than one.
        """
        served = book.served.hash if book.served is not None else None
        if self.prefix is not None:
            self.key = _whole_hash(self.target, book, self.prefix)
            if self.key == served:
                return proved(self.world, self.target, book, self.old, Verdict.UNCHANGED)
        elif served != self.old:
            detail = (
                "Another key is served than when the command began. "
                "Look at `rotator status` and ask again."
            )
            return self._not_done(Verdict.ATTENTION, Reason.VALUE_MOVED, detail)
        else:
            found = choose(book)
            if isinstance(found, Finding):
                return self._refused(found)
            self.key = found.hash
        self.stale = book.failure
        operate.note_command(
            self.world,
            self.target,
            command="rollback",
            by=operator(),
            detail=self.key,
            key=self.key,
        )
        return None

    def _refused(self, finding: Finding) -> Outcome:
        """Return the outcome of a rollback that the planner refuses."""
        verdict = Verdict.ATTENTION if finding.attention else Verdict.FAILED
        return self._not_done(verdict, finding.reason, finding.sentence)

    def _not_done(self, verdict: Verdict, reason: Reason | None, detail: str) -> Outcome:
        return Outcome(self.target.name, verdict, self.old, reason=reason, detail=detail)


def _whole_hash(target: Target, book: Ledger, prefix: str) -> str:
    """Return the one key of the target whose hash begins so."""
    known = {entry.hash for entry in book.retiring}
    if book.served is not None:
        known.add(book.served.hash)
    found = [each for each in known if each.startswith(prefix.lower())]
    if len(found) != 1:
        many = "no key" if not found else "more than one key"
        raise click.UsageError(f"{target.name} has {many} whose hash begins with {prefix!r}")
    return found[0]
