"""Each way to log in, at the real Vault: what it is shown, and what becomes of its refusals."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import hvac
import pytest

from rotator.adapters.clock import SystemClock
from rotator.adapters.vault import (
    AppRoleAuth,
    CertAuth,
    JwtAuth,
    Login,
    Unwrapping,
    VaultClient,
    VaultSecretStore,
    VaultSettings,
)
from rotator.errors import Unauthorised
from rotator.secret import Secret
from tests.adapters.vault.conftest import Connect, HandClock
from tests.contract.secret_store_contract import race
from tests.servers.vault_server import VaultServer, find_vault

POLICY = 'path "secret/data/methods/*" { capabilities = ["create", "update", "read"] }'


@dataclass(frozen=True, slots=True)
class Place:
    """A Vault with a policy, and a path for one login method.

    Attributes:
        address: Vault's.
        root: a person with all rights.
        policy: the policy's name.
        mount: a path of a test's own, with a slash in it.
        connect: makes clients.
    """

    address: str
    root: hvac.Client
    policy: str
    mount: str
    make: Connect

    def connect(self, login: Login, clock: HandClock | None = None) -> VaultClient:
        """Return a client, as a process has it at its start."""
        return self.make(self.address, login, clock=clock or HandClock())

    def enable(self, kind: str, **settings: object) -> None:
        """Mount a login method and configure it."""
        self.root.sys.enable_auth_method(kind, path=self.mount)
        if settings:
            self.root.write_data(f"auth/{self.mount}/config", data=settings)

    def role(self, **settings: object) -> None:
        """Write the role ``rotator``."""
        told = {"token_policies": [self.policy], "token_ttl": "1h", **settings}
        self.root.write_data(f"auth/{self.mount}/role/rotator", data=told)

    def facts(self, client: VaultClient) -> Any:
        """Return what Vault knows of a client's token."""
        return self.root.auth.token.lookup(token_of(client))["data"]


@pytest.fixture
def place(real_vault: VaultServer, root: hvac.Client, connect: Connect) -> Iterator[Place]:
    root.sys.create_or_update_policy("rotator-methods", POLICY)
    mount = f"team/{uuid.uuid4().hex[:8]}"
    yield Place(real_vault.address, root, "rotator-methods", mount, connect)
    root.sys.disable_auth_method(mount)


def token_of(client: VaultClient) -> str:
    return client._keeper.current().grant.token.reveal()


# --- tokens that somebody signs ----------------------------------------------------------------------


class Signer:
    """Signs tokens with a key that Vault's transit engine makes for a test."""

    def __init__(self, root: hvac.Client) -> None:
        self._root = root
        self._mount = f"transit-{uuid.uuid4().hex[:8]}"
        root.sys.enable_secrets_engine("transit", path=self._mount)
        root.secrets.transit.create_key("k", key_type="rsa-2048", mount_point=self._mount)
        key = root.secrets.transit.read_key("k", mount_point=self._mount)["data"]
        self.public: str = key["keys"]["1"]["public_key"]

    def sign(self, **claims: object) -> str:
        """Return a token with these claims, valid for an hour."""
        now = int(time.time())
        head = {"alg": "RS256", "typ": "JWT"}
        body = {"iat": now, "nbf": now - 5, "exp": now + 3600, "jti": uuid.uuid4().hex, **claims}
        text = f"{_base64(json.dumps(head).encode())}.{_base64(json.dumps(body).encode())}"
        answer = self._root.secrets.transit.sign_data(
            "k",
            hash_input=base64.b64encode(text.encode()).decode(),
            hash_algorithm="sha2-256",
            signature_algorithm="pkcs1v15",
            mount_point=self._mount,
        )
        signature = base64.b64decode(answer["data"]["signature"].rpartition(":")[2])
        return f"{text}.{_base64(signature)}"

    def close(self) -> None:
        self._root.sys.disable_secrets_engine(self._mount)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.fixture
def signer(root: hvac.Client) -> Iterator[Signer]:
    made = Signer(root)
    yield made
    made.close()


