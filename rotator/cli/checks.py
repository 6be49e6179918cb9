"""The single checks of both services, each with what to do where it fails."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rotator.core.keys import CallerKey
from rotator.core.words import span
from rotator.errors import ConfigurationError, Refused, ServiceError, Transient, Unauthorised
from rotator.wiring import Services, own_secrets
from rotator.wiring.rights import OWN_TOKEN, needed

_SOON = timedelta(days=14)
_AT_ONCE = 100
_ASKING = "look up own rights"


@dataclass(frozen=True, slots=True)
class Result:
    """One check.

    Attributes:
        name: what was checked.
        ok: whether it is as it must be.
        detail: one line on what was found.
        hint: what to do next, or "".
        warning: whether it is in order, yet may be a mistake.
        attention: whether it is a refused management key.
    """

    name: str
    ok: bool
    detail: str
    hint: str = ""
    warning: bool = False
    attention: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the check as ``check --json`` shows it."""
        return {
            "name": self.name,
            "ok": self.ok,
            "warning": self.warning,
            "detail": self.detail,
            "hint": self.hint or None,
        }


def service_checks(services: Services) -> list[Result]:
    """Check our own secrets, the audit trail, Vault and OpenRouter, in this order."""
    results = [*_references(services), _audit(services)]
    health = _vault_health(services)
    results.append(health)
    vault_usable = health.ok
    if health.ok:
        token = _token(services)
        results.append(token)
        vault_usable = token.ok
    if vault_usable:
        results += _rights(services)
    results.append(_management_key(services))
    return results


def _references(services: Services) -> Iterator[Result]:
    for setting, source in own_secrets(services.config):
        if source.vault is not None:
            continue  # The check of the management key reads it.
        try:
            services.references.read(source, setting)
        except ConfigurationError as error:
            hint = "put the secret there, or correct the reference"
            yield Result(setting, False, str(error).removeprefix(f"{setting}: "), hint)
        else:
            yield Result(setting, True, f"read from {source}")


def _audit(services: Services) -> Result:
    path = services.config.audit.path
    if path is None:
        return Result("audit trail", True, "on standard output")
    usable = path if path.exists() else path.parent
    if not path.parent.is_dir():
        hint = f"make the folder, owned by the account that runs rotator: mkdir -p {path.parent}"
        return Result("audit trail", False, f"{path.parent} is no folder", hint)
    if not os.access(usable, os.W_OK):
        hint = f"let this account write it: chown {_account()} {usable}"
        return Result("audit trail", False, f"{usable} cannot be written", hint)
    return Result("audit trail", True, str(path))


def _account() -> str:
    return str(os.getuid())


def _vault_health(services: Services) -> Result:
    address = services.config.vault.address
    try:
        health = services.vault.check()
    except ServiceError as error:
        hint = f"is {address} Vault's address, and does it answer from here? See also vault.ca_cert"
        return Result("Vault", False, str(error), hint)
    if health.sealed:
        return Result("Vault", False, f"{address} is sealed", "unseal it: vault operator unseal")
    role = "standby" if health.standby else "active"
    return Result("Vault", True, f"{address}: version {health.version}, {role}")


def _token(services: Services) -> Result:
    try:
        token = services.vault.token()
    except Transient as error:
        return Result("Vault token", False, str(error), "try again")
    except ServiceError as error:
        return Result("Vault token", False, str(error), _login_hint(services))
    life = "no end" if token.ttl is None else f"{span(token.ttl.total_seconds())} left"
    names = ", ".join(sorted(token.policies)) or "none"
    told = f"by {services.config.vault.auth.method}: {life}, policies: {names}"
    if getattr(services.config.vault.auth, "wrapped", False):
        hint = "this check opened the wrapped secret id: put a new one there before the next start"
        return Result("Vault token", True, told, hint, warning=True)
    return Result("Vault token", True, told)


