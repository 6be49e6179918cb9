"""Tokens and values stay out of errors, logs and other hosts, and the environment has no say."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from requests.exceptions import RequestException

from rotator.adapters.vault import AppRoleAuth, TokenAuth, VaultSecretStore
from rotator.errors import RotatorError, ServiceError
from rotator.secret import Secret, SecretFields
from tests.adapters.loopback import Reply, hang_up
from tests.adapters.vault.conftest import TOKEN, VALUE, Connect
from tests.adapters.vault.raw_vault import Asked, RawVault, answer, errors, page, usual
from tests.adapters.vault.test_answers import NOT_UNDERSTOOD, NOTHING_HAPPENED

ROOT = Path(__file__).resolve().parents[3]
FIELDS = SecretFields(
    {"KEY": VALUE, "pem": '-----CANARY\nwith "quotes"-----', "deep": [{"x": "CANARYdeep"}]}
)

ECHOES = {
    f"{status} that repeats the {part}": (status, part)
    for status in (400, 403, 405, 413, 429, 500, 503)
    for part in ("token", "body", "headers")
}


def echo(status: int, part: str, asked: Asked) -> Reply:
    told = {
        "token": asked.headers.get("x-vault-token", ""),
        "body": asked.body.decode(),
        "headers": json.dumps(dict(asked.headers)),
    }[part]
    return errors(status, f"bad request: {told}")


def everything_about(error: BaseException) -> str:
    """What a careless log could print of an error, its causes included."""
    found, waiting = [], [error]
    while waiting:
        one = waiting.pop()
        found += [str(one), repr(one), repr(one.args), repr(getattr(one, "__dict__", {}))]
        waiting += [e for e in (one.__cause__, one.__context__) if e is not None]
    return "\n".join(found)


def assert_clean(error: ServiceError) -> None:
    assert "CANARY" not in everything_about(error)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert str(error).isprintable()
    assert len(str(error)) < 500


@pytest.fixture
def debug_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.mark.parametrize(
    "reply",
    [*NOT_UNDERSTOOD.values(), *(reply for reply, _ in NOTHING_HAPPENED.values())],
    ids=[*NOT_UNDERSTOOD, *NOTHING_HAPPENED],
)
def test_no_failure_carries_the_token_or_a_value(
    vault: RawVault, store: VaultSecretStore, reply: Reply, debug_log: pytest.LogCaptureFixture
) -> None:
    vault.will(reply)
    for act in (
        lambda: store.write("secret/a", FIELDS, cas=2),
        lambda: store.read("secret/a"),
        lambda: store.metadata("secret/a"),
    ):
        with pytest.raises(ServiceError) as caught:
            act()
        assert_clean(caught.value)
    assert "CANARY" not in debug_log.text


@pytest.mark.parametrize(("status", "part"), ECHOES.values(), ids=ECHOES)
def test_a_server_that_repeats_what_it_was_sent_is_not_quoted(
    vault: RawVault, store: VaultSecretStore, status: int, part: str
) -> None:
    vault.respond = lambda asked: (
        echo(status, part, asked) if asked.path.startswith("secret/") else usual(asked)
    )
    for act in (lambda: store.write("secret/a", FIELDS, cas=2), lambda: store.read("secret/a")):
        with pytest.raises(ServiceError) as caught:
            act()
        assert_clean(caught.value)


def test_a_login_that_is_refused_does_not_repeat_its_credential(
    vault: RawVault, connect: Connect
) -> None:
    login = AppRoleAuth(lambda: Secret("CANARYrole"), lambda: Secret("CANARYsecretid"))
    vault.respond = lambda asked: echo(400, "body", asked)
    with pytest.raises(ServiceError) as caught:
        connect(vault.address, login).token()
    assert_clean(caught.value)


def test_vaults_message_reaches_the_operator_in_one_clean_line(
    vault: RawVault, store: VaultSecretStore
) -> None:
    vault.will(errors(400, "2 errors\n\t* one \x1b[31mred\x1b[0m", "x" * 1000))
    with pytest.raises(ServiceError) as caught:
        store.read("secret/a")
    assert "2 errors * one [31mred" in str(caught.value)
    assert_clean(caught.value)


def test_what_prints_a_client_a_login_or_an_answer_prints_no_secret(
    vault: RawVault, connect: Connect
) -> None:
    login = TokenAuth(lambda: Secret(TOKEN))
    client = connect(vault.address, login)
    client.token()
    held = client._keeper.current()
    outcome = client.call("x", lambda via: via.get("/v1/auth/token/lookup-self"), needs="")
    printed = repr((client, login, held, held.grant, outcome, vars(client), vars(client._keeper)))
    assert "CANARY" not in printed


def test_no_exception_of_the_libraries_is_left_behind_holding_a_request(
    vault: RawVault, store: VaultSecretStore
) -> None:
    vault.will(hang_up())
    with pytest.raises(RotatorError):
        store.read("secret/a")
    gc.collect()
    held = [o for o in gc.get_objects() if isinstance(o, RequestException)]
    assert held == []


# --- the environment -----------------------------------------------------------------------------

PROBE = textwrap.dedent("""
    import sys
    from datetime import timedelta
    from rotator.adapters.clock import SystemClock
    from rotator.adapters.vault import TokenAuth, VaultClient, VaultSecretStore, VaultSettings
    from rotator.errors import RotatorError
    from rotator.secret import Secret

    token = sys.argv[2]
    settings = VaultSettings(sys.argv[1], timeout=timedelta(seconds=5))
    store = VaultSecretStore(VaultClient(settings, TokenAuth(lambda: Secret(token)), SystemClock()))
    try:
        print(store.read("secret/a").version)
    except RotatorError as error:
        print(type(error).__name__)
