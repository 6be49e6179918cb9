"""The command: set everything up, watch it for a while, stop in good order, and judge."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from rotator.adapters.clock import SystemClock
from rotator.cli import exits
from rotator.cli.demo.bench import Files, consumers, serve_hand_made_keys, write_files
from rotator.cli.demo.crash import Crash
from rotator.cli.demo.process import DaemonProcess
from rotator.cli.demo.screen import Frame, Screen, screen_for
from rotator.cli.demo.trail import Trail
from rotator.cli.demo.verdict import Summary, judge, whole_life_seen
from rotator.cli.output import document, say, warn
from rotator.config import load
from rotator.core.plan import plan
from rotator.core.view import TargetView, view
from rotator.engine.observe import observe
from rotator.engine.world import World
from rotator.errors import ServiceError
from rotator.sandbox.consumers import ConsumerFleet
from rotator.sandbox.server import Sandbox
from rotator.wiring import Services, connect

_TICK = 0.1
_LOOK_EVERY = 4
_LONGER = 40.0
"""Seconds for which it goes on at most where a key's life is not over yet, on a slow machine."""

_CRASH_FROM = 15
"""Seconds from which on there is time for an accident."""

_CRASH_AT = 0.35
"""When it happens, as a share of the whole."""

_PATIENCE = 10.0


