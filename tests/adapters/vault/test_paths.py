"""Which paths are allowed, where their mount ends, and which mounts are refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import hvac
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.adapters.vault import Place, TokenAuth, VaultLedgerStore, VaultSecretStore
from rotator.adapters.vault.paths import segments
from rotator.errors import Refused, Transient
from rotator.secret import Secret, SecretFields
from tests.adapters.vault.conftest import Connect, HandClock
from tests.adapters.vault.raw_vault import RawVault, answer, errors, page
from tests.servers.vault_server import VaultServer

UNUSABLE = [
    "",
    "/",
    "secret",
    "secret/",
    "/secret/a",
    "secret//a",
    "secret/a/",
    "secret/./a",
    "secret/../sys/seal",
    "secret/a/../../sys/seal",
    "../secret/a",
    "secret/a\x00",
    "secret/a\nb",
    "secret/a\x1b[31m",
    "secret/\u202ea",
    "secret/\ud800",
    "secret/ a",
    "secret/a ",
    "secret/\u2003a",
]


@pytest.mark.parametrize("path", UNUSABLE)
def test_an_unusable_path_is_refused_before_anything_is_sent(
    vault: RawVault, store: VaultSecretStore, path: str
) -> None:
    for act in (
        lambda: store.read(path),
        lambda: store.metadata(path),
        lambda: store.write(path, SecretFields({}), 0),
    ):
        with pytest.raises(Refused, match="the path is not usable") as caught:
            act()
        assert str(caught.value).isprintable()
    assert vault.asked == []


def test_a_ledger_name_cannot_leave_the_state(vault: RawVault, connect: Connect) -> None:
    ledger = VaultLedgerStore(connect(vault.address), "secret/rotator/prod")
    with pytest.raises(Refused, match="not usable"):
        ledger.read("../other/targets/a")
    assert vault.asked == []


@given(st.text(max_size=30))
def test_whatever_is_let_through_stays_inside_its_mount(path: str) -> None:
    try:
        parts = segments(path)
    except Refused:
        return
    assert "/".join(parts) == path
    assert not {"", ".", ".."} & set(parts)
    assert path.isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a?b=c",
        "a#b",
        "a%2e%2e",
        "%2E%2E",
        "a+b",
        "a*b",
        "a;b",
        "a&b",
        "{a}",
        "ключ",
        "鍵",
        "...",
    ],
)
def test_an_odd_name_is_quoted_so_that_the_real_vault_sees_it_as_it_is(
    real_vault: VaultServer, root: hvac.Client, connect: Connect, name: str
) -> None:
    store = VaultSecretStore(
        connect(real_vault.address, TokenAuth(lambda: Secret(real_vault.root_token)))
    )
    folder = f"odd-{uuid.uuid4().hex}"
    store.write(f"secret/{folder}/{name}", SecretFields({"a": "1"}), cas=0)
    assert store.read(f"secret/{folder}/{name}").version == 1
    assert store.metadata(f"secret/{folder}/{name}").version == 1
    listed = root.secrets.kv.v2.list_secrets(folder, mount_point="secret")
    assert listed["data"]["keys"] == [name]


@pytest.fixture
def mounts(root: hvac.Client) -> Iterator[None]:
    root.sys.enable_secrets_engine("kv", path="team/a/kv", options={"version": "2"})
    root.sys.enable_secrets_engine("kv", path="team/old", options={"version": "1"})
    root.sys.create_or_update_policy(
        "team-blind", 'path "team/a/kv/data/x" { capabilities = ["read"] }'
    )
    yield
    for path in ("team/a/kv", "team/old"):
        root.sys.disable_secrets_engine(path)


@pytest.mark.usefixtures("mounts")
def test_a_mount_with_slashes_in_its_name_is_found_and_asked_for_once(
    real_vault: VaultServer, connect: Connect
) -> None:
    client = connect(real_vault.address, TokenAuth(lambda: Secret(real_vault.root_token)))
    store = VaultSecretStore(client)
    path = f"team/a/kv/{uuid.uuid4().hex}/b"
    assert store.write(path, SecretFields({"a": "1"}), cas=0).version == 1
    assert store.read(path).version == 1
    assert client.locate(path).mount == "team/a/kv"
    assert client.locate("secret/x/y") == Place("secret", "x/y")


@pytest.mark.usefixtures("mounts")
def test_the_real_vaults_version_1_mount_is_refused_by_name(
    real_vault: VaultServer, connect: Connect
) -> None:
    client = connect(real_vault.address, TokenAuth(lambda: Secret(real_vault.root_token)))
    expected = "mount team/old is KV version 1; rotator needs version 2 for check-and-set"
    with pytest.raises(Refused, match=expected):
        VaultSecretStore(client).write("team/old/a", SecretFields({"a": "1"}), cas=0)


@pytest.mark.parametrize("path", ["sys/seal", "cubbyhole/a", "identity/entity"])
def test_an_engine_that_is_no_kv_is_refused(
    real_vault: VaultServer, connect: Connect, path: str
) -> None:
    client = connect(real_vault.address, TokenAuth(lambda: Secret(real_vault.root_token)))
    with pytest.raises(Refused, match="is no KV engine"):
        VaultSecretStore(client).read(path)


def test_a_mount_that_does_not_exist_is_no_absent_secret(
    real_vault: VaultServer, connect: Connect
) -> None:
    client = connect(real_vault.address, TokenAuth(lambda: Secret(real_vault.root_token)))
    with pytest.raises(Refused, match="no handler for route"):
        VaultSecretStore(client).read("nowhere/a")


def mount_calls(vault: RawVault) -> int:
    return sum("internal/ui/mounts" in asked.path for asked in vault.asked)


def test_a_mount_is_asked_for_once_however_many_paths_it_has(
    vault: RawVault, store: VaultSecretStore
) -> None:
    for path in ("secret/a", "secret/b", "secret/c/d"):
        store.read(path)
    assert mount_calls(vault) == 1


def test_where_vault_does_not_say_the_first_segment_is_the_mount_for_a_while(
    vault: RawVault, connect: Connect
) -> None:
    clock = HandClock()
    store = VaultSecretStore(connect(vault.address, clock=clock))
    vault.respond = lambda asked: (
        errors(403, "preflight capability check returned 403")
        if "mounts" in asked.path
        else answer(200, {"data": {"ttl": 0}})
        if "lookup" in asked.path
        else errors(404)
    )
    assert store.read("team/a/kv/x").version == 0
    assert store.read("team/a/kv/y").version == 0
    assert mount_calls(vault) == 1
    assert vault.asked[-1].path == "team/data/a/kv/y"
    clock.seconds += 301
    store.read("team/a/kv/y")
    assert mount_calls(vault) == 2


def test_a_mount_that_cannot_be_asked_for_now_is_not_guessed(
    vault: RawVault, store: VaultSecretStore
) -> None:
    vault.scripted = lambda asked: "mounts" in asked.path
    elsewhere = answer(200, {"data": {"path": "other/", "type": "kv", "options": {"version": "2"}}})
    for reply in (page(404), errors(503, "Vault is sealed"), elsewhere):
        vault.will(reply)
        with pytest.raises(Transient):
            store.read("secret/a")
        assert len(vault.calls) == 1


def test_a_reference_gives_one_field_or_says_what_is_missing(
    real_vault: VaultServer, connect: Connect
) -> None:
    client = connect(real_vault.address, TokenAuth(lambda: Secret(real_vault.root_token)))
    store, path = VaultSecretStore(client), f"secret/{uuid.uuid4().hex}"
    with pytest.raises(Refused, match="there is no secret"):
        store.read_reference(path, "management_key")
    store.write(path, SecretFields({"management_key": "sk-1", "number": 7}), cas=0)
    assert store.read_reference(path, "management_key").reveal() == "sk-1"
    for field in ("other", "number"):
        with pytest.raises(Refused, match=f"there is no text in field {field}"):
            store.read_reference(path, field)
