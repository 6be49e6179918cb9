"""From a reference to the secret itself, read afresh each time it is asked for.

A file, a credential or a Vault secret may change while the program runs; whoever
needs the secret again (after a refused login, after a reload) resolves again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rotator.config.schema import SecretSource
from rotator.core.target import SecretRef
from rotator.errors import ConfigurationError
from rotator.secret import Secret

CREDENTIALS_FOLDER = "CREDENTIALS_DIRECTORY"
"""The variable in which systemd says where a service's credentials are.

https://systemd.io/CREDENTIALS/
"""

_LONGEST = 64 * 1024


def resolve(
    source: SecretSource,
    setting: str,
    *,
    env: Mapping[str, str],
    read_file: Callable[[Path], bytes],
    read_vault: Callable[[SecretRef], Secret | None] | None = None,
) -> Secret:
    """Return the secret that a reference names. One final newline is no part of it.

    Args:
        source: the reference.
        setting: the setting it stands in, for messages, as in ``openrouter.management_key``.
        env: the environment's variables.
        read_file: returns a file's content, or raises `OSError`.
        read_vault: returns a field of a Vault secret, or None where there is none; its
            errors pass through. None where Vault cannot be asked.

    Raises:
        ConfigurationError: there is no secret there, or it is none that could be sent;
            names the reference, never the content.
    """
    told = f"{setting}: {source}"
    if source.vault is not None:
        found = None if read_vault is None else read_vault(source.vault)
        if found is None:
            raise ConfigurationError((f"{told}: is not there",))
        text = found.reveal()
    elif source.env is not None:
        if source.env not in env:
            raise ConfigurationError((f"{told}: is not set",))
        text = env[source.env]
    else:
        text = _read(_file_of(source, told, env), told, read_file)
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ConfigurationError((f"{told}: is empty",))
    if not text.isascii() or not text.isprintable() or " " in text or len(text) > _LONGEST:
        # It would break the header in which it is sent, and the library's error would show it.
        raise ConfigurationError(
            (f"{told}: has blanks, line breaks or other characters that no key or token has",)
        )
    return Secret(text)


def stamp(source: SecretSource, env: Mapping[str, str]) -> object:
    """Return what changes when the file of a reference is written anew.

    It is the file's identity, time and size; None for a file that is not there, and for a
    reference to anything else. Links are followed, since Kubernetes replaces the link.
    """
    try:
        found = _file_of(source, "", env).stat()
    except (ConfigurationError, OSError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _file_of(source: SecretSource, told: str, env: Mapping[str, str]) -> Path:
    if source.file is not None:
        return source.file
    folder = env.get(CREDENTIALS_FOLDER)
    if not folder or source.credential is None:
        raise ConfigurationError(
            (f"{told}: {CREDENTIALS_FOLDER} is not set: was this started by systemd?",)
        )
    return Path(folder) / source.credential


def _read(file: Path, told: str, read_file: Callable[[Path], bytes]) -> str:
    try:
        return read_file(file).decode()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError((f"{told}: cannot be read: {reason}",)) from None
    except UnicodeDecodeError:
        raise ConfigurationError((f"{told}: is not text",)) from None