class _Asked:
    """Set by SIGINT, SIGTERM or SIGHUP; the second one leaves at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        def heard(*_: object) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        old = {number: signal.signal(number, heard) for number in numbers}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


@click.command(short_help="Watch whole rotations here, in half a minute.")
@click.option(
    "--seconds",
    type=click.IntRange(5, 600),
    default=20,
    show_default=True,
    help="How long keys are rotated; below 15 the daemon is not killed in between.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep configuration, audit trail and log in this new or empty folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary only, as JSON.")
def demo(*, seconds: int, keep: Path | None, as_json: bool) -> None:
    """Watch whole lives of keys in half a minute, on this machine and without accounts.

    An OpenRouter and a Vault are simulated on loopback; the daemon is the real one, in a
    process of its own, which is killed once at the worst moment. Applications call with
    the keys all the while. Exit code 0 only if no call failed, no key was lost track of,
    and the audit trail holds.

    \b
    Examples:
      rotator demo
      rotator demo --keep /tmp/demo && rotator audit verify /tmp/demo/audit.jsonl
    """  # noqa: D301 - click's mark, not an escape
    if keep is not None and keep.is_dir() and any(keep.iterdir()):
        raise click.UsageError(f"{keep} is not empty")
    # What the daemon logs is in its file; a line of ours would tear the screen.
    logging.getLogger().addHandler(logging.NullHandler())
    asked = _Asked()
    with ExitStack() as stack:
        stack.enter_context(asked.listening())
        try:
            if keep is None:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="rotator-demo-")))
            else:
                keep.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder = keep.resolve()
            summary = _Show(stack, folder, seconds, asked, silent=as_json).run()
        except OSError as error:
            warn(f"the demo cannot run: {error}")
            click.get_current_context().exit(exits.FAILURE)
    if as_json:
        document(summary.to_json())
    else:
        _tell(summary, keep)
    click.get_current_context().exit(exits.DONE if summary.ok else exits.FAILURE)


def _tell(summary: Summary, keep: Path | None) -> None:
    """Print what was found, the line that counts last."""
    retiring = sum(each.retiring for each in summary.targets)
    deleted = sum(each.deleted for each in summary.targets)
    say(f"demo: {deleted} old keys deleted; {retiring} still retiring, each in its ledger")
    if summary.lost_key is not None and summary.ok:
        say("demo: the key that the killed daemon lost was found by its successor and removed")
    if keep is not None:
        say(f"demo: configuration, audit trail and log are kept in {keep}")
    for problem in summary.problems:
        say(f"demo: WRONG: {problem}")
    say(summary.line())


class _Show:
    """One run of the demo."""

    def __init__(
        self, stack: ExitStack, folder: Path, seconds: int, asked: _Asked, *, silent: bool
    ) -> None:
        """Start the sandbox and its consumers; `stack` ends them.

        Raises:
            OSError: no port or no file can be had.
        """
        self._clock = SystemClock()
        self._asked = asked
        self._seconds = seconds
        self._sandbox = stack.enter_context(Sandbox())
        self._files: Files = write_files(self._sandbox, folder)
        serve_hand_made_keys(self._sandbox)
        self._fleet: ConsumerFleet = stack.enter_context(consumers(self._sandbox))
        self._daemon = DaemonProcess(self._files.config, self._files.log)
        stack.callback(self._daemon.kill)
        self._services: Services = connect(load(self._files.config), mode="status")
        stack.callback(self._services.close)
        self._world: World | None = None
        self._trail = Trail(self._files.audit)
        self._start, self._began = self._clock.now(), self._clock.monotonic()
        self._crash: Crash | None = None
        self._broken: str | None = None
        self._views: tuple[TargetView, ...] = ()
        self._screen: Screen = screen_for(self._start, silent=silent)

    def run(self) -> Summary:
        """Run the daemon for a while, stop it and the consumers, and judge.

        Raises:
            OSError: the daemon cannot be started, or a file cannot be read.
        """
        with self._screen:
            self._daemon.start()
            if self._seconds >= _CRASH_FROM:
                after = self._seconds * _CRASH_AT
                self._crash = Crash(self._sandbox, self._daemon, self._clock, after)
            ticks = 0
            while not self._is_over():
                self._clock.sleep(_TICK)
                self._follow()
                if ticks % _LOOK_EVERY == 0:
                    self._draw()
                ticks += 1
            self._end()
        lost = self._crash.lost if self._crash is not None else None
        summary = judge(self._sandbox, self._files, self._trail, self._fleet.report(), lost)
        return summary if self._broken is None else summary.with_problem(self._broken)

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._began

    def _is_over(self) -> bool:
        """Tell whether it is time to stop: later where a key's life is not over yet."""
        if self._asked.asked or self._broken is not None:
            return True
        elapsed = self._elapsed()
        if elapsed < self._seconds:
            return False
        lost = self._crash.lost if self._crash is not None else None
        finished = whole_life_seen(self._trail, lost) or bool(self._fleet.report().failures)
        return finished or elapsed > self._seconds + _LONGER

    def _follow(self) -> None:
        """Tell what happened since the last tick, and see to the accident."""
        for moment in self._trail.read():
            self._screen.tell(moment)
        if self._crash is not None:
            for moment in self._crash.step(self._trail):
                self._screen.tell(moment)
        away = self._crash is not None and self._crash.away
        code = self._daemon.exit_code()
        if code is not None and not away:
            self._broken = f"the daemon ended by itself, with exit code {code}"

    def _end(self) -> None:
        """Stop the daemon first and the consumers last, as an operator would."""
        code = self._daemon.stop(_PATIENCE) if self._broken is None else 0
        if code != 0:
            self._broken = f"the daemon did not stop in good order: {code}"
        self._clock.sleep(2 * _TICK)  # consumers outlive the daemon
        self._fleet.stop()
        for moment in self._trail.read():
            self._screen.tell(moment)
        self._draw()

    def _draw(self) -> None:
        """Look at the targets and draw a frame."""
        self._views = self._looked() or self._views
        away = self._crash is not None and self._crash.away
        state = "running" if self._daemon.exit_code() is None else "killed" if away else "stopped"
        self._screen.show(
            Frame(
                self._clock.now(),
                self._elapsed(),
                f"daemon {state:7}",
                self._trail.rotations.total(),
                self._views,
                self._fleet.report(),
            )
        )

    def _looked(self) -> tuple[TargetView, ...]:
        """Observe the targets as ``rotator status`` does: from Vault, reading no value."""
        try:
            if self._world is None:
                self._world = self._services.world()
            world, now = self._world, self._clock.now()
            found = []
            for target in self._services.config.targets:
                snapshot = observe(world, target, may_read_values=False).snapshot
                found.append(view(snapshot, plan(snapshot, now), now))
        except ServiceError:
            return ()
        return tuple(found)
