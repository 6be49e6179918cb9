"""What a verification of audit files found, as values that a command prints."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What kind of problem was found.

    ``tampered``: a line was changed, removed, inserted or moved. ``cut``: a head that was
    written down elsewhere is in none of the files. ``gap``: a file, or the end of one, is
    missing between two that are there. ``invalid``: the chain holds, but the line is not what
    the catalogue of this version says. ``unpaired``: an intent without an outcome, or the
    reverse.
    """

    TAMPERED = "tampered"
    CUT = "cut"
    GAP = "gap"
    INVALID = "invalid"
    UNPAIRED = "unpaired"


@dataclass(frozen=True, slots=True, order=True)
class Where:
    """A line of a file; lines count from 1, and 0 is the file as a whole."""

    file: str
    line: int

    def __str__(self) -> str:
        """Return ``file:line``, or only the file."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that should not be.

    Attributes:
        where: the first line that does not fit; the change is in it or right above it.
        kind: what kind of problem it is.
        detail: one plain sentence.
    """

    where: Where
    kind: Kind
    detail: str

    def __str__(self) -> str:
        """Return the problem in one line."""
        return f"{self.where}: {self.kind}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Tear:
    """A last line that a crash cut short; no sign of tampering.

    Attributes:
        where: the first torn line.
        length: of the torn bytes.
        sealed: whether the line after it closed it. One at the end of a file that is still
            written will be, by the next append.
    """

    where: Where
    length: int
    sealed: bool


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """A step that had begun when the trail ends; its outcome may be still to come.

    Attributes:
        where: the intent's line.
        event: the event's name.
        op: the step.
        target: the target, or None.
        key_hash: the key, or None.
        at: when it was written, as it stands in the line.
    """

    where: Where
    event: str
    op: str
    target: str | None
    key_hash: str | None
    at: str


class Start(StrEnum):
    """How a chain begins.

    ``new``: it names no line before it. ``linked``: it names the end of another of the files.
    ``earlier``: it goes on from a file that was not given, which only the oldest may.
    ``broken``: the same, but it is not the oldest.
    """

    NEW = "new"
    LINKED = "linked"
    EARLIER = "earlier"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain as far as it stands in one file.

    Attributes:
        chain: its identifier.
        file: where it stands.
        first_line: the line on which it begins there.
        first_seq: the number of that line in the chain.
        last_seq: the number of its last line there.
        first_ts: the time of that first line, as it stands there.
        last_ts: the time of that last line.
        prev: the digest that its first line names.
        head: what a next line would have to name: the digest of its last line.
        start: how it begins; None while the other files were not looked at.
    """

    chain: str
    file: str
    first_line: int
    first_seq: int
    last_seq: int
    first_ts: str
    last_ts: str
    prev: str
    head: str
    start: Start | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on one trail.

    Attributes:
        files: the files in the order in which they were given.
        lines: how many lines they hold.
        chains: the chains, oldest first.
        problems: what should not be, in the order of files and lines.
        tears: lines cut short by crashes; they are no problem.
        open: steps that had begun at the end of the trail; they are no problem.
    """

    files: tuple[str, ...]
    lines: int
    chains: tuple[Chain, ...]
    problems: tuple[Problem, ...]
    tears: tuple[Tear, ...]
    open: tuple[OpenIntent, ...]

    @property
    def ok(self) -> bool:
        """Whether chains and pairs hold."""
        return not self.problems

    @property
    def first_broken(self) -> Problem | None:
        """The first problem, or None."""
        return self.problems[0] if self.problems else None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        first = self.first_broken
        document: dict[str, Any] = {
            "ok": self.ok,
            "first_broken": None if first is None else str(first.where),
            **asdict(self),
        }
        plain: dict[str, Any] = json.loads(json.dumps(document))
        return plain