def _login_hint(services: Services) -> str:
    """Return what to look at where a login is refused."""
    auth = services.config.vault.auth
    if auth.method == "token":
        return "put a token there that is still valid"
    named = getattr(auth, "role", None)
    role = f" and its role {named}" if named else ""
    return f"look at auth/{auth.mount}{role} in Vault, and at what vault.auth shows there"


def _needed(services: Services) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield for each path that is used: for what, the path, and the rights that it takes."""
    for right in needed(services.config, services.vault.locate):
        if right.path not in dict(OWN_TOKEN):
            yield ", ".join(right.purposes), right.path, frozenset(right.capabilities)


def _rights(services: Services) -> list[Result]:
    """Compare the token's capabilities with what is needed, a hundred paths at a time."""
    try:
        wanted = list(_needed(services))
        found: dict[str, frozenset[str]] = {}
        for paths in _chunks(dict.fromkeys(path for _, path, _ in wanted)):
            granted = services.vault.capabilities(paths)
            if granted is None:
                hint = 'allow "update" on sys/capabilities-self to have them checked'
                detail = "the token may not ask for its own rights: not checked"
                return [Result("Vault rights", True, detail, hint, warning=True)]
            found |= granted
    except ServiceError as error:
        if isinstance(error, Refused) and error.operation == _ASKING and error.status == 404:
            detail = f"this server does not tell them: not checked ({error.detail})"
            return [Result("Vault rights", True, detail, warning=True)]
        hint = "every path is MOUNT/PATH of a KV engine of version 2 that the token may use"
        return [Result("Vault rights", False, str(error), hint)]
    secrets = {services.vault.locate(target.secret.path).data for target in services.config.targets}
    missing = [
        _lacking(what, path, rights, rights - found[path], exists=path in secrets)
        for what, path, rights in wanted
        if "root" not in found[path] and rights - found[path]
    ]
    return missing or [Result("Vault rights", True, f"all on {len(found)} paths")]


def _lacking(
    what: str, path: str, wanted: frozenset[str], lacks: frozenset[str], *, exists: bool
) -> Result:
    """Return what a missing right means; a secret that exists can do without being created."""
    name = f"Vault rights, {what}"
    hint = f'add to a policy: path "{path}" {{ capabilities = [{_quoted(wanted)}] }}'
    if exists and lacks == {"create"}:
        detail = f"{path} lacks create: enough while the secret exists"
        return Result(name, True, detail, hint, warning=True)
    return Result(name, False, f"{path} lacks {', '.join(sorted(lacks))}", hint)


def _quoted(rights: Iterable[str]) -> str:
    return ", ".join(f'"{right}"' for right in sorted(rights))


def _chunks(paths: Iterable[str]) -> Iterator[list[str]]:
    every = list(paths)
    for index in range(0, len(every), _AT_ONCE):
        yield every[index : index + _AT_ONCE]


def _management_key(services: Services) -> Result:
    name = "management key"
    try:
        caller = services.issuer.whoami_management()
    except Unauthorised as error:
        hint = "make a management key at OpenRouter (Settings, Management Keys) and put it there"
        if error.status is None:  # nobody was asked, as it could not be read
            hint = "put the management key there, or correct the reference"
        return Result(name, False, str(error), hint, attention=error.status is not None)
    except ServiceError as error:
        hint = (
            f"does {services.config.openrouter.base_url} answer from here? See also proxy, ca_cert"
        )
        return Result(name, False, str(error), hint)
    return _judged(name, caller, services.clock.now())


def _judged(name: str, caller: CallerKey, now: datetime) -> Result:
    """Judge a key that OpenRouter accepts."""
    if not caller.is_management_key:
        hint = "an ordinary API key cannot make keys: make a management key at OpenRouter"
        return Result(name, False, "is no management key", hint, attention=True)
    if caller.expires_at is None:
        return Result(name, True, "accepted, does not expire")
    left = caller.expires_at - now
    told = f"accepted, expires in {span(left.total_seconds())}"
    hint = "make a new one in time" if left < _SOON else ""
    return Result(name, True, told, hint, warning=left < _SOON)
