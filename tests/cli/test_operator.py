"""`hold`, `release`, `retire`, `audit verify`, `check`: what a person does by hand."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.wiring.stand import CALM, DUE, Stand, eventually


def test_a_held_target_is_not_rotated_until_it_is_released(stand: Stand) -> None:
    stand.call("run", "--once")
    first = stand.served()
    assert stand.call("hold", "billing-api", "--why", "incident").exit_code == 0
    stand.write(policy=DUE)
    stand.call("run", "--once")
    assert stand.served() == first
    hold = stand.document("status")["targets"][0]["hold"]
    assert hold["why"] == "incident"
    assert "@" in hold["by"]
    assert stand.call("release", "billing-api").exit_code == 0

    def rotated() -> bool:
        stand.call("run", "--once")
        return stand.served() != first

    assert eventually(rotated, "the released target is rotated")


def test_retire_disables_old_keys_now_and_never_the_served_one(stand: Stand) -> None:
    stand.call("run", "--once")
    old = stand.served()
    stand.call("rotate", "billing-api")
    served = stand.served()
    told = stand.document("retire", "billing-api", old[:12])
    assert told == {"name": "billing-api", "retired": [old], "disabled": [old]}
    assert stand.issued()[old]["disabled"]
    assert not stand.issued()[served]["disabled"]
    refused = stand.call("retire", "billing-api", served[:12])
    assert refused.exit_code == 2
    assert "no retiring key" in refused.output


def test_retire_leaves_a_key_that_another_target_serves(stand: Stand) -> None:
    stand.write(["billing-api", "search"])
    stand.call("run", "--once")
    old, value = stand.served(), stand.value()
    stand.call("rotate", "billing-api")
    stand.put(value, "search")
    stand.call("run", "--once")
    result = stand.call("retire", "billing-api")
    assert result.exit_code == 3, result.output
    assert not stand.issued()[old]["disabled"]


@pytest.mark.parametrize("known", [True, False], ids=["by its ledger", "by nobody"])
@pytest.mark.parametrize("words", [("retire", "a"), ("rotate", "a", "--compromised")])
def test_no_command_disables_a_key_that_a_person_put_into_another_targets_secret(
    stand: Stand, words: tuple[str, ...], known: bool
) -> None:
    stand.write(["a", "b"] if known else ["a"], policy=CALM)
    assert stand.call("run", "--once").exit_code == 0
    old, value = stand.served("a"), stand.value("a")
    assert stand.call("rotate", "a").exit_code == 0
    stand.put(value, "b")
    stand.write(["a", "b"], policy=CALM)
    stand.call(*words)
    assert stand.value("b") == value
    assert not stand.issued()[old]["disabled"]


def test_audit_verify_finds_a_changed_line_and_a_cut_end(stand: Stand) -> None:
    stand.call("run", "--once")
    good = stand.call("audit", "verify", str(stand.audit))
    assert good.exit_code == 0, good.output
    lines = stand.audit.read_text().splitlines(keepends=True)
    head = json.loads(lines[-1])["prev"]
    assert stand.call("audit", "verify", str(stand.audit), "--head", head).exit_code == 0
    stand.audit.write_text("".join(lines[:3] + lines[4:]))
    cut = stand.call("audit", "verify", str(stand.audit), "--json")
    assert cut.exit_code == 1
    assert json.loads(cut.stdout)["ok"] is False


def test_commands_that_change_nothing_need_no_audit_file_and_write_nothing(stand: Stand) -> None:
    stand.write(audit="/nowhere/at/all/audit.jsonl")
    before = stand.state()
    for words in (["status"], ["plan"], ["check", "--offline"]):
        assert stand.call(*words).exit_code == 0
    check = stand.call("check")
    assert check.exit_code == 1
    assert "mkdir -p /nowhere/at/all" in check.output
    assert stand.state() == before
    assert stand.sandbox.calls.count("vault", "POST", "data/{path}") == 0
    refused = stand.call("rotate", "billing-api")
    assert refused.exit_code == 1
    assert "audit trail" in refused.stderr
    assert stand.state() == before


def test_status_and_plan_need_no_right_to_read_any_value(stand: Stand) -> None:
    stand.call("run", "--once")
    stand.sandbox.tokens.add_policy(
        "viewer",
        {
            "secret/metadata/apps/+": {"read"},
            "secret/data/rotator/*": {"read"},
        },
    )
    viewer = stand.sandbox.tokens.add_token(("viewer",))
    environment = {"STAND_VAULT_TOKEN": viewer}
    assert stand.call("status", **environment).exit_code == 0
    assert stand.call("plan", **environment).exit_code == 0
    stand.put(stand.value())
    changed = stand.call("status", **environment)
    assert changed.exit_code == 0
    assert "value was not read" in changed.output


def test_status_asks_openrouter_nothing_and_vault_two_reads_for_each_target(stand: Stand) -> None:
    names = [f"t{number}" for number in range(20)]
    stand.write(names)
    stand.call("run", "--once")
    stand.sandbox.calls.reset()
    assert stand.call("status").exit_code == 0
    assert stand.sandbox.calls.count("openrouter") == 0
    assert stand.sandbox.calls.count("vault", "GET", "data/{path}") == len(names) + 2
    calls = stand.sandbox.calls.count("vault")
    assert calls <= 2 * len(names) + 4, stand.sandbox.calls.by_route("vault")


def test_plan_gets_only_the_keys_that_are_due(stand: Stand) -> None:
    stand.write(["calm", "due"], policy=CALM)
    stand.call("run", "--once")
    stand.write(["calm", "due"], policy=DUE)

    def states() -> list[str]:
        return [each["state"] for each in stand.document("status")["targets"]]

    eventually(lambda: states() == ["due", "due"], "both are due")
    stand.sandbox.calls.reset()
    told = stand.document("plan")["targets"]
    assert {each["reason"] for each in told} == {"every"}
    assert all("Mint" in each["steps"] for each in told)
    assert stand.sandbox.calls.by_route("openrouter") == {"GET /keys/{hash}": 2}
    stand.write(["calm", "due"], policy=CALM)
    stand.sandbox.calls.reset()
    stand.document("plan")
    assert stand.sandbox.calls.count("openrouter") == 0


KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("why", "said"),
    [
        (f"{KEY} leaked", "looks like a secret"),
        ("hvs.CAESIJ0123456789abcdef", "looks like a secret"),
        ("", "1 to 500 characters"),
        (" \n", "1 to 500 characters"),
        ("x" * 501, "1 to 500 characters"),
        ("caf\udcc3\udca9", "encoding"),
    ],
)
def test_a_reason_that_may_not_stand_in_vault_is_refused_and_not_shown(
    stand: Stand, why: str, said: str
) -> None:
    stand.call("run", "--once")
    before = stand.state()
    refused = stand.call("hold", "billing-api", "--why", why)
    assert refused.exit_code == 2
    assert said in refused.output
    assert KEY not in refused.output
    assert stand.state() == before
    assert KEY not in stand.audit.read_text()


def test_the_environment_does_not_say_who_gave_a_command(stand: Stand) -> None:
    stand.call("run", "--once")
    names = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "somebody-else")
    assert stand.call("hold", "billing-api", "--why", "incident", **names).exit_code == 0
    (hold,) = [each for each in stand.events() if each.get("command") == "hold"]
    assert hold["by"].partition("@")[0] not in {"somebody-else", ""}


@pytest.mark.parametrize("change", ["cut", "changed", "not packed"])
def test_a_packed_trail_that_cannot_be_unpacked_is_told_of(stand: Stand, change: str) -> None:
    stand.call("run", "--once")
    packed = bytearray(gzip.compress(stand.audit.read_bytes()))
    if change == "cut":
        packed = packed[: len(packed) // 2]
    elif change == "changed":
        packed[40:200] = bytes(byte ^ 0xFF for byte in packed[40:200])
    else:
        packed = bytearray(b"no gzip")
    file = stand.folder / "audit.jsonl.gz"
    file.write_bytes(packed)
    result = stand.call("audit", "verify", str(file))
    assert result.exit_code == 2
    assert "cannot be read" in result.output
