"""What several commands share: naming targets, threads, and a stop that finishes the step."""

from __future__ import annotations

import os
import pwd
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from rotator.cli import exits
from rotator.cli.output import leave_standard_output
from rotator.cli.root import DEFAULT_CONFIG, Session
from rotator.config import Config, load
from rotator.config.text import closest
from rotator.core.target import Target
from rotator.engine.index import fill_index
from rotator.engine.world import World
from rotator.errors import ConfigurationError
from rotator.wiring import READ_ONLY, Services, connect

A = TypeVar("A")
T = TypeVar("T")

_FEW = 10
"""So many names of targets fit into a message."""

pass_session = click.make_pass_decorator(Session)
"""Gives a command what the root's options say."""


class Interrupt:
    """Set by the first SIGINT or SIGTERM: the step in hand is finished, nothing new begins."""

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.asked = False

    def __call__(self) -> bool:
        """Tell whether the process was asked to stop."""
        return self.asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch the signals inside the block; the second one ends the process."""

        def heard(number: int, frame: FrameType | None) -> None:
            del frame
            if self.asked:
                os._exit(exits.FAILURE)
            self.asked = True
            name = signal.Signals(number).name
            told = f"rotator: {name}: finishing the step in hand; once more to leave at once\n"
            os.write(2, told.encode())  # whatever Python's own stream is in the middle of

        old = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


@contextmanager
def services_for(
    config: Config, mode: str, stopping: Callable[[], bool] = lambda: False
) -> Iterator[Services]:
    """Open what a command needs, and close it in the end.

    Raises:
        ConfigurationError, AuditUnavailable: as `rotator.wiring.connect`.
    """
    leave_standard_output(config.audit.path is None and mode not in READ_ONLY)
    services = connect(config, mode=mode, stopping=stopping)
    try:
        yield services
    finally:
        services.close()


def spread_over(threads: int, work: Callable[[A], T], each: Iterable[A]) -> list[T]:
    """Run a function over several things in threads and return the results in the same order.

    Raises:
        Exception: the first that the function raised.
    """
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, each))


def fill(world: World, config: Config) -> None:
    """Fill the index of served hashes, without which nothing is disabled.

    Raises:
        ServiceError: a ledger could not be read.
    """
    threads = config.daemon.workers
    fill_index(world, config.targets, lambda work, some: spread_over(threads, work, some))


def named_targets(config: Config, names: Iterable[str]) -> tuple[Target, ...]:
    """Return the targets of the given names, each once.

    Raises:
        click.UsageError: the configuration has no such target.
    """
    known = {target.name: target for target in config.targets}
    found: dict[str, Target] = {}
    for name in names:
        if name not in known:
            hint = closest(name, known)
            if not hint and known:
                few = ", ".join(known) if len(known) <= _FEW else ""
                hint = f"it has {few}" if few else f"`rotator status` lists its {len(known)}"
            told = f"{config.source} has no target {name!r}; {hint}"
            raise click.UsageError(told.rstrip("; "))
        found[name] = known[name]
    return tuple(found.values())


def operator() -> str:
    """Return who gives the command, as ``account@host``.

    The account is the process's own: ``LOGNAME`` and its like, by which the standard library
    would judge, are anybody's to set, and this stands in the audit trail.
    """
    try:
        account = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # no such account in the system's list, as in many containers
        account = f"uid-{os.getuid()}"
    return f"{account}@{socket.gethostname()}"


def complete_target(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the configuration's targets to the shell; none where it cannot be read."""
    del parameter
    path: Any = ctx.find_root().params.get("path") or DEFAULT_CONFIG
    try:
        config = load(Path(path))
    except ConfigurationError:
        return []
    taken = ctx.params.get("names") or ()
    return [
        CompletionItem(target.name, help=str(target.secret))
        for target in config.targets
        if target.name.startswith(incomplete) and target.name not in taken
    ]
