"""The configuration file's tables as frozen models, with every key and its default.

A model checks its own settings one by one; what concerns two of them, or two tables,
is in `rotator.config.checks`. A key that no model names is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import inf, isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    StrictBool,
    StrictInt,
    Tag,
    model_validator,
)

from rotator.config import text
from rotator.core.durations import LEGAL, parse_duration
from rotator.core.lease import LONGEST_TERM
from rotator.core.target import Blackout, SecretRef, Window

SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""Where Kubernetes puts a pod's own token, unless a projected volume says otherwise.

https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/
"""

SHORTEST_HEARTBEAT = timedelta(milliseconds=100)
"""A shorter one would do little else than compare times."""

LONGEST_HEARTBEAT = timedelta(minutes=1)
"""The alert on a loop that stands still waits for three of these."""

SHORTEST_LEASE = timedelta(seconds=1)
"""Vault tells its clock in whole seconds; a shorter lease could not be judged by it."""

LEAST_DEAD = 3
"""So many dead targets are always believed, however few targets there are."""


@dataclass(frozen=True, slots=True)
class MaxDead:
    """How many targets may be found dead before something larger must be wrong.

    Attributes:
        share: as a share of all targets, more than 0 and at most 1, or None.
        count: as a number of targets, at least 3, or None; exactly one of both is set.
    """

    share: float | None = None
    count: int | None = None

    def of(self, targets: int) -> int:
        """Return the number for so many targets, never less than 3."""
        if self.count is not None:
            return self.count
        return max(LEAST_DEAD, int((self.share or 0) * targets))


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the web server listens: a host and a port."""

    host: str
    port: int


_LONGEST_CRON = 1000

_READY = (timedelta, Path, ZoneInfo, SecretRef, Window, Blackout, Listen, type(None))


def reads(reader: Callable[[str], Any], example: str) -> PlainValidator:
    """Return a validator that takes text only and hands it to a reader.

    A value of the type that it makes passes as it is; a TOML file has none such.
    """

    def read(value: object) -> Any:
        if isinstance(value, _READY):
            return value
        if not isinstance(value, str):
            raise ValueError(f'must be text in quotes, as in "{example}"')  # noqa: TRY004 - pydantic's way
        return reader(value)

    return PlainValidator(read)


def _duration(value: str) -> timedelta:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{error}" if LEGAL in str(error) else f"{error} ({LEGAL})") from None


def _positive(value: str) -> timedelta:
    duration = _duration(value)
    if not duration:
        raise ValueError('must be longer than zero, as in "1s"')
    return duration


def _heartbeat(value: str) -> timedelta:
    duration = _positive(value)
    if not SHORTEST_HEARTBEAT <= duration <= LONGEST_HEARTBEAT:
        raise ValueError("must be at least 100ms and at most 1m")
    return duration


def _lease(value: str) -> timedelta:
    duration = _duration(value)
    if duration and not SHORTEST_LEASE <= duration <= LONGEST_TERM:
        raise ValueError("must be at least 1s and at most 1h, or 0s for none")
    return duration


def _max_dead(value: object) -> MaxDead:
    help_text = f'must be a share such as "10%", or a number of targets, at least {LEAST_DEAD}'
    if isinstance(value, MaxDead):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= LEAST_DEAD:
        return MaxDead(count=value)
    if isinstance(value, str) and value.endswith("%"):
        try:
            share = float(value[:-1]) / 100
        except ValueError:
            raise ValueError(help_text) from None
        if 0 < share <= 1:
            return MaxDead(share=share)
    raise ValueError(help_text)


def money(value: object) -> float:
    """Return an amount in US dollars: finite and not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number of US dollars, as in 50.0")  # noqa: TRY004 - pydantic's way
    try:
        amount = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        amount = inf
    if not isfinite(amount) or amount < 0:
        raise ValueError("must be a finite number of US dollars, zero or more")
    return amount


def _audit_path(value: str) -> Path | None:
    return None if value == "-" else text.absolute_path(value)


def one_line_cron(value: str) -> str:
    """Return a cron expression with single blanks; what it means is checked with its zone."""
    if len(value) > _LONGEST_CRON:
        raise ValueError(f"must have at most {_LONGEST_CRON} characters; write 0-59/5 for a list")
    return " ".join(value.split())


Duration = Annotated[timedelta, reads(_duration, "1h30m")]
Positive = Annotated[timedelta, reads(_positive, "1h30m")]
Text = Annotated[str, reads(text.plain, "text")]
Name = Annotated[str, reads(text.name, "prod")]
Url = Annotated[str, reads(text.url, "https://vault.example.com:8200")]
File = Annotated[Path, reads(text.absolute_path, "/etc/rotator/ca.pem")]
Mount = Annotated[str, reads(text.mount, "approle")]
VaultPath = Annotated[str, reads(text.vault_path, "secret/apps/billing")]


