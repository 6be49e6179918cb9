"""The sandbox: both APIs on loopback ports, in a background thread."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from random import Random
from types import TracebackType
from typing import Self

import uvicorn
from uvicorn.server import ServerState

from rotator.sandbox import openrouter_api, vault_api
from rotator.sandbox.edge import CuttableProtocol, Edge, cuttable_protocol
from rotator.sandbox.faults import Calls, Faults
from rotator.sandbox.openrouter_account import OpenRouterAccount
from rotator.sandbox.openrouter_attachments import Attachments
from rotator.sandbox.openrouter_requests import ApiError
from rotator.sandbox.vault_store import VaultError, VaultStore
from rotator.sandbox.vault_tokens import VaultTokens

_PATIENCE_SECONDS = 30.0
_TURNS = 10


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _loopback_socket(host: str, port: int) -> socket.socket:
    address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    if not address.is_loopback:
        raise ValueError(f"the sandbox listens on loopback addresses only, not on {host}")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it an answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((str(address), port))
    except OSError:
        listener.close()
        raise
    return listener


class Sandbox:
    """An OpenRouter account and a Vault on this machine, served while the context lasts.

    Args:
        host: a loopback address; ValueError for any other. openrouter_port, vault_port: 0 takes any
        free one; OSError where one is taken. with_vault: False serves the OpenRouter half alone, to
        be used with a real Vault. now: the clock of both services; the system's by default. seed:
        makes every key, token and identifier the same at each run; without one they are
        unpredictable.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        openrouter_port: int = 0,
        vault_port: int = 0,
        with_vault: bool = True,
        now: Callable[[], datetime] = _utc_now,
        seed: int | None = None,
    ) -> None:
        rng = None if seed is None else Random(seed)
        self.faults = Faults()
        """The faults of both APIs."""
        self.calls = Calls()
        """The calls that arrived at either API."""
        self.account = OpenRouterAccount(now=now, rng=rng)
        """The account behind the OpenRouter API."""
        self.attachments = Attachments(self.account)
        """Guardrails and allow-lists that name keys of the account."""
        self.management_key = self.account.add_management_key()
        """Plaintext of a management key of the account."""
        self.vault = VaultStore(now=now)
        """The engines behind the Vault API."""
        self.tokens = VaultTokens(now=now, rng=rng)
        """The tokens, policies and AppRoles of the Vault API."""
        self.vault_token = self.tokens.add_token()
        """A root token."""
        self._apis: list[tuple[uvicorn.Config, type[CuttableProtocol]]] = []
        self._sockets: list[socket.socket] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._add(self._openrouter_edge, host, openrouter_port)
        if with_vault:
            try:
                self._add(self._vault_edge, host, vault_port)
            except BaseException:
                self._close_sockets()
                raise

    @property
    def openrouter_url(self) -> str:
        """Base URL of the OpenRouter API, with `/api/v1`."""
        return self._url(0) + openrouter_api.PREFIX

    @property
    def vault_url(self) -> str:
        """Address of the Vault API; RuntimeError where that half is not served."""
        if len(self._sockets) < 2:
            raise RuntimeError("this sandbox serves no Vault")
        return self._url(1)

    def start(self) -> Self:
        """Serve; calls may be sent once this returns."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="sandbox", daemon=True
        )
        self._thread.start()
        if not ready.wait(_PATIENCE_SECONDS):
            raise RuntimeError("the sandbox did not start")
        return self

    def stop(self) -> None:
        """Stop serving; open connections are closed. A second call does nothing."""
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_PATIENCE_SECONDS)
        self._thread = self._loop = None
        self._close_sockets()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def _url(self, index: int) -> str:
        host, port = self._sockets[index].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _close_sockets(self) -> None:
        for listener in self._sockets:
            listener.close()

    def _add(self, edge: Callable[[type[CuttableProtocol]], Edge], host: str, port: int) -> None:
        protocol = cuttable_protocol()
        config = uvicorn.Config(
            edge(protocol),
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_keep_alive=60,
        )
        self._sockets.append(_loopback_socket(host, port))
        self._apis.append((config, protocol))

    def _openrouter_edge(self, protocol: type[CuttableProtocol]) -> Edge:
        account = self.account
        return Edge(
            openrouter_api.openrouter_app(account, self.attachments),
            api="openrouter",
            faults=self.faults,
            calls=self.calls,
            protocol=protocol,
            now=lambda: account.now,
            template_of=openrouter_api.template_of,
            error_body=lambda status: ApiError(status, "Injected fault").body(account.user_id),
            looks={"keys": account.all_keys},
        )

    def _vault_edge(self, protocol: type[CuttableProtocol]) -> Edge:
        store = self.vault
        return Edge(
            vault_api.vault_app(store, self.tokens),
            api="vault",
            faults=self.faults,
            calls=self.calls,
            protocol=protocol,
            now=lambda: store.now,
            template_of=vault_api.template_of(store),
            error_body=lambda status: VaultError(status, "injected fault").body(),
        )

    async def _serve(self, ready: threading.Event) -> None:
        """Run uvicorn's protocol without its server, whose loop looks for a stop every 100 ms."""
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        servers: list[asyncio.Server] = []
        for (config, protocol), listener in zip(self._apis, self._sockets, strict=True):
            config.load()
            make = partial(protocol, config=config, server_state=ServerState(), app_state={})
            servers.append(await self._loop.create_server(make, sock=listener))
        ready.set()
        await self._stopping.wait()
        for server in servers:
            server.close()
        for _ in range(_TURNS):  # A connection just accepted becomes known a few turns later.
            for _, protocol in self._apis:
                for transport in list(protocol.transports.values()):
                    transport.abort()
            await asyncio.sleep(0)
