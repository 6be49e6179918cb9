"""The index of served hashes, filled for a process that lives for one command.

The daemon's resync fills it on its way; a command that may disable a key fills it
first, because no key is disabled while another configured target serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rotator.core.served import has_moved
from rotator.core.snapshot import Snapshot
from rotator.core.target import Target
from rotator.engine.observe import observe, read_value
from rotator.engine.world import World, log
from rotator.errors import Refused


def fill_index(
    world: World,
    targets: Iterable[Target],
    spread: Callable[[Callable[[Target], None], Iterable[Target]], object],
) -> None:
    """Note what every target serves: two calls to Vault each, three where the secret moved.

    A ledger tells it only as long as nobody has written the secret since. What Vault
    refuses to show stays unknown, and is logged.

    Args:
        world: the ports.
        targets: all configured targets.
        spread: runs the reading over the targets and lets errors through.

    Raises:
        ServiceError: Vault could not be asked, and the index would have a hole.
    """

    def look(target: Target) -> None:
        try:
            observation = observe(world, target)
            if not _tells(observation.snapshot):
                read_value(world, observation)
                value = observation.snapshot.secret.value
                world.fleet.serves(target.name, value.sha256 if value is not None else None)
        except Refused as error:
            log.warning("target %s: %s", target.name, error)

    targets = tuple(targets)
    spread(look, targets)
    world.fleet.fill(target.name for target in targets)


def _tells(snapshot: Snapshot) -> bool:
    """Tell whether ledger and metadata alone say what is served."""
    book = snapshot.ledger.ledger
    if book is None:
        return not snapshot.secret.live
    return book.secret == snapshot.target.secret and not has_moved(snapshot)
