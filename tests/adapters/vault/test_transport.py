"""Below HTTP: TLS, many threads at once, every exception of the libraries, any answer at all."""

from __future__ import annotations

import http.client
import inspect
import json
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import hvac.exceptions
import pytest
import requests.exceptions
import urllib3.exceptions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rotator.adapters.clock import SystemClock
from rotator.adapters.vault import TokenAuth, VaultClient, VaultSecretStore, VaultSettings
from rotator.adapters.vault.reasons import (
    http_date,
    origin,
    reason_of,
    rfc3339,
    seconds_to_wait,
)
from rotator.adapters.vault.transport import EXPECTED, NoAnswer, Transport
from rotator.errors import ConfigurationError, RotatorError, Transient
from rotator.secret import Secret, SecretFields
from tests.adapters.loopback import head, raw
from tests.adapters.vault.conftest import TOKEN, Connect
from tests.adapters.vault.raw_vault import RawVault
from tests.contract.secret_store_contract import race
from tests.servers.vault_server import VaultServer, find_vault, free_port


def exceptions_of(*modules: Any) -> list[type[Exception]]:
    return [
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception) and not issubclass(kind, Warning)
    ]


LIBRARIES = exceptions_of(requests.exceptions, hvac.exceptions)


def instance(kind: type[Exception]) -> Exception:
    """An exception that holds what must not be told, made without its own constructor."""
    error = kind.__new__(kind)
    error.args = ("CANARY", "CANARY", 0)
    return error


@pytest.mark.parametrize("kind", LIBRARIES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_exception_of_the_libraries_becomes_a_value_with_words_of_our_own(
    vault: RawVault, connect: Connect, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert issubclass(kind, EXPECTED)
    words = reason_of(instance(kind), 30.0)
    assert words != "failed"
    assert "CANARY" not in words

    transport = Transport(VaultSettings(vault.address), SystemClock(), 1)

    def fail(*_: Any, **__: Any) -> None:
        raise instance(kind)

    monkeypatch.setattr(transport.session, "request", fail)
    assert transport.send("get", "/v1/x", Secret(TOKEN)) == NoAnswer(False, words)


def test_what_urllib3_and_the_standard_library_raise_is_expected_too() -> None:
    kinds = [*exceptions_of(urllib3.exceptions, http.client), socket.gaierror, ssl.SSLError]
    assert [kind for kind in kinds if not issubclass(kind, EXPECTED)] == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:{free}", "connection refused"),
        ("http://nowhere.invalid:8200", "the host name cannot be resolved"),
        ("https://127.0.0.1:{plain}", "TLS failed: wrong version number"),
    ],
)
def test_the_reason_of_a_failed_connection_is_told(
    real_vault: VaultServer, connect: Connect, address: str, words: str
) -> None:
    plain = real_vault.address.rsplit(":", 1)[1]
    client = connect(address.format(free=free_port(), plain=plain))
    with pytest.raises(Transient, match=words):
        client.check()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "vault:8200",
        "ftp://vault",
        "https://",
        "https://u:p@vault",
        "http://v:port",
        "http://v?x=1",
    ],
)
def test_an_address_that_is_none_is_a_configuration_error(connect: Connect, address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"vault\.address") as caught:
        connect(address)
    assert "u:p" not in str(caught.value)


