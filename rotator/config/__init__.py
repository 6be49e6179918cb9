"""The configuration: a TOML file, read and checked as a whole before anything starts.

`load` returns frozen values or raises one error that holds every problem with its line.
Nothing here opens a connection, and no secret is read: the file only refers to secrets,
and `resolve` fetches one when it is needed.
"""

from __future__ import annotations

from rotator.config.files import read_secret
from rotator.config.load import Config, load, parse
from rotator.config.schema import (
    AppRoleAuth,
    AuditConfig,
    Auth,
    CertAuth,
    DaemonConfig,
    HttpConfig,
    JwtAuth,
    KubernetesAuth,
    Listen,
    LogConfig,
    MaxDead,
    OpenRouterConfig,
    SecretSource,
    TokenAuth,
    VaultConfig,
)
from rotator.config.secrets import resolve, stamp

__all__ = [
    "AppRoleAuth",
    "AuditConfig",
    "Auth",
    "CertAuth",
    "Config",
    "DaemonConfig",
    "HttpConfig",
    "JwtAuth",
    "KubernetesAuth",
    "Listen",
    "LogConfig",
    "MaxDead",
    "OpenRouterConfig",
    "SecretSource",
    "TokenAuth",
    "VaultConfig",
    "load",
    "parse",
    "read_secret",
    "resolve",
    "stamp",
]
