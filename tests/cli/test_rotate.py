"""`rotate`: the exit code 0 means that Vault serves the key whose hash was printed."""

from __future__ import annotations

import json
import re
import signal

from rotator.core.codec import decode_ledger
from rotator.core.ledger import Ledger
from rotator.daemon import Daemon
from rotator.engine.world import ledger_name
from rotator.sandbox.faults import Fault, FaultKind
from tests.daemon.living import running, settled
from tests.wiring.stand import BLOCKING, CALM, FIELD, Stand, eventually

MINTED = Fault(
    kind=FaultKind.LATENCY, api="openrouter", method="POST", path="/api/v1/keys", effect=True
)


def test_it_prints_the_old_and_the_new_hash_and_vault_serves_the_new_one(stand: Stand) -> None:
    stand.call("run", "--once")
    old = stand.served()
    result = stand.run("rotate", "billing-api")
    assert result.returncode == 0, result.stderr
    found = re.fullmatch(
        r"billing-api: ([0-9a-f]{64}) -> ([0-9a-f]{64}) \(version 2\)\n", result.stdout
    )
    assert found is not None, result.stdout
    assert found.group(1) == old
    assert found.group(2) == stand.served() != old


def test_several_targets_and_all_of_them_are_told_one_by_one(stand: Stand) -> None:
    stand.write(["a", "b", "c"])
    stand.call("run", "--once")
    before = {name: stand.served(name) for name in "abc"}
    stand.call("hold", "b", "--why", "lunch")
    told = stand.document("rotate", "--all")["targets"]
    assert [each["name"] for each in told] == ["a", "b", "c"]
    assert [each["result"] for each in told] == ["rotated", "held", "rotated"]
    assert told[1]["reason"] == "held"
    assert stand.served("b") == before["b"]
    for each in (told[0], told[2]):
        assert each["old"] == before[each["name"]]
        assert each["new"] == stand.served(each["name"]) != before[each["name"]]


def test_other_fields_of_the_secret_stay(stand: Stand) -> None:
    stand.sandbox.vault.write("secret", "apps/billing-api", {FIELD: stand.make_key(), "url": "x"})
    assert stand.call("rotate", "billing-api").exit_code == 0
    assert stand.sandbox.vault.read("secret", "apps/billing-api")["data"]["url"] == "x"


def test_a_compromised_key_is_disabled_before_it_returns(stand: Stand) -> None:
    stand.call("run", "--once")
    old = stand.served()
    assert stand.call("rotate", "billing-api", "--compromised").exit_code == 0
    assert stand.issued()[old]["disabled"]
    assert not stand.issued()[stand.served()]["disabled"]


def test_compromised_waits_until_the_disable_got_through(stand: Stand) -> None:
    stand.call("run", "--once")
    old = stand.served()
    fault = Fault(kind=FaultKind.ERROR, api="openrouter", method="PATCH", status=503, count=4)
    stand.sandbox.faults.add(fault)
    result = stand.call("rotate", "billing-api", "--compromised", "--timeout", "90s")
    assert result.exit_code == 0, result.output
    assert stand.issued()[old]["disabled"]


def test_a_refused_create_is_told_at_once_and_the_old_key_stays(stand: Stand) -> None:
    stand.call("run", "--once")
    old = stand.served()
    stand.sandbox.faults.add(
        Fault(kind=FaultKind.ERROR, api="openrouter", method="POST", status=400, count=None)
    )
    result = stand.call("rotate", "billing-api")
    assert result.exit_code == 1
    assert "refused to create a key" in result.stderr
    assert stand.served() == old


def test_it_tries_again_until_the_time_is_up(stand: Stand) -> None:
    stand.call("run", "--once")
    old = stand.served()
    stand.sandbox.faults.add(Fault(kind=FaultKind.HTML, api="vault", status=502, count=None))
    result = stand.call("rotate", "billing-api", "--timeout", "1s")
    assert result.exit_code == 1
    stand.sandbox.faults.clear()
    assert stand.served() == old


