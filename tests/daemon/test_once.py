"""`run --once`: everything that is due, repeated until nothing can be done at once."""

from __future__ import annotations

import json

from rotator.sandbox.faults import Fault, FaultKind
from tests.wiring.stand import QUICK, Stand, eventually


def test_one_pass_takes_every_target_as_far_as_it_goes(stand: Stand) -> None:
    names = [f"t{number}" for number in range(25)]
    stand.write(names)
    told = stand.document("run", "--once")
    assert {each["name"] for each in told["targets"]} == set(names)
    assert all("PromoteMinted" in each["changed"] for each in told["targets"])
    assert all(stand.served(name) in stand.issued() for name in names)
    again = stand.document("run", "--once")
    assert all(each["changed"] == [] for each in again["targets"])


def test_an_old_key_goes_over_several_passes(stand: Stand) -> None:
    stand.write(policy=QUICK)
    stand.call("run", "--once")
    old = stand.served()
    stand.call("rotate", "billing-api")

    def gone() -> bool:
        assert stand.call("run", "--once").exit_code in (0, 3)
        return bool(stand.issued()[old]["deleted"])

    assert eventually(gone, "the old key is deleted")
    assert stand.sandbox.account.works(stand.served())


def test_a_claim_of_another_process_is_no_failure(stand: Stand) -> None:
    stand.write(timeout="1s", claim_timeout="60s")
    fault = stand.sandbox.faults.add(
        Fault(kind=FaultKind.LATENCY, api="openrouter", method="POST", effect=True)
    )
    other = stand.start("rotate", "billing-api")
    eventually(lambda: stand.sandbox.faults.hits(fault), "the other one has claimed the target")
    other.kill()
    other.communicate()
    stand.sandbox.faults.clear()
    result = stand.call("run", "--once")
    assert result.exit_code == 0, result.output
    assert "changing" in result.stdout
    assert "changing" in stand.call("status").stdout


def test_without_a_listing_it_says_so_and_fails(stand: Stand) -> None:
    stand.call("run", "--once")
    fault = Fault(kind=FaultKind.HTML, api="openrouter", path="*/keys", status=502, count=None)
    stand.sandbox.faults.add(fault)
    result = stand.call("run", "--once")
    assert result.exit_code == 1
    assert "the account could not be listed" in result.stderr


def test_what_a_dead_process_left_open_in_the_audit_trail_is_settled(stand: Stand) -> None:
    stand.write(timeout="1s", claim_timeout="4s")
    fault = stand.sandbox.faults.add(
        Fault(kind=FaultKind.LATENCY, api="openrouter", method="POST", effect=True)
    )
    dying = stand.start("run", "--once")
    eventually(lambda: stand.sandbox.faults.hits(fault), "a create is under way")
    dying.kill()
    dying.communicate()
    stand.sandbox.faults.clear()

    def settled() -> bool:
        stand.call("run", "--once")
        intents = {e["op"] for e in stand.events() if e["phase"] == "intent"}
        return intents <= {e["op"] for e in stand.events() if e["phase"] == "outcome"}

    assert eventually(settled, "every intent has its outcome", 60)
    assert stand.call("audit", "verify", str(stand.audit)).exit_code == 0


def test_a_stop_finishes_the_targets_in_hand_and_leaves_the_others(stand: Stand) -> None:
    names = [f"t{number}" for number in range(12)]
    stand.write(names, daemon='resync = "1h"\nworkers = 1')
    fault = stand.sandbox.faults.add(
        Fault(kind=FaultKind.LATENCY, api="openrouter", method="POST", effect=True)
    )
    process = stand.start("run", "--once", "--json")
    eventually(lambda: stand.sandbox.faults.hits(fault), "a create is under way")
    process.terminate()
    assert process.stderr is not None
    assert "finishing the step in hand" in process.stderr.readline()
    stand.sandbox.faults.clear()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    assert len(stand.issued()) == 1
    rotated = [each for each in json.loads(out)["targets"] if "PromoteMinted" in each["changed"]]
    assert [stand.served(each["name"]) for each in rotated] == list(stand.issued())


def test_a_target_taken_out_of_the_configuration_is_finished_and_told(stand: Stand) -> None:
    stand.write(["stays", "goes"], policy=QUICK)
    stand.call("run", "--once")
    old = stand.served("goes")
    stand.call("rotate", "goes")
    stand.write(["stays"], policy=QUICK)

    def finished() -> bool:
        told = stand.document("run", "--once", code=0)["targets"]
        assert [each["name"] for each in told] == ["stays", "goes"]
        return bool(stand.issued()[old]["deleted"])

    assert eventually(finished, "its old key is gone")
    assert not stand.issued()[stand.served("goes")]["disabled"]
