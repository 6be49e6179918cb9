"""From `[vault]` to the adapter's settings and its way to a token."""

from __future__ import annotations

from rotator.adapters.vault import AppRoleAuth, Login, TokenAuth, VaultSettings
from rotator.config import AppRoleAuth as AppRoleTable
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
    if not isinstance(auth, AppRoleTable):
        return TokenAuth(references.reader(auth.token, "vault.auth.token"))
    secret_id = references.reader(auth.secret_id, "vault.auth.secret_id")
    role_id = auth.role_id
    if isinstance(role_id, str):
        plain = Secret(role_id)
        return AppRoleAuth(lambda: plain, secret_id, auth.mount)
    return AppRoleAuth(references.reader(role_id, "vault.auth.role_id"), secret_id, auth.mount)
