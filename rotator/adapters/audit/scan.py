"""Reads one audit file line by line: chains, tears, shapes, and what each op came to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rotator.adapters.audit.line import digest, dump, parse
from rotator.adapters.audit.report import Chain, Kind, OpenIntent, Problem, Start, Tear, Where
from rotator.adapters.audit.shape import shapes
from rotator.events import Phase, StepSettled, TornLineSealed

_BEGINNING = b'{"ts":"'
# With which every event begins, since its fields are written in one order.


@dataclass(slots=True)
class _Segment:
    """A chain while its lines in one file are read."""

    first: dict[str, Any]
    first_line: int
    last: dict[str, Any]
    head: str
    start: Start | None


@dataclass(frozen=True, slots=True)
class Unmatched:
    """An outcome of a step whose intent does not stand before it in its file."""

    where: Where
    op: str
    result: str


@dataclass(slots=True)
class FileScan:
    """What one file holds; fill it with `read`.

    Attributes:
        name: the file's name, as it is to be reported.
        recording: whether several chains may stand between each other, as in a recording of
            standard output.
        lines: how many lines there are.
        problems: what is wrong with this file by itself.
        tears: torn lines.
        unmatched: outcomes whose intent does not stand before them in this file.
        open: the intents that no outcome in this file followed, by op.
        ops: every op that has an intent in this file.
        digests: those of the wanted digests that are a line's.
    """

    name: str
    recording: bool = False
    lines: int = 0
    problems: list[Problem] = field(default_factory=list)
    tears: list[Tear] = field(default_factory=list)
    unmatched: list[Unmatched] = field(default_factory=list)
    open: dict[str, OpenIntent] = field(default_factory=dict)
    ops: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    _segments: dict[str, _Segment] = field(default_factory=dict)
    _current: str | None = None
    _torn: list[bytes] = field(default_factory=list)

    def read(self, lines: Iterable[bytes], wanted: frozenset[str]) -> None:
        """Read all lines (with their newlines) and look for the wanted digests among them."""
        for raw in lines:
            self.lines += 1
            line = raw.removesuffix(b"\n")
            record = parse(line)
            if record is None:
                self._torn.append(line)
                continue
            sha = digest(line)
            self.digests |= wanted & {sha}
            self._close_tear(record)
            self._link(record, sha)
            self._check(record, line)
            if raw == line:  # whole, but the newline that ends it did not get onto the disk
                self._tear(0, len(line), sealed=False)
        self._end()

    def _end(self) -> None:
        """Judge what stands below the last event: a crash leaves the beginning of a line there."""
        if not self._torn:
            return
        strays = [index for index, line in enumerate(self._torn) if not _may_be_cut(line)]
        for index in strays:
            detail = "this is neither an event nor the beginning of one"
            self._problem(Kind.INVALID, detail, 1 - len(self._torn) + index)
        if not strays:
            self._tear(1 - len(self._torn), len(b"\n".join(self._torn)), sealed=False)

    def chains(self) -> tuple[Chain, ...]:
        """Return the chains as far as they stand in this file, in the order of their beginnings."""
        return tuple(
            Chain(
                chain=name,
                file=self.name,
                first_line=each.first_line,
                first_seq=each.first["seq"],
                last_seq=each.last["seq"],
                first_ts=each.first["ts"],
                last_ts=each.last["ts"],
                prev=each.first["prev"],
                head=each.head,
                start=each.start,
            )
            for name, each in self._segments.items()
        )

    # --- one line --------------------------------------------------------------------------------

    def _here(self, offset: int = 0) -> Where:
        return Where(self.name, self.lines + offset)

    def _problem(self, kind: Kind, detail: str, offset: int = 0) -> None:
        self.problems.append(Problem(self._here(offset), kind, detail))

    def _tear(self, offset: int, length: int, *, sealed: bool) -> None:
        self.tears.append(Tear(self._here(offset), length, sealed))

    def _close_tear(self, record: dict[str, Any]) -> None:
        """Settle the lines right above an event that are none, or that lacked a newline."""
        lines = self._torn.copy()
        self._torn.clear()
        sealing = record["event"] == TornLineSealed.name or "torn_sha256" in record
        if not lines:
            length = record.get("torn_bytes")
            whole = record.get("torn_sha256") == record["prev"]
            if sealing and whole and isinstance(length, int):  # the line above lacked its newline
                self._tear(-1, length, sealed=True)
            elif sealing:
                self._problem(Kind.TAMPERED, "the torn line that was sealed here is missing")
            return
        sealed = len(lines)  # how many of them, from the end, the seal closes
        while sealed and not _closes(record, lines[-sealed:]):
            sealed -= 1
        if sealed:
            self._tear(-sealed, record["torn_bytes"], sealed=True)
        elif sealing:
            detail = "what was sealed here is not what stands above; one of these lines was changed"
            self._problem(Kind.TAMPERED, detail)
            return
        stray = len(lines) - sealed
        if stray:
            these = "this is no event" if stray == 1 else f"{stray} lines up to this are no events"
            detail = f"{these}, and no seal of a torn line follows"
            self._problem(Kind.TAMPERED, detail, -1 - sealed)

    def _link(self, record: dict[str, Any], sha: str) -> None:
        """Check that a line follows the one before it in its chain."""
        chain, seq, prev = record["chain"], record["seq"], record["prev"]
        known = self._segments.get(chain)
        if known is None:
            start = self._start(record)
            self._segments[chain] = _Segment(record, self.lines, record, sha, start)
        else:
            last = known.last["seq"]
            if not self.recording and self._current != chain:
                self._problem(Kind.TAMPERED, "the chain goes on here, after another began")
            elif seq > last + 1:
                detail = f"lines are missing: it is number {seq} of its chain, after {last}"
                self._problem(Kind.TAMPERED, detail)
            elif seq <= last:
                detail = f"a line is repeated or moved: it is number {seq} of its chain"
                self._problem(Kind.TAMPERED, f"{detail}, after {last}")
            elif prev != known.head:
                self._problem(
                    Kind.TAMPERED, "it does not follow the line above; one of both was changed"
                )
            known.last, known.head = record, sha
        self._current = chain

    def _start(self, record: dict[str, Any]) -> Start | None:
        """Tell how a chain begins with this line; None where that depends on the other files."""
        if self.recording or self._current is None:
            return None
        if (record["seq"], record["prev"]) == (1, self._segments[self._current].head):
            return Start.LINKED  # two files of one trail, written one after the other into this
        detail = "a line was inserted or changed: another chain begins in the middle of the file"
        self._problem(Kind.TAMPERED, detail)
        return Start.BROKEN

    def _check(self, record: dict[str, Any], line: bytes) -> None:
        """Check a line against the catalogue and keep what its op came to."""
        shape = shapes().get(record["event"])
        if shape is None:
            detail = f"the catalogue has no event {record['event'][:60]!a}"
            self._problem(Kind.INVALID, detail)
            return
        complaint = shape.complaint(record)
        if complaint is None and dump(record) != line:
            complaint = "it is not written as this program writes"
        if complaint is not None:
            self._problem(Kind.INVALID, complaint)
        elif shape.step or shape.name == StepSettled.name:
            self._pair(record)

    def _pair(self, record: dict[str, Any]) -> None:
        op = record["op"]
        if record["phase"] == Phase.INTENT:
            self.ops.add(op)
            self.open.setdefault(
                op,
                OpenIntent(
                    self._here(),
                    record["event"],
                    op,
                    record["target"],
                    record["key_hash"],
                    record["ts"],
                ),
            )
        elif op in self.ops:
            self.open.pop(op, None)
        else:
            self.unmatched.append(Unmatched(self._here(), op, record["result"]))


def _closes(record: dict[str, Any], torn: list[bytes]) -> bool:
    """Tell whether an event is the seal of these torn lines."""
    data = b"\n".join(torn)
    return (record.get("torn_bytes"), record.get("torn_sha256")) == (len(data), digest(data))


def _may_be_cut(line: bytes) -> bool:
    """Tell whether a line can be what a crash left of an event: its beginning, or zero bytes."""
    left = line.rstrip(b"\0")
    return left[: len(_BEGINNING)] == _BEGINNING[: len(left)]
