"""A name that does not exist is answered with the closest that does."""

from __future__ import annotations

from pathlib import Path

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
