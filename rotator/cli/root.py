"""The root command: options that all share, and errors turned into exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from rotator import __version__
from rotator.cli import exits
from rotator.cli.output import leave_standard_output, warn
from rotator.config import Config, load
from rotator.config.text import closest
from rotator.errors import (
    AuditUnavailable,
    ConfigurationError,
    InvariantViolation,
    RotatorError,
    Transient,
    Unauthorised,
)

DEFAULT_CONFIG = "/etc/rotator/config.toml"

GROUPS = {
    "Set up and run": {
        "check": "check:check",
        "vault-policy": "vault_policy:vault_policy",
        "run": "run:run",
    },
    "Look (changes nothing)": {
        "status": "status:status",
        "plan": "status:plan",
        "audit": "audit:audit",
    },
    "Act on keys": {
        "rotate": "rotate:rotate",
        "rollback": "rollback:rollback",
        "retire": "operator:retire",
        "adopt": "operator:adopt",
        "hold": "operator:hold",
        "release": "operator:release",
    },
    "Try it without accounts": {
        "demo": "demo.command:demo",
        "sandbox": "sandbox:sandbox",
    },
    "For the shell": {
        "completion": "completion:completion",
    },
}
"""Every command of this release, as the help shows them, with the module and name of each."""

COMMANDS = {name: where for group in GROUPS.values() for name, where in group.items()}
"""The same without the groups."""

_OF_THE_ROOT = frozenset({"--config", "--log-level"})


@dataclass(frozen=True, slots=True)
class Session:
    """What the root's options say.

    Attributes:
        path: the configuration file.
        log_level: from ``--log-level``, or None.
    """

    path: Path
    log_level: str | None

    def config(self, *, logs: str | None = None) -> Config:
        """Read the configuration and set up the logs.

        Args:
            logs: the level for a command that is short; None for the configured one.

        Raises:
            ConfigurationError: it cannot be used.
        """
        config = self.load()
        self.set_up_logs(config, logs)
        return config

    def load(self) -> Config:
        """Read the configuration.

        Raises:
            ConfigurationError: it cannot be used.
        """
        try:
            return load(self.path)
        except ConfigurationError as error:
            if os.access(self.path, os.F_OK):
                raise
            hint = "name the file before the command, with --config FILE, or in ROTATOR_CONFIG"
            raise ConfigurationError((*error.problems, hint)) from None

    def set_up_logs(self, config: Config, logs: str | None = None) -> None:
        """Set up the logs as a configuration and the command line say."""
        from rotator.adapters.logs import configure_logging

        configure_logging(self.log_level or logs or config.log.level, config.log.format)


class Commands(click.Group):
    """The commands, each imported when it is asked for, in the order of their table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or None where there is none of that name."""
        del ctx
        where = COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, name = where.split(":")
        command: click.Command = getattr(importlib.import_module(f"rotator.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, group by group, with one column for all."""
        widest = max(map(len, COMMANDS))
        for title, names in GROUPS.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                if command is not None:
                    rows.append((name.ljust(widest), command.get_short_help_str()))
            with formatter.section(title):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command as click does; of a name that there is not, tell the closest."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"there is no command {name!r}; {closest(name, COMMANDS)}".rstrip("; "))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and turn our own errors into one line and an exit code."""
        try:
            with _output():  # else click would end with 1 where the reader has gone
                return super().invoke(ctx)
        except click.NoSuchOption as error:
            if error.option_name not in _OF_THE_ROOT:
                raise
            told = f"{error.option_name} stands before the command: rotator {error.option_name} ..."
            raise click.UsageError(told, error.ctx) from None
        except RotatorError as error:
            ctx.exit(tell(error, _where(ctx, error)))


def _where(ctx: click.Context, error: RotatorError) -> str:
    """Return where a service that did not answer, or refused us, was asked, and what to do; or ""."""
    if not isinstance(error, Transient | Unauthorised) or not isinstance(ctx.obj, Session):
        return ""
    try:
        config = ctx.obj.load()
    except ConfigurationError:
        return ""
    urls = {"vault": config.vault.address, "openrouter": config.openrouter.base_url}
    return f" (at {urls[error.service]}; `rotator check` tries each part)"


def tell(error: RotatorError, where: str = "") -> int:
    """Print an error as its lines, and return the exit code that it means.

    Args:
        error: what happened.
        where: what to add to the line of a service's error.
    """
    if isinstance(error, ConfigurationError):
        for problem in error.problems:
            warn(problem)
        return exits.USAGE
    if isinstance(error, InvariantViolation):
        warn(f"a defect of this program; nothing was done: {error}")
        return exits.FAILURE
    if isinstance(error, AuditUnavailable):
        hint = "(`rotator check` says what to do)"
        warn(f"the audit trail cannot be written, so nothing is done: {error} {hint}")
        return exits.FAILURE
    warn(f"{error}{where}")
    refused = isinstance(error, Unauthorised) and error.service == "openrouter"
    return exits.ATTENTION if refused else exits.FAILURE


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="rotator")
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    envvar="ROTATOR_CONFIG",
    default=DEFAULT_CONFIG,
    show_default=True,
    show_envvar=True,
    help="The configuration file.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="How much is logged on standard error, instead of what the configuration says.",
)
@click.pass_context
def cli(ctx: click.Context, path: Path, log_level: str | None) -> None:
    """Keep OpenRouter API keys young, and always serve a working one from HashiCorp Vault.

    \b
    Examples:
      rotator demo                       watch it work, without accounts
      rotator check                      is everything set up?
      rotator plan                       what would be done, when and why
      rotator run                        the daemon, in the foreground
      rotator rotate billing-api         replace one key now

    \b
    Exit codes: 0 done, or nothing to do; 1 something failed; 2 wrong usage or
    configuration; 3 something needs a person (`rotator status` says what).
    `rotator COMMAND --help` explains a command.
    """  # noqa: D301 - click's mark, not an escape
    leave_standard_output(False)
    ctx.obj = Session(path, log_level)


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


@contextmanager
def _output() -> Iterator[None]:
    """End without a word where the reader of our output has gone, and with one where it is full."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            if error.errno not in _NO_ROOM or error.filename is not None:
                raise
            warn(f"the output cannot be written: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(exits.NO_READER if isinstance(error, BrokenPipeError) else exits.FAILURE)


def _open_standard_streams() -> None:
    """Put ``/dev/null`` where a standard stream is closed.

    Python has no stream there, and the next file that is opened would take its place.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - for the process's life


def start() -> None:
    """Run the command line of this process."""
    _open_standard_streams()
    with _output():
        cli(prog_name="rotator")
