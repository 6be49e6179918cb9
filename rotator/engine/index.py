"""The index of served hashes, filled for a process that lives for one command.

The daemon's resync fills it on its way; a command that may disable a key fills it
first, because no key is disabled while another configured target serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rotator.core.target import Target
from rotator.engine.observe import ledger_seen
from rotator.engine.world import World, ledger_name


def fill_index(
    world: World,
    targets: Iterable[Target],
    spread: Callable[[Callable[[Target], None], Iterable[Target]], object],
) -> None:
    """Read every target's ledger and note which key it serves: one call to Vault each.

    Args:
        world: the ports.
        targets: all configured targets.
        spread: runs the reading over the targets and lets errors through.

    Raises:
        ServiceError: a ledger could not be read, and the index would have a hole.
    """

    def read(target: Target) -> None:
        book = ledger_seen(world.ledgers.read(ledger_name(target.name))).ledger
        served = book.served if book is not None else None
        world.fleet.serves(target.name, served.hash if served is not None else None)

    targets = tuple(targets)
    spread(read, targets)
    world.fleet.fill(target.name for target in targets)