""")


def probe(address: str, token: str, home: Path, **variables: str) -> str:
    """What a process of its own says that reads one secret in a hostile environment."""
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, address, token],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home), **variables},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_nothing_ambient_changes_where_a_call_goes_or_what_it_carries(
    vault: RawVault, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login evil password netrcCANARY\n")
    (tmp_path / ".netrc").chmod(0o600)
    (tmp_path / ".vault-token").write_text("hvs.fileCANARY")
    with RawVault() as proxy:
        said = probe(
            vault.address,
            "hvs.given",
            tmp_path,
            VAULT_ADDR=proxy.address,
            VAULT_TOKEN="hvs.envCANARY",
            VAULT_NAMESPACE="envCANARY",
            VAULT_CACERT="/nonexistent",
            VAULT_CAPATH="/nonexistent",
            VAULT_CLIENT_CERT="/nonexistent",
            VAULT_CLIENT_KEY="/nonexistent",
            VAULT_SKIP_VERIFY="true",
            REQUESTS_CA_BUNDLE="/nonexistent",
            CURL_CA_BUNDLE="/nonexistent",
            SSL_CERT_FILE="/nonexistent",
            SSLKEYLOGFILE=str(tmp_path / "keys.log"),
            NETRC=str(tmp_path / ".netrc"),
            HTTP_PROXY=proxy.address,
            http_proxy=proxy.address,
            HTTPS_PROXY=proxy.address,
            ALL_PROXY=proxy.address,
        )
        assert proxy.asked == []
    assert said == "0"
    assert [asked.path for asked in vault.asked][-1] == "secret/data/a"
    for asked in vault.asked:
        assert asked.headers["x-vault-token"] == "hvs.given"
        assert "CANARY" not in repr(asked)
        assert "authorization" not in asked.headers
        assert "x-vault-namespace" not in asked.headers
    assert not (tmp_path / "keys.log").exists()


def test_without_a_token_of_its_own_it_takes_none_from_the_environment(
    vault: RawVault, tmp_path: Path
) -> None:
    (tmp_path / ".vault-token").write_text("hvs.fileCANARY")
    assert probe(vault.address, "", tmp_path, VAULT_TOKEN="hvs.envCANARY") == "Unauthorised"
    assert vault.asked == []


def test_cookies_are_not_kept(vault: RawVault, store: VaultSecretStore) -> None:
    vault.will(errors(404, set_cookie="session=CANARY; Path=/"))
    store.read("secret/a")
    store.read("secret/a")
    assert not [asked for asked in vault.asked if "cookie" in asked.headers]


def test_a_namespace_is_sent_with_every_call(vault: RawVault) -> None:
    from rotator.adapters.clock import SystemClock
    from rotator.adapters.vault import VaultClient, VaultSettings

    def both(asked: Asked) -> Reply:
        if asked.path.endswith("/login"):
            auth: dict[str, Any] = {"client_token": "hvs.x", "lease_duration": 60}
            return answer(200, {"auth": auth})
        return usual(asked)

    vault.respond = both
    login = AppRoleAuth(lambda: Secret("role"), lambda: Secret("id"))
    client = VaultClient(VaultSettings(vault.address, namespace="team/a"), login, SystemClock())
    VaultSecretStore(client).read("secret/a")
    client.close()
    assert [asked.headers.get("x-vault-namespace") for asked in vault.asked] == ["team/a"] * 3


def test_a_page_that_repeats_the_token_is_not_quoted(
    vault: RawVault, store: VaultSecretStore
) -> None:
    vault.will(page(502, x_echo=TOKEN), answer(500, TOKEN.encode()))
    for _ in range(2):
        with pytest.raises(ServiceError) as caught:
            store.read("secret/a")
        assert_clean(caught.value)
