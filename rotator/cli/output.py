"""What is printed: safe for a terminal, whatever the names and messages from outside hold."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

_LEAST_WIDTH = 8


def safe(text: object) -> str:
    """Return a text in which nothing moves a terminal's cursor, colours it or ends the line."""
    plain = str(text)
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(
        character
        if unicodedata.category(character)[0] != "C" and character not in "\u2028\u2029"
        else character.encode("unicode_escape").decode()
        for character in plain
    )


class _Lines:
    """Where lines for people go. Not the context's, which threads of a command do not have."""

    aside = False


def leave_standard_output(to_the_audit_trail: bool) -> None:  # noqa: FBT001 - one of two ways
    """Print lines for people on standard error, where the audit trail is standard output.

    What reads the trail there takes each line for JSON. A JSON document still comes last.
    """
    _Lines.aside = to_the_audit_trail


def say(text: str = "") -> None:
    """Print one line of result, escaped."""
    click.echo(safe(text), err=_Lines.aside)


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts: "1 target", "2 targets"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def warn(text: str) -> None:
    """Print one line on standard error, escaped."""
    click.echo(f"rotator: {safe(text)}", err=True)


def document(value: Mapping[str, Any]) -> None:
    """Print a JSON document in one line (so that it is the last line, whatever came before)."""
    click.echo(json.dumps(value, ensure_ascii=True, separators=(",", ":")))


def is_terminal() -> bool:
    """Tell whether the result goes to a terminal."""
    return sys.stdout.isatty()


def width() -> int:
    """Return how many columns the terminal has (80 where it does not say)."""
    return shutil.get_terminal_size((80, 24)).columns


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    flexible: int = 1,
    styles: Mapping[str, str] | None = None,
) -> None:
    """Print a table: fitted to the terminal's width, or in full where it goes elsewhere.

    Args:
        head: the columns' names.
        rows: their cells, still unescaped.
        flexible: the column that is cut where the width does not suffice.
        styles: rich styles by the first cell of a row, for terminals.
    """
    cells = [[safe(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in [list(head), *cells]) for index in range(len(head))]
    if is_terminal():
        spare = width() - 1 - sum(widths) - 2 * (len(widths) - 1)
        if spare < 0:
            widths[flexible] = max(_LEAST_WIDTH, widths[flexible] + spare)
        _coloured(head, cells, widths, styles or {})
        return
    for row in [list(head), *cells]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _coloured(
    head: Sequence[str], cells: list[list[str]], widths: list[int], styles: Mapping[str, str]
) -> None:
    """Print a table with rich, one line for each row."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for name, columns in zip(head, widths, strict=True):
        grid.add_column(name, width=columns, no_wrap=True, overflow="ellipsis")
    for row in cells:
        grid.add_row(Text(row[0], styles.get(row[0], "")), *(Text(cell) for cell in row[1:]))
    Console(highlight=False, emoji=False, markup=False, width=width()).print(grid)
