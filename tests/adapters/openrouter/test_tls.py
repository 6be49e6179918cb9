"""The same over TLS, with a certificate (``loopback.pem``) that only a configured file makes trusted."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from rotator.core.keys import NewKey
from rotator.errors import OutcomeUnknown, Transient
from tests.adapters.loopback import drip, head
from tests.adapters.openrouter.conftest import HASH, PLAINTEXT, IssuerFor, shown
from tests.adapters.openrouter.raw_server import RawServer, answer

CERTIFICATE = Path(__file__).with_name("loopback.pem")
NEW = NewKey(name="a key")


@pytest.fixture
def tls_server() -> Iterator[RawServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with RawServer(tls=context) as running:
        yield running


def test_a_configured_certificate_authority_is_trusted(
    tls_server: RawServer, issuer_for: IssuerFor
) -> None:
    tls_server.will(answer(201, {"key": PLAINTEXT, "data": shown()}))
    minted = issuer_for(tls_server.url, ca_cert=CERTIFICATE).create(NEW)
    assert minted.key.hash == HASH


def test_any_other_is_not_and_then_nothing_is_sent(
    tls_server: RawServer, issuer_for: IssuerFor
) -> None:
    tls_server.will(answer(201, {"key": PLAINTEXT, "data": shown()}))
    with pytest.raises(Transient, match="certificate"):
        issuer_for(tls_server.url).create(NEW)
    assert tls_server.calls == []


@pytest.mark.parametrize(
    "begun", [b"HTTP/1.1 201 Created\r\n", head(201, {"content-length": "99999"})]
)
def test_an_answer_that_drips_does_not_outlast_the_time_out_over_tls_either(
    tls_server: RawServer, issuer_for: IssuerFor, begun: bytes
) -> None:
    tls_server.will(drip(begun, b"a: b\r\n"))
    issuer = issuer_for(tls_server.url, ca_cert=CERTIFICATE, timeout=timedelta(seconds=1))
    with pytest.raises(OutcomeUnknown):
        issuer.create(NEW)
    assert tls_server.heard(1) == ["POST /keys"]


@pytest.mark.parametrize("certificate", [CERTIFICATE, None])
def test_the_keys_of_a_connection_are_written_to_no_file_that_the_environment_names(
    tls_server: RawServer,
    issuer_for: IssuerFor,
    certificate: Path | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    tls_server.will(answer(201, {"key": PLAINTEXT, "data": shown()}))
    issuer = issuer_for(tls_server.url, ca_cert=certificate)
    if certificate is None:
        with pytest.raises(Transient, match="certificate"):
            issuer.create(NEW)
    else:
        issuer.create(NEW)
    assert not keys.exists()


def test_an_authority_that_the_environment_names_is_not_trusted(
    tls_server: RawServer, issuer_for: IssuerFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with pytest.raises(Transient, match="certificate"):
        issuer_for(tls_server.url).create(NEW)
    with pytest.raises(Transient, match="certificate"):
        issuer_for(tls_server.url, proxy=tls_server.url.removesuffix("/api/v1")).create(NEW)
    assert tls_server.calls == []
