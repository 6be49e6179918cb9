"""Verifies audit files: the chain of every line, the links between files, and the pairs.

What a clean verdict proves, and what it does not, is told in ``docs/audit.md``.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from rotator.adapters.audit.line import GENESIS
from rotator.adapters.audit.report import Chain, Kind, OpenIntent, Problem, Report, Start, Where
from rotator.adapters.audit.scan import FileScan, Unmatched
from rotator.events import Result

OPEN_FOR = timedelta(hours=1)
"""How long before the trail's last line an intent may stand without an outcome."""

_SETTLED = frozenset({Result.FOUND, Result.NOT_FOUND, Result.INTERRUPTED})


def read_lines(path: Path) -> Iterator[bytes]:
    """Give the lines of a file with their newlines; one that ends in ``.gz`` is unpacked.

    Raises:
        OSError: it cannot be read.
        EOFError: it is packed, and cut short.
        zlib.error: it is packed, and was changed.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield from file


def verify(
    files: Iterable[tuple[str, Iterable[bytes]]],
    *,
    expected_heads: Iterable[str] = (),
    recording: bool = False,
    open_for: timedelta = OPEN_FOR,
) -> Report:
    """Verify the files of one trail, given in any order as names and lines.

    Args:
        files: the name and the lines (bytes, with their newlines) of each.
        expected_heads: digests that were written down elsewhere, such as the ledgers'
            ``audit_head``; each has to be the digest of a line. 64 zeros are passed over.
        recording: whether these are recordings of standard output, in which the chains of
            several processes may stand between each other.
        open_for: how long before the trail's last line an intent may stand without an
            outcome; one that is older is a problem.
    """
    wanted = frozenset(expected_heads) - {GENESIS}
    scans = []
    for name, lines in files:
        scan = FileScan(name, recording=recording)
        scan.read(lines, wanted)
        scans.append(scan)
    problems = [problem for scan in scans for problem in scan.problems]
    chains, gaps = _linked([chain for scan in scans for chain in scan.chains()])
    problems += gaps
    still_open, unpaired = _pairs(_in_order(scans, chains), chains, open_for)
    problems += unpaired
    problems += _missing_heads(wanted, scans, chains)
    order = {scan.name: index for index, scan in enumerate(scans)}
    problems.sort(key=lambda each: (order.get(each.where.file, 0), each.where.line))
    return Report(
        files=tuple(scan.name for scan in scans),
        lines=sum(scan.lines for scan in scans),
        chains=tuple(chains),
        problems=tuple(problems),
        tears=tuple(tear for scan in scans for tear in scan.tears),
        open=tuple(still_open),
    )


def _linked(chains: list[Chain]) -> tuple[list[Chain], list[Problem]]:
    """Order chains from old to new, tell how each begins, and what is wrong with that."""
    problems: list[Problem] = []
    ends = {chain.head: chain for chain in chains}
    seen: dict[tuple[str, int], Chain] = {}
    followed: dict[str, Chain] = {}
    result = []
    for index, chain in enumerate(sorted(chains, key=lambda each: each.first_ts)):
        where = Where(chain.file, chain.first_line)
        before = ends.get(chain.prev)
        if before is chain:  # its lines were moved
            before = None
        twin = seen.setdefault((chain.chain, chain.first_seq), chain)
        if twin is not chain:
            detail = f"the same chain stands in {twin.file} too: one of both is a copy"
            problems.append(Problem(where, Kind.TAMPERED, detail))
        first = followed.setdefault(chain.prev, chain)
        if before is not None and first is not chain:
            detail = f"{first.file} goes on from the same line: one of both is forged, or was begun unseen"
            problems.append(Problem(where, Kind.TAMPERED, detail))
        start = chain.start
        if start is not None:  # told by its own file
            pass
        elif chain.first_seq > 1 and (before is None or not _continues(chain, before)):
            start = Start.BROKEN
            detail = f"the lines before it are missing: it is number {chain.first_seq} of its chain"
            problems.append(Problem(where, Kind.TAMPERED, detail))
        elif before is not None:
            start = Start.LINKED
        elif chain.prev == GENESIS:
            start = Start.NEW
        elif index == 0:
            start = Start.EARLIER
        else:
            start = Start.BROKEN
            detail = "it goes on from the end of a file that is missing or was cut"
            problems.append(Problem(where, Kind.GAP, detail))
        result.append(replace(chain, start=start))
    return _along_links(result), problems


def _continues(chain: Chain, before: Chain) -> bool:
    return (before.chain, before.last_seq + 1) == (chain.chain, chain.first_seq)


def _along_links(chains: list[Chain]) -> list[Chain]:
    """Put each chain after the one that it names, whatever the clocks said."""
    heads = {chain.head for chain in chains}
    waiting = list(chains)
    ordered: list[Chain] = []
    placed: set[str] = set()
    while waiting:
        ready = (each for each in waiting if each.prev not in heads or each.prev in placed)
        chain = next(ready, waiting[0])
        waiting.remove(chain)
        placed.add(chain.head)
        ordered.append(chain)
    return ordered


def _in_order(scans: list[FileScan], chains: list[Chain]) -> list[FileScan]:
    order: dict[str, int] = {}
    for index, chain in enumerate(chains):
        order.setdefault(chain.file, index)
    return sorted(scans, key=lambda scan: order.get(scan.name, -1))


def _pairs(
    scans: list[FileScan], chains: list[Chain], open_for: timedelta
) -> tuple[list[OpenIntent], list[Problem]]:
    """Match intents and outcomes across files; return what is open, and what is wrong."""
    waiting: dict[str, OpenIntent] = {}
    seen: set[str] = set()
    early: list[Unmatched] = []  # the intent follows in the same file, or nowhere
    elsewhere: list[Unmatched] = []
    for scan in scans:
        for outcome in scan.unmatched:
            if waiting.pop(outcome.op, None) is None and outcome.op not in seen:
                (early if outcome.op in scan.ops else elsewhere).append(outcome)
        waiting |= {op: intent for op, intent in scan.open.items() if op not in waiting}
        seen |= scan.ops
    for outcome in elsewhere:  # files that overlap in time have no one order
        waiting.pop(outcome.op, None)
    early += [outcome for outcome in elsewhere if outcome.op not in seen]
    problems = []
    # Whoever settles a step may do so in a trail of its own, and an earlier file may be gone.
    if not any(chain.start is Start.EARLIER for chain in chains):
        problems = [
            Problem(each.where, Kind.UNPAIRED, f"{each.op[:80]!a} has an outcome before any intent")
            for each in early
            if each.result not in _SETTLED
        ]
    last = max((at for chain in chains if (at := _instant(chain.last_ts))), default=None)
    still_open = []
    for intent in waiting.values():
        at = _instant(intent.at)
        if last is None or at is None or last - at <= open_for:
            still_open.append(intent)
        else:
            detail = f"{intent.op[:80]!a} has an intent, but no outcome"
            problems.append(Problem(intent.where, Kind.UNPAIRED, detail))
    return still_open, problems


def _instant(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _missing_heads(
    wanted: frozenset[str], scans: list[FileScan], chains: list[Chain]
) -> list[Problem]:
    """Report the heads that are the digest of no line."""
    missing = wanted.difference(*(scan.digests for scan in scans))
    if not missing:
        return []
    last = chains[-1].file if chains else (scans[-1].name if scans else "(no file)")
    lines = {scan.name: scan.lines for scan in scans}
    detail = "its end was cut or changed, or a file is missing: no line has the digest"
    return [
        Problem(Where(last, lines.get(last, 0)), Kind.CUT, f"{detail} {head[:64]!a}")
        for head in sorted(missing)
    ]
