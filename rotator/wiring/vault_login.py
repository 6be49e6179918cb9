"""From `[vault]` to the adapter's settings and its way to a token."""

from __future__ import annotations

import rotator.config as tables
from rotator.adapters.vault import (
    AppRoleAuth,
    CertAuth,
    JwtAuth,
    Login,
    TokenAuth,
    Unwrapping,
    VaultSettings,
)
from rotator.config import Config
from rotator.secret import Secret
from rotator.wiring.references import References


def vault_settings(config: Config) -> VaultSettings:
    """Return where Vault is and how it is reached."""
    vault = config.vault
    return VaultSettings(
        address=vault.address,
        namespace=vault.namespace,
        ca_cert=vault.ca_cert,
        client_cert=vault.client_cert,
        client_key=vault.client_key,
        timeout=vault.timeout,
    )


def login(config: Config, references: References) -> Login:
    """Return how a Vault token is obtained."""
    auth = config.vault.auth
    if isinstance(auth, tables.TokenAuth):
        read = references.reader(auth.token, "vault.auth.token")
        return TokenAuth(read, references.stamp(auth.token))
    if isinstance(auth, tables.AppRoleAuth):
        return _approle(auth, references, config.vault.namespace)
    if isinstance(auth, tables.CertAuth):
        return CertAuth(auth.role, auth.mount)
    return JwtAuth(
        auth.method, auth.role, references.reader(auth.jwt, "vault.auth.jwt"), auth.mount
    )


def _approle(
    auth: tables.AppRoleAuth, references: References, namespace: str | None
) -> AppRoleAuth:
    sources = [auth.secret_id]
    if isinstance(auth.role_id, tables.SecretSource):
        sources.append(auth.role_id)
        read_role_id = references.reader(auth.role_id, "vault.auth.role_id")
    else:
        plain = Secret(auth.role_id)
        read_role_id = lambda: plain  # noqa: E731 - one of two
    return AppRoleAuth(
        read_role_id,
        references.reader(auth.secret_id, "vault.auth.secret_id"),
        auth.mount,
        references.stamp(*sources),
        Unwrapping(namespace) if auth.wrapped else None,
    )
