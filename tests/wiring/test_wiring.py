"""The composition root: what each command gets, and where our own secrets come from."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from rotator.adapters.audit import FileAuditTrail, StreamAuditTrail
from rotator.engine.index import fill_index
from rotator.engine.installation import NONE_YET
from rotator.engine.resync import one_by_one
from rotator.errors import AuditUnavailable, ConfigurationError, Transient, Unauthorised
from rotator.wiring import READ_ONLY, NoAudit, build, connect
from tests.wiring.stand import Stand


def test_a_process_has_a_name_of_its_own_at_each_start(stand: Stand) -> None:
    holders = set()
    for _ in range(2):
        world, services = build(stand.config(), mode="rotate")
        services.close()
        holders.add(world.identity.holder)
        assert re.fullmatch(r"[A-Za-z0-9.-]+-\d+-[0-9a-f]{8}", world.identity.holder)
    assert len(holders) == 2


def test_the_limits_are_those_of_the_configuration(stand: Stand) -> None:
    stand.write([f"t{number}" for number in range(60)])
    world, services = build(stand.config(), mode="run")
    services.close()
    assert world.limits.max_dead == 6
    assert world.limits.claim_timeout == timedelta(seconds=8)
    assert world.identity.instance == "test"


@pytest.mark.parametrize("mode", sorted(READ_ONLY))
def test_a_command_that_changes_nothing_writes_nothing_and_gets_no_audit_trail(
    stand: Stand, mode: str
) -> None:
    before = stand.state()
    world, services = build(stand.config(), mode=mode)
    services.close()
    assert world.identity.installation == NONE_YET
    assert isinstance(world.audit, NoAudit)
    assert not stand.audit.exists()
    assert stand.state() == before
    assert world.audit.head() == "0" * 64
    with pytest.raises(AuditUnavailable):
        services.announce(world)


def test_the_audit_trail_is_a_file_or_standard_output(stand: Stand) -> None:
    services = connect(stand.config(), mode="run")
    services.close()
    assert isinstance(services.audit, FileAuditTrail)
    stand.write(audit="-")
    result = stand.run("run", "--once")
    assert result.returncode == 0
    assert '"event":"process.start"' in result.stdout
    assert StreamAuditTrail.__name__ not in result.stderr


def test_an_audit_file_that_cannot_be_opened_stops_a_command_that_acts(stand: Stand) -> None:
    stand.write(audit="/nowhere/at/all/audit.jsonl")
    with pytest.raises(AuditUnavailable):
        connect(stand.config(), mode="rotate")


def test_every_missing_reference_is_told_at_once(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in stand.environment:
        monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError) as caught:
        connect(stand.config(), mode="rotate")
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigurationError):
        connect(stand.config(), mode="run")


def test_a_management_key_that_cannot_be_read_is_no_key_that_was_refused_by_chance(
    stand: Stand,
) -> None:
    stand.write(management_key='{ vault = "secret/nowhere#key" }')
    world, services = build(stand.config(), mode="rotate")
    with pytest.raises(Unauthorised, match="there is no secret"):
        world.issuer.whoami_management()
    stand.sandbox.vault.sealed = True
    with pytest.raises(Transient, match="sealed"):
        world.issuer.whoami_management()
    services.close()


def test_a_key_in_vault_is_remembered_and_read_again_once_it_was_refused(stand: Stand) -> None:
    stand.sandbox.vault.write("secret", "root", {"key": stand.sandbox.management_key})
    stand.write(management_key='{ vault = "secret/root#key" }')
    world, services = build(stand.config(), mode="rotate")

    def reads() -> int:
        return sum(1 for call in stand.sandbox.calls.last() if call.path.endswith("/data/root"))

    for _ in range(3):
        world.issuer.list_keys(None)
    assert reads() == 1
    world.fleet.refuse("HTTP 401")
    world.issuer.list_keys(None)
    assert reads() == 2
    services.close()


def test_a_management_key_in_a_file_is_the_one_that_stands_there_now(stand: Stand) -> None:
    file = stand.folder / "management-key"
    file.write_text("sk-or-v1-" + "0" * 64)
    stand.write(management_key=f'{{ file = "{file}" }}')
    world, services = build(stand.config(), mode="rotate")
    with pytest.raises(Unauthorised):
        world.issuer.whoami_management()
    file.write_text(stand.sandbox.management_key)
    assert world.issuer.whoami_management().is_management_key
    file.unlink()
    with pytest.raises(Unauthorised, match="cannot be read"):
        world.issuer.whoami_management()
    services.close()


def test_an_approle_logs_in(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    role_id, secret_id = stand.sandbox.tokens.add_approle("rotator", ("root",))
    monkeypatch.setenv("SECRET_ID", secret_id)
    text = stand.path.read_text()
    line = next(line for line in text.splitlines() if line.startswith("auth"))
    auth = f'auth = {{ method = "approle", role_id = "{role_id}", secret_id = {{ env = "SECRET_ID" }} }}'
    stand.path.write_text(text.replace(line, auth))
    world, services = build(stand.config(), mode="rotate")
    services.close()
    assert world.identity.installation != NONE_YET


def test_the_index_of_a_short_command_is_filled_by_two_reads_for_each_target(stand: Stand) -> None:
    names = [f"t{number}" for number in range(8)]
    stand.write(names)
    assert stand.call("run", "--once").exit_code == 0
    world, services = build(stand.config(), mode="rotate")
    stand.sandbox.calls.reset()

    def spread(work: object, targets: object) -> None:
        one_by_one(work, targets)  # type: ignore[arg-type]

    assert not world.fleet.filled()
    fill_index(world, stand.config().targets, spread)
    services.close()
    assert world.fleet.filled()
    assert set(world.fleet.served_by()) == {stand.served(name) for name in names}
    assert stand.sandbox.calls.count("vault") == 2 * len(names)


def test_an_index_with_a_hole_is_no_index(stand: Stand) -> None:
    world, services = build(stand.config(), mode="rotate")
    stand.sandbox.vault.sealed = True
    with pytest.raises(Transient):
        fill_index(world, stand.config().targets, one_by_one)  # type: ignore[arg-type]
    assert not world.fleet.filled()
    services.close()
