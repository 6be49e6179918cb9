"""HashiCorp Vault (or OpenBao) through hvac: the secrets that consumers read, and our ledger."""

from __future__ import annotations

from rotator.adapters.vault.client import TokenFacts, VaultClient, VaultHealth
from rotator.adapters.vault.login import Grant, Login, TokenAuth
from rotator.adapters.vault.methods import AppRoleAuth, CertAuth, JwtAuth, Unwrapping
from rotator.adapters.vault.paths import Place
from rotator.adapters.vault.settings import VaultSettings
from rotator.adapters.vault.stores import VaultLedgerStore, VaultSecretStore

__all__ = [
    "AppRoleAuth",
    "CertAuth",
    "Grant",
    "JwtAuth",
    "Login",
    "Place",
    "TokenAuth",
    "TokenFacts",
    "Unwrapping",
    "VaultClient",
    "VaultHealth",
    "VaultLedgerStore",
    "VaultSecretStore",
    "VaultSettings",
]
