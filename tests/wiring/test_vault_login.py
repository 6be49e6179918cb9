"""From ``vault.auth`` to a login, and credentials that change while the program runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rotator.adapters.vault import AppRoleAuth, CertAuth, JwtAuth, TokenAuth
from rotator.config import Config, parse
from rotator.wiring import References, own_secrets
from rotator.wiring.vault_login import login, vault_settings

TEXT = """
instance = "prod"
[openrouter]
management_key = { env = "KEY" }
[vault]
address = "https://vault.example.com"
auth = { AUTH }
state = "rotator/prod"
client_cert = "/client.pem"
client_key = "/client.key"
ca_cert = "/ca.pem"
namespace = "team-a"
[[target]]
name = "a"
secret = "secret/a"
"""


def config(auth: str) -> Config:
    return parse(TEXT.replace("AUTH", auth).encode(), Path("config.toml"))


def secrets_of(auth: str) -> list[str]:
    return [f"{setting}: {source}" for setting, source in own_secrets(config(auth))[1:]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("token", "role-id", "secret-id", "jwt"):
        (tmp_path / name).write_text(f"{name}\n")
    return tmp_path


def test_each_method_becomes_its_login(folder: Path) -> None:
    references = References({"JWT": "from-the-environment"})

    token = login(config(f'method = "token", token = {{ file = "{folder}/token" }}'), references)
    assert isinstance(token, TokenAuth)
    assert token.token().reveal() == "token"

    both = (
        f'role_id = {{ file = "{folder}/role-id" }}, secret_id = {{ file = "{folder}/secret-id" }}'
    )
    approle = login(config(f'method = "approle", mount = "x/y", {both}'), references)
    assert isinstance(approle, AppRoleAuth)
    assert approle.role_id().reveal() == "role-id"
    assert approle.secret_id().reveal() == "secret-id"
    assert (approle.mount, approle.wrapping) == ("x/y", None)
    wrapped = login(config(f'method = "approle", wrapped = true, {both}'), references)
    assert isinstance(wrapped, AppRoleAuth)
    assert wrapped.wrapping is not None

    pod = login(
        config(f'method = "kubernetes", role = "r", jwt = {{ file = "{folder}/jwt" }}'), references
    )
    assert isinstance(pod, JwtAuth)
    assert (pod.method, pod.role, pod.mount) == ("kubernetes", "r", "kubernetes")
    assert pod.jwt().reveal() == "jwt"
    (folder / "jwt").write_text("the-next")
    assert pod.jwt().reveal() == "the-next"

    signed = login(config('method = "jwt", role = "r", jwt = { env = "JWT" }'), references)
    assert isinstance(signed, JwtAuth)
    assert (signed.method, signed.mount) == ("jwt", "jwt")
    assert signed.jwt().reveal() == "from-the-environment"

    assert login(config('method = "cert", role = "web"'), references) == CertAuth("web", "cert")


def test_the_connection_is_what_the_table_says() -> None:
    settings = vault_settings(config('method = "cert"'))
    assert settings.client_cert == Path("/client.pem")
    assert settings.client_key == Path("/client.key")
    assert settings.ca_cert == Path("/ca.pem")
    assert settings.namespace == "team-a"


def test_every_reference_of_a_login_is_a_secret_of_our_own() -> None:
    both = 'role_id = { env = "R" }, secret_id = { credential = "s" }'
    assert secrets_of('method = "token", token = { env = "T" }') == ["vault.auth.token: env T"]
    assert secrets_of(f'method = "approle", {both}') == [
        "vault.auth.role_id: env R",
        "vault.auth.secret_id: credential s",
    ]
    assert secrets_of('method = "kubernetes", role = "r"') == [
        "vault.auth.jwt: file /var/run/secrets/kubernetes.io/serviceaccount/token"
    ]
    assert secrets_of('method = "jwt", role = "r", jwt = { env = "J" }') == [
        "vault.auth.jwt: env J"
    ]
    assert secrets_of('method = "cert"') == []


def test_a_file_that_takes_the_place_of_another_is_seen_and_one_that_is_read_is_not(
    folder: Path,
) -> None:
    auth = config(f'method = "token", token = {{ file = "{folder}/token" }}')
    token = login(auth, References({}))
    assert isinstance(token, TokenAuth)
    before = token.stamp()
    token.token()
    assert token.stamp() == before
    (folder / "new").write_text("other")
    os.utime(folder / "new", ns=(0, (folder / "token").stat().st_mtime_ns))
    (folder / "new").replace(folder / "token")
    replaced = token.stamp()
    assert replaced != before
    (folder / "token").write_text("longer than before")
    assert token.stamp() != replaced
    (folder / "token").unlink()
    assert token.stamp() == (None,)


def test_a_credential_of_systemd_is_a_file_and_a_variable_never_changes(folder: Path) -> None:
    references = References({"CREDENTIALS_DIRECTORY": str(folder), "T": "x"})
    passed_on = login(config('method = "token", token = { credential = "token" }'), references)
    assert isinstance(passed_on, TokenAuth)
    before = passed_on.stamp()
    (folder / "token").write_text("another")
    assert passed_on.stamp() != before
    variable = login(config('method = "token", token = { env = "T" }'), references)
    assert isinstance(variable, TokenAuth)
    assert variable.stamp() == (None,)


def test_what_kubernetes_writes_for_everyone_in_the_pod_is_no_warning(folder: Path) -> None:
    (folder / "jwt").chmod(0o644)
    where = f'role = "r", jwt = {{ file = "{folder}/jwt" }}'
    assert config(f'method = "kubernetes", {where}').warnings == ()
    assert "may be read by everyone" in config(f'method = "jwt", {where}').warnings[0]
