"""A rotation of every target, asked of the process that acts; nobody waits for the answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from rotator.core.request import Arguments, Before, Verb
from rotator.core.target import Target
from rotator.engine.asking import Asking, Wish
from rotator.engine.world import World, log
from rotator.errors import ServiceError

_AT_LEAST = 3600.0
_FOR_EACH = 60.0
# Seconds for which such a request stands, and so many more for each target, since their turns
# come at the pace of the writes.


def ask_for_all(
    world: World,
    targets: Iterable[Target],
    *,
    by: str,
    term: timedelta,
    before: Mapping[str, Before],
) -> tuple[int, frozenset[str]]:
    """Ask the process that acts to rotate every target once, and wait for no answer.

    For a process that stands by and was sent the signal. A target for which a request
    stands already, or that has no ledger yet, is left out: the one is waited for, and the
    other gets a new key anyhow.

    Args:
        world: the ports.
        targets: which.
        by: who asks.
        term: the lease that our own configuration names.
        before: by target, what its ledger said when it was asked for.

    Returns:
        For how many targets it was asked, and the names of those whose ledgers could not be
        read or written.
    """
    targets = tuple(targets)
    limit = _AT_LEAST + _FOR_EACH * len(targets)
    asked: list[Asking] = []
    failed: set[str] = set()
    for target in targets:
        wish = Wish(Verb.ROTATE, Arguments(named=False), by, limit, before[target.name])
        asking = Asking(world, target, wish, term, log.info)
        try:
            if asking.place_now(under_claim=True):
                asked.append(asking)
        except ServiceError as error:
            log.error("target %s: no rotation could be asked for yet: %s", target.name, error)
            failed.add(target.name)
    if asked:
        asked[0].announce(tuple(asked[1:]))
    return len(asked), frozenset(failed)