def test_certificates_that_cannot_be_used_are_all_named(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    bad = VaultSettings("https://v", ca_cert=tmp_path / "none.pem", client_cert=garbage)
    with pytest.raises(ConfigurationError) as caught:
        VaultClient(bad, TokenAuth(lambda: Secret(TOKEN)), SystemClock())
    assert len(caught.value.problems) == 2
    assert "No such file" in caught.value.problems[0]
    assert str(garbage) in caught.value.problems[1]

    alone = VaultSettings("https://v", client_key=garbage)
    with pytest.raises(ConfigurationError, match="without client_cert"):
        VaultClient(alone, TokenAuth(lambda: Secret(TOKEN)), SystemClock())


@pytest.fixture(scope="module")
def tls_vault(vault_session: VaultServer) -> Iterator[tuple[str, Path]]:
    """A real Vault with a certificate of its own making: its address and authority."""
    binary = find_vault()
    assert binary is not None
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(str(binary), "server", "-dev", "-dev-tls", f"-dev-tls-cert-dir={folder}"),
            *(f"-dev-listen-address=127.0.0.1:{port}", "-dev-root-token-id=root"),
            "-dev-no-store-token",
        ]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"HOME": folder}
        ) as process:
            authority = Path(folder) / "vault-ca.pem"
            for _ in range(200):
                if authority.exists() and answers(port):
                    break
                time.sleep(0.05)
            yield f"https://127.0.0.1:{port}", authority
            process.terminate()


