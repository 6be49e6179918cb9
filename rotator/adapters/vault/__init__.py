"""HashiCorp Vault (or OpenBao) through hvac: the secrets that consumers read, and our ledger."""

from __future__ import annotations

from rotator.adapters.vault.client import TokenFacts, VaultClient, VaultHealth
from rotator.adapters.vault.login import AppRoleAuth, Grant, Login, TokenAuth
from rotator.adapters.vault.paths import Place
from rotator.adapters.vault.settings import VaultSettings
from rotator.adapters.vault.stores import VaultLedgerStore, VaultSecretStore

__all__ = [
    "AppRoleAuth",
    "Grant",
    "Login",
    "Place",
    "TokenAuth",
    "TokenFacts",
    "VaultClient",
    "VaultHealth",
    "VaultLedgerStore",
    "VaultSecretStore",
    "VaultSettings",
]
