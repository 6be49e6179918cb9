"""``completion``: prints what a shell needs to complete commands and targets' names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from rotator.cli.output import is_terminal


@click.command(short_help="Print tab completion for bash, zsh or fish.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell; targets' names come from the configuration.

    \b
    Examples:
      eval "$(rotator completion bash)"              in ~/.bashrc
      eval "$(rotator completion zsh)"               in ~/.zshrc
      rotator completion fish > ~/.config/fish/completions/rotator.fish
    """  # noqa: D301 - click's mark, not an escape
    kind = get_completion_class(shell)
    assert kind is not None  # click knows all three
    root = click.get_current_context().find_root()
    script = kind(root.command, {}, "rotator", "_ROTATOR_COMPLETE").source()
    click.echo(script)
    if is_terminal():
        click.echo(f"# Not yet in force: see `rotator completion --help` for {shell}.", err=True)
