"""The only reader: ports in, one snapshot out.

The order is fixed: ledger, then (where one is needed) a listing, then the secret. An
ambiguity is an error, an absence is a value. Plaintext that was read stays in the
`Observation` and never enters the snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rotator.core.asked import anchored
from rotator.core.codec import Undecodable, decode_ledger
from rotator.core.keys import IssuedKey
from rotator.core.ledger import Ledger
from rotator.core.reasons import Reason
from rotator.core.served import has_moved
from rotator.core.snapshot import (
    Demand,
    Draft,
    LedgerSeen,
    Listing,
    Look,
    SecretSeen,
    Snapshot,
    ValueSeen,
)
from rotator.core.steps import (
    Need,
    NeedListing,
    NeedLook,
    NeedValue,
    NeedVersions,
)
from rotator.core.target import SecretRef, Target
from rotator.engine.world import World, ledger_name
from rotator.errors import Refused, ServiceError, Unauthorised
from rotator.ports import LedgerRecord, SecretVersion
from rotator.secret import Secret, SecretFields

_NO_SUCH_WORKSPACE = frozenset({400, 404})
"""Statuses of a definite answer that a workspace is not there, or that its id is none."""


@dataclass(slots=True)
class Observation:
    """A snapshot, with what must not be in it: plaintext, and monotonic times.

    Attributes:
        snapshot: the value that decisions are made from.
        value: the target's secret as last read, or None.
        looked_at: by hash, the monotonic time of the last GET.
    """

    snapshot: Snapshot
    value: Secret | None = None
    looked_at: dict[str, float] = field(default_factory=dict)


def observe(
    world: World, target: Target, *, demand: Demand | None = None, may_read_values: bool = True
) -> Observation:
    """Read a target's ledger and its secret's metadata: two calls to Vault.

    Raises:
        ServiceError: a read failed.
    """
    record = world.ledgers.read(ledger_name(target.name))
    ledger = ledger_seen(record)
    try:
        metadata = world.secrets.metadata(target.secret.path)
    except ServiceError as error:
        _note_unread(world, target, ledger.ledger, error)
        raise
    snapshot = Snapshot(
        target=target,
        identity=world.identity,
        limits=world.limits,
        draft=Draft(world.draw(), world.draw()),
        vault_now=max(record.vault_time, metadata.vault_time),
        ledger=ledger,
        secret=SecretSeen(metadata.version, metadata.created_time, metadata.live),
        served_by=world.fleet.served_by(),
        dead=world.fleet.dead(),
        unlisted=world.fleet.unlisted(),
        demand=anchored(demand, ledger.ledger),
        may_read_values=may_read_values,
    )
    note_served(world, snapshot)
    return Observation(snapshot)


def note_served(world: World, snapshot: Snapshot) -> None:
    """Keep the process's index of served hashes up to date.

    The ledger tells it, once it is seen to have followed the secret; without a ledger, the
    value does.
    """
    if not snapshot.target.configured:
        return
    name, book, value = snapshot.target.name, snapshot.ledger.ledger, snapshot.secret.value
    if book is not None:
        served = book.served.hash if book.served else None
        moved = book.secret != snapshot.target.secret or has_moved(snapshot)
        world.fleet.serves(name, served, sure=not moved)
    elif value is not None:
        world.fleet.serves(name, value.sha256)
    elif not snapshot.secret.live:
        world.fleet.serves(name, None)


def _note_unread(world: World, target: Target, book: Ledger | None, error: ServiceError) -> None:
    """Note what a ledger says is served where the secret itself could not be read.

    A definite refusal may last for ever, and shall not keep the old keys of all other
    targets; anything else passes, and is waited for.
    """
    if target.configured:
        served = book.served.hash if book is not None and book.served is not None else None
        world.fleet.serves(target.name, served, sure=isinstance(error, Refused))


def ledger_seen(record: LedgerRecord) -> LedgerSeen:
    """Decode a ledger, or say why it cannot be used."""
    if record.document is None:
        return LedgerSeen(record.version, record.created_time, None)
    try:
        ledger = decode_ledger(record.document)
    except Undecodable as error:
        trouble = Reason.LEDGER_NEWER if error.newer else Reason.LEDGER_UNREADABLE
        return LedgerSeen(record.version, record.created_time, None, trouble, str(error))
    return LedgerSeen(record.version, record.created_time, ledger)


def satisfy(world: World, observation: Observation, needs: tuple[Need, ...]) -> None:
    """Observe what a plan needs, and put it into the observation's snapshot.

    Raises:
        ServiceError: a read failed.
    """
    for need in sorted(needs, key=lambda each: not isinstance(each, NeedListing)):
        match need:
            case NeedListing(workspaces):
                _list(world, observation, workspaces)
            case NeedValue():
                read_value(world, observation)
            case NeedVersions(versions):
                _read_versions(world, observation, versions)
            case NeedLook(key):
                look(world, observation, key)
            case _:
                _probe(world, observation)


def _list(world: World, observation: Observation, workspaces: frozenset[str]) -> None:
    """Make a complete listing, begun now and so after the ledger was read."""
    listing, left_out = list_keys(world, workspaces | observation.snapshot.workspaces())
    for error in left_out.values():
        raise error
    observation.snapshot = replace(observation.snapshot, listing=listing)


def list_keys(
    world: World, named: frozenset[str], others: frozenset[str] = frozenset()
) -> tuple[Listing, Mapping[str, ServiceError]]:
    """List the default workspace and the given ones, beginning now.

    Args:
        world: the ports.
        named: workspaces that targets name.
        others: workspaces of the account in which more may be found; they may be missing.

    Returns:
        The listing, and by workspace the errors for those that it had to leave out: named
        ones because OpenRouter says that there are none such, others for whatever reason.

    Raises:
        ServiceError: there is no listing, for any other reason.
    """
    found: dict[str, IssuedKey] = {}
    left_out: dict[str, ServiceError] = {}
    for workspace in (None, *sorted(named), *sorted(others - named)):
        try:
            keys = world.issuer.list_keys(workspace)
        except ServiceError as error:
            if workspace is None or not _can_be_left_out(error, named=workspace in named):
                raise
            left_out[workspace] = error
            continue
        found.update((key.hash, key) for key in keys)
    return Listing(found, fresh=True, workspaces=(named | others) - left_out.keys()), left_out


def _can_be_left_out(error: ServiceError, *, named: bool) -> bool:
    """Tell whether a listing may go on without the workspace that it could not list."""
    if named:
        return isinstance(error, Refused) and error.status in _NO_SUCH_WORKSPACE
    return not isinstance(error, Unauthorised)


def read_value(world: World, observation: Observation) -> None:
    """Read the target's secret with its value."""
    snapshot = observation.snapshot
    try:
        read = world.secrets.read(snapshot.target.secret.path)
    except ServiceError as error:
        _note_unread(world, snapshot.target, snapshot.ledger.ledger, error)
        raise
    observation.value = secret_of(read.fields, snapshot.target.secret)
    observation.snapshot = replace(
        snapshot,
        vault_now=max(snapshot.vault_now, read.vault_time),
        secret=secret_seen(read, snapshot.target.secret),
    )
    note_served(world, observation.snapshot)


