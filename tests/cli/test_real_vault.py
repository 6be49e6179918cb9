"""The commands against a real Vault, with no more rights than `check` asks for."""

from __future__ import annotations

import uuid

import hvac

from tests.servers.vault_server import VaultServer
from tests.wiring.stand import CALM, FIELD, QUICK, Stand, eventually

NOTHING = 'path "secret/data/elsewhere" { capabilities = ["read"] }'


def prepared(stand: Stand, server: VaultServer, policy: str = NOTHING) -> tuple[hvac.Client, str]:
    """Point the stand at a real Vault, with a token of a policy; return hands and the prefix."""
    hands = hvac.Client(url=server.address, token=server.root_token)
    prefix = uuid.uuid4().hex
    hands.sys.create_or_update_policy(prefix, policy.replace("PREFIX", prefix))
    token = hands.auth.token.create(policies=[prefix], ttl="1h")["auth"]["client_token"]
    stand.environment["STAND_VAULT_TOKEN"] = token
    text = stand.write(policy=QUICK, vault=server.address).read_text()
    text = text.replace('"secret/rotator"', f'"secret/{prefix}/state"')
    stand.path.write_text(text.replace('"secret/apps/', f'"secret/{prefix}/apps/'))
    return hands, prefix


ENOUGH = """
path "secret/data/PREFIX/apps/billing-api" { capabilities = ["create", "read", "update"] }
path "secret/metadata/PREFIX/apps/billing-api" { capabilities = ["read"] }
path "secret/data/PREFIX/state/targets/billing-api" { capabilities = ["create", "read", "update"] }
path "secret/data/PREFIX/state/installation" { capabilities = ["create", "read"] }
path "secret/data/PREFIX/state/lease" { capabilities = ["create", "read", "update"] }
path "secret/data/PREFIX/state/pulse" { capabilities = ["create", "read", "update"] }
"""


def test_check_names_each_missing_right_as_a_line_of_a_policy(
    stand: Stand, real_vault: VaultServer
) -> None:
    hands, prefix = prepared(stand, real_vault)
    result = stand.call("check")
    assert result.exit_code == 1
    hints = [
        line.split("add to a policy: ")[1]
        for line in result.output.splitlines()
        if "add to" in line
    ]
    assert len(hints) == 6
    hands.sys.create_or_update_policy(prefix, "\n".join(hints))
    result = stand.call("check")
    assert result.exit_code == 0, result.output
    assert "all on 6 paths" in result.output
    hands.adapter.close()


def test_the_rights_that_check_asks_for_are_enough_for_a_whole_life(
    stand: Stand, real_vault: VaultServer
) -> None:
    hands, prefix = prepared(stand, real_vault, ENOUGH)
    assert stand.call("check").exit_code == 0
    assert stand.call("run", "--once").exit_code == 0
    old = stand.document("status")["targets"][0]["served"]["hash"]
    told = stand.document("rotate", "billing-api")["targets"][0]
    assert told["old"] == old
    read = hands.secrets.kv.v2.read_secret_version(
        f"{prefix}/apps/billing-api", raise_on_deleted_version=True
    )
    assert read["data"]["metadata"]["version"] == told["secret_version"] == 2
    assert stand.sandbox.account.works(told["new"])
    assert FIELD in read["data"]["data"]

    def gone() -> bool:
        stand.call("run", "--once")
        return bool(stand.issued()[old]["deleted"])

    assert eventually(gone, "the old key is deleted")
    assert stand.call("plan").exit_code == 0
    assert stand.call("audit", "verify", str(stand.audit)).exit_code == 0
    hands.adapter.close()


def test_a_rollback_takes_the_value_from_an_older_version_and_refuses_a_destroyed_one(
    stand: Stand, real_vault: VaultServer
) -> None:
    hands, prefix = prepared(stand, real_vault, ENOUGH)
    text = stand.path.read_text()
    stand.path.write_text(text.replace(QUICK, CALM))
    assert stand.call("run", "--once").exit_code == 0
    rotated = stand.document("rotate", "billing-api")["targets"][0]
    first, second = rotated["old"], rotated["new"]
    assert stand.call("retire", "billing-api").exit_code == 0
    assert not stand.sandbox.account.works(first)
    told = stand.document("rollback", "billing-api")
    assert (told["result"], told["old"], told["new"]) == ("rolled_back", second, first)
    assert told["secret_version"] == 3
    assert stand.sandbox.account.works(first)
    path = f"{prefix}/apps/billing-api"
    hands.secrets.kv.v2.destroy_secret_versions(path, [2])
    refused = stand.document("rollback", "billing-api", code=1)
    assert refused["reason"] == "value_gone"
    read = hands.secrets.kv.v2.read_secret_version(path, raise_on_deleted_version=True)
    assert read["data"]["metadata"]["version"] == 3
    hands.adapter.close()


def test_a_secret_that_exists_needs_no_right_to_be_created(
    stand: Stand, real_vault: VaultServer
) -> None:
    less = ENOUGH.replace(
        'apps/billing-api" { capabilities = ["create", ', 'apps/billing-api" { capabilities = ['
    )
    hands, prefix = prepared(stand, real_vault, less)
    result = stand.call("check")
    assert result.exit_code == 0, result.output
    assert f"secret/data/{prefix}/apps/billing-api lacks create" in result.output
    hands.adapter.close()
