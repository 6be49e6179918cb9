"""Where the token comes from, how it is kept fresh, and what a 403 means."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest

from rotator.adapters.vault import (
    AppRoleAuth,
    CertAuth,
    JwtAuth,
    Login,
    TokenAuth,
    VaultClient,
    VaultSecretStore,
    VaultSettings,
)
from rotator.errors import Refused, Transient, Unauthorised
from rotator.secret import Secret, SecretFields
from tests.adapters.loopback import Loopback, Reply, hang_up
from tests.adapters.vault.conftest import TOKEN, Connect, HandClock
from tests.adapters.vault.raw_vault import (
    Asked,
    RawVault,
    answer,
    errors,
    page,
    usual,
    value,
    written,
)
from tests.contract.secret_store_contract import race
from tests.servers.vault_server import VaultServer

POLICY = """
path "secret/data/login/*" { capabilities = ["create", "update", "read"] }
path "secret/metadata/login/*" { capabilities = ["read"] }
path "secret/data/readonly" { capabilities = ["read"] }
"""
DEAD = ("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n",)


@pytest.fixture
def policy(root: hvac.Client) -> str:
    root.sys.create_or_update_policy("rotator-login", POLICY)
    return "rotator-login"


@pytest.fixture
def approle(root: hvac.Client, policy: str) -> Iterator[AppRoleAuth]:
    root.sys.enable_auth_method("approle", path="approle-login")
    root.auth.approle.create_or_update_approle(
        "r", token_policies=[policy], token_ttl="1h", mount_point="approle-login"
    )
    role = root.auth.approle.read_role_id("r", mount_point="approle-login")["data"]["role_id"]
    secret = root.auth.approle.generate_secret_id("r", mount_point="approle-login")
    yield AppRoleAuth(
        lambda: Secret(role), lambda: Secret(secret["data"]["secret_id"]), mount="approle-login"
    )
    root.sys.disable_auth_method("approle-login")


def a_token(root: hvac.Client, policy: str, **rest: Any) -> str:
    token: str = root.auth.token.create(policies=[policy], **rest)["auth"]["client_token"]
    return token


# --- the real Vault ------------------------------------------------------------------------------


def test_approle_logs_in_and_a_revoked_token_is_replaced_in_the_middle_of_a_write(
    real_vault: VaultServer, root: hvac.Client, approle: AppRoleAuth, connect: Connect
) -> None:
    client = connect(real_vault.address, approle)
    store = VaultSecretStore(client)
    assert store.write("secret/login/a", SecretFields({"n": "1"}), cas=0).version == 1
    root.auth.token.revoke(client._keeper.current().grant.token.reveal())
    assert store.write("secret/login/a", SecretFields({"n": "2"}), cas=1).version == 2
    assert store.read("secret/login/a").version == 2
    assert "rotator-login" in client.token().policies


def test_a_wrong_secret_id_is_our_own_credential_refused(
    real_vault: VaultServer, approle: AppRoleAuth, connect: Connect
) -> None:
    wrong = AppRoleAuth(approle.role_id, lambda: Secret("not-the-secret-id"), approle.mount)
    with pytest.raises(Unauthorised, match="invalid role or secret ID") as caught:
        connect(real_vault.address, wrong).token()
    assert "not-the-secret-id" not in str(caught.value)


def test_a_login_at_a_method_that_is_not_there_is_refused(
    real_vault: VaultServer, approle: AppRoleAuth, connect: Connect
) -> None:
    nowhere = AppRoleAuth(approle.role_id, approle.secret_id, "no-such-mount")
    with pytest.raises(Unauthorised):
        connect(real_vault.address, nowhere).token()


def test_a_missing_right_names_the_path_and_the_capability(
    real_vault: VaultServer, root: hvac.Client, policy: str, connect: Connect
) -> None:
    token = a_token(root, policy)
    store = VaultSecretStore(connect(real_vault.address, TokenAuth(lambda: Secret(token))))
    for act, needs in (
        (lambda: store.read("secret/other"), "read on secret/data/other"),
        (lambda: store.metadata("secret/readonly"), "read on secret/metadata/readonly"),
        (
            lambda: store.write("secret/readonly", SecretFields({}), 0),
            "create on secret/data/readonly",
        ),
        (
            lambda: store.write("secret/readonly", SecretFields({}), 4),
            "update on secret/data/readonly",
        ),
    ):
        with pytest.raises(Refused, match=f"permission denied; needs {needs}$") as caught:
            act()
        assert caught.value.status == 403


def test_a_token_that_vault_does_not_know_is_unauthorised(
    real_vault: VaultServer, connect: Connect
) -> None:
    store = VaultSecretStore(connect(real_vault.address))
    with pytest.raises(Unauthorised):
        store.read("secret/login/a")


def test_a_token_file_that_an_agent_rewrote_is_read_again_after_a_refusal(
    real_vault: VaultServer, root: hvac.Client, policy: str, connect: Connect, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(a_token(root, policy))
    auth = TokenAuth(lambda: Secret(file.read_text().strip()))
    store = VaultSecretStore(connect(real_vault.address, auth))
    assert store.read("secret/login/rewritten").version == 0
    root.auth.token.revoke(file.read_text())
    with pytest.raises(Unauthorised):
        store.read("secret/login/rewritten")
    file.write_text(a_token(root, policy))
    assert store.read("secret/login/rewritten").version == 0


def test_a_renewable_token_is_prolonged_after_two_thirds_of_its_life(
    real_vault: VaultServer, root: hvac.Client, policy: str, connect: Connect
) -> None:
    token, clock = a_token(root, policy, ttl="1h", period="1h"), HandClock()
    client = connect(real_vault.address, TokenAuth(lambda: Secret(token)), clock=clock)
    store = VaultSecretStore(client)
    store.read("secret/login/renewed")
    first = client._keeper.current()
    clock.seconds += 2300
    store.read("secret/login/renewed")
    assert client._keeper.current() is first
    clock.seconds += 200
    store.read("secret/login/renewed")
    assert client._keeper.current().number == first.number + 1
    assert root.auth.token.lookup(token)["data"]["last_renewal_time"] > 0


def test_capabilities_and_facts_of_a_plain_token(
    real_vault: VaultServer, root: hvac.Client, policy: str, connect: Connect
) -> None:
    token = a_token(root, policy, ttl="1h")
    client = connect(real_vault.address, TokenAuth(lambda: Secret(token)))
    paths = ["secret/data/login/x", "secret/metadata/login/x", "secret/data/nowhere"]
    assert client.capabilities(paths) == {
        "secret/data/login/x": frozenset({"create", "update", "read"}),
        "secret/metadata/login/x": frozenset({"read"}),
        "secret/data/nowhere": frozenset({"deny"}),
    }
    facts = client.token()
    assert facts.policies == {"default", "rotator-login"}
    assert facts.ttl is not None
    assert 3500 < facts.ttl.total_seconds() <= 3600
    assert facts.renewable


def test_a_token_without_the_default_policy_works_and_may_not_ask_for_its_rights(
    real_vault: VaultServer, root: hvac.Client, policy: str, connect: Connect
) -> None:
    token = a_token(root, policy, no_default_policy=True)
    client = connect(real_vault.address, TokenAuth(lambda: Secret(token)))
    assert VaultSecretStore(client).read("secret/login/plain").version == 0
    with pytest.raises(Unauthorised, match="without lookup-self"):
        client.capabilities(["secret/data/login/x"])


# --- scripted answers ----------------------------------------------------------------------------


class Tokens:
    """A Vault that knows one living token, and issues a new one at each AppRole login."""

    def __init__(self, vault: RawVault, ttl: int = 3600) -> None:
        self.vault, self.ttl = vault, ttl
        self.alive: set[str] = set()
        self.issued = 0
        self.renewable = True
        self.renewed: int | None = None  # seconds that a renewal gives; None refuses it
        self.denied: tuple[str, ...] = ()
        vault.scripted = lambda asked: True
        vault.respond = self.usually

    def login(self) -> Reply:
        self.issued += 1
        token = f"hvs.CANARY{self.issued}"
        self.alive = {token}
        return answer(200, {"auth": self.auth(token, self.ttl)})

    def auth(self, token: str, ttl: int) -> dict[str, Any]:
        return {"client_token": token, "lease_duration": ttl, "renewable": self.renewable}

    def usually(self, asked: Asked) -> Reply:
        if asked.path.endswith("/login"):
            return self.login()
        if asked.headers.get("x-vault-token") not in self.alive:
            return errors(403, *DEAD)
        if asked.path == "auth/token/renew-self" and self.renewed is not None:
            return answer(200, {"auth": self.auth(asked.headers["x-vault-token"], self.renewed)})
        if asked.path in self.denied:
            return errors(403, "1 error occurred:\n\t* permission denied\n\n")
        if asked.path.startswith("secret/data/"):
            return value(1, {"a": "b"}) if asked.method == "GET" else written(1)
        return usual(asked)

    def count(self, part: str) -> int:
        return sum(part in call for call in self.vault.calls)


APPROLE = AppRoleAuth(lambda: Secret("role"), lambda: Secret("CANARYsecretid"))


@pytest.fixture
def tokens(vault: RawVault) -> Tokens:
    return Tokens(vault)


def test_many_threads_log_in_once(vault: RawVault, tokens: Tokens, connect: Connect) -> None:
    store = VaultSecretStore(connect(vault.address, APPROLE))
    in_threads(16, lambda: store.read("secret/a"))
    assert tokens.issued == 1
    tokens.alive.clear()
    in_threads(16, lambda: store.read("secret/a"))
    assert tokens.issued == 2


def test_threads_that_wait_for_one_login_share_its_failure(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    arrived = threading.Event()

    def slow(server: Loopback, connection: Any) -> None:
        # Long enough for the other threads to queue, as before a server that says nothing.
        arrived.wait(0.5)
        errors(503, "Vault is sealed")(server, connection)

    vault.respond = lambda asked: slow
    store = VaultSecretStore(connect(vault.address, APPROLE))
    results = race(lambda _: store.read("secret/a"), 8)
    assert [type(result) for result in results] == [Transient] * 8
    assert len(vault.asked) < 8
    vault.respond = tokens.usually
    assert store.read("secret/a").version == 1


def test_a_missing_right_does_not_make_a_login_of_every_call(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    clock = HandClock()
    store = VaultSecretStore(connect(vault.address, APPROLE, clock=clock))
    tokens.denied = ("secret/data/no",)
    for _ in range(5):
        with pytest.raises(Refused, match="needs read on secret/data/no"):
            store.read("secret/no")
    assert tokens.issued == 2
    clock.seconds += 11
    with pytest.raises(Refused):
        store.read("secret/no")
    assert tokens.issued == 3


def test_an_approle_token_is_replaced_after_two_thirds_of_its_life_by_one_thread(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    clock = HandClock()
    store = VaultSecretStore(connect(vault.address, APPROLE, clock=clock))
    store.read("secret/a")
    clock.seconds += 2401
    in_threads(8, lambda: store.read("secret/a"))
    assert tokens.issued == 2


def test_a_token_is_renewed_in_time_for_as_long_as_it_is_renewed_in_full(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    clock = HandClock()
    store = VaultSecretStore(connect(vault.address, APPROLE, clock=clock))
    store.read("secret/a")
    tokens.renewed = 3600
    for _ in range(5):
        clock.seconds += 2401
        store.read("secret/a")
    assert (tokens.issued, tokens.count("renew-self")) == (1, 5)
    # Vault rounds, and cuts a renewal at the token's last end.
    tokens.renewed = 3590
    clock.seconds += 2401
    store.read("secret/a")
    assert tokens.issued == 1
    tokens.renewed = 3000
    clock.seconds += 2401
    store.read("secret/a")
    assert tokens.issued == 2


def test_a_token_that_is_not_renewable_is_replaced_without_asking(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    clock = HandClock()
    store = VaultSecretStore(connect(vault.address, APPROLE, clock=clock))
    tokens.renewable = False
    store.read("secret/a")
    clock.seconds += 2401
    store.read("secret/a")
    assert (tokens.issued, tokens.count("renew-self")) == (2, 0)


def test_a_token_that_no_call_uses_is_kept_alive_by_the_heartbeat(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    clock = HandClock()
    client = connect(vault.address, APPROLE, clock=clock)
    tokens.renewed = 3600
    client.stay_logged_in()
    clock.seconds += 2401
    client.stay_logged_in()
    client.stay_logged_in()
    assert vault.calls == ["POST auth/approle/login", "POST auth/token/renew-self"]


@pytest.mark.parametrize(("spread", "renews_at"), [(0.0, 2400), (0.5, 2280), (1.0, 2160)])
def test_replicas_renew_at_different_times_and_none_after_two_thirds(
    vault: RawVault, tokens: Tokens, spread: float, renews_at: int
) -> None:
    clock = HandClock()
    client = VaultClient(VaultSettings(vault.address), APPROLE, clock, spread=lambda: spread)
    tokens.renewed = 3600
    client.stay_logged_in()
    clock.seconds += renews_at - 1
    client.stay_logged_in()
    assert tokens.count("renew-self") == 0
    clock.seconds += 2
    client.stay_logged_in()
    assert tokens.count("renew-self") == 1
    client.close()


def test_a_token_file_that_was_written_anew_is_taken_up_before_the_old_token_is_refused(
    vault: RawVault, tokens: Tokens, connect: Connect, tmp_path: Path
) -> None:
    file, clock = tmp_path / "token", HandClock()
    tokens.alive = {"old", "new"}
    file.write_text("old")
    auth = TokenAuth(lambda: Secret(file.read_text()), lambda: file.exists() and file.read_text())
    store = VaultSecretStore(connect(vault.address, auth, clock=clock))

    def used() -> str:
        store.read("secret/a")
        return vault.asked[-1].headers["x-vault-token"]

    assert used() == "old"
    file.write_text("new")
    assert used() == "new"
    # Between two writes the file may be empty or gone: the token in hand still lives.
    file.write_text("")
    assert used() == "new"
    file.unlink()
    asked = len(vault.asked)
    assert used() == "new"
    file.write_text("old")
    assert used() == "new"
    assert len(vault.asked) == asked + 2
    clock.seconds += 11
    assert used() == "old"


def test_a_bad_credential_written_anew_does_not_keep_the_token_from_being_renewed(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    clock, stamp, secret_id = HandClock(), ["good"], ["secret"]
    auth = AppRoleAuth(lambda: Secret("role"), lambda: Secret(secret_id[0]), stamp=lambda: stamp[0])
    client = connect(vault.address, auth, clock=clock)
    tokens.renewed = 3600
    client.stay_logged_in()
    stamp[0], secret_id[0] = "bad", ""
    for _ in range(1000):
        clock.seconds += 15  # the heartbeat, and no other call between
        client.stay_logged_in()
    assert tokens.issued == 1
    assert tokens.count("renew-self") >= 4


def test_a_file_that_was_touched_but_holds_the_same_token_changes_nothing(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    stamps = iter(range(100))
    tokens.alive = {TOKEN}
    auth = TokenAuth(lambda: Secret(TOKEN), lambda: next(stamps))
    client = connect(vault.address, auth)
    VaultSecretStore(client).read("secret/a")
    VaultSecretStore(client).read("secret/a")
    assert client._keeper.current().number == 1


def test_a_secret_id_that_was_written_anew_is_logged_in_with(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    secret = "CANARYfirst"
    auth = AppRoleAuth(lambda: Secret("role"), lambda: Secret(secret), stamp=lambda: secret)
    store = VaultSecretStore(connect(vault.address, auth))
    store.read("secret/a")
    secret = "CANARYsecond"
    store.read("secret/a")
    store.read("secret/a")
    assert tokens.issued == 2
    logins = [asked.body for asked in vault.asked if asked.path.endswith("/login")]
    assert [b"CANARYsecond" in body for body in logins] == [False, True]


@pytest.mark.parametrize(
    "auth",
    [
        APPROLE,
        JwtAuth("kubernetes", "r", lambda: Secret("j.w.t"), "kubernetes"),
        JwtAuth("jwt", "r", lambda: Secret("j.w.t"), "jwt"),
        CertAuth(),
    ],
)
def test_the_namespace_goes_with_a_login_as_with_every_call(
    vault: RawVault, tokens: Tokens, auth: Login
) -> None:
    settings = VaultSettings(vault.address, namespace="team-a/eu")
    client = VaultClient(settings, auth, HandClock())
    tokens.renewed = 3600
    VaultSecretStore(client).read("secret/a")
    client.close()
    assert vault.asked[0].path.endswith("/login")
    assert {asked.headers["x-vault-namespace"] for asked in vault.asked} == {"team-a/eu"}


def test_a_token_that_ended_unused_is_replaced_before_the_next_call(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    clock = HandClock()
    store = VaultSecretStore(connect(vault.address, APPROLE, clock=clock))
    store.read("secret/a")
    clock.seconds += 4000
    vault.asked.clear()
    store.read("secret/a")
    assert vault.calls == ["POST auth/approle/login", "GET secret/data/a"]


def test_while_a_renewal_fails_the_token_that_still_lives_is_used(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    clock = HandClock()
    store = VaultSecretStore(connect(vault.address, APPROLE, clock=clock))
    store.read("secret/a")
    vault.respond = lambda asked: (
        errors(503, "Vault is sealed") if "login" in asked.path else tokens.usually(asked)
    )
    clock.seconds += 2401
    assert store.read("secret/a").version == 1
    assert store.read("secret/a").version == 1
    assert tokens.count("login") == 2
    clock.seconds += 11
    assert store.read("secret/a").version == 1
    assert tokens.count("login") == 3
    clock.seconds += 2000
    with pytest.raises(Transient, match="sealed"):
        store.read("secret/a")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (errors(400, "invalid role or secret ID"), Unauthorised),
        (errors(403, "permission denied"), Unauthorised),
        (errors(404, "no handler for route"), Unauthorised),
        (errors(429, "rate limit quota exceeded"), Transient),
        (errors(500, "internal error"), Transient),
        (errors(503, "Vault is sealed"), Transient),
        (page(403), Transient),
        (page(200), Transient),
        (hang_up(), Transient),
        (answer(200, {"auth": None}), Transient),
        (answer(200, {"auth": {"client_token": 7}}), Transient),
        (answer(200, {"auth": {"client_token": ""}}), Unauthorised),
        (answer(200, {"auth": {"client_token": "a\r\nb"}}), Unauthorised),
        (answer(307, b"", location="http://elsewhere.invalid/"), Refused),
    ],
)
def test_a_login_that_fails_says_whether_it_may_succeed_later(
    vault: RawVault, tokens: Tokens, connect: Connect, reply: Reply, kind: type[Exception]
) -> None:
    vault.respond = lambda asked: reply
    with pytest.raises(kind) as caught:
        VaultSecretStore(connect(vault.address, APPROLE)).read("secret/a")
    assert type(caught.value) is kind
    assert vault.calls == ["POST auth/approle/login"]


def test_a_refusal_that_cannot_be_explained_now_is_transient(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    tokens.denied = ("secret/data/a",)
    vault.respond = lambda asked: (
        errors(503, "Vault is sealed") if "lookup" in asked.path else tokens.usually(asked)
    )
    with pytest.raises(Transient, match="whether the token is valid"):
        VaultSecretStore(connect(vault.address, APPROLE)).read("secret/a")


def test_a_403_that_is_not_vaults_costs_no_login(
    vault: RawVault, tokens: Tokens, connect: Connect
) -> None:
    store = VaultSecretStore(connect(vault.address, APPROLE))
    store.read("secret/a")
    vault.respond = lambda asked: page(403)
    with pytest.raises(Transient):
        store.read("secret/a")
    assert tokens.issued == 1


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "is empty"),
        ("a b", "not allowed"),
        ("a\nX-Evil: 1", "not allowed"),
        ("é", "not allowed"),
    ],
)
def test_a_token_that_no_header_may_hold_is_never_sent(
    vault: RawVault, connect: Connect, token: str, why: str
) -> None:
    client = connect(vault.address, TokenAuth(lambda: Secret(token)))
    with pytest.raises(Unauthorised, match=why):
        client.token()
    assert vault.asked == []


def test_a_token_that_cannot_be_read_is_said_so(
    vault: RawVault, connect: Connect, tmp_path: Path
) -> None:
    missing = TokenAuth(lambda: Secret((tmp_path / "no").read_text()))
    with pytest.raises(Unauthorised, match="No such file"):
        connect(vault.address, missing).token()
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xffCANARY")
    broken = TokenAuth(lambda: Secret(binary.read_text(encoding="utf-8")))
    with pytest.raises(Unauthorised, match="UnicodeDecodeError") as caught:
        connect(vault.address, broken).token()
    assert "CANARY" not in repr(caught.value)


def test_the_token_goes_into_its_header_and_nowhere_else(vault: RawVault, connect: Connect) -> None:
    vault.will(written(1))
    VaultSecretStore(connect(vault.address)).write("secret/a", SecretFields({"a": "b"}), cas=0)
    for asked in vault.asked:
        assert asked.headers["x-vault-token"] == TOKEN
        # No compression, so that an answer's size is known before it is unpacked.
        assert asked.headers["accept-encoding"] == "identity"
        others = {n: v for n, v in asked.headers.items() if n != "x-vault-token"}
        assert TOKEN not in asked.target + repr(others) + asked.body.decode()


def in_threads(number: int, act: Callable[[], object]) -> None:
    assert [r for r in race(lambda _: act(), number) if isinstance(r, Exception)] == []