def secret_of(fields: SecretFields | None, secret: SecretRef) -> Secret | None:
    """Return the plaintext of the target's field, or None where there is no text."""
    return fields.text(secret.field) if fields is not None else None


def secret_seen(read: SecretVersion, secret: SecretRef) -> SecretSeen:
    """Return what the snapshot may know of a read secret."""
    if read.fields is None:
        return SecretSeen(read.version, read.created_time, live=False)
    text = read.fields.text(secret.field)
    value = ValueSeen(
        text.sha256() if text is not None else None,
        odd=text is None and read.fields.has(secret.field),
    )
    return SecretSeen(read.version, read.created_time, live=True, value=value)


def _read_versions(world: World, observation: Observation, versions: tuple[int, ...]) -> None:
    """Read older versions; what cannot be read is noted as None."""
    snapshot = observation.snapshot
    found: dict[int, str | None] = dict(snapshot.versions)
    for version in versions:
        try:
            read = world.secrets.read(snapshot.target.secret.path, version)
        except Refused:
            found[version] = None
            continue
        text = secret_of(read.fields, snapshot.target.secret)
        found[version] = text.sha256() if text is not None else None
    observation.snapshot = replace(snapshot, versions=found)


def look(world: World, observation: Observation, key: str) -> None:
    """Ask OpenRouter for one key."""
    found = Look(world.issuer.get(key))
    observation.looked_at[key] = world.clock.monotonic()
    looks = {**observation.snapshot.looks, key: found}
    observation.snapshot = replace(observation.snapshot, looks=looks)


def _probe(world: World, observation: Observation) -> None:
    """Ask, with the served value, whether OpenRouter accepts it."""
    if observation.value is None:
        read_value(world, observation)
    works = observation.value is not None and world.issuer.whoami(observation.value) is not None
    observation.snapshot = replace(observation.snapshot, served_works=works)


def renewed(world: World, observation: Observation, ledger: LedgerSeen) -> Observation:
    """Return the observation to plan from after a plan was carried out, without reading again.

    Everything that we wrote ourselves is known; the ledger's version guards the rest.
    """
    snapshot = observation.snapshot
    served = ledger.ledger.served if ledger.ledger is not None else None
    secret = snapshot.secret
    if served is not None and served.secret_version >= secret.version:
        secret = SecretSeen(served.secret_version, served.secret_created_time, live=True)
    fresh = replace(
        snapshot,
        draft=Draft(world.draw(), world.draw()),
        ledger=ledger,
        secret=secret,
        looks={},
        versions={},
        served_works=None,
        served_by=world.fleet.served_by(),
        dead=world.fleet.dead(),
        unlisted=world.fleet.unlisted(),
    )
    note_served(world, fresh)
    return Observation(fresh)
