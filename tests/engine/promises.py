"""The promises, checked against the truth that no fault hides and no process remembers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rotator.core.codec import decode_ledger
from rotator.core.keys import IssuedKey, NewKey
from rotator.core.ledger import Claim, ClaimKind, Ledger
from rotator.core.marker import parse_marker
from rotator.core.reasons import Reason
from rotator.core.target import AfterDeadline, Evidence, Target
from rotator.events import Event, KeyCreate, Phase, Result, SecretPublish, StepSettled
from tests.fakes.audit import FakeTrail
from tests.fakes.issuer import FakeAccount
from tests.fakes.vault import FakeLedgers, FakeVault

FIELD = "OPENROUTER_API_KEY"

NEEDS_CLAIM = {
    "openrouter.create": {ClaimKind.ROTATE},
    "openrouter.disable": {ClaimKind.DISABLE},
    "openrouter.delete": {ClaimKind.DELETE},
    "vault.write": {ClaimKind.ROTATE, ClaimKind.FENCE, ClaimKind.ROLLBACK},
}
"""By call, the kinds of claim under which it may be begun."""

INTENTS = {
    "openrouter.create": {"key.create"},
    "openrouter.disable": {"key.disable"},
    "openrouter.enable": {"key.enable"},
    "openrouter.delete": {"key.delete"},
    "vault.write": {"secret.publish", "secret.fence"},
    "vault.write_ledger": {"ledger.change"},
}
"""By call, the intents of which one must be the last thing its process wrote before it."""


@dataclass
class BrokenPromiseError(AssertionError):
    """A promise was broken."""

    what: str

    def __str__(self) -> str:
        return self.what


def _claim_in(document: dict[str, Any] | None) -> dict[str, Any] | None:
    claim = (document or {}).get("pending")
    return claim if isinstance(claim, dict) else None


@dataclass
class Promises:
    """What must hold, whatever goes wrong.

    Attributes:
        account: OpenRouter's truth.
        vault: Vault's truth.
        trail: the audit trail.
        claim_timeout: for how long a claim stands.
        targets: what is configured.
        cache: for how long consumers go on using a value that they have read.
        excused: hashes of keys that a person did something to.
        began: names of targets that served something once.
        other: the foreign field's value in the first target's secret.
        last_served: by hash, when it was last served.
        robbed: claims that a person took away with the ledger, each with its end: its
            holder cannot know before it next writes there.
        too_late: hashes of keys that a person put back between the read that allowed their
            removal and its effect: the provider has no conditional request.
        installation: whose markers are ours.
    """

    account: FakeAccount
    vault: FakeVault
    trail: FakeTrail
    claim_timeout: timedelta
    targets: tuple[Target, ...]
    cache: timedelta
    excused: set[str] = field(default_factory=set)
    began: set[str] = field(default_factory=set)
    other: str | None = "stays"
    last_served: dict[str, datetime] = field(default_factory=dict)
    robbed: list[tuple[Claim, datetime]] = field(default_factory=list)
    too_late: set[str] = field(default_factory=set)
    installation: str = "00112233445566aa"

    def __post_init__(self) -> None:
        self._disabled_since: dict[str, datetime] = {}
        self._names: set[str] = set()
        self._looked_at: dict[tuple[str, str], datetime] = {}
        self._decoded: dict[str, tuple[object, Ledger]] = {}
        self.account.on_make = self._before_make
        self.account.on_disable = self._before_disable
        self.account.on_delete = self._before_delete
        self.trail.on_append = self._appended
        self.vault.on_write = self._written

    # The truth.

    def ledger(self, name: str = "app") -> Ledger | None:
        """Return a ledger as it stands."""
        document = self.vault.current(f"{FakeLedgers.prefix}targets/{name}")
        if document is None:
            return None
        known = self._decoded.get(name)
        if known is None or known[0] is not document:
            known = self._decoded[name] = (document, decode_ledger(document))
        return known[1]

    def served_hash(self, path: str) -> str | None:
        """Return the hash of the value that consumers are served now."""
        value = (self.vault.current(path) or {}).get(FIELD)
        return hashlib.sha256(value.encode()).hexdigest() if isinstance(value, str) else None

    def served_now(self) -> dict[str, str | None]:
        """Return by target the hash of the value that consumers are served now."""
        return {each.name: self.served_hash(each.secret.path) for each in self.targets}

    def time_passed(self) -> None:
        """Consumers use what they have read, and what they read before until they forget it."""
        now = self.account.now()
        for served in self.served_now().values():
            if served is not None:
                self.last_served[served] = now
        for key_hash, last in self.last_served.items():
            key = self.account.keys.get(key_hash)
            used = min(now, last + self.cache)
            if key is not None and (key.last_used_at is None or key.last_used_at < used):
                self.account.change(key_hash, last_used_at=used)

    # At every instant.

    def check(self) -> None:
        """Check what must hold at every instant.

        Raises:
            BrokenPromiseError: it does not.
        """
        for each in self.targets:
            served = self.served_hash(each.secret.path)
            if served is None:
                if each.name in self.began:
                    raise BrokenPromiseError(f"{each.name} serves nothing any more")
                continue
            self.began.add(each.name)
            self.last_served[served] = self.account.now()
            if served in self.excused:
                continue
            if not self.account.accepts(served):
                raise BrokenPromiseError(f"{each.name} serves a dead key")
            book = self._usable(each.name)
            entry = book.entry(served) if book is not None else None
            if entry is not None and entry.why is Reason.NEVER_SERVED:
                raise BrokenPromiseError(f"{each.name} serves a key that was given up")
        if (self.vault.current(self.targets[0].secret.path) or {}).get("OTHER") != self.other:
            raise BrokenPromiseError("a foreign field was changed")

    def _usable(self, name: str) -> Ledger | None:
        try:
            return self.ledger(name)
        except ValueError:
            return None

    # Before each call of a process.

    def begun(self, holder: str, service: str, name: str) -> None:
        """Check that a process may begin a call: its intent is written, its claim stands.

        Raises:
            BrokenPromiseError: it does not.
        """
        call = f"{service}.{name}"
        self._looked_at[holder, call] = self.vault.now()
        intents = INTENTS.get(call)
        if intents is None:
            return
        last = self.trail.last_by.get(holder)
        if last is None or last.phase is not Phase.INTENT or last.name not in intents:
            raise BrokenPromiseError(f"{call} without an intent on disk")
        kinds = NEEDS_CLAIM.get(call)
        if kinds is not None and not self._claimed(holder, kinds, last):
            raise BrokenPromiseError(f"{call} by {holder} without a claim that stands")

    def _claimed(self, holder: str, kinds: set[ClaimKind], intent: Event) -> bool:
        if intent.name == "secret.fence":
            kinds = set(ClaimKind)
        for lost, ends in self.robbed:
            if lost.holder == holder and lost.kind in kinds and self.vault.now() < ends:
                return True
        versions = self.vault.paths.get(f"{FakeLedgers.prefix}targets/{intent.target}")
        book = self._usable(intent.target or "")
        claim = book.pending if book is not None else None
        if claim is None or not versions or claim.holder != holder or claim.kind not in kinds:
            return False
        return self.vault.now() < versions[-1].created_time + self.claim_timeout

    def ledger_taken(self, name: str = "app") -> None:
        """A person is about to change a ledger: remember the claim that stands in it."""
        book, path = self._usable(name), f"{FakeLedgers.prefix}targets/{name}"
        if book is not None and book.pending is not None:
            ends = self.vault.paths[path][-1].created_time + self.claim_timeout
            self.robbed.append((book.pending, ends))

    # Before each effect.

    def _before_make(self, new: NewKey) -> None:
        """A nonce makes one key, and a cap is never lifted by a rotation."""
        if new.name in self._names:
            raise BrokenPromiseError(f"{new.name} is made a second time")
        self._names.add(new.name)
        marker = parse_marker(new.name)
        found = [each for each in self.targets if marker and each.name == marker.target]
        served = self.served_hash(found[0].secret.path) if found else None
        old = self.account.keys.get(served or "")
        if old is None or old.limit is None or found[0].key.limit is not None:
            return
        reset = found[0].key.limit_reset or old.limit_reset
        most = old.limit if reset is not None else old.limit_remaining or 0.0
        if new.limit is None or new.limit > most:
            raise BrokenPromiseError(f"the new key's limit is {new.limit}, not at most {most}")

    def _before_disable(self, key_hash: str) -> None:
        """A key that consumers may still use is not disabled."""
        now, key = self.account.now(), self.account.keys[key_hash]
        if not key.disabled:
            self._disabled_since[key_hash] = now
        if key_hash in self.excused or key.disabled:
            return
        if key_hash in self.served_now().values():
            raise BrokenPromiseError(f"{key_hash[:8]} disabled while served")
        last = self.last_served.get(key_hash)
        if last is None:
            if not self._ours(key):
                raise BrokenPromiseError(f"{key_hash[:8]} disabled, a foreign key")
            return
        policy = self.targets[0].policy
        if now - last < policy.grace:
            raise BrokenPromiseError(f"{key_hash[:8]} disabled within its grace period")
        used = key.last_used_at
        if used is None and policy.drain.evidence is Evidence.LAST_USED:
            raise BrokenPromiseError(f"{key_hash[:8]} disabled without proof that it is quiet")
        kept = policy.drain.then is AfterDeadline.KEEP
        over = now - last >= policy.grace + policy.drain.deadline
        if used is not None and now - used < policy.drain.quiet_for and (kept or not over):
            raise BrokenPromiseError(f"{key_hash[:8]} disabled while it is used")

    def _ours(self, key: IssuedKey) -> bool:
        """Tell whether a key that was never served bears the mark of one of our targets."""
        marker = parse_marker(key.name)
        names = {each.name for each in self.targets}
        ours = marker is not None and marker.installation == self.installation
        return ours and marker is not None and marker.target in names

    def _before_delete(self, key_hash: str) -> None:
        """Only a disabled key that is not served is deleted, and after its quarantine."""
        if not self.account.keys[key_hash].disabled:
            raise BrokenPromiseError(f"{key_hash[:8]} deleted while enabled")
        if key_hash in self.served_now().values() and key_hash not in self.too_late:
            raise BrokenPromiseError(f"{key_hash[:8]} deleted while served")
        since = self._disabled_since.get(key_hash)
        if since is None or key_hash not in self.last_served or key_hash in self.excused:
            return
        if self.account.now() - since < self.targets[0].policy.quarantine:
            raise BrokenPromiseError(f"{key_hash[:8]} deleted within its quarantine")

    def _written(self, path: str) -> None:
        """A claim that stands is nobody else's to replace."""
        versions = self.vault.paths.get(path) or []
        if not path.startswith(FakeLedgers.prefix) or len(versions) < 2:
            return
        before, after = versions[-2], versions[-1]
        old, new = _claim_in(before.data), _claim_in(after.data)
        if old is None or new is None or (old["op"], old["holder"]) == (new["op"], new["holder"]):
            return
        if after.created_time < before.created_time + self.claim_timeout and not self._fits(
            path, new
        ):
            raise BrokenPromiseError(f"{new['holder']} replaced the claim of {old['holder']}")

    def _fits(self, path: str, claim: dict[str, Any]) -> bool:
        """Tell whether a claim may be written over another that stands: never, without hands."""
        del path, claim
        return False

    def _appended(self, event: Event) -> None:
        """What is settled later says what was true when its writer looked."""
        if not isinstance(event, StepSettled) or event.result is not Result.NOT_FOUND:
            return
        writer = next(each for each, last in self.trail.last_by.items() if last is event)
        listed = self._looked_at.get((writer, "openrouter.list"), self.vault.now())
        read = self._looked_at.get((writer, "vault.read"), self.vault.now())
        for _, intent in self.trail.lines:
            if intent.op != event.op or intent.phase is not Phase.INTENT:
                continue
            keys = self.account.keys.values()
            names = {each.name for each in keys if not each.created_at or each.created_at <= listed}
            if isinstance(intent, KeyCreate) and intent.key_name in names:
                raise BrokenPromiseError(f"{event.op} was settled as not found, yet its key exists")
            paths = [each.secret.path for each in self.targets if each.name == event.target]
            stood = paths and self.vault.paths[paths[0]][-1].created_time <= read
            served = self.served_hash(paths[0]) if stood else None
            if isinstance(intent, SecretPublish) and intent.key_hash == served:
                raise BrokenPromiseError(f"{event.op} was settled as not found, yet it is served")

    # In the end.

    def check_at_rest(self) -> None:
        """Check what must hold once faults stopped and time has passed.

        Raises:
            BrokenPromiseError: it does not.
        """
        served_now = self.served_now()
        for name, served in served_now.items():
            book = self.ledger(name)
            if book is None or book.served is None or book.served.hash != served:
                raise BrokenPromiseError(f"{name}: the ledger does not know the served key")
            if book.pending is not None or book.retiring or book.failure is not None:
                raise BrokenPromiseError(f"{name}: it did not come to rest: {book}")
        orphans = [
            key.name
            for key in self.account.keys.values()
            if parse_marker(key.name) is not None and key.hash not in served_now.values()
        ]
        if orphans:
            raise BrokenPromiseError(f"keys are left over: {orphans}")
        if open_intents := self.trail.unsettled():
            raise BrokenPromiseError(f"intents without an outcome: {open_intents}")
        written = [path for path in self.vault.paths if path.startswith(FakeLedgers.prefix)]
        documents = [str(each.data) for path in written for each in self.vault.paths[path]]
        if any("sk-or-" in text for text in (*documents, *(str(e) for _, e in self.trail.lines))):
            raise BrokenPromiseError("a plaintext stands in a ledger or in the trail")
