"""`rollback`: the exit code 0 means that Vault serves the older key whose hash was printed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rotator.sandbox.faults import Fault, FaultKind
from tests.wiring.stand import BLOCKING, FIELD, QUICK, Stand, eventually

PUBLISHED = Fault(kind=FaultKind.LATENCY, api="vault", method="POST", path="*/apps/*", effect=True)


def rotated(stand: Stand) -> tuple[str, str]:
    """Rotate a target once; the old key and the new one."""
    assert stand.call("run", "--once").exit_code == 0
    old = stand.served()
    assert stand.call("rotate", "billing-api").exit_code == 0
    return old, stand.served()


def quarantined(stand: Stand) -> tuple[str, str]:
    """The same, and the old key is disabled."""
    old, new = rotated(stand)
    assert stand.call("retire", "billing-api").exit_code == 0
    assert stand.issued()[old]["disabled"]
    return old, new


def retiring(stand: Stand) -> dict[str, dict[str, Any]]:
    """The retiring keys as `status` shows them."""
    found = stand.document("status")["targets"][0]["retiring"]
    return {each["hash"]: each for each in found}


def test_it_prints_both_hashes_and_vault_serves_the_older_one_again(stand: Stand) -> None:
    old, new = rotated(stand)
    result = stand.run("rollback", "billing-api")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"billing-api: {new} -> {old} (version 3)\n"
    assert stand.served() == old
    newer = retiring(stand)[new]
    assert (newer["stage"], newer["why"]) == ("grace", "put_aside")


def test_in_quarantine_the_older_key_is_enabled_again(stand: Stand) -> None:
    old, new = quarantined(stand)
    told = stand.document("rollback", "billing-api")
    assert told == {
        "name": "billing-api",
        "result": "rolled_back",
        "old": new,
        "new": old,
        "secret_version": 3,
        "reason": None,
        "detail": None,
    }
    assert stand.served() == old
    assert not stand.issued()[old]["disabled"]
    assert not stand.issued()[new]["disabled"]
    assert stand.call("run", "--once").exit_code == 0
    assert stand.served() == old, "the next pass does not rotate it away"


def test_the_trail_says_who_asked_and_what_was_done(stand: Stand) -> None:
    old, _ = quarantined(stand)
    begun = len(stand.events())
    assert stand.call("rollback", "billing-api").exit_code == 0
    events = stand.events()[begun:]
    asked = [each for each in events if each["event"] == "operator.command"]
    assert [(each["command"], each["key_hash"]) for each in asked] == [("rollback", old)]
    assert "@" in asked[0]["by"]
    done = [
        each["event"]
        for each in events
        if each["phase"] == "outcome" and each["reason"] == "rolled_back"
    ]
    assert done == [
        "ledger.change",
        "key.enable",
        "key.verify",
        "secret.publish",
        "ledger.change",
    ]
    assert stand.call("audit", "verify", str(stand.audit)).exit_code == 0


def test_other_fields_of_the_secret_stay_as_they_are_now(stand: Stand) -> None:
    old, _ = rotated(stand)
    stand.sandbox.vault.write("secret", "apps/billing-api", {FIELD: stand.value(), "url": "x"})
    assert stand.call("rollback", "billing-api").exit_code == 0
    assert stand.served() == old
    assert stand.sandbox.vault.read("secret", "apps/billing-api")["data"]["url"] == "x"


def test_a_hold_does_not_stop_it(stand: Stand) -> None:
    old, _ = rotated(stand)
    stand.call("hold", "billing-api", "--why", "incident")
    assert stand.call("rollback", "billing-api").exit_code == 0
    assert stand.served() == old
    assert stand.document("status")["targets"][0]["hold"]["why"] == "incident"


def test_the_beginning_of_a_hash_chooses_among_older_keys(stand: Stand) -> None:
    first, _ = rotated(stand)
    assert stand.call("rotate", "billing-api").exit_code == 0
    assert stand.call("rollback", "billing-api", first[:12]).exit_code == 0
    assert stand.served() == first


def test_a_key_that_is_served_already_is_told_and_nothing_is_changed(stand: Stand) -> None:
    stand.call("run", "--once")
    before = stand.state()
    told = stand.document("rollback", "billing-api", stand.served()[:12])
    assert (told["result"], told["new"]) == ("unchanged", stand.served())
    assert "is served already" in stand.call("rollback", "billing-api", stand.served()).stdout
    assert stand.state() == before


def test_a_hash_of_no_key_of_the_target_is_wrong_usage(stand: Stand) -> None:
    rotated(stand)
    result = stand.call("rollback", "billing-api", "nothing")
    assert result.exit_code == 2
    assert "no key whose hash begins" in result.output
    result = stand.call("rollback", "billing-api", "")
    assert result.exit_code == 2
    assert "more than one key" in result.output


def test_without_an_older_key_it_says_what_to_do(stand: Stand) -> None:
    stand.call("run", "--once")
    result = stand.call("rollback", "billing-api")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "no such older key to go back to. `rotator rotate` makes a new one." in result.stderr


def test_a_value_that_vault_no_longer_has_is_refused_before_anything_changes(stand: Stand) -> None:
    _, new = quarantined(stand)
    mount = stand.sandbox.vault.find_mount("secret/x")
    assert mount is not None
    mount[0].secrets["apps/billing-api"].versions.pop(1)
    before = stand.state()
    told = stand.document("rollback", "billing-api", code=1)
    assert (told["result"], told["reason"]) == ("failed", "value_gone")
    assert "rotator rotate" in told["detail"]
    assert stand.state() == before
    assert stand.served() == new


def test_a_key_that_was_deleted_in_the_console_is_refused(stand: Stand) -> None:
    old, new = rotated(stand)
    stand.sandbox.account.delete_key(f"Bearer {stand.sandbox.management_key}", old)
    told = stand.document("rollback", "billing-api", code=1)
    assert (told["result"], told["reason"]) == ("failed", "old_key_gone")
    assert stand.served() == new


def test_a_key_whose_delete_failed_once_is_refused(stand: Stand) -> None:
    stand.write(policy=QUICK)
    stand.call("run", "--once")
    old = stand.served()
    stand.sandbox.faults.add(
        Fault(kind=FaultKind.ERROR, api="openrouter", method="DELETE", status=503, count=None)
    )
    stand.call("rotate", "billing-api")

    def claimed() -> bool:
        stand.call("run", "--once")
        return '"delete_claimed": true' in stand.state()

    eventually(claimed, "the delete was tried")
    told = stand.document("rollback", "billing-api", old[:12], code=1)
    assert told["reason"] == "delete_claimed"


def test_a_foreign_value_is_not_overwritten(stand: Stand) -> None:
    rotated(stand)
    stand.put("somebody else's value")
    told = stand.document("rollback", "billing-api", code=3)
    assert (told["result"], told["reason"]) == ("attention", "foreign_value")
    assert stand.value() == "somebody else's value"


def test_a_key_that_another_target_serves_is_not_served_twice(stand: Stand) -> None:
    stand.write(["billing-api", "search"])
    stand.call("run", "--once")
    value = stand.value()
    stand.call("rotate", "billing-api")
    new = stand.served()
    stand.put(value, "search")
    stand.call("run", "--once")
    told = stand.document("rollback", "billing-api", code=3)
    assert (told["result"], told["reason"]) == ("attention", "served_twice")
    assert stand.served() == new


def test_a_value_pasted_back_just_before_is_not_rolled_forward_again(stand: Stand) -> None:
    stand.call("run", "--once")
    value, old = stand.value(), stand.served()
    stand.call("rotate", "billing-api")
    stand.put(value)
    told = stand.document("rollback", "billing-api", code=3)
    assert told["result"] == "attention"
    assert "ask again" in told["detail"]
    assert stand.served() == old


def test_a_refused_management_key_needs_attention(stand: Stand) -> None:
    _, new = rotated(stand)
    result = stand.call("rollback", "billing-api", STAND_MANAGEMENT_KEY="sk-or-mgmt-wrong")
    assert result.exit_code == 3, result.output
    assert stand.served() == new


@pytest.mark.parametrize("fault", [FaultKind.HTML, FaultKind.ERROR])
def test_it_tries_again_until_the_time_is_up(stand: Stand, fault: FaultKind) -> None:
    _, new = rotated(stand)
    stand.sandbox.faults.add(Fault(kind=fault, api="vault", status=502, count=None))
    result = stand.call("rollback", "billing-api", "--timeout", "1s")
    assert result.exit_code == 1
    stand.sandbox.faults.clear()
    assert stand.served() == new


def test_it_waits_for_the_claim_of_a_process_that_died_and_then_rolls_back(stand: Stand) -> None:
    """The other one is killed right after its own rollback's publish: that is promoted."""
    stand.write(policy=BLOCKING, timeout="1s", claim_timeout="4s")
    old, new = rotated(stand)
    fault = stand.sandbox.faults.add(PUBLISHED)
    dying = stand.start("rollback", "billing-api")
    eventually(lambda: stand.sandbox.faults.hits(fault), "the publish has arrived")
    dying.kill()
    dying.communicate()
    stand.sandbox.faults.clear()
    result = stand.run("rollback", "billing-api", old, "--timeout", "60s")
    assert result.returncode == 0, result.stderr
    assert "waiting: Another process is changing the target at this moment." in result.stderr
    assert re.search(rf"{old}", result.stdout)
    assert stand.served() == old
    assert new in retiring(stand)
