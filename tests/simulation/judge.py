"""The promises, judged for several targets and processes, with people's hands beside them.

What the lab's `Promises` check is checked here by the policy that the acting process goes
by. A person may break a promise by hand. What he broke is excused, and no more than that:

* a target whose value he removed, or which he made serve a dead key, until it serves a
  working key again, and only while it serves that very value; and so where he disables or
  deletes an old key after it was let in for a way back to it, right before it is published;
* a disable or delete that lands after its key was put back, by hand or by a rollback, later
  than the fresh read that allowed it, since the provider has no conditional request; and in
  the same way a delete of a key that he enabled after the look that allowed it;
* a key that he put back, and whose version he erased by making the secret anew before any
  process had written of it: that one time of being served leaves no trace;
* a key that he enabled and disabled again: its quarantine counts from a disable that we saw,
  and so it does where a disable that was sent before he enabled the key lands only after that;
* a claim that he took away with the ledger: its holder may act on it until it would have
  expired, for it cannot know before it next writes there;
* a claim in a ledger that he deleted with all its versions, for as long as a claim stands: the
  numbers begin anew, and a check-and-set prepared before may fit;
* a write sent before he made the secret anew: no fence stops it;
* a cap of which consumers spent after the look that the new key's limit was taken from, or
  whose key he put there only after the create was sent, which lands late.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from rotator.core.calendar import opens_at
from rotator.core.codec import Undecodable
from rotator.core.keys import IssuedKey, NewKey
from rotator.core.ledger import ClaimKind, Ledger, PolicyDurations
from rotator.core.marker import parse_marker
from rotator.core.reasons import Reason
from rotator.core.schedule import disable_allowed_at
from rotator.core.target import AfterDeadline, Target
from rotator.events import Event, KeyCreate, Phase, Result, SecretPublish, StepSettled
from rotator.ports import UnsettledIntent
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
        target: what that is about, as configured for the process; None where it is not.
    """

    holder: str
    at: datetime
    local: datetime
    read_at: datetime | None
    intent: Event | None
    target: Target | None


_ON_REQUEST = frozenset({Reason.REQUESTED, Reason.COMPROMISED, Reason.OVERWRITE_FOREIGN})
_SCHEDULED = frozenset({Reason.EVERY, Reason.CRON, Reason.MAX_AGE})
_LATE = timedelta(minutes=1)
_READ = timedelta(seconds=22)
"""How old the read before a removal may be: ten seconds, a stale answer, and two slow calls."""

_LOOK = timedelta(seconds=20)
"""How old the look before a delete may be, and the time that its calls take."""

_BEFORE = tuple(timedelta(minutes=each) for each in (0, 1, 2, 4, 6, 10))


def _open(opens: Callable[[datetime], datetime], sent: Sent) -> bool:
    """Tell whether windows were open, by either clock, when a call was sent or decided on."""
    moments = [at - each for at in (sent.at, sent.local) for each in _BEFORE]
    return any(opens(each) <= each for each in moments)


