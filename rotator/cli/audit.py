"""``audit verify``: does a trail's chain hold, and has every intent its outcome?"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

import click

from rotator.cli import exits
from rotator.cli.output import counted, document, say, warn


@click.group(short_help="Verify the files of an audit trail.")
def audit() -> None:
    """Work with audit trails."""


@audit.command(short_help="Verify the hash chains, and that every intent has an outcome.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="HASH",
    help="A head that was written down elsewhere; a cut end shows by it. May be repeated.",
)
@click.option(
    "--recording",
    is_flag=True,
    help="The files were recorded from standard output, where several chains may mix.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
def verify(
    *, files: tuple[str, ...], heads: tuple[str, ...], recording: bool, as_json: bool
) -> None:
    """Verify the files of one trail, in any order, packed ones (.gz) too. "-" is standard input.

    Exit code 0 where everything holds, 1 where something is wrong, 2 where a file cannot
    be read.

    \b
    Examples:
      rotator audit verify /var/log/rotator/audit.jsonl*
      rotator audit verify audit.jsonl --head 4c5e...
      kubectl logs rotator-5d8f9c-x2x7b | rotator audit verify --recording -
    """  # noqa: D301 - click's mark, not an escape
    from rotator.adapters.audit.verify import read_lines
    from rotator.adapters.audit.verify import verify as verify_files

    def lines(name: str) -> Iterable[bytes]:
        return sys.stdin.buffer if name == "-" else read_lines(Path(name))

    sources = ((name, lines(name)) for name in files)
    try:
        report = verify_files(sources, expected_heads=heads, recording=recording)
    except (OSError, EOFError, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        where = getattr(error, "filename", None) or ", ".join(files)
        warn(f"{where}: cannot be read: {reason}")
        click.get_current_context().exit(exits.USAGE)
    if as_json:
        document(report.to_json())
    else:
        for problem in report.problems:
            say(str(problem))
        for tear in report.tears:
            say(f"{tear.where}: {tear.length} bytes cut short by a crash; no sign of tampering")
        for intent in report.open:
            say(f"{intent.where}: {intent.op} had begun when the trail ends")
        verdict = "holds" if report.ok else counted(len(report.problems), "problem")
        say(f"{counted(report.lines, 'line')}, {counted(len(report.chains), 'chain')}: {verdict}")
    click.get_current_context().exit(exits.DONE if report.ok else exits.FAILURE)
