"""What happened, as the audit trail tells it: moments to show, and counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rotator.adapters.audit.line import parse
from rotator.core.reasons import Reason
from rotator.events import Phase, Result

DAEMON = "daemon"
"""Stands for the target in a moment that concerns the whole process."""

SHORT = 8
"""Digits of a hash that are shown."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened.

    Attributes:
        at: when.
        target: the target's name, or `DAEMON`.
        what: in one or two words.
        key: the first digits of the key's hash, or "".
        note: a few words more, or "".
    """

    at: datetime
    target: str
    what: str
    key: str = ""
    note: str = ""


class Trail:
    """Follows an audit file while it is written."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet; the file may come later."""
        self._path = path
        self._offset = 0
        self._rest = b""
        self.rotations: Counter[str] = Counter()
        """By target, how often a new key became the served one."""
        self.born: set[str] = set()
        """Hashes of the keys whose creation was answered."""
        self.deleted: dict[str, set[str]] = {}
        """By target, the hashes of the keys that were deleted."""
        self.being_made: dict[str, str] = {}
        """By the step's ``op``, the targets for which a key was asked for without an answer yet."""

    def read(self) -> list[Moment]:
        """Return what was written since the last call.

        Raises:
            OSError: the file is there but cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                fresh = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(fresh)
        *lines, self._rest = (self._rest + fresh).split(b"\n")
        moments: list[Moment] = []
        for line in lines:
            record = parse(line)
            if record is not None:  # a line that a crash cut short is none
                self._count(record)
                moments += _moments(record)
        return moments

    def _count(self, record: dict[str, Any]) -> None:
        event, target = record["event"], record.get("target") or DAEMON
        if event == "key.create" and record["phase"] == Phase.INTENT:
            self.being_made[record["op"]] = target
        if record["phase"] == Phase.INTENT:
            return
        self.being_made.pop(record["op"], None)
        if record.get("result") != Result.DONE:
            return
        if event == "key.create":
            self.born.add(record["key_hash"])
        elif event == "ledger.change" and record["change"] == "promote":
            self.rotations[target] += 1
        elif event == "key.delete":
            self.deleted.setdefault(target, set()).add(record["key_hash"])


_WORDS = {
    "key.create": "born",
    "secret.publish": "served",
    "key.disable": "disabled",
    "key.enable": "enabled",
    "key.delete": "deleted",
    "secret.fence": "fenced",
    "process.start": "started",
    "process.stop": "stopped",
    "target.attention": "attention",
}

_CHANGES = {
    "create": "adopted",
    "take_over": "taken over",
}

_NOTES: dict[str, str] = {
    Reason.NEVER_SERVED: "orphan",
    Reason.CLAIM_EXPIRED: "claim expired",
    Reason.DEADLINE: "drain deadline",
    Reason.DISABLED_BY_US: "it is served",
}


def _moments(record: dict[str, Any]) -> list[Moment]:
    """Return what is shown of one line of the trail."""
    event, phase = record["event"], record["phase"]
    at = datetime.fromisoformat(record["ts"])
    target = record.get("target") or DAEMON
    key = (record.get("key_hash") or "")[:SHORT]
    if phase == Phase.INTENT:
        drained = event == "key.disable" and record.get("reason") == Reason.DRAINED
        return [Moment(at, target, "drained", key, "proven quiet")] if drained else []
    if event == "step.settled" and record["op"].endswith("/mint"):
        found = record["result"] == Result.FOUND
        note = "its plaintext is lost" if found else "nothing was made"
        return [Moment(at, target, "found" if found else "not found", key, note)]
    word = _CHANGES.get(record["change"]) if event == "ledger.change" else _WORDS.get(event)
    if word is None:
        return []
    if record["result"] != Result.DONE:
        return [Moment(at, target, f"{event} {record['result']}", key, record.get("error") or "")]
    note = record.get("detail") or _NOTES.get(record.get("reason") or "", "")
    return [Moment(at, target, word, key, note)]
