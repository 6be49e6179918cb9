"""What all parts of the engine share: the ports, who we are, and what is known of the fleet."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from rotator.core.snapshot import Identity, Limits
from rotator.engine.pace import Pace
from rotator.ports import AuditSink, Clock, KeyIssuer, LedgerStore, SecretStore

log = logging.getLogger("rotator.engine")


class Fleet:
    """What this process knows of all targets together. Safe to use from several threads."""

    def __init__(self) -> None:
        """Start knowing nothing."""
        self._lock = threading.Lock()
        self._served: dict[str, str] = {}
        self._targets: dict[str, frozenset[str]] = {}
        self._index: Mapping[str, frozenset[str]] | None = None
        self._dead: set[str] = set()
        self._unlisted: frozenset[str] = frozenset()
        self._refused: str | None = None
        self._reported: set[tuple[str, str, str | None]] = set()
        self._term = 0
        self._configured: frozenset[str] | None = None
        self._seen: set[str] = set()

    def serves(self, target: str, key_hash: str | None, *, sure: bool = True) -> None:
        """Note which key a configured target serves, or that it serves none.

        Once it is known which targets are configured, any other is passed over: a pass of
        one that was let go meanwhile, or renamed, would leave its name here for good.

        Args:
            target: its name.
            key_hash: the key's hash, or None.
            sure: False where this is only what was served when it was last written down,
                and something else may stand in the secret by now.
        """
        with self._lock:
            if self._configured is not None and target not in self._configured:
                return
            if sure:
                self._seen.add(target)
            self._put(target, key_hash)

    def _put(self, target: str, key_hash: str | None) -> None:
        """Put what a target serves into the index; the lock is held."""
        if self._served.get(target) == key_hash:
            return
        self._index = None
        before = self._served.pop(target, None)
        if before is not None:
            left = self._targets[before] - {target}
            if left:
                self._targets[before] = left
            else:
                del self._targets[before]
        if key_hash is not None:
            self._served[target] = key_hash
            self._targets[key_hash] = self._targets.get(key_hash, frozenset()) | {target}

    def unseen(self, but: str | None = None) -> frozenset[str] | None:
        """Return the configured targets of which it is not known what they serve.

        None means that no full comparison has looked at them yet. Until it is known of all
        but the named one, nothing is disabled or deleted.
        """
        with self._lock:
            if self._configured is None:
                return None
            return self._configured - self._seen - {but}

    def filled(self) -> bool:
        """Tell whether it is known of every configured target what it serves."""
        return self.unseen() == frozenset()

    def term(self) -> int:
        """Return what `fill` is told, so that nothing counts that was read before an `unfill`."""
        with self._lock:
            return self._term

    def fill(self, targets: Iterable[str], term: int | None = None) -> None:
        """Note that it was tried to look at every configured target; there are no others.

        Args:
            targets: their names.
            term: as it was before these were read; an older one changes nothing.
        """
        with self._lock:
            if term not in (None, self._term):
                return
            self._configured = frozenset(targets)
            for name in self._served.keys() - self._configured:
                self._put(name, None)

    def unfill(self) -> None:
        """Note that all targets must be looked at anew: others may have acted, or places changed.

        What is known so far stays until then.
        """
        with self._lock:
            self._term += 1
            self._configured = None
            self._seen.clear()

    def forget(self, target: str) -> None:
        """Drop a target that is configured no more."""
        with self._lock:
            self._put(target, None)

    def served_by(self) -> Mapping[str, frozenset[str]]:
        """Return the targets that serve each hash, as last known.

        Until something changes it is the same value: each snapshot of each target holds it.
        """
        with self._lock:
            if self._index is None:
                self._index = MappingProxyType(dict(self._targets))
            return self._index

    def others_serving(self, key_hash: str) -> frozenset[str]:
        """Return the targets that serve one hash, as last known."""
        with self._lock:
            return self._targets.get(key_hash, frozenset())

    def died(self, target: str) -> None:
        """Note that a target's served key was found dead."""
        with self._lock:
            self._dead.add(target)

    def lives(self, target: str) -> None:
        """Note that a target's served key works after all."""
        with self._lock:
            self._dead.discard(target)

    def dead(self) -> frozenset[str]:
        """Return the targets found dead since the last resync began."""
        with self._lock:
            return frozenset(self._dead)

    def begin_resync(self, dead: frozenset[str]) -> None:
        """Count the dead afresh, beginning with those that a listing shows at once."""
        with self._lock:
            self._dead = set(dead)

    def leave_out(self, workspaces: frozenset[str]) -> None:
        """Note which workspaces, of those that targets name, the last listing had to leave out."""
        with self._lock:
            self._unlisted = workspaces

    def unlisted(self) -> frozenset[str]:
        """Return the workspaces that targets name and that the last listing left out."""
        with self._lock:
            return self._unlisted

    def refuse(self, why: str | None) -> None:
        """Stop all changes because our own credential is refused, or allow them again (None)."""
        with self._lock:
            self._refused = why

    def refused(self) -> str | None:
        """Return why all changes are stopped, or None."""
        with self._lock:
            return self._refused

    def first_report(self, target: str, reason: str, key: str | None) -> bool:
        """Tell whether something about a target was not reported before by this process."""
        with self._lock:
            new = (target, reason, key) not in self._reported
            self._reported.add((target, reason, key))
            return new

    def report_over(self, target: str, still: frozenset[tuple[str, str | None]]) -> None:
        """Forget reports about a target that no longer hold, so that they can come again."""
        with self._lock:
            self._reported = {
                each for each in self._reported if each[0] != target or (each[1], each[2]) in still
            }


@dataclass(frozen=True, slots=True)
class World:
    """The ports and the shared state, handed to every part of the engine.

    Attributes:
        clock: the time.
        issuer: OpenRouter.
        secrets: the secrets that consumers read.
        ledgers: our own documents.
        audit: the audit trail.
        identity: who is acting.
        limits: settings that decisions depend on.
        pace: how fast writes may go to OpenRouter.
        draw: returns 16 random hex digits.
        stopping: tells whether the process was asked to stop.
        leads: tells whether new work may be begun: false once a lease of ours ran out.
        fleet: what is known of all targets together.
    """

    clock: Clock
    issuer: KeyIssuer
    secrets: SecretStore
    ledgers: LedgerStore
    audit: AuditSink
    identity: Identity
    limits: Limits
    pace: Pace
    draw: Callable[[], str]
    stopping: Callable[[], bool] = lambda: False
    leads: Callable[[], bool] = lambda: True
    fleet: Fleet = field(default_factory=Fleet)


def ledger_name(target: str) -> str:
    """Return the name of a target's ledger under the state prefix."""
    return f"targets/{target}"
