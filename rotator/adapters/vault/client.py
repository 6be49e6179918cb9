"""One Vault, as all threads share it: login, mounts, and what `rotator check` asks.

Reading and writing secrets is in `kv`; this is what they send through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

import hvac.api
import hvac.api.auth_methods
import hvac.utils

from rotator.adapters.vault.failures import SERVICE, permission_denied, read_failure
from rotator.adapters.vault.keeper import Held, Spread, TokenKeeper, spread_at_random
from rotator.adapters.vault.login import Login, lifetime
from rotator.adapters.vault.paths import Place, segments
from rotator.adapters.vault.settings import VaultSettings
from rotator.adapters.vault.transport import Answer, CallAdapter, NoAnswer, Outcome, Transport
from rotator.errors import Refused, Transient, Unauthorised
from rotator.ports import Clock
from rotator.secret import Secret

ASSUMED_FOR = 300.0
"""Seconds for which a first segment counts as a mount because Vault would not say."""

Send = Callable[[CallAdapter], Outcome]
"""One call, given what to send it through: ``lambda via: KvV2(via).read_secret_version(…)``."""


@dataclass(frozen=True, slots=True)
class VaultHealth:
    """What a server says of itself without being asked for a token.

    Attributes:
        sealed: it cannot answer anything else.
        standby: it forwards to the active node, or answers reads itself.
        version: its version, such as ``1.21.0``.
    """

    sealed: bool
    standby: bool
    version: str


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What Vault says of our own token.

    Attributes:
        policies: the names of its policies, those of its identity included.
        ttl: how long it lives yet, or None for ever.
        renewable: whether it can be prolonged.
    """

    policies: frozenset[str]
    ttl: timedelta | None
    renewable: bool


