"""The promises, judged for several targets and processes, with people's hands beside them.

What the lab's `Promises` check is checked here for each target's own policy. A person may
break a promise by hand; what he broke is excused, exactly, and only until it is whole again:

* a target whose value a person removed, or which he made serve a dead key, is excused until
  it serves a working key;
* a disable or delete that lands after a person put its key back is excused where he did so
  after the read that allowed it, since the provider has no conditional request;
* a key that a person put back, and whose version he then erased by making the secret anew,
  was served without a trace where no process saw it;
* a claim in a ledger that a person changed is no longer there to be held.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from rotator.core.calendar import opens_at
from rotator.core.codec import Undecodable
from rotator.core.keys import NewKey
from rotator.core.ledger import ClaimKind, Ledger
from rotator.core.marker import parse_marker
from rotator.core.reasons import Reason
from rotator.core.schedule import disable_allowed_at
from rotator.core.target import AfterDeadline, Evidence, Target
from rotator.events import Event, KeyCreate, Phase, Result, SecretPublish, StepSettled
from tests.engine.promises import FIELD, BrokenPromiseError, Promises
from tests.fakes.audit import FakeTrail
from tests.fakes.issuer import FakeAccount
from tests.fakes.vault import Entry, FakeLedgers, FakeVault

OTHER = "OTHER"
WHOLE_SECOND = timedelta(seconds=1)
"""Vault's ``Date`` has whole seconds, so that what is judged by it may be early by a part."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The call whose effect comes to pass, maybe long after it was sent.

    Attributes:
        holder: the process that sent it.
        at: when.
        local: when, by the process's clock.
        read_at: for a removal, when the process had last seen the secret.
        intent: the last thing that the process had written into the trail.
    """

    holder: str
    at: datetime
    local: datetime
    read_at: datetime | None
    intent: Event | None


_SCHEDULED = frozenset({Reason.EVERY, Reason.CRON, Reason.MAX_AGE})
_LATE = timedelta(minutes=1)
_BEFORE = tuple(timedelta(minutes=each) for each in (0, 1, 2, 4, 6, 10))


def _open(opens: Callable[[datetime], datetime], sent: Sent) -> bool:
    """Tell whether windows were open, by either clock, when a call was sent or decided on."""
    moments = [at - each for at in (sent.at, sent.local) for each in _BEFORE]
    return any(opens(each) <= each for each in moments)


class Judge(Promises):
    """What must hold at every port call.

    Attributes:
        sent: the call whose effect comes to pass.
        listed_at: by process, when its last listing was made.
        values: by path, the plaintexts that consumers were served, by hash.
    """

    def __init__(
        self,
        account: FakeAccount,
        vault: FakeVault,
        trail: FakeTrail,
        *,
        claim_timeout: timedelta,
        targets: tuple[Target, ...],
        caches: tuple[timedelta, ...],
    ) -> None:
        self.caches = {each.name: cache for each, cache in zip(targets, caches, strict=True)}
        self.named = {each.name: each for each in targets}
        self.owner: dict[str, str] = {}
        self.serving: dict[str, str | None] = dict.fromkeys(self.named)
        self.put_at: dict[str, datetime] = {}
        self.by_hand: set[tuple[str, str | None]] = set()
        self.others: dict[str, str | None] = {each.secret.path: "stays" for each in targets}
        self.deleted_others: dict[str, str | None] = {}
        self.values: dict[str, dict[str, str]] = {each.secret.path: {} for each in targets}
        self.strangers: set[str] = set()
        self.touched_by_hand: set[str] = set()
        self.enabled_by_hand: set[str] = set()
        self.ledger_touched: dict[str, datetime] = {}
        self.retired_by: set[str] = set()
        self.compromised_by: set[str] = set()
        self.seen: dict[tuple[str, str], datetime] = {}
        self.listed_at: dict[str, datetime] = {}
        self.sent: Sent | None = None
        self.overwritten_by: set[str] = set()
        self.renamed: set[str] = set()
        self.erased: set[str] = set()
        self.blind: set[str] = set()
        self.recreated_at: dict[str, datetime] = {}
        self.handing = False
        self._digests: dict[str, tuple[Entry, str | None]] = {}
        super().__init__(account, vault, trail, claim_timeout, targets, timedelta())

    # The truth.

    def served_hash(self, path: str) -> str | None:
        versions = self.vault.paths.get(path)
        if not versions:
            return None
        last = versions[-1]
        known = self._digests.get(path)
        if known is not None and known[0] is last and last.data is not None:
            return known[1]
        value = (last.data or {}).get(FIELD)
        digest = None
        if isinstance(value, str):
            digest = hashlib.sha256(value.encode()).hexdigest()
            self.values[path][digest] = value
        self._digests[path] = (last, digest)
        return digest

    def document(self, name: str) -> dict[str, Any] | None:
        """Return a target's ledger as it stands, as JSON."""
        return self.vault.current(f"{FakeLedgers.prefix}targets/{name}")

    def book(self, name: str) -> Ledger | None:
        """Return a target's ledger, or None where it cannot be used."""
        try:
            return self.ledger(name)
        except Undecodable:
            return None

    def erase(self, target: Target) -> None:
        """A person makes the secret anew: what was put back and not seen yet leaves no trace."""
        served, document = self.serving[target.name], self.document(target.name)
        seen = ((document or {}).get("served") or {}).get("hash")
        self.recreated_at[target.secret.path] = self.account.now()
        if served is not None and served != seen:
            self.erased.add(served)

    def note_served(self) -> None:
        """Note what is served now, and until when the one before was."""
        now = self.account.now()
        for target in self.targets:
            served = self.served_hash(target.secret.path)
            before = self.serving.get(target.name)
            if before is not None:
                self.last_served[before] = now
            if served != before:
                self.serving[target.name] = served
                if served is not None:
                    self.put_at[served] = now
                    self.owner[served] = target.name
            if served is not None:
                self.last_served[served] = now

    def time_passed(self) -> None:
        """Consumers use what they have read, until they read again."""
        self.note_served()
        now = self.account.now()
        for key_hash, last in self.last_served.items():
            key = self.account.keys.get(key_hash)
            if key is None or key.disabled or key_hash in self.account.refuses:
                continue
            used = min(now, last + self.caches[self.owner[key_hash]])
            if key.last_used_at is None or key.last_used_at < used:
                self.account.change(key_hash, last_used_at=used, usage=(key.usage or 0.0) + 0.01)

    # What people do.

    @contextlib.contextmanager
    def hand(self) -> Iterator[None]:
        """What is done inside is done by a person."""
        self.handing = True
        try:
            yield
        finally:
            self.handing = False
        self.note_served()
        for name in self.named:
            served = self.serving.get(name)
            if served is None or not self.account.accepts(served):
                self.by_hand.add((name, served))
        self.check()

    # At every instant.

    def check(self) -> None:
        self.note_served()
        for name, target in self.named.items():
            served = self.serving[name]
            if served is not None and self.account.accepts(served):
                self.began.add(name)
                if self.by_hand:
                    self.by_hand = {each for each in self.by_hand if each[0] != name}
            elif name in self.began and (name, served) not in self.by_hand:
                what = "serves a dead key" if served else "serves nothing any more"
                raise BrokenPromiseError(f"{name} {what}")
            if served is not None:
                self._check_not_given_up(name, served)
            self._check_other_field(target.secret.path)

    def _check_other_field(self, path: str) -> None:
        """Check that the field that is not ours is as a person left it.

        A soft delete makes no version, so that check-and-set cannot tell a write that was
        read before it: such a write brings the fields back as they were.
        """
        data = self.vault.current(path)
        if data is None or data.get(OTHER) == self.others[path]:
            return
        if self.others[path] is None and data.get(OTHER) == self.deleted_others.get(path):
            self.others[path] = self.deleted_others[path]
            return
        raise BrokenPromiseError("a foreign field was changed")

    def _check_not_given_up(self, name: str, served: str) -> None:
        entries = (self.document(name) or {}).get("retiring")
        if not entries or name in self.ledger_touched or (name, served) in self.by_hand:
            return
        for entry in entries:
            if entry["hash"] == served and entry["why"] == Reason.NEVER_SERVED:
                raise BrokenPromiseError(f"{name} serves a key that was given up")

    def _claimed(self, holder: str, kinds: set[ClaimKind], intent: Event) -> bool:
        touched = self.ledger_touched.get(intent.target or "")
        timeout = self.claim_timeout
        if touched is not None and self.account.now() - touched < timeout:
            return True
        versions = self.vault.paths.get(f"{FakeLedgers.prefix}targets/{intent.target}")
        claim = (versions[-1].data or {}).get("pending") if versions else None
        if not versions or not isinstance(claim, dict) or claim["holder"] != holder:
            return False
        allowed = set(ClaimKind) if intent.name == "secret.fence" else kinds
        return claim["kind"] in allowed and self.vault.now() < versions[-1].created_time + timeout

    # Before each effect.

    def _before_make(self, new: NewKey) -> None:
        if self.handing:
            return
        marker = parse_marker(new.name)
        assert marker is not None
        book = self.book(marker.target)
        served = self.serving.get(marker.target)
        if book is not None and book.served is not None and book.served.hash == served:
            super()._before_make(new)
        elif new.name in self._names:
            raise BrokenPromiseError(f"{new.name} is made a second time")
        self._names.add(new.name)
        if book is not None and self.sent is not None:
            self._check_due(self.named[marker.target], book, self.sent)

    def _check_due(self, target: Target, book: Ledger, sent: Sent) -> None:
        """Check that a rotation by schedule is not early, whatever the clocks say."""
        reason = sent.intent.reason if sent.intent is not None else None
        policy, served = target.policy, book.served
        late = self.account.now() - sent.at > _LATE
        if reason not in _SCHEDULED or served is None or late:
            return
        age, least = self.account.now() - served.due_from, policy.min_age
        if policy.every is not None:
            least = policy.every - policy.jitter
        if policy.max_age is not None:
            least = min(least, policy.max_age)
        if age < least:
            raise BrokenPromiseError(f"{target.name} is rotated at the age of {age}: {reason}")
        opens = partial(opens_at, policy) if reason != Reason.MAX_AGE else None
        if opens is not None and not _open(opens, sent):
            raise BrokenPromiseError(f"{target.name} is rotated outside its windows")

    def _where_served(self, key_hash: str) -> list[str]:
        return [name for name, served in self.serving.items() if served == key_hash]

    def _changed_since_read(self, key_hash: str) -> bool:
        """Tell whether the key was served after its remover had last seen the secret."""
        last = self.last_served.get(key_hash)
        read_at = self.sent.read_at if self.sent is not None else None
        if read_at is None or last is None or last <= read_at:
            return False
        for name in self._where_served(key_hash):
            if self.put_at[key_hash] <= read_at:
                return False
            self.by_hand.add((name, key_hash))
        return True

    def _before_disable(self, key_hash: str) -> None:
        now, key = self.account.now(), self.account.keys[key_hash]
        self.time_passed()
        if key.disabled:
            return
        self._disabled_since[key_hash] = now
        if self.handing or self._changed_since_read(key_hash):
            return
        if self._where_served(key_hash):
            raise BrokenPromiseError(f"{key_hash[:8]} disabled while served")
        self._check_ours(key_hash, "disabled")
        last, name = self.last_served.get(key_hash), self.owner.get(key_hash)
        if last is None or name is None or self._asked_to_go(key_hash, name):
            return
        policy = self.named[name].policy
        if self.sent is not None and not _open(partial(disable_allowed_at, policy), self.sent):
            raise BrokenPromiseError(f"{key_hash[:8]} disabled outside the windows")
        if key_hash in self.erased:
            return
        if now - last < policy.grace:
            raise BrokenPromiseError(f"{key_hash[:8]} disabled within its grace period")
        used = self.account.keys[key_hash].last_used_at
        stays = policy.drain.then is AfterDeadline.KEEP or key_hash in self.strangers
        over = now - last >= policy.grace + policy.drain.deadline
        if policy.drain.evidence is Evidence.USAGE:
            return
        if used is not None and now - used < policy.drain.quiet_for and (stays or not over):
            raise BrokenPromiseError(f"{key_hash[:8]} disabled while it is used")

    def _check_ours(self, key_hash: str, what: str) -> None:
        if key_hash in self.strangers and key_hash not in self.last_served:
            raise BrokenPromiseError(f"{key_hash[:8]} is not ours and was {what}")

    def _asked_to_go(self, key_hash: str, name: str) -> bool:
        """Tell whether an operator said that the key may go at once."""
        book = self.book(name)
        entry = book.entry(key_hash) if book is not None else None
        if entry is None:
            return name in self.ledger_touched
        if entry.why is Reason.RETIRED:
            return name in self.retired_by
        return entry.why is Reason.COMPROMISED and name in self.compromised_by

    def _before_delete(self, key_hash: str) -> None:
        if self.handing or self._changed_since_read(key_hash):
            return
        self.note_served()
        if not self.account.keys[key_hash].disabled:
            if key_hash in self.touched_by_hand:
                return
            raise BrokenPromiseError(f"{key_hash[:8]} deleted while enabled")
        if self._where_served(key_hash):
            raise BrokenPromiseError(f"{key_hash[:8]} deleted while served")
        self._check_ours(key_hash, "deleted")
        since, last = self._disabled_since.get(key_hash), self.last_served.get(key_hash)
        if since is None or last is None or key_hash in self.touched_by_hand:
            return
        quarantine = self.named[self.owner[key_hash]].policy.quarantine
        if self.account.now() - since + WHOLE_SECOND < quarantine:
            raise BrokenPromiseError(f"{key_hash[:8]} deleted within its quarantine")

    def _written(self, path: str) -> None:
        self.note_served()
        if self.handing:
            return
        super()._written(path)
        for target in self.targets:
            if target.secret.path == path:
                self._check_not_foreign(target)
                self._excuse_recreated(target)

    def _excuse_recreated(self, target: Target) -> None:
        """No fence stops a late write where a person made the secret anew, from version 1 on."""
        made_anew = self.recreated_at.get(target.secret.path)
        served = self.serving[target.name]
        if made_anew is not None and self.sent is not None and self.sent.at < made_anew:
            self.by_hand.add((target.name, served))
            path = target.secret.path
            self.others[path] = (self.vault.current(path) or {}).get(OTHER)

    def _check_not_foreign(self, target: Target) -> None:
        """Check that no value was overwritten that no key of the account ever explained."""
        versions = self.vault.paths[target.secret.path]
        before = (versions[-2].data or {}).get(FIELD) if len(versions) > 1 else None
        after = (versions[-1].data or {}).get(FIELD)
        if before is None or before == after or target.name in self.overwritten_by:
            return
        if not isinstance(before, str) or not before.startswith("sk-or-"):
            raise BrokenPromiseError(f"a foreign value of {target.name} was overwritten")

    def _appended(self, event: Event) -> None:
        if not isinstance(event, StepSettled) or event.result is not Result.NOT_FOUND:
            return
        listed = max(self.listed_at.values(), default=None)
        for _, intent in self.trail.lines:
            if intent.op != event.op or intent.phase is not Phase.INTENT:
                continue
            book = self.book(event.target or "")
            nothing_known = book is None or book.served is None
            if self.blind and nothing_known:
                continue  # with no key to compare, another account's listing looks like ours
            if isinstance(intent, KeyCreate):
                made = [k for k in self.account.keys.values() if k.name == intent.key_name]
                old = [k for k in made if listed and k.created_at and k.created_at < listed]
                if old:
                    raise BrokenPromiseError(f"{event.op} settled as not found, its key exists")
            served = self.serving.get(event.target or "")
            # A key that is gone, or lost its marker by hand, tells nobody whose value it is.
            known = served in self.account.keys and served not in self.renamed
            if isinstance(intent, SecretPublish) and intent.key_hash == served and known:
                put_at = self.put_at[served or ""]
                if self.account.now() - put_at > timedelta(seconds=30):
                    raise BrokenPromiseError(f"{event.op} settled as not found, yet it is served")

    # In the end.

    def unsettled(self, name: str, stopped: datetime, leftover: frozenset[str]) -> str | None:
        """Return why a target has not come to rest yet, or None.

        Args:
            name: the target.
            stopped: when faults stopped.
            leftover: the marked keys that were not served then.
        """
        served, book = self.serving[name], self.book(name)
        if served is None or not self.account.accepts(served):
            return "it serves no working key"
        if book is None or book.served is None or book.served.hash != served:
            return "the ledger does not know the served key"
        if book.pending is not None or book.failure is not None:
            return f"it is not idle: {book.pending} {book.failure}"
        for entry in book.retiring:
            if entry.hash in leftover and not entry.enabled_by_hand:
                return f"{entry.hash[:8]} is still retiring ({entry.why})"
        for key in self.account.keys.values():
            marker = parse_marker(key.name)
            mine = marker is not None and marker.target == name
            if mine and key.hash != served and book.entry(key.hash) is None:
                return f"{key.hash[:8]} is left over"
        return None

    def check_trail(self) -> None:
        """Check that no intent is open and no plaintext stands anywhere."""
        now = self.account.now()
        old = [e for e in self.trail.unsettled() if now - e.at > timedelta(hours=4)]
        if old:
            raise BrokenPromiseError(f"intents without an outcome: {old}")
        written = [path for path in self.vault.paths if path.startswith(FakeLedgers.prefix)]
        documents = [str(each.data) for path in written for each in self.vault.paths[path]]
        if any("sk-or-" in text for text in (*documents, *(str(e) for _, e in self.trail.lines))):
            raise BrokenPromiseError("a plaintext stands in a ledger or in the trail")