def test_it_waits_for_the_claim_of_a_process_that_died_and_then_rotates(stand: Stand) -> None:
    """The other one is killed with a key in hand: its claim must run out, and the key must go."""
    stand.write(policy=BLOCKING, timeout="1s", claim_timeout="4s")
    stand.call("run", "--once")
    old = stand.served()
    fault = stand.sandbox.faults.add(MINTED)
    dying = stand.start("rotate", "billing-api")
    eventually(lambda: stand.sandbox.faults.hits(fault), "the create has arrived")
    dying.kill()
    dying.communicate()
    stand.sandbox.faults.clear()
    eventually(lambda: len(stand.issued()) == 2, "the lost key was made")
    result = stand.run("rotate", "billing-api", "--timeout", "60s")
    assert result.returncode == 0, result.stderr
    assert "waiting: Another process is changing the target at this moment." in result.stderr
    new = stand.served()
    assert f"{old} -> {new}" in result.stdout
    lost = set(stand.issued()) - {old, new}
    assert [stand.issued()[key]["deleted"] for key in lost] == [True]


def test_an_interrupt_finishes_the_step_in_hand(stand: Stand) -> None:
    stand.call("run", "--once")
    old = stand.served()
    fault = stand.sandbox.faults.add(MINTED)
    process = stand.start("rotate", "billing-api")
    eventually(lambda: stand.sandbox.faults.hits(fault), "the create has arrived")
    process.send_signal(signal.SIGINT)
    stand.sandbox.faults.clear()
    out, err = process.communicate(timeout=30)
    assert "SIGINT: finishing the step in hand" in err
    assert process.returncode == 0
    assert stand.served() != old
    assert stand.served() in out
    assert len(stand.issued()) == 2


def test_a_second_interrupt_leaves_at_once(stand: Stand) -> None:
    stand.call("run", "--once")
    fault = stand.sandbox.faults.add(MINTED)
    process = stand.start("rotate", "billing-api")
    eventually(lambda: stand.sandbox.faults.hits(fault), "the create has arrived")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "finishing the step" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 1


def test_a_foreign_value_is_overwritten_only_when_asked_to(stand: Stand) -> None:
    stand.put("somebody else's value")
    refused = stand.call("rotate", "billing-api")
    assert refused.exit_code == 3
    assert "no key of the account explains" in refused.stderr
    assert stand.value() == "somebody else's value"
    assert stand.call("rotate", "billing-api", "--overwrite-foreign").exit_code == 0
    assert stand.served() in stand.issued()


def test_two_rotations_at_once_make_two_keys_and_serve_the_last(stand: Stand) -> None:
    stand.call("run", "--once")
    first = stand.start("rotate", "billing-api", "--json")
    second = stand.start("rotate", "billing-api", "--json")
    outs = [process.communicate(timeout=60) for process in (first, second)]
    codes = [first.returncode, second.returncode]
    assert 0 in codes
    assert any(stand.served() in out for out, _ in outs)
    alive = [key for key in stand.issued().values() if not key["deleted"] and not key["disabled"]]
    assert len(alive) <= 3


def test_a_rotation_by_hand_names_who_asked_for_it(stand: Stand) -> None:
    stand.write()
    assert stand.run("rotate", "billing-api").returncode == 0
    lines = [json.loads(line) for line in stand.audit.read_text().splitlines()]
    asked = [line for line in lines if line["event"] == "operator.command"]
    assert [(line["command"], line["target"]) for line in asked] == [("rotate", "billing-api")]
    assert "@" in asked[0]["by"]
    assert lines.index(asked[0]) < min(
        lines.index(line) for line in lines if line["event"] == "key.create"
    )


def test_all_targets_beside_a_daemon_are_rotated_but_for_the_one_that_vault_does_not_tell_of(
    stand: Stand,
) -> None:
    stand.write(["bad", "good", "well"], policy=CALM)
    with running(stand) as daemon:
        settled(daemon, "bad", "good", "well")
        before = {name: stand.served(name) for name in ("good", "well")}
        stand.sandbox.faults.add(
            Fault(kind=FaultKind.ERROR, api="vault", path="*/rotator/targets/bad", count=None)
        )
        result = stand.call("rotate", "--all", "--json")
        told = {each["name"]: each for each in json.loads(result.stdout)["targets"]}
        requests = [_ledger(daemon, name).request for name in before]
    assert result.exit_code == 1, result.output
    assert told["bad"]["result"] == "failed"
    assert "bad: it could not be asked for yet" in result.stderr
    assert all(stand.served(name) != key for name, key in before.items())
    assert {name: told[name]["new"] for name in before} == {
        name: stand.served(name) for name in before
    }
    assert requests == [None, None]


def _ledger(daemon: Daemon, name: str) -> Ledger:
    world = daemon.world()
    assert world is not None
    document = world.ledgers.read(ledger_name(name)).document
    assert document is not None
    return decode_ledger(document)
