"""A Vault, real or simulated, behind a relay that can lose a write or its answer."""

from __future__ import annotations

import http.client
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import hvac

from rotator.adapters.clock import SystemClock
from rotator.adapters.vault import (
    TokenAuth,
    VaultClient,
    VaultLedgerStore,
    VaultSecretStore,
    VaultSettings,
)
from rotator.secret import Secret

STATE = "secret/rotator/contract"


class Relay(ThreadingHTTPServer):
    """Passes requests on to one server. ``lose`` is what the next write loses: "" for nothing."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.upstream = urlsplit(upstream)
        self.lose = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        lose, is_write = self.server.lose, self.command in {"POST", "PUT"}
        if is_write:
            self.server.lose = ""
        if is_write and lose == "request":
            self.close_connection = True
            return
        upstream = http.client.HTTPConnection(
            self.server.upstream.hostname or "", self.server.upstream.port, timeout=10
        )
        headers = {n: v for n, v in self.headers.items() if n.lower() not in {"host", "connection"}}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        if is_write and lose == "answer":
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _pass  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class VaultSecretBench:
    """`SecretBench` on a Vault."""

    def __init__(self, client: VaultClient, hands: hvac.Client, relay: Relay) -> None:
        self.store = VaultSecretStore(client)
        self._hands = hands.secrets.kv.v2
        self._relay = relay

    def path(self) -> str:
        return f"secret/contract/{uuid.uuid4().hex}"

    def delete(self, path: str) -> None:
        self._hands.delete_latest_version_of_secret(inside(path), mount_point="secret")

    def destroy(self, path: str, version: int) -> None:
        self._hands.destroy_secret_versions(inside(path), [version], mount_point="secret")

    def forget(self, path: str) -> None:
        self._hands.delete_metadata_and_all_versions(inside(path), mount_point="secret")

    def lose_next_answer(self) -> None:
        self._relay.lose = "answer"

    def lose_next_request(self) -> None:
        self._relay.lose = "request"


class VaultLedgerBench:
    """`LedgerBench` on a Vault."""

    def __init__(self, client: VaultClient, hands: hvac.Client, relay: Relay) -> None:
        self.store = VaultLedgerStore(client, STATE)
        self._secrets = VaultSecretBench(client, hands, relay)
        self.lose_next_answer = self._secrets.lose_next_answer
        self.lose_next_request = self._secrets.lose_next_request

    def name(self) -> str:
        return f"targets/{uuid.uuid4().hex}"

    def delete(self, name: str) -> None:
        self._secrets.delete(f"{STATE}/{name}")

    def forget(self, name: str) -> None:
        self._secrets.forget(f"{STATE}/{name}")


def inside(path: str) -> str:
    return path.removeprefix("secret/")


@contextmanager
def relayed(address: str, token: str) -> Iterator[tuple[VaultClient, hvac.Client, Relay]]:
    """A client that goes through a relay, another for a person's hands that does not."""
    with Relay(address) as relay:
        serving = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        client = VaultClient(
            VaultSettings(relay.address), TokenAuth(lambda: Secret(token)), SystemClock()
        )
        hands = hvac.Client(url=address, token=token)
        try:
            yield client, hands, relay
        finally:
            client.close()
            hands.adapter.close()
            relay.shutdown()
            serving.join()
