"""hvac drives the simulated Vault, and the real Vault judges its answers."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import hvac
import pytest
from hvac import exceptions

from rotator.sandbox.server import Sandbox
from tests.sandbox.conftest import StillClock
from tests.servers.vault_server import VaultServer, find_vault


@pytest.fixture
def vault(sandbox: Sandbox) -> Iterator[hvac.Client]:
    client = hvac.Client(url=sandbox.vault_url, token=sandbox.vault_token)
    yield client
    client.adapter.close()


def test_hvac_reads_what_it_wrote_by_check_and_set(vault: hvac.Client) -> None:
    kv = vault.secrets.kv.v2
    written = kv.create_or_update_secret("apps/a", {"KEY": "v", "other": "o"}, cas=0)
    read = kv.read_secret_version("apps/a", raise_on_deleted_version=True)

    assert read["data"]["data"] == {"KEY": "v", "other": "o"}
    assert read["data"]["metadata"] == written["data"]
    with pytest.raises(exceptions.InvalidRequest, match="did not match the current version"):
        kv.create_or_update_secret("apps/a", {"KEY": "w"}, cas=0)
    assert kv.create_or_update_secret("apps/a", {"KEY": "w"}, cas=1)["data"]["version"] == 2
    old = kv.read_secret_version("apps/a", version=1, raise_on_deleted_version=True)
    assert old["data"]["data"]["KEY"] == "v"


def test_hvac_deletes_brings_back_and_destroys(vault: hvac.Client) -> None:
    kv = vault.secrets.kv.v2
    kv.create_or_update_secret("a", {"KEY": "v"})
    kv.delete_latest_version_of_secret("a")
    with pytest.raises(exceptions.InvalidPath):
        kv.read_secret_version("a", raise_on_deleted_version=True)
    gone = kv.read_secret_version("a", raise_on_deleted_version=False)
    assert (gone["data"]["data"], gone["data"]["metadata"]["version"]) == (None, 1)

    kv.undelete_secret_versions("a", [1])
    assert kv.read_secret_version("a", raise_on_deleted_version=True)["data"]["data"]["KEY"] == "v"
    kv.delete_secret_versions("a", [1])
    kv.destroy_secret_versions("a", [1])
    assert kv.read_secret_metadata("a")["data"]["versions"]["1"]["destroyed"] is True
    kv.delete_metadata_and_all_versions("a")
    with pytest.raises(exceptions.InvalidPath):
        kv.read_secret_metadata("a")


def test_hvac_reads_writes_and_lists_metadata(vault: hvac.Client) -> None:
    kv = vault.secrets.kv.v2
    kv.update_metadata("f/a", max_versions=3, cas_required=True, custom_metadata={"owner": "us"})
    with pytest.raises(exceptions.InvalidRequest, match="check-and-set parameter required"):
        kv.create_or_update_secret("f/a", {"x": "1"})
    kv.create_or_update_secret("f/a", {"x": "1"}, cas=0)

    found = kv.read_secret_metadata("f/a")["data"]
    assert (found["max_versions"], found["custom_metadata"]) == (3, {"owner": "us"})
    assert kv.list_secrets("f")["data"]["keys"] == ["a"]
    with pytest.raises(exceptions.InvalidPath):
        kv.list_secrets("nowhere")


def test_hvac_uses_a_mount_whose_name_has_slashes(vault: hvac.Client, sandbox: Sandbox) -> None:
    sandbox.vault.mount("team/kv")
    kv = vault.secrets.kv.v2
    kv.create_or_update_secret("a/b", {"x": "1"}, mount_point="team/kv")
    mount = vault.adapter.get("/v1/sys/internal/ui/mounts/team/kv/a/b")["data"]

    assert (mount["path"], mount["type"], mount["options"]) == ("team/kv/", "kv", {"version": "2"})
    assert sandbox.vault.read("team/kv", "a/b")["data"] == {"x": "1"}


def test_hvac_sees_that_a_mount_is_of_version_1(vault: hvac.Client, sandbox: Sandbox) -> None:
    sandbox.vault.mount("old", version=1)
    mount = vault.adapter.get("/v1/sys/internal/ui/mounts/old/a")["data"]

    assert mount["options"]["version"] == "1"


def test_hvac_logs_in_by_approle_and_is_held_to_its_policy(sandbox: Sandbox) -> None:
    sandbox.tokens.add_policy("apps", {"secret/data/apps/+": {"read", "create"}})
    role_id, secret_id = sandbox.tokens.add_approle("rotator", ("apps",))
    client = hvac.Client(url=sandbox.vault_url)
    client.auth.approle.login(role_id=role_id, secret_id=secret_id)
    kv = client.secrets.kv.v2
    kv.create_or_update_secret("apps/a", {"x": "1"}, cas=0)

    assert client.lookup_token()["data"]["policies"] == ["apps", "default"]
    assert client.auth.token.renew_self()["auth"]["lease_duration"] == 3600
    beyond: list[Callable[[], object]] = [
        lambda: kv.create_or_update_secret("apps/a", {"x": "2"}),  # that is an update
        lambda: kv.read_secret_metadata("apps/a"),
        lambda: kv.delete_latest_version_of_secret("apps/a"),
    ]
    for denied in beyond:
        with pytest.raises(exceptions.Forbidden, match="permission denied"):
            denied()
    client.adapter.close()


def test_an_expired_token_is_refused_and_a_revoked_one_too(
    sandbox: Sandbox, clock: StillClock
) -> None:
    token = sandbox.tokens.add_token(("root",), ttl=timedelta(minutes=1))
    client = hvac.Client(url=sandbox.vault_url, token=token)
    assert client.is_authenticated()
    clock.advance(minutes=1)
    with pytest.raises(exceptions.Forbidden):
        client.lookup_token()

    client.token = sandbox.tokens.add_token()
    client.auth.token.revoke_self()
    assert not client.is_authenticated()
    client.adapter.close()


def test_a_sealed_vault_answers_nothing_but_that_it_is_sealed(
    vault: hvac.Client, sandbox: Sandbox
) -> None:
    vault.secrets.kv.v2.create_or_update_secret("a", {"x": "1"})
    sandbox.vault.sealed = True

    with pytest.raises(exceptions.VaultDown, match="Vault is sealed"):
        vault.secrets.kv.v2.read_secret_version("a", raise_on_deleted_version=True)
    assert vault.sys.is_sealed() is True
    assert vault.sys.read_health_status(method="GET").status_code == 503
    sandbox.vault.sealed = False
    assert vault.sys.read_health_status(method="GET")["sealed"] is False


def call(
    url: str, token: str | None, method: str, path: str, body: Any = None
) -> tuple[int, Any, dict[str, str]]:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    headers = {} if token is None else {"X-Vault-Token": token}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    raw = answer.read()
    connection.close()
    return answer.status, json.loads(raw) if raw else None, dict(answer.getheaders())


def test_every_answer_has_the_servers_date(sandbox: Sandbox, clock: StillClock) -> None:
    clock.advance(days=400)
    for path in ("/v1/secret/data/none", "/v1/sys/health", "/v1/auth/token/lookup-self", "/v1/x"):
        headers = call(sandbox.vault_url, sandbox.vault_token, "GET", path)[2]
        assert parsedate_to_datetime(headers["date"]) == clock.time


# The real server. Every call is sent to both, and ours must be part of the real answer.

POLICY = {
    "secret/data/sim/a": {"read"},
    "secret/data/sim/new/+": {"create"},
}
CAS_2 = {"data": {"x": "2"}, "options": {"cas": 2}}
AS_ROOT: list[tuple[str, str, Any]] = [
    ("GET", "secret/data/sim/a", None),
    ("GET", "secret/metadata/sim/a", None),
    ("POST", "secret/data/sim/a", {"data": {"x": "1"}, "options": {"cas": 1}}),
    ("POST", "secret/data/sim/a", {"data": {"x": "1"}, "options": {"cas": 0}}),
    ("GET", "secret/data/sim/a", None),
    ("PUT", "secret/data/sim/a", {"data": {"x": "2"}}),
    ("POST", "secret/data/sim/a", {"data": {"x": "2"}, "options": {"cas": 0}}),
    ("POST", "secret/data/sim/a", {"data": {"x": "2"}, "options": {"cas": "2"}}),
    ("POST", "secret/data/sim/a", {"data": {"x": "2"}, "options": {"cas": 1.5}}),
    ("POST", "secret/data/sim/a", {"data": {"x": "2"}, "options": {"cas": "x"}}),
    ("POST", "secret/data/sim/a", {"data": "x"}),
    ("POST", "secret/data/sim/a", {}),
    ("GET", "secret/data/sim/a?version=1", None),
    ("GET", "secret/data/sim/a?version=9", None),
    ("GET", "secret/data/sim/a?version=x", None),
    ("GET", "secret/metadata/sim/a", None),
    ("DELETE", "secret/data/sim/a", None),
    ("GET", "secret/data/sim/a", None),
    ("POST", "secret/data/sim/a", {"data": {"x": "4"}, "options": {"cas": 0}}),
    ("POST", "secret/data/sim/a", {"data": {"x": "4"}, "options": {"cas": 3}}),
    ("POST", "secret/undelete/sim/a", {"versions": [3]}),
    ("POST", "secret/destroy/sim/a", {"versions": [2]}),
    ("GET", "secret/data/sim/a?version=2", None),
    ("GET", "secret/data/sim/a?version=3", None),
    ("POST", "secret/destroy/sim/a", {}),
    ("POST", "secret/delete/sim/a", {"versions": ["4", 77]}),
    ("GET", "secret/data/sim/a", None),
    ("POST", "secret/undelete/sim/a", {"versions": [4]}),
    ("POST", "secret/undelete/sim/none", {"versions": [4]}),
    ("DELETE", "secret/data/sim/none", None),
    ("DELETE", "secret/metadata/sim/none", None),
    ("POST", "secret/metadata/sim/a", {"custom_metadata": {"k": "v"}, "max_versions": 2}),
    ("POST", "secret/data/sim/a", {"data": {"x": "5"}}),
    ("GET", "secret/metadata/sim/a", None),
    ("GET", "secret/data/sim/a?version=3", None),
    ("POST", "secret/metadata/sim/m", {"cas_required": True}),
    ("GET", "secret/data/sim/m", None),
    ("GET", "secret/metadata/sim/m", None),
    ("POST", "secret/data/sim/m", {"data": {"x": "5"}}),
    ("POST", "secret/data/sim/m", {"data": {"x": "5"}, "options": {"cas": 0}}),
    ("POST", "secret/data/sim/f/g", {"data": {}}),
    ("LIST", "secret/metadata/sim", None),
    ("GET", "secret/metadata/sim/?list=true", None),
    ("LIST", "secret/metadata/sim/a", None),
    ("DELETE", "secret/metadata/sim/a", None),
    ("GET", "secret/metadata/sim/a", None),
    ("POST", "secret/data/sim/a", {"data": {"x": "9"}, "options": {"cas": 0}}),
    ("GET", "nowhere/data/a", None),
    ("POST", "nowhere/data/a", {"data": {}}),
    ("GET", "secret/a", None),
    ("GET", "secret/data", None),
    ("GET", "secret/destroy/a", None),
    ("POST", "sim/kv/data/a", {"data": {"x": "1"}}),
    ("GET", "sim/kv/data/a", None),
    ("GET", "sim-old/data/a", None),
    ("POST", "sim-old/data/a", {"data": {"x": "1"}}),
    ("GET", "sim-old/data/a", None),
    *(
        ("GET", f"sys/internal/ui/mounts/{path}", None)
        for path in ("secret/a", "sim/kv/a/b", "sim-old/a", "nowhere/a", "sim/a")
    ),
    ("GET", "auth/token/lookup-self", None),
    ("POST", "auth/token/renew-self", {}),
    ("GET", "sys/health", None),
    ("GET", "sys/seal-status", None),
    ("POST", "auth/approle/login", {"role_id": "x", "secret_id": "y"}),
]
AS_ROLE: list[tuple[str, str, Any]] = [
    ("GET", "auth/token/lookup-self", None),
    ("POST", "auth/token/renew-self", {}),
    ("POST", "auth/token/renew-self", {"increment": "1m30s"}),
    ("POST", "auth/token/renew-self", {"increment": "x"}),
    ("GET", "secret/data/sim/a", None),
    ("GET", "secret/data/sim/m", None),
    ("POST", "secret/data/sim/a", {"data": {}}),
    ("POST", "secret/data/sim/new/n", {"data": {}}),
    ("POST", "secret/data/sim/new/n", {"data": {}}),
    ("GET", "nowhere/data/a", None),
    ("GET", "sys/internal/ui/mounts/secret/b", None),
    ("GET", "sys/internal/ui/mounts/sim-old/b", None),
    ("POST", "auth/token/revoke-self", {}),
    ("GET", "auth/token/lookup-self", None),
]
AS_NOBODY = [AS_ROLE[0], AS_ROLE[1], AS_ROLE[4], AS_ROLE[10]]
UNLIKE = {
    "accessor",
    "id",
    "client_token",
    "creation_time",
    "server_time_utc",
    "cluster_name",
    "ttl",
}


def differences(ours: Any, real: Any, place: str = "") -> list[str]:
    """Say where our answer is not part of the real one; times and identifiers are only typed."""
    if isinstance(ours, dict) and isinstance(real, dict):
        return [
            problem
            for key, value in ours.items()
            for problem in (
                differences(value, real[key], f"{place}.{key}")
                if key in real
                else [f"{place}.{key} is none of the real answer's"]
            )
        ]
    if place == ".errors" and ours and real and len(ours) == len(real):
        pairs = zip(ours, real, strict=True)
        return [f"{mine!r} is not {its!r}" for mine, its in pairs if mine not in its]
    if place.rpartition(".")[2] in UNLIKE:
        return [] if type(ours) is type(real) else [f"{place}: {ours!r} is not {real!r}"]
    if isinstance(ours, str) and isinstance(real, str):
        for kind in (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", r"[0-9a-f-]{36}"):
            if re.fullmatch(kind, ours) and re.fullmatch(kind, real):
                return []
    return [] if ours == real else [f"{place}: {ours!r} is not {real!r}"]


class Pair:
    """The same engines, policy and role in a sandbox and in a real Vault."""

    def __init__(self, sandbox: Sandbox, real: VaultServer) -> None:
        self.sandbox, self.real = sandbox, real
        self.differences: list[tuple[str, str, Any]] = []
        self._prepare("POST", "sys/mounts/sim/kv", {"type": "kv", "options": {"version": "2"}})
        self._prepare("POST", "sys/mounts/sim-old", {"type": "kv", "options": {"version": "1"}})
        self._prepare("POST", "sys/auth/approle", {"type": "approle"})
        rules = [f'path "{p}" {{capabilities={json.dumps(sorted(c))}}}' for p, c in POLICY.items()]
        self._prepare("PUT", "sys/policies/acl/sim", {"policy": "\n".join(rules)})
        self._prepare("POST", "auth/approle/role/r", {"token_policies": "sim", "token_ttl": "1h"})
        sandbox.vault.mount("sim/kv")
        sandbox.vault.mount("sim-old", version=1)
        sandbox.tokens.add_policy("sim", POLICY)

    def _prepare(self, method: str, path: str, body: Any) -> Any:
        status, answer, _ = call(
            self.real.address, self.real.root_token, method, f"/v1/{path}", body
        )
        assert status in {200, 204}, (path, answer)
        return answer

    def compare(
        self, tokens: tuple[str | None, str | None], step: tuple[str, str, Any]
    ) -> tuple[Any, Any]:
        method, path, body = step
        ours = call(self.sandbox.vault_url, tokens[0], method, f"/v1/{path}", body)
        real = call(self.real.address, tokens[1], method, f"/v1/{path}", body)
        if ours[0] != real[0]:
            self.differences.append((method, path, (ours[:2], real[:2])))
        elif problems := differences(ours[1], real[1]):
            self.differences.append((method, path, problems))
        return ours[1], real[1]


@pytest.fixture
def own_vault(real_vault: VaultServer) -> Iterator[VaultServer]:
    """A server that no other test uses: these tests seal it and mount what they like."""
    binary = find_vault()
    assert binary is not None
    with VaultServer(binary) as server:
        yield server


def test_the_simulated_vault_answers_as_the_real_one_does(
    sandbox: Sandbox, own_vault: VaultServer
) -> None:
    pair = Pair(sandbox, own_vault)
    for step in AS_ROOT:
        pair.compare((sandbox.vault_token, own_vault.root_token), step)
    real_role = pair._prepare("GET", "auth/approle/role/r/role-id", None)["data"]["role_id"]
    real_secret = pair._prepare("POST", "auth/approle/role/r/secret-id", {})["data"]["secret_id"]
    role, secret = sandbox.tokens.add_approle("r", ("sim",))
    logins = (
        call(
            sandbox.vault_url,
            None,
            "POST",
            "/v1/auth/approle/login",
            {"role_id": role, "secret_id": secret},
        ),
        call(
            own_vault.address,
            None,
            "POST",
            "/v1/auth/approle/login",
            {"role_id": real_role, "secret_id": real_secret},
        ),
    )
    assert differences(logins[0][1], logins[1][1]) == []
    held = (logins[0][1]["auth"]["client_token"], logins[1][1]["auth"]["client_token"])
    for step in AS_ROLE:
        pair.compare(held, step)
    for step in AS_NOBODY:
        pair.compare((None, None), step)
        pair.compare(("hvs.unknown", "hvs.unknown"), step)

    assert pair.differences == []


def test_a_sealed_simulated_vault_answers_as_a_sealed_real_one_does(
    sandbox: Sandbox, own_vault: VaultServer
) -> None:
    pair = Pair(sandbox, own_vault)
    assert call(own_vault.address, own_vault.root_token, "PUT", "/v1/sys/seal")[0] == 204
    sandbox.vault.sealed = True
    for path in ("secret/data/a", "sys/health", "sys/seal-status", "auth/token/lookup-self"):
        pair.compare((sandbox.vault_token, own_vault.root_token), ("GET", path, None))
    pair.compare((None, None), ("POST", "auth/approle/login", {}))
    assert pair.differences == []