class Table(BaseModel):
    """One table of the file: unknown keys are errors, values never change or show in errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SecretSource(Table):
    """Where a secret of our own is to be found; never the secret itself. One key is set.

    Attributes:
        file: a file whose content it is.
        env: an environment variable whose value it is.
        credential: a systemd credential, a file in ``$CREDENTIALS_DIRECTORY``.
        vault: a field of a Vault secret.
    """

    file: File | None = None
    env: Annotated[str, reads(text.environment_name, "MANAGEMENT_KEY")] | None = None
    credential: Annotated[str, reads(text.credential_name, "management-key")] | None = None
    vault: (
        Annotated[SecretRef, reads(text.vault_field, "secret/rotator-root#management_key")] | None
    ) = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_plaintext(cls, value: object) -> object:
        if not isinstance(value, dict):
            raise ValueError(  # noqa: TRY004 - pydantic's way
                "must refer to the secret, which does not belong in this file: "
                '{ file = "/run/secrets/NAME" }, { env = "NAME" } or { credential = "NAME" }'
            )
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len([each for each in self.model_fields_set if getattr(self, each) is not None]) != 1:
            raise ValueError("must have exactly one of file, env, credential and vault")
        return self

    def __str__(self) -> str:
        """Return the reference as a person would say it, such as ``file /run/secrets/key``."""
        for kind in ("file", "env", "credential", "vault"):
            value = getattr(self, kind)
            if value is not None:
                return f"{kind} {value}"
        return "nothing"


def _kind_of_role_id(value: object) -> str:
    return "reference" if isinstance(value, dict | SecretSource) else "text"


class TokenAuth(Table):
    """Vault's token method: a token that somebody else issues and renews."""

    method: Literal["token"]
    token: SecretSource


class AppRoleAuth(Table):
    """Vault's AppRole method: the role id names us, the secret id proves it."""

    method: Literal["approle"]
    role_id: Annotated[
        Annotated[Text, Tag("text")] | Annotated[SecretSource, Tag("reference")],
        Discriminator(_kind_of_role_id),
    ]
    secret_id: SecretSource
    wrapped: StrictBool = False
    mount: Mount = "approle"


class KubernetesAuth(Table):
    """Vault's Kubernetes method: a service account's token, which Vault shows to its API server."""

    method: Literal["kubernetes"]
    role: Text
    jwt: SecretSource = SecretSource(file=SERVICE_ACCOUNT_TOKEN)
    mount: Mount = "kubernetes"


class JwtAuth(Table):
    """Vault's JWT method: a token that somebody else signs, such as a CI system."""

    method: Literal["jwt"]
    role: Text
    jwt: SecretSource
    mount: Mount = "jwt"


class CertAuth(Table):
    """Vault's TLS certificate method: the certificate of ``vault.client_cert`` names us."""

    method: Literal["cert"]
    role: Text | None = None
    mount: Mount = "cert"


Auth = TokenAuth | AppRoleAuth | KubernetesAuth | JwtAuth | CertAuth
"""How to log in at Vault."""


class OpenRouterConfig(Table):
    """``[openrouter]``: the management API."""

    base_url: Url = "https://openrouter.ai/api/v1"
    management_key: SecretSource
    writes_per_minute: Annotated[StrictInt, Field(ge=1, le=6000)] = 30
    timeout: Positive = timedelta(seconds=60)
    proxy: Url | None = None
    ca_cert: File | None = None
    insecure: StrictBool = False


class VaultConfig(Table):
    """``[vault]``: where consumers are served and our own state is kept."""

    address: Url
    auth: Annotated[Auth, Field(discriminator="method")]
    state: VaultPath
    namespace: Text | None = None
    ca_cert: File | None = None
    client_cert: File | None = None
    client_key: File | None = None
    insecure: StrictBool = False
    timeout: Positive = timedelta(seconds=30)


class DaemonConfig(Table):
    """``[daemon]``: the loop."""

    heartbeat: Annotated[timedelta, reads(_heartbeat, "15s")] = timedelta(seconds=15)
    resync: Positive = timedelta(hours=1)
    workers: Annotated[StrictInt, Field(ge=1, le=64)] = 8
    lease: Annotated[timedelta, reads(_lease, "60s")] = timedelta(seconds=60)
    claim_timeout: Positive = timedelta(minutes=5)
    shutdown_grace: Positive = timedelta(seconds=30)
    adopt_over: Duration = timedelta(days=7)
    max_dead: Annotated[MaxDead, PlainValidator(_max_dead)] = MaxDead(share=0.1)


class HttpConfig(Table):
    """``[http]``: health, metrics and the status page."""

    listen: Annotated[
        Listen, reads(lambda value: Listen(*text.listen_address(value)), "127.0.0.1:9464")
    ] = Listen("127.0.0.1", 9464)
    page: StrictBool = False


class AuditConfig(Table):
    """``[audit]``: the audit trail. A path of None means standard output."""

    path: Annotated[Path | None, reads(_audit_path, "/var/log/rotator/audit.jsonl")] = Path(
        "/var/log/rotator/audit.jsonl"
    )


class LogConfig(Table):
    """``[log]``: what is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