class VaultClient:
    """The connections, the token and the known mounts of one Vault. Safe to share by threads."""

    def __init__(
        self,
        settings: VaultSettings,
        login: Login,
        clock: Clock,
        *,
        threads: int = 16,
        spread: Spread = spread_at_random,
    ) -> None:
        """Prepare; nothing is sent before the first call.

        Args:
            settings: where Vault is.
            login: how a token is obtained.
            clock: for timeouts and the life of the token.
            threads: how many calls may be under way at once without opening connections anew.
            spread: how much earlier than after two thirds of its life a token is renewed.

        Raises:
            ConfigurationError: an unusable address, certificate or key.
        """
        self._transport = Transport(settings, clock, threads)
        self._clock = clock
        self._keeper = TokenKeeper(login, self._connect, clock, spread)
        self._mounts: frozenset[str] = frozenset()
        self._assumed: dict[str, float] = {}

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.session.close()

    def stay_logged_in(self) -> None:
        """Renew the token where that is due, so that one that no call uses does not end.

        Raises:
            Unauthorised: none is to be had.
            Transient: none is to be had now.
        """
        self._keeper.current()

    def _connect(self, token: Secret | None) -> CallAdapter:
        return CallAdapter(self._transport, token)

    def call(self, operation: str, send: Send, *, needs: str) -> Outcome:
        """Send one call with our token, and return what came of it.

        A 403 is a definite no, so after one the call is repeated once where another token is to
        be had. Nothing else is ever repeated.

        Args:
            operation: what is asked, in a few words.
            send: the call.
            needs: the right that it takes, such as ``read on secret/data/x``.

        Raises:
            Unauthorised: Vault refuses our token or our login.
            Refused: the token is valid and its policies do not allow this.
            Transient: no token is to be had now.
        """
        held = self._keeper.current()
        outcome = send(self._connect(held.grant.token))
        if permission_denied(outcome):
            another = self._keeper.replace(held)
            if another is not None:
                held = another
                outcome = send(self._connect(held.grant.token))
        if permission_denied(outcome):
            self._deny(operation, held, needs)
        return outcome

    def _deny(self, operation: str, held: Held, needs: str) -> None:
        """Raise what a 403 means: a dead token and a missing right are answered alike."""
        outcome = hvac.api.auth_methods.Token(self._connect(held.grant.token)).lookup_self()
        if permission_denied(outcome):
            raise Unauthorised(
                SERVICE,
                operation,
                "Vault refuses the token (expired, revoked, or without lookup-self)",
                status=403,
            )
        if read_failure(operation, outcome) is not None:
            raise Transient(
                SERVICE,
                operation,
                "permission denied, and whether the token is valid cannot be seen now",
                status=403,
            )
        raise Refused(SERVICE, operation, f"permission denied; needs {needs}", status=403)

    def locate(self, path: str) -> Place:
        """Return where a path's mount ends, as the vault CLI finds it, asked once per mount.

        Where Vault does not say (an old server, a policy), the first segment is the mount.

        Raises:
            Refused: the path is not usable, or its mount is no KV engine of version 2.
            Transient, Unauthorised: as for every call.
        """
        parts = segments(path)
        for mount in self._mounts:
            if path.startswith(mount + "/"):
                return Place(mount, path[len(mount) + 1 :])
        first, rest = parts[0], "/".join(parts[1:])
        now = self._clock.monotonic()
        if self._assumed.get(first, now) > now:
            return Place(first, rest)
        found = self._ask_for_mount(path)
        if found is None:
            self._assumed[first] = now + ASSUMED_FOR
            return Place(first, rest)
        self._mounts |= {found}
        return Place(found, path[len(found) + 1 :])

    def _ask_for_mount(self, path: str) -> str | None:
        url = hvac.utils.format_url("/v1/sys/internal/ui/mounts/{path}", path=path)
        try:
            outcome = self.call(
                "find mount", lambda via: via.get(url), needs=f"any capability on {path}"
            )
        except Refused as refused:
            if refused.status == 403:
                return None
            raise
        if isinstance(outcome, Answer) and outcome.errors is not None and outcome.status == 404:
            return None
        failure = read_failure("find mount", outcome)
        if failure is not None:
            raise failure
        assert isinstance(outcome, Answer)
        return _kv2_mount(path, outcome)

    def check(self) -> VaultHealth:
        """Ask for the server's health; needs no token.

        Raises:
            Transient: no answer, or one that is not Vault's; also where it is not initialised.
            Refused: redirected.
        """
        outcome: Outcome = hvac.api.SystemBackend(self._connect(None)).read_health_status(
            method="GET"
        )
        # Its statuses say sealed, standby and so on, and each comes with the whole document.
        if isinstance(outcome, NoAnswer) or "initialized" not in (outcome.document or {}):
            raise read_failure("check health", outcome) or Transient(
                SERVICE, "check health", "the answer is not Vault's"
            )
        document = outcome.document or {}
        if document["initialized"] is not True:
            raise Transient(SERVICE, "check health", "is not initialised", status=outcome.status)
        version = document.get("version")
        return VaultHealth(
            sealed=document.get("sealed") is True,
            standby=document.get("standby") is True,
            version=version if isinstance(version, str) and version.isprintable() else "unknown",
        )

    def token(self) -> TokenFacts:
        """Ask what Vault knows of our own token.

        Raises:
            Unauthorised: it is refused.
            Transient: as for every read.
        """
        operation = "look up own token"
        outcome = self.call(
            operation,
            lambda via: hvac.api.auth_methods.Token(via).lookup_self(),
            needs="read on auth/token/lookup-self",
        )
        failure = read_failure(operation, outcome)
        if failure is not None:
            raise failure
        assert isinstance(outcome, Answer)
        ttl = lifetime(outcome.data.get("ttl"))
        names = (outcome.data.get(key) for key in ("policies", "identity_policies"))
        return TokenFacts(
            policies=frozenset(
                name
                for part in names
                if isinstance(part, list)
                for name in part
                if name and isinstance(name, str)
            ),
            ttl=timedelta(seconds=ttl) if ttl is not None else None,
            renewable=outcome.data.get("renewable") is True,
        )

    def capabilities(self, paths: Iterable[str]) -> dict[str, frozenset[str]] | None:
        """Ask which rights our token has.

        Args:
            paths: API paths as a policy names them (`Place.data`, `Place.metadata`).

        Returns:
            The capabilities of each path (``read``, ``update``, …; ``root`` means all, ``deny``
            none); or None where the token may not even ask.

        Raises:
            Transient, Unauthorised: as for every read.
        """
        wanted = list(paths)
        operation = "look up own rights"
        try:
            outcome = self.call(
                operation,
                lambda via: hvac.api.SystemBackend(via).get_capabilities(wanted),
                needs="update on sys/capabilities-self",
            )
        except Refused as refused:
            if refused.status == 403:
                return None
            raise
        failure = read_failure(operation, outcome)
        if failure is not None:
            raise failure
        assert isinstance(outcome, Answer)
        found = {path: outcome.data.get(path) for path in wanted}
        return {
            path: frozenset(rights) if isinstance(rights, list) else frozenset()
            for path, rights in found.items()
        }


def _kv2_mount(path: str, answer: Answer) -> str:
    """Return the mount that an answer names, if rotator can work with it."""
    name, kind, options = (answer.data.get(key) for key in ("path", "type", "options"))
    mount = name.strip("/") if isinstance(name, str) else ""
    if not mount or not path.startswith(mount + "/"):
        raise Transient(SERVICE, "find mount", "the answer does not name a mount of this path")
    if kind not in {"kv", "generic"}:
        raise Refused(SERVICE, "find mount", f"mount {mount} is no KV engine")
    if not isinstance(options, dict) or options.get("version") != "2":
        raise Refused(
            SERVICE,
            "find mount",
            f"mount {mount} is KV version 1; rotator needs version 2 for check-and-set",
        )
    return mount
