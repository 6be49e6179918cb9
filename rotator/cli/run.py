"""``run``: the daemon, or with ``--once`` one pass over everything that is due."""

from __future__ import annotations

import logging
import threading
from typing import Any

import click

from rotator.cli import exits
from rotator.cli.common import Interrupt, pass_session, services_for
from rotator.cli.documents import failure_document, target_document, unreachable_document
from rotator.cli.output import counted, document, say, warn
from rotator.cli.root import Session
from rotator.config import Config
from rotator.core.view import State, TargetView, view
from rotator.engine.outcomes import NO_FAILURE
from rotator.engine.reconcile import Report
from rotator.engine.world import World

_log = logging.getLogger(__name__)


@click.command(short_help="Run the daemon, or with --once one pass (for cron and CI).")
@click.option("--once", is_flag=True, help="One pass over everything that is due now, then exit.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print a JSON document.")
@pass_session
def run(session: Session, *, once: bool, as_json: bool) -> None:
    """Run the daemon in the foreground; SIGTERM and SIGINT finish the step in hand and stop.

    SIGHUP reads the configuration again, SIGUSR1 rotates every target once.

    Exit code of --once: 0 all is well, or held; 1 something failed; 3 a target needs a person.
    The daemon ends with 0 when a signal has stopped it in good order.

    \b
    Examples:
      rotator run
      rotator run --once                 for cron and CI
      rotator run --once --json
    """  # noqa: D301 - click's mark, not an escape
    if as_json and not once:
        raise click.UsageError("--json goes with --once: a daemon logs instead")
    code = _once(_config(session), as_json=as_json) if once else _daemon(session)
    click.get_current_context().exit(code)


def _config(session: Session) -> Config:
    config = session.config()
    for warning in config.warnings:
        _log.warning("%s", warning)
    return config


def _daemon(session: Session) -> int:
    from rotator.daemon import Daemon, Signals, served, supervise

    stop = threading.Event()
    # Caught before all else: a SIGHUP or SIGUSR1 that nobody catches ends the process.
    with Signals() as signals:
        config = _config(session)
        with services_for(config, "run", stop.is_set) as services:
            daemon = Daemon(services, stop, load=session.load, taken=session.set_up_logs)
            with served(daemon, config.http, services.clock):
                return supervise(daemon, services.clock, signals)


def _once(config: Config, *, as_json: bool) -> int:
    from rotator.daemon import run_once

    interrupt = Interrupt()
    with interrupt.listening(), services_for(config, "run --once", interrupt) as services:
        world = services.world()
        services.announce(world)
        passes = run_once(world, config.targets, config.daemon.workers)
        services.say_goodbye(world)
        reports = _in_order(config, passes.reports)
        states = [state_of(world, report) for report in reports]
        refused = world.fleet.refused() is not None
    code = exits.exit_code(
        states,
        refused=refused,
        failed=passes.stopped or (passes.listing_failed is not None and not refused),
    )
    if as_json:
        shown = [_target(world, config, report) for report in reports]
        document({"targets": shown, "listing_failed": passes.listing_failed})
    else:
        _tell(reports, states, passes.listing_failed)
    return code


def _in_order(config: Config, found: dict[str, Report]) -> list[Report]:
    """Return the reports in the configuration's order, then those of targets it has let go.

    After a stop some were never looked at.
    """
    names = [target.name for target in config.targets]
    names += sorted(set(found) - set(names))
    return [found[name] for name in names if name in found]


def view_of(world: World, report: Report) -> TargetView | None:
    """Return what people are shown of a target that was worked on, or None."""
    if report.snapshot is None or report.plan is None:
        return None
    return view(report.snapshot, report.plan, world.clock.now())


def state_of(world: World, report: Report) -> State:
    """Return a target's state after some work, with failures that no ledger could keep."""
    seen = view_of(world, report)
    if report.failure is not None and report.failure.reason not in NO_FAILURE:
        return State.FAILING if seen is not None else State.UNREACHABLE
    return seen.state if seen is not None else State.CHANGING


def _target(world: World, config: Config, report: Report) -> dict[str, Any]:
    seen = view_of(world, report)
    if seen is None:
        secrets = {each.name: str(each.secret) for each in config.targets}
        why = report.failure.detail if report.failure is not None else ""
        shown = unreachable_document(report.target, secrets.get(report.target, ""), why)
    else:
        shown = target_document(seen)
    shown["state"] = str(state_of(world, report))
    shown["failure"] = failure_document(report.failure)
    shown["changed"] = list(report.changed)
    return shown


_DEEDS = (
    ("CreateLedger", "seen for the first time"),
    ("PromoteMinted", "rotated"),
    ("Enable", "enabled the served key"),
    ("RecordDisabled", "disabled an old key"),
    ("Delete", "deleted an old key"),
)


def deeds(report: Report) -> str:
    """Return what was done about a target, in a few words; "" for nothing."""
    done = [words for step, words in _DEEDS if step in report.changed]
    return ", ".join(done) or ("brought up to date" if report.changed else "")


def _tell(reports: list[Report], states: list[State], listing_failed: str | None) -> None:
    """Print a line for every target about which there is something to say."""
    quiet = 0
    for report, state in zip(reports, states, strict=True):
        if not report.changed and state in (State.OK, State.HELD):
            quiet += 1
            continue
        done = deeds(report) or "nothing done"
        why = f": {report.failure.detail}" if report.failure is not None else ""
        say(f"{report.target}: {state}, {done}{why}")
    say(f"{counted(len(reports), 'target')}, {quiet} with nothing to do")
    if listing_failed is not None:
        warn(f"the account could not be listed: {listing_failed}")
