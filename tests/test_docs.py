"""The documentation is true where a program can tell: links, commands, samples, tables, rights."""

from __future__ import annotations

import re
import shlex
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import hvac
import pytest
from click.testing import CliRunner

from rotator.cli.root import COMMANDS, cli
from rotator.config import load
from rotator.sandbox.server import Sandbox
from tests.servers.vault_server import VaultServer
from tests.wiring.stand import QUICK, Stand, Times, eventually

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *(path for name in ("docs", "deploy", "tests") for path in (ROOT / name).glob("*.md"))]
)  # fmt: skip

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """A page without its samples."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """What can be linked to in a page, as GitHub names it."""
    headings = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


# --- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_link_leads_to_a_file_and_heading_that_there_is(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_linked_from_the_front_page_or_for_developers() -> None:
    front = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    linked = {link.partition("#")[0] for page in front for link in LINK.findall(prose(page))}
    pages = {name_of(path) for path in (ROOT / "docs").glob("*.md")}
    assert pages - linked == set()


# --- commands ------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """A command line as a text shows it."""

    where: str
    words: tuple[str, ...]


def command_lines(where: str, text: str) -> Iterator[Shown]:
    """Every call of rotator in some lines of shell, without what is before or after it."""
    for line in text.replace("\\\n", " ").splitlines():
        try:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
            lexer.whitespace_split = True
            words = list(lexer)
        except ValueError:  # a quotation that goes on: no call of ours has one
            continue
        part: list[str] = []
        for word in [*words, ";"]:
            if set(word) <= set("|&;>"):
                yield from _call(where, part)
                part = []
            else:
                part.append(word)


def _call(where: str, words: list[str]) -> Iterator[Shown]:
    for index, word in enumerate(words):
        if word == "rotator" or word.endswith("bin/rotator"):
            called = words[index + 1 :]
            if called and (index == 0 or word != "rotator"):
                yield Shown(where, tuple(called))
                return


def shown_commands() -> Iterator[Shown]:
    """Every call of rotator that the documentation and the commands' own help show."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for language, sample in FENCE.findall(text):
            if language in ("", "sh"):
                yield from command_lines(name_of(page), sample)
        for span in SPAN.findall(prose(page)):
            yield from command_lines(name_of(page), " ".join(span.split()).replace("\\|", " "))
    for place, command in every_command(cli, "rotator"):
        examples = re.findall(r"^ +(rotator .+?)(?: {3,}.*)?$", command.help or "", re.MULTILINE)
        yield from command_lines(f"{place} --help", "\n".join(examples))


def every_command(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, with their names."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None
            yield from every_command(found, f"{name} {each}")


def complaint(words: tuple[str, ...]) -> str | None:
    """Why a call is not one that the command line accepts, or None."""
    command: click.Command = cli
    rest = list(words)
    try:
        while True:
            context = click.Context(command, info_name="rotator")
            _, rest, _ = command.make_parser(context).parse_args(rest)
            if not isinstance(command, click.Group) or not rest:
                return None
            found = command.get_command(context, rest[0])
            if found is None:
                return f"there is no command {rest[0]!r}"
            command, rest = found, rest[1:]
    except click.UsageError as error:
        return error.format_message()


def test_each_command_line_that_is_shown_is_one() -> None:
    shown = list(shown_commands())
    assert {"README.md", "docs/operations.md", "rotator rotate --help"} <= {
        each.where for each in shown
    }
    wrong = {each: told for each in shown if (told := complaint(each.words)) is not None}
    assert wrong == {}


def test_a_wrong_command_line_would_be_found() -> None:
    lines = "rotator hold x --wy y\nrotator audit check\n/opt/bin/rotator stat | rotator run"
    calls = list(command_lines("here", lines))
    assert [call.words[0] for call in calls] == ["hold", "audit", "stat", "run"]
    assert [complaint(call.words) is not None for call in calls] == [True, True, True, False]


def test_every_command_shows_examples_of_itself() -> None:
    without = [
        name
        for name, command in every_command(cli, "rotator")
        if not isinstance(command, click.Group) and f"  {name}" not in (command.help or "").replace('"$(', "  ")
    ]  # fmt: skip
    assert without == []


def test_the_table_of_commands_has_each_command_once_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## Commands")[2].partition("\n\nExit codes")[0]
    first_columns = re.findall(r"^\| (`.+?) \| ", table.replace("\\|", "/"), re.MULTILINE)
    spans = [span for column in first_columns for span in SPAN.findall(column)]
    named = [span.removeprefix("rotator ").split()[0] for span in spans]
    assert set(named) == set(COMMANDS)
    assert len(named) == len(COMMANDS) + 1  # `run` and `run --once`


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_make_target_that_is_named_is_one(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
    assert named - targets == set()


# --- samples and places --------------------------------------------------------------------------


def samples(language: str) -> list[tuple[str, str]]:
    return [
        (name_of(page), sample)
        for page in PAGES
        for found, sample in FENCE.findall(page.read_text(encoding="utf-8"))
        if found == language
    ]


def test_each_whole_configuration_that_is_shown_loads(tmp_path: Path) -> None:
    whole = []
    for where, sample in samples("toml"):
        tomllib.loads(sample)
        if "instance =" in sample:
            file = tmp_path / "config.toml"
            file.write_text(sample, encoding="utf-8")
            assert load(file).warnings == (), where
            whole.append(where)
    assert whole == ["README.md", "docs/configuration.md"]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "tests/README.md"])
