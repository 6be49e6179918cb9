"""What is printed on a terminal: it fits, the gravest comes first, and nothing escapes."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rotator.cli import exits
from rotator.cli.output import safe
from rotator.cli.root import COMMANDS, cli
from rotator.core.words import in_future, span
from tests.wiring.stand import Stand

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(stand: Stand, *words: str) -> list[str]:
    """Run a command on a pseudo-terminal of 80 columns and return its lines without colours."""
    master, slave = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "COLUMNS": "80", "TERM": "xterm"}
    program = str(Path(sys.executable).with_name("rotator"))
    process = os.posix_spawn(
        program,
        [program, "--config", str(stand.path), *words],
        {**environment, **stand.environment},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, slave, 1),
            (os.POSIX_SPAWN_DUP2, slave, 2),
        ],
    )
    os.close(slave)
    output = b""
    while select.select([master], [], [], 60)[0]:
        try:
            data = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        output += data
    os.close(master)
    os.waitpid(process, 0)
    return ESCAPES.sub("", output.decode()).splitlines()


def test_a_table_fits_eighty_columns_and_the_gravest_come_first(stand: Stand) -> None:
    names = [
        f"team-{number:03}-with-a-name-that-is-as-long-as-a-name-may-b" for number in range(60)
    ]
    stand.write([*names, "zz-foreign"])
    stand.put("not of this account", "zz-foreign")
    stand.call("run", "--once")
    for command in ("status", "plan"):
        lines = on_a_terminal(stand, command)
        if command == "status":
            assert lines[:2] == ["no leader: no daemon holds the lease", ""]
            lines = lines[2:]
        rows = lines[: lines.index("")]
        assert all(len(line) <= 80 for line in rows), command
        assert rows[0].startswith("STATE")
        assert rows[1].startswith("foreign")
        assert all(line.startswith("ok ") for line in rows[2:])
        assert len(rows) == 22
        assert lines[-1] == "61 targets: 1 foreign, 60 ok (40 of them not shown: --all shows them)"
        everything = on_a_terminal(stand, command, "--all")
        assert len([line for line in everything if line.startswith("ok ")]) == 60


def test_elsewhere_than_on_a_terminal_no_row_is_left_out_and_no_name_is_cut(stand: Stand) -> None:
    names = [
        f"team-{number:03}-with-a-name-that-is-as-long-as-a-name-may-b" for number in range(60)
    ]
    stand.write(names)
    result = stand.call("status")
    assert all(name in result.stdout for name in names)
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("line\nbreak\r", "line\\nbreak\\r"),
        ("bell\x07 c1\x9b31m", "bell\\x07 c1\\x9b31m"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
        ("[red]no markup[/red]", "[red]no markup[/red]"),
        ("Grüße", "Grüße"),
    ],
)
def test_nothing_from_outside_moves_the_cursor(given: str, shown: str) -> None:
    assert safe(given) == shown


def test_words_of_a_person_cannot_move_the_cursor_either(stand: Stand) -> None:
    stand.call("run", "--once")
    stand.call("hold", "billing-api", "--why", "a\x1b[2J[bold]b")
    lines = on_a_terminal(stand, "status")
    assert any("a\\x1b[2J[bold]b" in line for line in lines)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59, "59s"), (119, "119s"), (120, "2m"), (7200, "2h"), (86400, "1d"), (-5, "0s")],
)
def test_a_length_of_time_is_told_in_one_unit(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


def test_no_time_is_a_dash(stand: Stand) -> None:
    assert in_future(None, stand.times()) == "-"


def leaves(group: click.Group, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            found += leaves(command, (*prefix, name))
        else:
            found.append((*prefix, name))
    return found


def test_every_command_has_help_with_an_example() -> None:
    commands = leaves(cli)
    assert len(commands) >= len(COMMANDS)
    for words in commands:
        result = CliRunner().invoke(cli, [*words, "--help"])
        assert result.exit_code == 0
        assert "Examples:\n    rotator " in result.output or "rotator " in result.output, words
        assert "Examples:" in result.output, words
        assert all(len(line) <= 100 for line in result.output.splitlines()), words


def test_the_shell_is_offered_commands_and_the_targets_of_the_configuration(stand: Stand) -> None:
    stand.write(["billing-api", "billing-web", "search"])

    def offered(words: str) -> str:
        environment = {
            "_ROTATOR_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            "ROTATOR_CONFIG": str(stand.path),
        }
        program = Path(sys.executable).with_name("rotator")
        done = subprocess.run(
            [program], env=environment, capture_output=True, text=True, check=False
        )
        return done.stdout

    assert "plain,rotate" in offered("rotator rot")
    assert offered("rotator rotate bil").split() == ["plain,billing-api", "plain,billing-web"]
    assert "billing-api" not in offered("rotator rotate billing-api bil")
    assert "plain,search" in offered("rotator hold s")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_ROTATOR_COMPLETE" in result.output


def test_a_reader_that_goes_away_ends_the_command_quietly(stand: Stand) -> None:
    process = stand.start("status", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait(timeout=30) == exits.NO_READER == 141
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def redirected(stand: Stand, how: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command with its output redirected by a shell."""
    program = str(Path(sys.executable).with_name("rotator"))
    return subprocess.run(
        ["/bin/sh", "-c", f'"$0" "$@" {how}', program, "--config", str(stand.path), *words],
        env={"PATH": os.environ["PATH"], **stand.environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["--help"]])
def test_an_output_that_is_full_is_one_line_and_exit_code_1(stand: Stand, words: list[str]) -> None:
    full = redirected(stand, ">/dev/full", *words)
    assert full.stderr == "rotator: the output cannot be written: No space left on device\n"
    assert full.returncode == 1


def test_a_command_whose_standard_streams_are_closed_does_its_work(stand: Stand) -> None:
    stand.call("run", "--once")
    old = stand.served()
    closed = redirected(stand, "<&- >&- 2>&-", "rotate", "billing-api")
    assert closed.returncode == 0
    assert stand.served() != old
    assert redirected(stand, ">&-", "status").stderr == ""


def test_the_root_s_help_shows_each_command_once_and_no_text_is_cut() -> None:
    shown = CliRunner().invoke(cli, ["--help"], terminal_width=80).stdout
    listed = shown.partition("Set up and run:")[2]
    names = re.findall(r"^  (\S+) +\S.*\.$", listed, re.MULTILINE)
    assert names == list(COMMANDS)
    assert "..." not in listed
