"""What the demo proves in the end, counted from the sandbox's own state and the trail's bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from rotator.adapters.audit.verify import read_lines, verify
from rotator.cli.demo.bench import NAMES, Files, ledger_of, served_hash
from rotator.cli.demo.trail import SHORT, Trail
from rotator.core.ledger import Ledger
from rotator.core.marker import parse_marker
from rotator.sandbox.consumers import Report
from rotator.sandbox.server import Sandbox


@dataclass(frozen=True, slots=True)
class TargetCount:
    """What one target went through.

    Attributes:
        name: of the target.
        rotations: how often a new key became the served one.
        deleted: how many of its predecessors were deleted.
        retiring: how many are still on their way out, each with its entry in the ledger.
        calls: of its consumer, failed ones too.
        failed: of these, how many failed.
    """

    name: str
    rotations: int
    deleted: int
    retiring: int
    calls: int
    failed: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What the demo found.

    Attributes:
        targets: what each target went through.
        orphans: keys that are neither served nor in a ledger.
        audit_ok: whether chain and pairs of the audit trail hold.
        audit_lines: how many lines it has.
        lost_key: hash of the key that the killed daemon lost, or None where none was killed.
        problems: what is not as it must be, one sentence each.
    """

    targets: tuple[TargetCount, ...]
    orphans: int
    audit_ok: bool
    audit_lines: int
    lost_key: str | None
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is as it must be."""
        return not self.problems

    def line(self) -> str:
        """Return the last line of the demo."""
        rotations = sum(each.rotations for each in self.targets)
        calls = sum(each.calls for each in self.targets)
        failed = sum(each.failed for each in self.targets)
        chain = "intact" if self.audit_ok else "broken"
        return (
            f"demo: {_many(rotations, 'rotation')}, {_many(calls, 'consumer call')}, "
            f"{failed:,} failed, {_many(self.orphans, 'orphan')}, audit chain {chain}"
        )

    def with_problem(self, problem: str) -> Summary:
        """Return a copy with one more problem."""
        return replace(self, problems=(problem, *self.problems))

    def to_json(self) -> dict[str, Any]:
        """Return the summary as ``demo --json`` shows it."""
        return {
            "ok": self.ok,
            "rotations": sum(each.rotations for each in self.targets),
            "calls": sum(each.calls for each in self.targets),
            "failed": sum(each.failed for each in self.targets),
            "orphans": self.orphans,
            "audit": {"ok": self.audit_ok, "lines": self.audit_lines},
            "lost_key": self.lost_key,
            "targets": [asdict(each) for each in self.targets],
            "problems": list(self.problems),
        }


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"


def calls_of(report: Report, name: str) -> tuple[int, int]:
    """Return how many calls the consumer of a target made, and how many of them failed."""
    good = sum(count for (target, _), count in report.calls_by_key.items() if target == name)
    failed = sum(each.target == name for each in report.failures)
    return good + failed, failed


def whole_life_seen(trail: Trail, lost: str | None) -> bool:
    """Tell whether each target lost a served predecessor for good, and a lost key is removed."""
    gone = set().union(*trail.deleted.values()) if trail.deleted else set()
    served_ones_deleted = all(trail.deleted.get(name, set()) - {lost} for name in NAMES)
    return served_ones_deleted and (lost is None or lost in gone)


def judge(
    sandbox: Sandbox, files: Files, trail: Trail, report: Report, lost: str | None
) -> Summary:
    """Count and judge, once the daemon and the consumers have stopped.

    Raises:
        OSError: the audit file cannot be read.
    """
    ledgers = {name: ledger_of(sandbox, name) for name in NAMES}
    served = {name: served_hash(sandbox, name) for name in NAMES}
    orphans = _orphans(sandbox, ledgers, served)
    heads = [book.audit_head for book in ledgers.values() if book and book.audit_head]
    audit = verify([(files.audit.name, read_lines(files.audit))], expected_heads=heads)
    targets = tuple(
        TargetCount(
            name,
            trail.rotations[name],
            len(trail.deleted.get(name, set()) - {lost}),
            len(book.retiring) if (book := ledgers[name]) is not None else 0,
            *calls_of(report, name),
        )
        for name in NAMES
    )
    problems = [
        *_failures(report),
        *(f"{hash_[:SHORT]} is an orphan: neither served nor in a ledger" for hash_ in orphans),
        *(str(problem) for problem in audit.problems),
        *_dead(sandbox, served),
        *_unfinished(targets, trail, lost),
    ]
    return Summary(targets, len(orphans), audit.ok, audit.lines, lost, tuple(problems))


def _orphans(
    sandbox: Sandbox, ledgers: dict[str, Ledger | None], served: dict[str, str | None]
) -> list[str]:
    """Return the keys that still exist at the provider but that nothing accounts for."""
    known = {hash_ for hash_ in served.values() if hash_ is not None}
    nonces: set[str] = set()
    for book in ledgers.values():
        if book is None:
            continue
        known |= {entry.hash for entry in book.retiring}
        if book.pending is not None and book.pending.nonce is not None:
            nonces.add(book.pending.nonce)
    found: list[str] = []
    for key in sandbox.account.all_keys():
        marker = parse_marker(key["name"])
        claimed = marker is not None and marker.nonce in nonces
        if not (key["deleted"] or key["management"] or key["hash"] in known or claimed):
            found.append(key["hash"])
    return found


def _failures(report: Report) -> list[str]:
    """Tell for each target how many calls failed and how the first one did."""
    told: list[str] = []
    for name in NAMES:
        mine = [each for each in report.failures if each.target == name]
        if mine:
            first = mine[0]
            key = f" with the key {first.key_hash[:SHORT]}" if first.key_hash else ""
            told.append(f"{name}: {_many(len(mine), 'call')} failed, first by {first.what}{key}")
    return told


def _dead(sandbox: Sandbox, served: dict[str, str | None]) -> list[str]:
    """Tell which targets serve no working key in the end."""
    return [
        f"{name}: the key that is served does not work"
        for name, hash_ in served.items()
        if hash_ is None or not sandbox.account.works(hash_)
    ]


def _unfinished(targets: tuple[TargetCount, ...], trail: Trail, lost: str | None) -> list[str]:
    """Tell which targets did not see the life of a key to its end."""
    told = [
        f"{each.name}: no key went from its rotation to its deletion"
        for each in targets
        if not (each.rotations and each.deleted)
    ]
    if lost is not None and lost not in set().union(*trail.deleted.values()):
        told.append(f"{lost[:SHORT]} was lost by the killed daemon and is not removed")
    return told
