"""What a configuration needs to be allowed in Vault: for `check`, and for `vault-policy`.

Both take it from here, so that what the one prints the other finds enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from rotator.adapters.vault import Place
from rotator.config import Config
from rotator.engine.installation import DOCUMENT as INSTALLATION
from rotator.engine.lease import DOCUMENT as LEASE
from rotator.engine.pulse import DOCUMENT as PULSE
from rotator.engine.world import ledger_name

READ = ("read",)
MAKE = ("create", "read")
WRITE = ("create", "read", "update")

OWN_TOKEN = (
    ("auth/token/lookup-self", READ),
    ("auth/token/renew-self", ("update",)),
    ("sys/capabilities-self", ("update",)),
)
"""What is asked of one's own token: how long it lives, longer life, and (by `check`) its rights.

Vault's ``default`` policy allows these as well, but a token can be made without it.
"""


@dataclass(frozen=True, slots=True)
class Right:
    """What one API path must be allowed.

    Attributes:
        path: as a policy names it, such as ``secret/data/apps/billing``.
        capabilities: the least that every command together takes, in alphabetical order.
        purposes: what it is for, such as ``target billing-api``; several where several share it.
        looking: whether commands that change nothing read it.
    """

    path: str
    capabilities: tuple[str, ...]
    purposes: tuple[str, ...]
    looking: bool = True


def needed(
    config: Config, locate: Callable[[str], Place], *, read_only: bool = False
) -> tuple[Right, ...]:
    """Return the rights that every command together takes, each path once.

    Args:
        config: the configuration.
        locate: where the mount of a path ends.
        read_only: only what `status` and `plan` take.
    """
    found: dict[str, Right] = {}
    for right in _each(config, locate):
        if not read_only:
            found[right.path] = _both(found.get(right.path), right)
        elif right.looking:
            found[right.path] = _both(found.get(right.path), replace(right, capabilities=READ))
    return tuple(found.values())


def _both(known: Right | None, right: Right) -> Right:
    if known is None:
        return right
    return Right(
        right.path,
        tuple(sorted({*known.capabilities, *right.capabilities})),
        tuple(dict.fromkeys((*known.purposes, *right.purposes))),
        known.looking or right.looking,
    )


def _each(config: Config, locate: Callable[[str], Place]) -> Iterator[Right]:
    state = config.vault.state
    for target in config.targets:
        secret, purpose = locate(target.secret.path), (f"target {target.name}",)
        yield Right(secret.data, WRITE, purpose, looking=False)
        yield Right(secret.metadata, READ, purpose)
        yield Right(locate(f"{state}/{ledger_name(target.name)}").data, WRITE, purpose)
    yield Right(locate(f"{state}/{INSTALLATION}").data, MAKE, ("state",))
    yield Right(locate(f"{state}/{LEASE}").data, WRITE, ("state",))
    yield Right(locate(f"{state}/{PULSE}").data, WRITE, ("state",), looking=False)
    kept = config.openrouter.management_key.vault
    if kept is not None:
        yield Right(locate(kept.path).data, READ, ("management key",))
    for path, capabilities in OWN_TOKEN:
        yield Right(path, capabilities, ("own token",), looking=False)
