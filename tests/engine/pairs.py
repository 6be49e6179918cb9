"""Two troubles in one rotation, exhaustively: ``make pairs`` runs them all.

The life is that of one rotation, from due to the old key's deletion. The first trouble
befalls every call of it in turn, the second every later call of the life as the first
one left it, recovery included, until all is at rest. Ten kinds stand for all:

* the process dies before the call (to die after a call is to die before the next);
* the call fails before its effect;
* it takes effect, and both its answer and the read that would settle it are lost;
* it has no effect, and nobody can tell;
* its effect lands late: within its claim, or long after the claim expired;
* it takes twice as long as a claim stands;
* right before it a person writes another field of the secret, pastes a value of his own
  over ours (and an hour later what was there before), or deletes the ledger.

Left out are only pairs that are the same as another: an effect cannot be late or lost
where there is none, and a hand right before an append to the trail is one right before
the next call, since nothing is read in between.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from tests.engine.crash import broken_by
from tests.engine.lab import Lab
from tests.engine.troubles import (
    Trouble,
    acting,
    by_hand,
    foreign_value_pasted,
    ledger_removed,
    of_kind,
    other_field_written,
)
from tests.fakes.faults import Kind

LIFE = timedelta(hours=8)
"""Long enough for a rotation, from due to the old key's deletion, and a delay."""

_WORKERS = 2


def _appends(call: str) -> bool:
    return call == "audit.append"


def _not_appends(call: str) -> bool:
    return not _appends(call)


def _acts_or_appends(call: str) -> bool:
    return acting(call) or _appends(call)


KINDS: tuple[Trouble, ...] = (
    of_kind(Kind.DIE_BEFORE),
    of_kind(Kind.ERROR),
    of_kind(Kind.UNSETTLED, _acts_or_appends),
    of_kind(Kind.NO_EFFECT_LOST, acting),
    of_kind(Kind.LATE, acting),
    of_kind(Kind.VERY_LATE, acting),
    of_kind(Kind.SLOW),
    Trouble("other field written", by_hand(other_field_written), _not_appends),
    Trouble("foreign value pasted", by_hand(foreign_value_pasted), _not_appends),
    Trouble("ledger removed", by_hand(ledger_removed), _not_appends),
)
"""What goes wrong first, and what second."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A trouble at one call.

    Attributes:
        number: of the call, from 1, counted from when the rotation is due.
        kind: an index into `KINDS`.
    """

    number: int
    kind: int

    def __str__(self) -> str:
        """Return both in words."""
        return f"{KINDS[self.kind].name} at call {self.number}"


def life(*moments: Moment) -> Lab:
    """Return a life at the moment at which a rotation is due, with what will go wrong in it."""
    lab = Lab()
    lab.run()
    lab.clock.advance(timedelta(hours=12))
    lab.faults.calls.clear()
    for each in moments:
        KINDS[each.kind].begin(lab, each.number)
    return lab


def broken(*moments: Moment) -> str | None:
    """Return the promise that is broken where these go wrong, or None."""
    return broken_by(life(*moments), (LIFE,))


@cache
def _calls(*moments: Moment) -> tuple[str, ...]:
    """Return the calls of a life until it is at rest, with these going wrong."""
    lab = life(*moments)
    promise = broken_by(lab, (LIFE,))
    assert promise is None, promise
    return tuple(lab.faults.calls)


def _at(calls: tuple[str, ...], after: int) -> Iterator[Moment]:
    """Return everything that can go wrong after the call of a number."""
    for number, call in enumerate(calls[after:], start=after + 1):
        for kind, trouble in enumerate(KINDS):
            if trouble.calls(call):
                yield Moment(number, kind)


def firsts() -> list[Moment]:
    """Return every first trouble."""
    return list(_at(_calls(), 0))


def seconds(first: Moment) -> Iterator[Moment]:
    """Return every second trouble after a first one."""
    return _at(_calls(first), first.number)


def in_slice(first: Moment, second: Moment, every: int) -> bool:
    """Tell whether a pair belongs to the part that is one in `every` of all."""
    return zlib.crc32(f"{first} {second}".encode()) % every == 0


def run(first: Moment, every: int = 1) -> tuple[int, list[str]]:
    """Run the pairs that begin with one trouble; return how many there were, and what broke."""
    count, found = 0, []
    for second in seconds(first):
        if not in_slice(first, second, every):
            continue
        count += 1
        if promise := broken(first, second):
            found.append(f"{first}, {second}: {promise}")
    return count, found


def main(skipped: int = 0) -> int:
    """Run all pairs, but for those that begin with one of the first few troubles; say what broke."""
    logging.disable(logging.CRITICAL)
    begun, count, found = time.monotonic(), 0, []
    everything = firsts()[skipped:]
    with multiprocessing.Pool(_WORKERS) as pool:
        for done, (more, wrong) in enumerate(pool.imap_unordered(run, everything), start=1):
            count += more
            found += wrong
            for each in wrong:
                print(f"\r{each}")
            print(
                f"\r{done}/{len(everything)} first troubles, {count} pairs, {len(found)} broken, "
                f"{time.monotonic() - begun:.0f} s ",
                end="",
                flush=True,
            )
    print()
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