def test_a_token_in_a_file_is_read_again_at_each_login_by_jwt(
    place: Place, signer: Signer, tmp_path: Path
) -> None:
    place.enable("jwt", jwt_validation_pubkeys=[signer.public])
    place.role(role_type="jwt", user_claim="sub", bound_audiences=["vault"])
    file = tmp_path / "jwt"
    file.write_text(signer.sign(sub="first", aud="vault"))
    login = JwtAuth("jwt", "rotator", lambda: Secret(file.read_text()), place.mount)
    client = place.connect(login)
    assert VaultSecretStore(client).read("secret/methods/a").version == 0
    assert place.facts(client)["display_name"].endswith("-first")

    file.write_text(signer.sign(sub="second", aud="vault"))
    place.root.auth.token.revoke(token_of(client))
    assert VaultSecretStore(client).read("secret/methods/a").version == 0
    assert place.facts(client)["display_name"].endswith("-second")

    file.write_text(signer.sign(sub="third", aud="somebody-else"))
    with pytest.raises(Unauthorised, match="audience") as caught:
        place.connect(login).token()
    assert file.read_text() not in str(caught.value)


class ApiServer:
    """What Vault's Kubernetes method asks: a TokenReview for the tokens that are known here."""

    def __init__(self, accounts: dict[str, str]) -> None:
        self.accounts = accounts
        self.reviewed: list[str] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                token = body["spec"]["token"]
                stand_in.reviewed.append(token)
                text = json.dumps(stand_in.review(self.path, body)).encode()
                self.send_response(201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def review(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == "/apis/authentication.k8s.io/v1/tokenreviews"
        user = self.accounts.get(body["spec"]["token"])
        status: dict[str, Any] = {"authenticated": False, "error": "not known"}
        if user is not None:
            status = {
                "authenticated": True,
                "user": {"username": user, "uid": "u-1", "groups": ["system:authenticated"]},
                "audiences": ["vault"],
            }
        return {**body, "status": status}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_a_service_accounts_token_is_reviewed_and_read_again_at_each_login(
    place: Place, signer: Signer, tmp_path: Path
) -> None:
    def projected() -> str:
        return signer.sign(
            iss="https://kubernetes.default.svc",
            sub="system:serviceaccount:keys:rotator",
            aud=["vault"],
            **{
                "kubernetes.io": {
                    "namespace": "keys",
                    "serviceaccount": {"name": "rotator", "uid": "u-1"},
                }
            },
        )

    file = tmp_path / "token"
    first, second, unknown = projected(), projected(), projected()
    accounts = dict.fromkeys((first, second), "system:serviceaccount:keys:rotator")
    with ApiServer(accounts) as api:
        place.enable(
            "kubernetes",
            kubernetes_host=api.address,
            token_reviewer_jwt=signer.sign(sub="reviewer"),
            disable_local_ca_jwt=True,
        )
        place.role(
            bound_service_account_names="rotator",
            bound_service_account_namespaces="keys",
            audience="vault",
        )
        login = JwtAuth("kubernetes", "rotator", lambda: Secret(file.read_text()), place.mount)
        client = place.connect(login)
        file.write_text(first)
        assert VaultSecretStore(client).read("secret/methods/a").version == 0
        file.write_text(second)
        place.root.auth.token.revoke(token_of(client))
        assert VaultSecretStore(client).read("secret/methods/a").version == 0
        assert api.reviewed == [first, second]
        file.write_text(unknown)
        with pytest.raises(Unauthorised, match="permission denied"):
            place.connect(login).token()


# --- certificates ------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of a test's own, in Vault's PKI engine."""

    def __init__(self, root: hvac.Client, name: str) -> None:
        self._root = root
        self._mount = f"pki-{name}"
        root.sys.enable_secrets_engine("pki", path=self._mount)
        made = root.secrets.pki.generate_root("internal", name, mount_point=self._mount)
        self.certificate: str = made["data"]["certificate"]
        role = {"allow_any_name": True, "enforce_hostnames": False, "max_ttl": "1h"}
        root.secrets.pki.create_or_update_role("client", role, mount_point=self._mount)

    def issue(self, name: str) -> tuple[str, str]:
        """Return a client certificate and its key."""
        data = self._root.secrets.pki.generate_certificate("client", name, mount_point=self._mount)[
            "data"
        ]
        return data["certificate"], data["private_key"]


@contextmanager
def certified(server: VaultServer, login: Login, folder: Path) -> Iterator[VaultClient]:
    settings = VaultSettings(
        server.address,
        ca_cert=server.ca_cert,
        client_cert=folder / "tls.crt",
        client_key=folder / "tls.key",
    )
    client = VaultClient(settings, login, SystemClock())
    yield client
    client.close()


def put(folder: Path, certificate: str, key: str) -> None:
    """Write a certificate and its key as cert-manager does: each takes the place of the old one."""
    for name, text in (("tls.crt", certificate), ("tls.key", key)):
        (folder / "new").write_text(text)
        (folder / "new").replace(folder / name)


@pytest.fixture(scope="module")
def secure_vault(vault_session: VaultServer) -> Iterator[VaultServer]:
    """A second Vault, with TLS; where there is no binary the first one says so."""
    assert vault_session.address
    binary = find_vault()
    assert binary is not None
    with VaultServer(binary, tls=True) as server:
        yield server


def test_a_certificate_logs_in_and_a_new_one_is_taken_up_without_a_restart(
    secure_vault: VaultServer, tmp_path: Path
) -> None:
    root = hvac.Client(
        url=secure_vault.address, token=secure_vault.root_token, verify=str(secure_vault.ca_cert)
    )
    trusted, stranger = Authority(root, "trusted"), Authority(root, "stranger")
    root.sys.create_or_update_policy("rotator-methods", POLICY)
    root.sys.enable_auth_method("cert", path="team/cert")
    role = {
        "certificate": trusted.certificate, "allowed_common_names": ["rotator"],
        "token_policies": ["rotator-methods"], "token_ttl": "1h",
    }  # fmt: skip
    root.write_data("auth/team/cert/certs/web", data=role)
    old, new = trusted.issue("rotator"), trusted.issue("new")

    put(tmp_path, *stranger.issue("rotator"))
    with certified(secure_vault, CertAuth("web", "team/cert"), tmp_path) as client:
        store = VaultSecretStore(client)
        with pytest.raises(Unauthorised, match="certificate"):
            store.read("secret/methods/a")
        put(tmp_path, *old)
        assert store.read("secret/methods/a").version == 0
        # The certificate of the next hour, beside the key of the last one.
        (tmp_path / "tls.crt").write_text(new[0])
        assert store.read("secret/methods/a").version == 0
        put(tmp_path, *new)
        root.write_data("auth/team/cert/certs/web", data=role | {"allowed_common_names": ["new"]})
        assert CertAuth("web", "team/cert").log_in(client._connect).renewable
        # While the pair is replaced again and again, no call fails and no login is refused.
        pairs = [trusted.issue("new") for _ in range(2)]
        done = threading.Event()

        def read(number: int) -> None:
            if number:
                for _ in range(30):
                    assert store.read("secret/methods/a").version == 0
                return
            for turn in range(40):
                put(tmp_path, *pairs[turn % 2])
            done.set()

        assert [r for r in race(read, 5) if isinstance(r, Exception)] == []
        assert done.is_set()
        with pytest.raises(Unauthorised):
            CertAuth("no-such-role", "team/cert").log_in(client._connect)
        assert CertAuth(None, "team/cert").log_in(client._connect).renewable
    root.adapter.close()


# --- AppRole -----------------------------------------------------------------------------------------


@pytest.fixture
def approle(place: Place) -> str:
    """A role "rotator"; its role id."""
    place.enable("approle")
    place.role()
    answer = place.root.auth.approle.read_role_id("rotator", mount_point=place.mount)
    role_id: str = answer["data"]["role_id"]
    return role_id


def secret_id(place: Place) -> Secret:
    answer = place.root.auth.approle.generate_secret_id("rotator", mount_point=place.mount)
    return Secret(answer["data"]["secret_id"])


def wrapped_secret_id(place: Place) -> str:
    answer = place.root.auth.approle.generate_secret_id(
        "rotator", mount_point=place.mount, wrap_ttl="5m"
    )
    token: str = answer["wrap_info"]["token"]
    return token


@pytest.fixture
def by_wrapped(approle: str, place: Place, tmp_path: Path) -> Callable[[], AppRoleAuth]:
    """Makes logins as a process does at each start, with the token in the file ``wrapped``."""
    file = tmp_path / "wrapped"

    def make() -> AppRoleAuth:
        return AppRoleAuth(
            lambda: Secret(approle),
            lambda: Secret(file.read_text()),
            place.mount,
            lambda: file.stat().st_mtime_ns,
            Unwrapping(),
        )

    return make


def test_a_wrapped_secret_id_is_opened_once_and_serves_every_later_login(
    place: Place, by_wrapped: Callable[[], AppRoleAuth], tmp_path: Path
) -> None:
    file = tmp_path / "wrapped"
    file.write_text(wrapped_secret_id(place))
    client = place.connect(by_wrapped())
    store = VaultSecretStore(client)
    assert store.read("secret/methods/a").version == 0
    place.root.auth.token.revoke(token_of(client))
    assert store.read("secret/methods/a").version == 0
    before = token_of(client)
    file.write_text(wrapped_secret_id(place))
    os.utime(file, ns=(1, 1))
    assert store.read("secret/methods/a").version == 0
    assert token_of(client) != before


def test_a_wrapped_secret_id_that_somebody_opened_is_said_so(
    place: Place, by_wrapped: Callable[[], AppRoleAuth], tmp_path: Path
) -> None:
    token = wrapped_secret_id(place)
    (tmp_path / "wrapped").write_text(token)
    thief = hvac.Client(url=place.address, token=token)
    stolen = thief.sys.unwrap()["data"]
    with pytest.raises(Unauthorised, match="somebody else has the secret id") as caught:
        place.connect(by_wrapped()).token()
    assert token not in str(caught.value)
    # The thief puts a token of his own there, so that nothing seems amiss.
    thief.token = place.root.token
    again = thief.sys.wrap(payload={"secret_id": stolen["secret_id"]}, ttl=300)
    (tmp_path / "wrapped").write_text(again["wrap_info"]["token"])
    with pytest.raises(Unauthorised, match="was not made at auth/"):
        place.connect(by_wrapped()).token()
    thief.adapter.close()


def test_a_batch_token_is_not_renewed_but_replaced(place: Place, approle: str) -> None:
    place.role(token_ttl="1h", token_type="batch")
    secret = secret_id(place)
    login = AppRoleAuth(lambda: Secret(approle), lambda: secret, place.mount)
    clock = HandClock()
    client = place.connect(login, clock)
    store = VaultSecretStore(client)
    assert store.read("secret/methods/a").version == 0
    first = token_of(client)
    assert first.startswith("hvb.")
    assert place.facts(client)["type"] == "batch"
    clock.seconds += 2401
    assert store.read("secret/methods/a").version == 0
    assert token_of(client) != first


def test_a_token_is_renewed_until_its_last_end_comes_near_and_replaced_then(
    place: Place, approle: str
) -> None:
    secret = secret_id(place)
    login = AppRoleAuth(lambda: Secret(approle), lambda: secret, place.mount)
    clock = HandClock()
    client = place.connect(login, clock)
    store = VaultSecretStore(client)
    assert store.read("secret/methods/a").version == 0
    first = token_of(client)
    clock.seconds += 2401
    assert store.read("secret/methods/a").version == 0
    assert token_of(client) == first
    assert place.facts(client)["last_renewal_time"] > 0
    # From here on a renewal gives less than the hour before, as at a token's last end.
    place.role(token_ttl="50m", token_max_ttl="50m")
    clock.seconds += 2401
    assert store.read("secret/methods/a").version == 0
    assert token_of(client) != first


def test_a_thief_who_wraps_the_secret_id_again_in_a_cubbyhole_is_noticed(
    place: Place, by_wrapped: Callable[[], AppRoleAuth], tmp_path: Path
) -> None:
    thief = hvac.Client(url=place.address, token=wrapped_secret_id(place))
    stolen = thief.sys.unwrap()["data"]["secret_id"]
    thief.token = place.root.auth.token.create(policies=["default"])["auth"]["client_token"]
    path = f"/v1/cubbyhole/auth/{place.mount}/role/rotator/secret-id"
    thief.adapter.post(path, json={"secret_id": stolen})
    again = thief.adapter.get(path, wrap_ttl="5m")
    told = again if isinstance(again, dict) else again.json()
    (tmp_path / "wrapped").write_text(told["wrap_info"]["token"])
    with pytest.raises(Unauthorised, match="was not made at auth/"):
        place.connect(by_wrapped()).token()
    thief.adapter.close()


def test_a_secret_id_that_is_refused_is_not_tried_until_vault_locks_the_role(
    place: Place, approle: str
) -> None:
    held, stamp = [Secret("wrong")], [1]
    auth = AppRoleAuth(
        lambda: Secret(approle), lambda: held[0], place.mount, stamp=lambda: stamp[0]
    )
    store = VaultSecretStore(place.connect(auth))
    for _ in range(12):
        with pytest.raises(Unauthorised, match="invalid role or secret ID"):
            store.read("secret/methods/a")
    held[0], stamp[0] = secret_id(place), 2
    assert store.read("secret/methods/a").version == 0, "the role is not locked"