class Judge(Promises):
    """What must hold at every port call.

    Attributes:
        sent: the call whose effect comes to pass.
        named: every target that ever was configured, as it was last.
        listed_at: by process, when its last listing was made.
        blind: the processes whose last listing was another account's.
        values: by path, the plaintexts that consumers were served, by hash.
        enabled_at: by hash, when a person last enabled the key.
        ended_at: by hash, when a person last disabled or deleted the key.
        tried_at: by hash, when a process last tried the key, and it was let in.
        spent: by hash, when consumers last spent much, and what was left before.
        may_retire: by target, how often operators asked that all old keys be retired.
        asked: by target, how often operators asked for a rotation.
        retired_by: hashes of the keys that were retired for that.
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
        self.put_freely: set[str] = set()
        self.enabled_at: dict[str, datetime] = {}
        self.ended_at: dict[str, datetime] = {}
        self.tried_at: dict[str, datetime] = {}
        self.spent: dict[str, tuple[datetime, float | None]] = {}
        self.may_retire: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self._rotated_for_it: set[tuple[str, str]] = set()
        self._replaces: set[str] = set()
        self.retired_by: set[str] = set()
        self._served_before: dict[str, datetime | None] = {}
        self._disabled_again: set[str] = set()
        self._touched_at: dict[str, datetime] = {}
        self._begun_anew: dict[str, datetime] = {}
        self._taken: list[tuple[str, str, datetime]] = []
        self._compromised_at: dict[str, datetime] = {}
        self._overwritten: set[str] = set()
        self.seen: dict[tuple[str, str], datetime] = {}
        self.listed_at: dict[str, datetime] = {}
        self.sent: Sent | None = None
        self.renamed: set[str] = set()
        self.blind: set[str] = set()
        self.recreated_at: dict[str, datetime] = {}
        self.handing = False
        self._digests: dict[str, tuple[Entry, str | None]] = {}
        self._writes = 0
        self._checked: tuple[int, ...] = ()
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
        self.note_served()
        served, document = self.serving[target.name], self.document(target.name)
        seen = ((document or {}).get("served") or {}).get("hash")
        self.recreated_at[target.secret.path] = self.account.now()
        if served is None or served == seen:
            return
        before = self._served_before[served]
        self.serving[target.name] = None
        if before is None:
            del self.last_served[served]
        else:
            self.last_served[served] = before

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
                    self._served_before[served] = self.last_served.get(served)
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

    def disabled_by_hand(self, key_hash: str) -> None:
        """A person disables a key, maybe one that was disabled before."""
        if key_hash in self._disabled_since:
            self._disabled_again.add(key_hash)

    def compromised(self, name: str) -> None:
        """An operator says that every key of a target is compromised."""
        self._compromised_at[name] = self.account.now()

    def overwritten(self, name: str) -> None:
        """An operator allows that a foreign value is overwritten."""
        self._overwritten.add(name)

    def delete_ledger(self, name: str) -> None:
        """A person is about to delete a ledger with all its versions: their numbers begin anew."""
        self.touch_ledger(name)
        self._begun_anew[f"{FakeLedgers.prefix}targets/{name}"] = self.account.now()

    def touch_ledger(self, name: str) -> None:
        """A person is about to change a ledger: remember the claim that stands in it."""
        now = self.account.now()
        self._touched_at[name] = now
        versions = self.vault.paths.get(f"{FakeLedgers.prefix}targets/{name}")
        claim = (versions[-1].data or {}).get("pending") if versions else None
        if versions and isinstance(claim, dict):
            ends = versions[-1].created_time + self.claim_timeout
            self._taken.append((claim["holder"], claim["kind"], ends))

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
        account = self.account
        now = (self._writes, getattr(account, "changes", 0), len(account.refuses))
        if now == self._checked:
            return
        self._checked = now
        self.note_served()
        for name, target in self.named.items():
            served = self.serving[name]
            if served is not None and self.account.accepts(served):
                self.began.add(name)
                if self.by_hand:
                    self.by_hand = {each for each in self.by_hand if each[0] != name}
            elif served is not None and self._ended_before_publish(served):
                self.by_hand.add((name, served))
            elif name in self.began and (name, served) not in self.by_hand:
                what = "serves a dead key" if served else "serves nothing any more"
                raise BrokenPromiseError(f"{name} {what}")
            if served is not None:
                self._check_not_given_up(name, served)
            self._check_other_field(target.secret.path)

    def _ended_before_publish(self, served: str) -> bool:
        """Tell whether a person took a key away after it was tried, less than a claim's time ago.

        Nothing at OpenRouter or Vault could make that publish depend on it.
        """
        ended, tried = self.ended_at.get(served), self.tried_at.get(served)
        if ended is None or tried is None or ended < tried:
            return False
        return self.account.now() - tried <= self.claim_timeout

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
        if not entries or served in self.put_freely:
            return
        for entry in entries:
            if entry["hash"] == served and entry["why"] == Reason.NEVER_SERVED:
                raise BrokenPromiseError(f"{name} serves a key that was given up")

    def _claimed(self, holder: str, kinds: set[ClaimKind], intent: Event) -> bool:
        allowed = set(ClaimKind) if intent.name == "secret.fence" else kinds
        now = self.vault.now()
        versions = self.vault.paths.get(f"{FakeLedgers.prefix}targets/{intent.target}")
        claim = (versions[-1].data or {}).get("pending") if versions else None
        if versions and isinstance(claim, dict) and claim["holder"] == holder:
            ends = versions[-1].created_time + self.claim_timeout
            if claim["kind"] in allowed and now < ends:
                return True
        return any(
            by == holder and kind in allowed and now < ends for by, kind, ends in self._taken
        )

    # Before each effect.

    def _before_make(self, new: NewKey) -> None:
        if self.handing:
            return
        marker = parse_marker(new.name)
        assert marker is not None
        if new.name in self._names:
            raise BrokenPromiseError(f"{new.name} is made a second time")
        self._names.add(new.name)
        sent, book = self.sent, self.book(marker.target)
        assert sent is not None
        if sent.target is None:
            raise BrokenPromiseError(f"a key is made for {marker.target}, which is not configured")
        served = self.account.keys.get(self.serving[marker.target] or "")
        if book is None or book.served is None:
            return
        known = served is not None and self.put_at.get(served.hash, sent.at) <= sent.at
        if served is not None and known and book.served.hash == served.hash:
            self._check_cap(sent, new, served)
        self._check_due(sent.target, book, sent)

    def _check_cap(self, sent: Sent, new: NewKey, old: IssuedKey) -> None:
        """Check that a rotation does not lift a cap."""
        assert sent.target is not None
        settings = sent.target.key
        resets = (settings.limit_reset or old.limit_reset) is not None
        if old.limit is None or (settings.limit is not None and resets):
            return
        most = old.limit if resets else old.limit_remaining or 0.0
        spent_at, before = self.spent.get(old.hash, (None, None))
        if spent_at is not None and spent_at >= sent.at - self.claim_timeout:
            most = max(most, before or 0.0)
        if new.limit is None or new.limit > most:
            raise BrokenPromiseError(f"the new key's limit is {new.limit}, not at most {most}")

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
        """Tell whether the key was put back after its remover had last seen the secret."""
        last = self.last_served.get(key_hash)
        read_at = self.sent.read_at if self.sent is not None else None
        if read_at is None or last is None or last <= read_at:
            return False
        if self.sent is not None and self.sent.at - read_at > _READ:
            return False
        if self.put_at[key_hash] <= read_at or key_hash not in self.put_freely:
            return False
        self.by_hand |= {(name, key_hash) for name in self._where_served(key_hash)}
        return True

    def _before_disable(self, key_hash: str) -> None:
        now, key = self.account.now(), self.account.keys[key_hash]
        self.time_passed()
        if key.disabled:
            return
        if self.handing or not self._undoes_a_hand(key_hash):
            self._disabled_since[key_hash] = now
        if self.handing or self._changed_since_read(key_hash):
            return
        if self._where_served(key_hash):
            raise BrokenPromiseError(f"{key_hash[:8]} disabled while served")
        self._check_ours(key_hash, "disabled")
        last, name, sent = self.last_served.get(key_hash), self.owner.get(key_hash), self.sent
        assert sent is not None
        if last is None or name is None or self._asked_to_go(key_hash, name, sent):
            return
        self._check_drained(key_hash, name, sent, now - last)

    def _undoes_a_hand(self, key_hash: str) -> bool:
        """Tell whether a late disable lands on a key that was enabled by hand in its quarantine."""
        since, enabled_at = self._disabled_since.get(key_hash), self.enabled_at.get(key_hash)
        if self.sent is None or since is None or enabled_at is None:
            return False
        return max(since, self.sent.at) < enabled_at

    def _check_drained(self, key_hash: str, name: str, sent: Sent, since: timedelta) -> None:
        """Check the grace, the drain and the windows that the remover goes by."""
        if sent.target is not None:
            policy = sent.target.policy
            if not _open(partial(disable_allowed_at, policy), sent):
                raise BrokenPromiseError(f"{key_hash[:8]} disabled outside the windows")
            waits = PolicyDurations.of(policy)
        else:
            book = self.book(name)
            if book is None:
                return
            waits = book.policy
        if since < waits.grace:
            raise BrokenPromiseError(f"{key_hash[:8]} disabled within its grace period")
        used = self.account.keys[key_hash].last_used_at
        stays = waits.then is AfterDeadline.KEEP or key_hash in self.strangers
        over = since >= waits.grace + waits.deadline
        quiet = used is None or self.account.now() - used >= waits.quiet_for
        if not quiet and (stays or not over):
            raise BrokenPromiseError(f"{key_hash[:8]} disabled while it is used")

    def _check_ours(self, key_hash: str, what: str) -> None:
        if key_hash in self.strangers and key_hash not in self.last_served:
            raise BrokenPromiseError(f"{key_hash[:8]} is not ours and was {what}")

    def _asked_to_go(self, key_hash: str, name: str, sent: Sent) -> bool:
        """Tell whether an operator said that the key may go at once."""
        book = self.book(name)
        entry = book.entry(key_hash) if book is not None else None
        if entry is None:
            touched = self._touched_at.get(name)
            return touched is not None and touched >= sent.at - self.claim_timeout
        if entry.why is Reason.RETIRED:
            return key_hash in self.retired_by
        said_at, made_at = self._compromised_at.get(name), self.account.keys[key_hash].created_at
        if entry.why is not Reason.COMPROMISED or said_at is None or made_at is None:
            return False
        # The command itself goes on until a key is served that was made after it was given.
        return made_at <= said_at + self.claim_timeout or sent.holder.startswith("operator")

    def _before_delete(self, key_hash: str) -> None:
        if self.handing or self._changed_since_read(key_hash):
            return
        self.note_served()
        sent = self.sent
        assert sent is not None
        if not self.account.keys[key_hash].disabled:
            enabled_at = self.enabled_at.get(key_hash)
            if enabled_at is not None and enabled_at >= sent.at - _LOOK:
                return
            raise BrokenPromiseError(f"{key_hash[:8]} deleted while enabled")
        if self._where_served(key_hash):
            raise BrokenPromiseError(f"{key_hash[:8]} deleted while served")
        self._check_ours(key_hash, "deleted")
        since, last = self._disabled_since.get(key_hash), self.last_served.get(key_hash)
        if since is None or last is None or key_hash in self._disabled_again:
            return
        book = self.book(self.owner[key_hash])
        waits = PolicyDurations.of(sent.target.policy) if sent.target is not None else None
        if waits is None and book is not None:
            waits = book.policy
        if waits is not None and self.account.now() - since + WHOLE_SECOND < waits.quarantine:
            raise BrokenPromiseError(f"{key_hash[:8]} deleted within its quarantine")

    def _written(self, path: str) -> None:
        self._writes += 1
        self.note_served()
        for target in self.targets:
            served = self.serving[target.name]
            if target.secret.path == path and served is not None:
                claim = (self.document(target.name) or {}).get("pending") or {}
                if self.handing or claim.get("kind") == ClaimKind.ROLLBACK:
                    self.put_freely.add(served)
        if self.handing:
            return
        super()._written(path)
        if any(self.may_retire.values()) and path.startswith(FakeLedgers.prefix):
            self._note_retired(path.removeprefix(f"{FakeLedgers.prefix}targets/"))
        for target in self.targets:
            if target.secret.path == path and not self._excuse_recreated(target):
                self._check_not_foreign(target)

    def _fits(self, path: str, claim: dict[str, Any]) -> bool:
        now = self.account.now()
        anew = self._begun_anew.get(path)
        return (anew is not None and now < anew + self.claim_timeout) or any(
            (holder, kind) == (claim["holder"], claim["kind"]) and now < ends
            for holder, kind, ends in self._taken
        )

    def _note_retired(self, name: str) -> None:
        """Note which keys are retired for what an operator asked for once."""
        entries = (self.document(name) or {}).get("retiring") or ()
        retired = {each["hash"] for each in entries if each["why"] == Reason.RETIRED}
        if self.may_retire[name] and retired - self.retired_by:
            self.may_retire[name] -= 1
            self.retired_by |= retired

    def _excuse_recreated(self, target: Target) -> bool:
        """No fence stops a late write where a person made the secret anew, from version 1 on."""
        path = target.secret.path
        made_anew = self.recreated_at.get(path)
        if made_anew is None or self.sent is None or self.sent.at >= made_anew:
            return False
        self.by_hand.add((target.name, self.serving[target.name]))
        self.others[path] = (self.vault.current(path) or {}).get(OTHER)
        return True

    def _check_not_foreign(self, target: Target) -> None:
        """Check that no value was overwritten that no key of the account ever explained."""
        versions = self.vault.paths[target.secret.path]
        before = (versions[-2].data or {}).get(FIELD) if len(versions) > 1 else None
        after = (versions[-1].data or {}).get(FIELD)
        if before is None or before == after or target.name in self._overwritten:
            return
        if not isinstance(before, str) or not before.startswith("sk-or-"):
            raise BrokenPromiseError(f"a foreign value of {target.name} was overwritten")

    def _appended(self, event: Event) -> None:
        self._count_rotations(event)
        if not isinstance(event, StepSettled) or event.result is not Result.NOT_FOUND:
            return
        writer = next(by for by, last in self.trail.last_by.items() if last is event)
        listed = self.listed_at.get(writer)
        for _, intent in self.trail.lines:
            if intent.op != event.op or intent.phase is not Phase.INTENT:
                continue
            if writer in self.blind and self._is_first(event.target or "", intent):
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

    def _is_first(self, name: str, intent: Event) -> bool:
        """Tell whether a target serves none, or the first key that it ever had, by that intent."""
        book = self.book(name)
        if book is None or book.served is None:
            return True
        key = self.account.keys.get(book.served.hash)
        made_by_it = (
            key is not None and isinstance(intent, KeyCreate) and key.name == intent.key_name
        )
        return not book.retiring and (made_by_it or intent.key_hash == book.served.hash)

    def _count_rotations(self, event: Event) -> None:
        """A rotation that was asked for once is not made twice, whatever the clocks do.

        Where a person took the value away meanwhile, another key is needed in any case.
        """
        if not isinstance(event, SecretPublish) or event.reason not in _ON_REQUEST:
            return
        name = event.target or ""
        if event.phase is Phase.INTENT and self.serving.get(name) is not None:
            self._replaces.add(event.op)
        if event.result is Result.DONE and event.op in self._replaces:
            self._rotated_for_it.add((name, event.op))
        made = sum(target == name for target, _ in self._rotated_for_it)
        if made > self.asked[name]:
            raise BrokenPromiseError(
                f"{name} was rotated {made} times on request, and asked for {self.asked[name]} times"
            )

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

    def open_intents(self) -> list[UnsettledIntent]:
        """Return the intents without an outcome that a resync should have closed long ago."""
        now = self.account.now()
        return [each for each in self.trail.unsettled() if now - each.at > timedelta(hours=4)]

    def check_no_plaintext(self) -> None:
        """Check that no plaintext stands in a ledger or in the trail."""
        written = [path for path in self.vault.paths if path.startswith(FakeLedgers.prefix)]
        documents = [str(each.data) for path in written for each in self.vault.paths[path]]
        if any("sk-or-" in text for text in (*documents, *(str(e) for _, e in self.trail.lines))):
            raise BrokenPromiseError("a plaintext stands in a ledger or in the trail")