def test_each_file_that_is_named_to_developers_is_there(page: str) -> None:
    place = re.compile(r"(?:rotator|tests|docs|requirements|\.ci|deploy)/[\w./-]*")
    named = [span for span in SPAN.findall(prose(ROOT / page)) if place.fullmatch(span)]
    assert [name for name in named if not (ROOT / name).exists()] == []


# --- rights in Vault -----------------------------------------------------------------------------


def test_the_policy_that_the_page_on_security_shows_is_the_one_that_is_printed(
    tmp_path: Path,
) -> None:
    ((_, policy),) = samples("hcl")
    config = tmp_path / "config.toml"
    ((_, small),) = [each for each in samples("toml") if each[0] == "docs/configuration.md"]
    config.write_text(small, encoding="utf-8")
    result = CliRunner().invoke(cli, ["--config", str(config), "vault-policy"])
    first, _, printed = result.stdout.partition("\n")
    assert first.startswith("# ")
    assert printed == policy


def test_the_policy_that_the_page_on_security_shows_is_enough_for_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_vault: VaultServer
) -> None:
    ((_, policy),) = samples("hcl")
    prefix = uuid.uuid4().hex
    policy = policy.replace("/apps/billing", f"/{prefix}/apps/billing-api")
    policy = policy.replace("rotator/data/prod", f"secret/data/{prefix}/state")
    hands = hvac.Client(url=real_vault.address, token=real_vault.root_token)
    hands.sys.create_or_update_policy(prefix, policy)
    made = hands.auth.token.create(policies=[prefix], no_default_policy=True, ttl="1h")
    times = Times()
    with Sandbox(now=times, seed=7) as sandbox:
        stand = Stand(tmp_path, sandbox, times)
        stand.environment["STAND_VAULT_TOKEN"] = made["auth"]["client_token"]
        for name, value in stand.environment.items():
            monkeypatch.setenv(name, value)
        text = stand.write(policy=QUICK, vault=real_vault.address).read_text()
        text = text.replace('"secret/rotator"', f'"secret/{prefix}/state"')
        stand.path.write_text(text.replace('"secret/apps/', f'"secret/{prefix}/apps/'))
        for words in (
            ("check",),
            ("run", "--once"),
            ("rotate", "billing-api"),
            ("hold", "billing-api", "--why", "lunch"),
            ("status",),
            ("plan",),
            ("rotate", "billing-api", "--compromised"),
            ("release", "billing-api"),
            ("retire", "billing-api"),
        ):
            result = stand.call(*words)
            assert result.exit_code == 0, (words, result.output)

        def finished() -> bool:
            stand.call("run", "--once")
            return not stand.document("status")["targets"][0]["retiring"]

        assert eventually(finished, "every old key is deleted")
        stand.close()
    hands.adapter.close()