def answers(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def tls_client(address: str, ca_cert: Path | None) -> VaultClient:
    chosen = VaultSettings(address, ca_cert=ca_cert, timeout=timedelta(seconds=10))
    return VaultClient(chosen, TokenAuth(lambda: Secret("root")), SystemClock())


def test_a_certificate_of_the_given_authority_is_accepted(tls_vault: tuple[str, Path]) -> None:
    client = tls_client(*tls_vault)
    assert client.check().version
    assert client.token().policies == {"root"}
    adapter = client._transport.session.get_adapter("https://")
    # The given authority is trusted and no other beside it.
    assert len(adapter._tls.get_ca_certs()) == 1  # type: ignore[attr-defined]
    client.close()


def test_a_certificate_of_an_unknown_authority_is_refused_before_the_token_is_sent(
    tls_vault: tuple[str, Path],
) -> None:
    client = tls_client(tls_vault[0], None)
    with pytest.raises(Transient, match="certificate is not accepted") as caught:
        client.token()
    assert caught.value.status is None
    client.close()


def test_a_certificate_for_another_name_is_refused(tls_vault: tuple[str, Path]) -> None:
    address, authority = tls_vault
    with Forwarder(int(address.rsplit(":", 1)[1])) as port:
        client = tls_client(f"https://127.0.0.2:{port}", authority)
        with pytest.raises(Transient, match="certificate is not accepted"):
            client.token()
        client.close()


class Forwarder:
    """Listens on 127.0.0.2 and passes bytes on to a port of 127.0.0.1, both ways, once."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.2", 0))

    def __enter__(self) -> int:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        port: int = self._listener.getsockname()[1]
        return port

    def _run(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._target))

        def copy(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        back = threading.Thread(target=copy, args=(far, near), daemon=True)
        back.start()
        copy(near, far)
        back.join()
        near.close()
        far.close()

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._listener.close()


def test_sixteen_threads_share_a_client_and_none_sees_anothers_answer(
    real_vault: VaultServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(real_vault.address, TokenAuth(lambda: Secret(real_vault.root_token)))
    store = VaultSecretStore(client)

    def work(number: int) -> str:
        path, seen = f"secret/threads/{id(client)}-{number}", ""
        for turn in range(10):
            store.write(path, SecretFields({"v": f"{number}.{turn}"}), cas=turn)
            read = store.read(path)
            assert read.version == store.metadata(path).version == turn + 1
            assert read.fields is not None
            seen = read.fields.reveal()["v"]
        return seen

    with caplog.at_level("WARNING", logger="urllib3"):
        assert race(work, 16) == [f"{number}.9" for number in range(16)]
    assert "pool is full" not in caplog.text


def test_connections_are_kept_between_calls(real_vault: VaultServer, connect: Connect) -> None:
    client = connect(real_vault.address, TokenAuth(lambda: Secret(real_vault.root_token)))
    store = VaultSecretStore(client)
    for _ in range(20):
        store.read("secret/kept")
    pools = client._transport.session.adapters["http://"].poolmanager.pools  # type: ignore[attr-defined]
    (pool,) = (pools[key] for key in pools.keys())  # noqa: SIM118 - urllib3's own container
    assert pool.num_connections == 1
    assert pool.num_requests >= 20


def test_an_outage_ends_without_a_new_client(real_vault: VaultServer, connect: Connect) -> None:
    client = connect(real_vault.address, TokenAuth(lambda: Secret(real_vault.root_token)))
    store = VaultSecretStore(client)
    assert store.read("secret/outage").version == 0
    real_vault.stop()
    with pytest.raises(Transient):
        store.read("secret/outage")
    real_vault.start()
    assert store.read("secret/outage").version == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "errors": JSON | st.lists(st.text(), max_size=2),
        "auth": JSON,
        "data": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "data": JSON,
                "metadata": JSON
                | st.fixed_dictionaries({"version": JSON, "created_time": JSON}, optional={}),
                "current_version": JSON,
                "versions": JSON | st.dictionaries(st.sampled_from("0123"), JSON, max_size=3),
                "version": JSON,
                "created_time": JSON,
                "path": JSON,
                "type": st.sampled_from(["kv", "x"]) | JSON,
                "options": JSON,
                "ttl": JSON,
                "policies": JSON,
                "renewable": JSON,
            },
        ),
        "initialized": JSON,
        "version": JSON,
    },
)
BODIES = st.binary(max_size=60) | (JSON | ENVELOPES).map(lambda body: json.dumps(body).encode())
HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30)
HEADERS = st.dictionaries(
    st.sampled_from(["Date", "Retry-After", "Location", "Content-Type", "Content-Encoding", "X"]),
    HEADER_TEXT | st.sampled_from(["Wed, 04 Mar 2026 12:00:00 GMT", "nan", "1e999", "gzip"]),
    max_size=4,
)
STATUSES = st.integers(200, 599) | st.sampled_from([200, 204, 307, 400, 403, 404, 429, 500, 503])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(status=STATUSES, headers=HEADERS, body=BODIES, everywhere=st.booleans())
def test_any_answer_gives_a_value_or_one_of_our_errors(
    vault: RawVault, status: int, headers: dict[str, str], body: bytes, everywhere: bool
) -> None:
    sized = {**headers, "Content-Length": str(len(body)), "Connection": "close"}
    reply = raw(head(status, sized) + body)
    vault.scripted = lambda asked: everywhere or asked.path.startswith("secret/")
    vault.will(reply)
    client = VaultClient(
        VaultSettings(vault.address), TokenAuth(lambda: Secret(TOKEN)), SystemClock()
    )
    store, raised = VaultSecretStore(client), list[RotatorError]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for act in (
            lambda: store.read("secret/a"),
            lambda: store.metadata("secret/a"),
            lambda: store.write("secret/a", SecretFields({"k": "v"}), cas=0),
            client.check,
            client.token,
            lambda: client.capabilities(["secret/data/a"]),
        ):
            try:
                act()
            except RotatorError as error:
                raised.append(error)
    client.close()
    for one in raised:
        assert TOKEN not in repr(vars(one))
        assert str(one).isprintable()
        assert one.__context__ is None


@given(st.text())
def test_headers_and_times_are_read_without_an_error(text: str) -> None:
    for read in (http_date, rfc3339):
        instant = read(text)
        assert instant is None or instant.tzinfo is not None
    seconds = seconds_to_wait(text)
    assert seconds is None or 0 <= seconds < float("inf")
    where = origin(text)
    assert where is None or where.isprintable()


def test_times_are_cut_to_microseconds() -> None:
    instant = rfc3339("2026-11-24T07:04:58.524788999Z")
    assert instant is not None
    assert instant.isoformat() == "2026-11-24T07:04:58.524788+00:00"
    assert rfc3339("2026-11-24T07:04:58") is None
    assert rfc3339(7) is None
