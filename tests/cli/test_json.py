"""The shapes of ``--json`` are those that docs/json.md shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rotator.core.retirement import Stage
from rotator.core.view import State
from rotator.sandbox.faults import Fault, FaultKind
from tests.wiring.stand import DUE, Stand, eventually

PAGE = Path(__file__).resolve().parents[2] / "docs" / "json.md"
SHOWN = {
    words: json.loads(text)
    for words, text in re.findall(
        r"^```json (.+?)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
}


def assert_same_shape(real: Any, shown: Any, place: str = "") -> None:
    """The same fields everywhere, and where both have a value, of the same kind."""
    if real is None or shown is None:
        return
    assert type(real) is type(shown), place
    if isinstance(real, dict):
        assert list(real) == list(shown), place
        for name, value in real.items():
            assert_same_shape(value, shown[name], f"{place}.{name}")
    elif isinstance(real, list) and shown:
        for value in real:
            assert_same_shape(value, shown[0], f"{place}[]")


def test_every_command_that_takes_json_is_shown() -> None:
    commands = {"status", "plan", "run --once", "rotate", "rollback", "retire", "check"}
    commands |= {"adopt"}
    assert set(SHOWN) == commands | {"audit verify", "vault-policy"}


def test_what_is_printed_has_the_shape_that_is_shown(stand: Stand) -> None:
    stand.write(["billing-api", "foreign"])
    stand.put("not of this account", "foreign")
    assert_same_shape(stand.document("run", "--once", code=3), SHOWN["run --once"])
    assert_same_shape(stand.document("rotate", "billing-api"), SHOWN["rotate"])
    assert_same_shape(stand.document("rotate", "foreign", code=3), SHOWN["rotate"])
    stand.call("hold", "billing-api", "--why", "lunch")
    status = stand.document("status", code=3)
    assert_same_shape(status, SHOWN["status"])
    assert [each["name"] for each in status["targets"]] == ["foreign", "billing-api"]
    assert status["targets"][1]["retiring"]
    assert status["targets"][1]["hold"]
    assert status["targets"][0]["findings"]
    assert_same_shape(stand.document("plan", code=3), SHOWN["plan"])
    assert_same_shape(stand.document("check"), SHOWN["check"])
    assert_same_shape(stand.document("adopt", "billing-api"), SHOWN["adopt"])
    assert_same_shape(stand.document("adopt", "foreign", code=3), SHOWN["adopt"])
    assert stand.document("vault-policy")["path"].keys() >= SHOWN["vault-policy"]["path"].keys()
    assert_same_shape(stand.document("rollback", "billing-api"), SHOWN["rollback"])
    assert_same_shape(stand.document("rollback", "foreign", code=3), SHOWN["rollback"])
    assert_same_shape(stand.document("retire", "billing-api"), SHOWN["retire"])
    assert_same_shape(stand.document("audit", "verify", str(stand.audit)), SHOWN["audit verify"])
    lines = stand.audit.read_text().splitlines(keepends=True)
    stand.audit.write_text("".join(lines[:3] + lines[4:]) + "torn")
    broken = stand.document("audit", "verify", str(stand.audit), code=1)
    assert_same_shape(broken, SHOWN["audit verify"])
    assert broken["problems"]


def test_a_target_that_is_unreachable_has_the_same_shape(stand: Stand) -> None:
    stand.write(["billing-api", "denied"])
    stand.call("run", "--once")
    stand.sandbox.faults.add(
        Fault(kind=FaultKind.ERROR, api="vault", path="*/apps/denied", status=503, count=None)
    )
    status = stand.document("status", code=1)
    assert_same_shape(status, SHOWN["status"])
    assert [each["state"] for each in status["targets"]] == ["unreachable", "ok"]
    assert "injected fault" in status["targets"][0]["failure"]["detail"]
    plan = stand.document("plan", code=1)
    assert_same_shape(plan, SHOWN["plan"])
    assert "injected fault" in plan["targets"][0]["error"]


def test_where_vault_cannot_be_asked_at_all_there_is_no_document(stand: Stand) -> None:
    stand.sandbox.vault.sealed = True
    result = stand.call("status", "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "sealed" in result.stderr


def test_a_due_target_shows_its_steps(stand: Stand) -> None:
    stand.call("run", "--once")
    stand.write(policy=DUE)

    def steps() -> list[str]:
        found: list[str] = stand.document("plan")["targets"][0]["steps"]
        return found

    assert eventually(steps, "it is due") == SHOWN["plan"]["targets"][0]["steps"]


@pytest.mark.parametrize("word", [*State, *Stage])
def test_every_state_and_stage_is_named(word: str) -> None:
    assert f"`{word}`" in PAGE.read_text()


def test_with_the_trail_on_standard_output_each_line_there_is_json(stand: Stand) -> None:
    stand.write(audit="-")
    told = []
    for words in (
        ("run", "--once"),
        ("hold", "billing-api", "--why", "look"),
        ("release", "billing-api"),
        ("rotate", "billing-api"),
        ("rollback", "billing-api"),
        ("adopt", "billing-api"),
        ("retire", "billing-api"),
    ):
        result = stand.run(*words)
        assert result.returncode == 0, result.stderr
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert {"process.start"} <= {line["event"] for line in lines}
        told.append(result.stderr)
    assert "billing-api: ok" in told[0]
    assert "billing-api is held: look" in told[1]
    assert " -> " in told[3]
    result = stand.run("status", "billing-api")
    assert result.stdout.startswith("billing-api: ok")
    assert result.stderr == ""
