"""A name that does not exist is answered with the closest that does."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from rotator.cli.root import cli
from tests.wiring.stand import Stand


def test_a_command_that_is_nearly_one_is_answered_with_that_one(stand: Stand) -> None:
    result = stand.call("statsu")
    assert result.exit_code == 2
    assert """there is no command 'statsu'; did you mean "status"?""" in result.stderr
    assert stand.call("xyzzy").stderr.rstrip().endswith("there is no command 'xyzzy'")


def test_a_target_that_is_nearly_one_is_answered_with_that_one(stand: Stand) -> None:
    result = stand.call("rotate", "biling-api")
    assert result.exit_code == 2
    assert """has no target 'biling-api'; did you mean "billing-api"?""" in result.stderr


def test_a_file_that_is_not_there_is_told_with_how_to_name_one(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    result = CliRunner().invoke(cli, ["--config", str(missing), "status"])
    assert result.exit_code == 2
    assert f"{missing}: cannot be read" in result.stderr
    assert "--config FILE" in result.stderr


def test_a_file_that_has_a_mistake_is_told_without_how_to_name_another(stand: Stand) -> None:
    stand.path.write_text("instance = 5")
    result = stand.call("status")
    assert result.exit_code == 2
    assert "--config" not in result.stderr


def test_a_target_that_nothing_is_like_is_answered_with_those_that_there_are(stand: Stand) -> None:
    result = stand.call("rotate", "xyzzy")
    assert result.exit_code == 2
    assert "has no target 'xyzzy'; it has billing-api" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name targets, or say --all"),
        (["--all", "app"], "either name targets or say --all, not both"),
    ],
)
def test_a_rotation_is_of_named_targets_or_of_all(
    stand: Stand, words: list[str], told: str
) -> None:
    result = stand.call("rotate", *words)
    assert result.exit_code == 2
    assert told in result.output


def test_an_option_of_the_root_behind_the_command_is_told_where_it_stands(stand: Stand) -> None:
    result = stand.call("status", "--config", "other.toml")
    assert result.exit_code == 2
    assert "--config stands before the command: rotator --config ..." in result.stderr


def test_a_vault_that_is_not_there_is_told_with_where_it_was_looked_for(stand: Stand) -> None:
    stand.write(vault="http://127.0.0.1:1")
    result = stand.call("status")
    assert result.exit_code == 1
    assert "(at http://127.0.0.1:1; `rotator check` tries each part)" in result.stderr
