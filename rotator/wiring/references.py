"""Our own secrets: where the configuration says they are, and when each is read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rotator.config import Config, SecretSource, read_secret, resolve, stamp
from rotator.core.target import SecretRef
from rotator.engine.world import Fleet
from rotator.errors import ConfigurationError, Refused, Unauthorised
from rotator.ports import Clock
from rotator.secret import Secret

WITHOUT_PROVIDER = frozenset({"status", "hold", "release"})
"""Commands that never ask OpenRouter, and so need no management key."""

REREAD_AFTER = 300.0
"""Seconds for which a management key that is kept in Vault is used before it is read again."""


class References:
    """Reads our own secrets from where the configuration says."""

    def __init__(
        self,
        environment: Mapping[str, str],
        read_vault: Callable[[SecretRef], Secret | None] | None = None,
    ) -> None:
        """Read nothing yet."""
        self._environment = environment
        self._read_vault = read_vault

    def read(self, source: SecretSource, setting: str) -> Secret:
        """Return the secret that a reference names.

        Raises:
            ConfigurationError: there is none; names the reference, never the content.
        """
        return resolve(
            source,
            setting,
            env=self._environment,
            read_file=read_secret,
            read_vault=self._read_vault,
        )

    def reader(self, source: SecretSource, setting: str) -> Callable[[], Secret]:
        """Return a function for an adapter, whose failure is an `OSError` with the cause."""

        def read() -> Secret:
            try:
                return self.read(source, setting)
            except ConfigurationError as error:
                raise OSError(0, str(error)) from None

        return read

    def stamp(self, *sources: SecretSource) -> Callable[[], object]:
        """Return a function whose answer changes when one of the files is written anew."""
        return lambda: tuple(stamp(source, self._environment) for source in sources)


class ManagementKey:
    """Reads the management key before each call.

    One that is kept in Vault is remembered for a while, since reading it costs a call,
    but is read again as soon as OpenRouter refused it.
    """

    def __init__(
        self, source: SecretSource, references: References, fleet: Fleet, clock: Clock
    ) -> None:
        """Read nothing yet."""
        self._source = source
        self._references = references
        self._fleet = fleet
        self._clock = clock
        self._kept: tuple[Secret, float] | None = None

    def __call__(self) -> Secret:
        """Return the key.

        Raises:
            Unauthorised: there is none to be read.
            Transient: it is kept in Vault, which cannot be asked now.
        """
        kept, now = self._kept, self._clock.monotonic()
        if kept is not None and self._fleet.refused() is None and now - kept[1] < REREAD_AFTER:
            return kept[0]
        try:
            key = self._references.read(self._source, "openrouter.management_key")
        except (ConfigurationError, Refused) as error:
            raise Unauthorised("openrouter", "read the management key", str(error)) from None
        if self._source.vault is not None:
            self._kept = key, now
        return key


def own_secrets(config: Config) -> tuple[tuple[str, SecretSource], ...]:
    """Return every reference to a secret of our own, with the setting that it stands in."""
    found = [("openrouter.management_key", config.openrouter.management_key)]
    auth = config.vault.auth
    for key in type(auth).model_fields:
        value = getattr(auth, key)
        if isinstance(value, SecretSource):
            found.append((f"vault.auth.{key}", value))
    return tuple(found)


def check_references(config: Config, references: References, mode: str) -> None:
    """Read each reference once, so that a mistake shows before anything is sent.

    A file may be there a moment later (an agent writes it), and a daemon waits for it.
    What is kept in Vault is read when it is needed.
    """
    problems: list[str] = []
    for setting, source in own_secrets(config):
        unused = source is config.openrouter.management_key and mode in WITHOUT_PROVIDER
        comes_later = mode == "run" and source.env is None
        if unused or comes_later or source.vault is not None:
            continue
        try:
            references.read(source, setting)
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(tuple(problems))
