"""Where Vault is and how its certificate is judged; nothing is taken from the environment."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import requests.utils

from rotator.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """How to reach one Vault server or cluster.

    No variable (``VAULT_*``, ``HTTP_PROXY``, ``REQUESTS_CA_BUNDLE``, ``SSLKEYLOGFILE``) and no
    file of the user's (``~/.vault-token``, ``~/.netrc``) has a say.

    Attributes:
        address: base URL (``https://vault.example.com:8200``), with a path where a proxy adds one.
        namespace: Vault Enterprise or OpenBao namespace, sent with every call; None for none.
        ca_cert: PEM file, or folder of hashed PEM files, of the only authorities to trust;
            None for the public ones that certifi ships.
        client_cert: PEM file of the certificate for mutual TLS, or None.
        client_key: PEM file of its key, unencrypted; None where it stands in `client_cert`.
        timeout: how long one call may take from sending to the last byte of the answer.
    """

    address: str
    namespace: str | None = None
    ca_cert: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    timeout: timedelta = timedelta(seconds=30)

    @property
    def base_url(self) -> str:
        """The address without a final slash.

        Raises:
            ConfigurationError: it is no plain http or https URL.
        """
        try:
            parts = urlsplit(self.address)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
            usable = usable and (parts.port is None or parts.port > 0)
        except ValueError:
            usable = False
        # The address itself is not repeated: what makes it unusable may be a password in it.
        if not usable or "@" in parts.netloc:
            raise ConfigurationError(
                ("vault.address: must be https://HOST[:PORT] (or http://), without user name",)
            )
        if parts.query or parts.fragment:
            raise ConfigurationError(("vault.address: must have no query and no fragment",))
        return self.address.rstrip("/")


def tls_context(settings: VaultSettings) -> ssl.SSLContext:
    """Return the TLS rules of a connection: verified, TLS 1.2 or newer, explicit authorities.

    The context is made by hand because the libraries' helpers read ``SSLKEYLOGFILE`` and
    ``SSL_CERT_FILE``.

    Raises:
        ConfigurationError: a certificate or key cannot be read or used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    problems: list[str] = []
    authorities = settings.ca_cert or Path(requests.utils.DEFAULT_CA_BUNDLE_PATH)
    try:
        if authorities.is_dir():
            context.load_verify_locations(capath=str(authorities))
        else:
            context.load_verify_locations(cafile=str(authorities))
    except (OSError, ValueError) as error:
        problems.append(f"vault.ca_cert: {authorities}: {_reason(error)}")
    if settings.client_cert is not None:
        try:
            # An empty password makes an encrypted key an error instead of a question on the terminal.
            context.load_cert_chain(settings.client_cert, settings.client_key, password="")
        except (OSError, ValueError) as error:
            problems.append(f"vault.client_cert: {settings.client_cert}: {_reason(error)}")
    elif settings.client_key is not None:
        problems.append("vault.client_key: is set without client_cert")
    if problems:
        raise ConfigurationError(tuple(problems))
    return context


def tls_stamp(settings: VaultSettings) -> tuple[tuple[int, int, int] | None, ...]:
    """Return what changes when one of the connection's files is written anew; None for no file."""
    return tuple(
        _identity(path)
        for path in (settings.ca_cert, settings.client_cert, settings.client_key)
        if path is not None
    )


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "is not a usable PEM certificate or key"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "cannot be used"
