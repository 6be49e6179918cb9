"""How the demo is shown: a live screen on a terminal, else one plain line for each event."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from rotator.cli.demo.bench import CACHE_FOR, NAMES, POLICY
from rotator.cli.demo.trail import SHORT, Moment
from rotator.cli.demo.verdict import calls_of
from rotator.cli.output import safe
from rotator.core.view import TargetView
from rotator.sandbox.consumers import Report

_BAR = 10
_NAME = max(len(name) for name in NAMES)
_WORD = 10
_STYLES = {
    "born": "cyan",
    "served": "bold green",
    "drained": "yellow",
    "disabled": "magenta",
    "deleted": "red",
    "killed": "bold red",
    "lost": "bold red",
    "found": "bold yellow",
    "attention": "bold red",
    "started": "bold",
    "stopped": "bold",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """What the live screen shows at one moment.

    Attributes:
        now: the moment.
        elapsed: seconds since the start.
        headline: what the daemon is about, in a few words.
        rotations: how many there were.
        views: the targets as ``rotator status`` sees them; empty before the first look.
        report: of the consumers.
    """

    now: datetime
    elapsed: float
    headline: str
    rotations: int
    views: tuple[TargetView, ...]
    report: Report


class Screen(Protocol):
    """Shows the demo while it runs."""

    def tell(self, moment: Moment) -> None:
        """Show something that happened."""
        ...

    def show(self, frame: Frame) -> None:
        """Show how things are."""
        ...

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; what was shown last stays."""
        ...


def as_line(moment: Moment, start: datetime) -> str:
    """Return a moment as one plain line, safe for a terminal."""
    seconds = max(0.0, (moment.at - start).total_seconds())
    text = (
        f"{seconds:5.1f}s  {moment.target:{_NAME}}  {moment.what:{_WORD}}  "
        f"{moment.key:{SHORT}}  {moment.note}"
    )
    return safe(text.rstrip())


class Lines:
    """One plain line for each event, where there is no terminal."""

    def __init__(self, start: datetime, *, silent: bool = False) -> None:
        """Print nothing yet.

        Args:
            start: from when seconds are counted.
            silent: whether to print nothing at all.
        """
        self._start = start
        self._silent = silent

    def tell(self, moment: Moment) -> None:
        """Print a line."""
        if not self._silent:
            click.echo(as_line(moment, self._start))

    def show(self, frame: Frame) -> None:
        """Show nothing: events say it all."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""


class LiveScreen:
    """A screen that is drawn anew, several times a second."""

    def __init__(self, start: datetime, console: Console) -> None:
        """Draw nothing yet.

        Args:
            start: from when seconds are counted.
            console: the terminal.
        """
        self._start = start
        self._console = console
        self._moments: deque[Moment] = deque(maxlen=40)
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def tell(self, moment: Moment) -> None:
        """Keep the event for the next frame."""
        self._moments.append(moment)

    def show(self, frame: Frame) -> None:
        """Draw a frame."""
        # The terminal's last row stays free: writing it would scroll the first one away.
        rows = render(frame, self._moments, self._start, self._console.height - 1)
        fancy = self._console.encoding.startswith("utf")
        drawn = [row if fancy else _ascii(row) for row in rows]
        self._live.update(Group(*drawn), refresh=True)

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back."""
        self._live.__exit__(kind, error, trace)


def render(frame: Frame, moments: deque[Moment], start: datetime, height: int) -> list[Text]:
    """Return the rows of a frame; a terminal cuts what does not fit into its width.

    Args:
        frame: how things are.
        moments: what happened, oldest first.
        start: from when seconds are counted.
        height: rows there are.
    """
    rows = [_head(frame), Text(f"{POLICY}; keys cached for {CACHE_FOR}s", style="dim"), Text()]
    seen = {view.name: view for view in frame.views}
    for name in NAMES:
        rows += _target(name, seen.get(name), frame)
    rows += [Text(), Text("audit trail", style="bold")]
    latest = list(moments)[-max(1, height - len(rows)) :]
    rows += [_logged(moment, start) for moment in latest]
    rows += [Text()] * (height - len(rows))
    for row in rows:
        row.no_wrap, row.overflow = True, "ellipsis"
    return rows[:height]


def _head(frame: Frame) -> Text:
    failed = len(frame.report.failures)
    text = Text.assemble(
        ("rotator demo", "bold"),
        f" {frame.elapsed:5.1f}s  {frame.headline}  {frame.rotations} rotations  ",
        f"{frame.report.calls:,} calls  ",
    )
    return text.append(f"{failed:,} failed", "bold red" if failed else "green")


def _target(name: str, view: TargetView | None, frame: Frame) -> list[Text]:
    """Return the two rows of a target: the served key, and those on their way out."""
    calls, failed = calls_of(frame.report, name)
    counts = Text(f"{calls:6,} calls  ").append(
        f"{failed:,} failed", "bold red" if failed else "green"
    )
    first = Text.assemble((f"{name:{_NAME}}  ", "bold"))
    if view is None or view.served is None:
        return [first.append(f"{'not seen yet':{SHORT + _BAR + 23}}").append(counts), Text()]
    age = (frame.now - view.served.minted_at).total_seconds()
    full = round(_BAR * _share(view, age))
    first.append(f"{view.served.hash[:SHORT]}  ", "bold green")
    first.append("█" * full, "green").append("░" * (_BAR - full), "dim")
    first.append(f" {max(0.0, age):4.1f}s  {_next(view, frame.now):13}").append(counts)
    return [first, _retiring(view, frame.now)]


def _share(view: TargetView, age: float) -> float:
    """Return how much of the served key's time is over, from 0 to 1."""
    if view.served is None or view.next_due is None:
        return 0.0
    whole = (view.next_due - view.served.minted_at).total_seconds()
    return min(1.0, max(0.0, age / whole)) if whole > 0 else 1.0


def _next(view: TargetView, now: datetime) -> str:
    """Return when the next rotation is, or why there is none."""
    if view.next_due is None or view.state in ("disabled", "held", "failing", "foreign"):
        return str(view.state)
    left = (view.next_due - now).total_seconds()
    return f"next in {left:.0f}s" if left > 0.5 else "rotating"


def _retiring(view: TargetView, now: datetime) -> Text:
    """Return the row of the keys on their way out, each with its stage."""
    row = Text(" " * (_NAME + 2), style="dim")
    for index, entry in enumerate(view.retiring):
        left = (entry.until - now).total_seconds() if entry.until is not None else 0.0
        wait = f" {left:.0f}s" if left > 0.5 else ""
        row.append(f"{'  ' if index else '└ '}{entry.hash[:SHORT]} {entry.stage}{wait}")
    return row


def _logged(moment: Moment, start: datetime) -> Text:
    style = "bold red" if "." in moment.what else _STYLES.get(moment.what, "")
    return Text(as_line(moment, start), style=style)


def _ascii(row: Text) -> Text:
    """Return a row for a terminal that has only ASCII."""
    plain = row.plain.translate({ord("█"): "#", ord("░"): ".", ord("└"): "-"})
    return Text(plain, no_wrap=True, overflow="crop")


def screen_for(start: datetime, *, silent: bool) -> Screen:
    """Return the screen that fits where standard output goes.

    Args:
        start: from when seconds are counted.
        silent: whether events are not to be shown at all.
    """
    console = Console(highlight=False, emoji=False, markup=False)
    if silent or not console.is_terminal or console.is_dumb_terminal:
        return Lines(start, silent=silent)
    return LiveScreen(start, console)
