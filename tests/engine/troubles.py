"""What can go wrong at one call of a life, beyond that call itself: the rows of the crash table.

A `Kind` of `tests.fakes.faults` befalls one call and is over. A trouble may also last
(a sealed Vault), answer wrongly (the keys of another account), or be a person's hand at
that very moment (the ledger deleted, the field overwritten).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rotator.core.keys import NewKey
from rotator.core.reasons import Reason
from rotator.engine import operate
from rotator.errors import (
    AuditUnavailable,
    OutcomeUnknown,
    Refused,
    Transient,
)
from tests.engine.lab import PATH, Lab
from tests.engine.promises import FIELD, BrokenPromiseError
from tests.fakes.faults import Kind
from tests.fakes.vault import Entry

LEDGER = "state/targets/app"
REMOVALS = frozenset({"openrouter.disable", "openrouter.delete"})

WHILE = timedelta(minutes=20)
"""For how long a condition lasts: four times a claim."""

HOUR = timedelta(hours=1)
STALE_BY = timedelta(minutes=5)
"""How far behind a stale read may be at most."""

_CALLS_BACK = 8
# A stale look shows an account as it was this many calls ago, within `STALE_BY`.

Effect = Callable[[], Any]
Alter = Callable[[str, bool, Effect], Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that goes wrong.

    Attributes:
        name: of the row.
        begin: brings it about in a life, at the call of the given number.
        calls: at which calls it can make a difference.
        lasts: how much longer than any other life this one takes to come to rest.
    """

    name: str
    begin: Callable[[Lab, int], None]
    calls: Callable[[str], bool] = lambda _: True
    lasts: timedelta = timedelta()


def of_kind(kind: Kind, calls: Callable[[str], bool] = lambda _: True) -> Trouble:
    """Return the trouble that is one fault of the fakes."""

    def begin(lab: Lab, number: int) -> None:
        lab.faults.plan[number] = kind

    return Trouble(str(kind), begin, calls)


# How a trouble gets hold of a call.


def before(lab: Lab, number: int, action: Callable[[], None]) -> None:
    """Do something right before the call of a number."""
    earlier = lab.faults.before_each

    def before_each(service: str, name: str, acts: bool) -> None:
        if len(lab.faults.calls) + 1 == number:
            action()
        earlier(service, name, acts)

    lab.faults.before_each = before_each


def altered(lab: Lab, alter: Alter) -> None:
    """Let every call that gets through be made by a function: by name, whether it acts, effect."""
    earlier = lab.faults.instead

    def instead(service: str, name: str, acts: bool, effect: Effect) -> Any:
        return earlier(service, name, acts, lambda: alter(f"{service}.{name}", acts, effect))

    lab.faults.instead = instead


def once(alter: Callable[[Lab, str, bool, Effect], Any]) -> Callable[[Lab, int], None]:
    """Alter one call."""

    def begin(lab: Lab, number: int) -> None:
        def at_that_call(call: str, acts: bool, effect: Effect) -> Any:
            if len(lab.faults.calls) == number:
                return alter(lab, call, acts, effect)
            return effect()

        altered(lab, at_that_call)

    return begin


def for_a_while(
    alter: Callable[[Lab, str, bool, Effect], Any], span: timedelta = WHILE
) -> Callable[[Lab, int], None]:
    """Alter all calls from one on, for a while."""

    def begin(lab: Lab, number: int) -> None:
        ends: list[datetime] = []

        def meanwhile(call: str, acts: bool, effect: Effect) -> Any:
            if ends and lab.clock.now() < ends[0]:
                return alter(lab, call, acts, effect)
            return effect()

        altered(lab, meanwhile)
        before(lab, number, lambda: ends.append(lab.clock.now() + span))

    return begin


def by_hand(act: Callable[[Lab], None]) -> Callable[[Lab, int], None]:
    """Let a person do something right before one call."""
    return lambda lab, number: before(lab, number, lambda: act(lab))


def later(lab: Lab, after: timedelta, action: Callable[[], None]) -> None:
    """Let a person do something after a while."""
    lab.late.effects.append((lab.clock.now() + after, action))


def service_of(*services: str) -> Callable[[str], bool]:
    """Return whether a call goes to one of the services."""
    return lambda call: call.split(".")[0] in services


# Answers.


def limited(wait: Callable[[Lab], float | None]) -> Callable[[Lab, str, bool, Effect], Any]:
    """Answer 429, with what it says of a delay."""

    def alter(lab: Lab, call: str, acts: bool, effect: Effect) -> Any:
        del acts, effect
        service, name = call.split(".")
        raise Transient(
            service,
            name,
            "too many requests",
            status=429,
            retry_after=wait(lab),
            pauses_writes=service == "openrouter",
        )

    return alter


def until_midnight(lab: Lab) -> float:
    """Return the seconds until the next midnight in UTC, at which a daily quota starts afresh."""
    now = lab.clock.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (midnight - now).total_seconds()


def another_account(lab: Lab, call: str, acts: bool, effect: Effect) -> Any:
    """Answer as if the management key belonged to another account: nothing of ours is there."""
    del lab
    match call:
        case "openrouter.list":
            return ()
        case "openrouter.get" | "openrouter.delete":
            return None
        case _ if acts and call.startswith("openrouter"):
            raise Refused("openrouter", call, "not found", status=404)
    return effect()


def listing_repeats(lab: Lab, call: str, acts: bool, effect: Effect) -> Any:
    """Fail as the adapter does on a listing that repeats, skips or cuts a page."""
    del lab, acts
    if call == "openrouter.list":
        raise Transient("openrouter", "list keys", "a page repeats keys of an earlier one")
    return effect()


def sealed(lab: Lab, call: str, acts: bool, effect: Effect) -> Any:
    """Answer as a sealed or standby Vault."""
    del lab, acts
    if call.startswith("vault"):
        raise Transient("vault", call, "Vault is sealed", status=503)
    return effect()


def read_only(lab: Lab, call: str, acts: bool, effect: Effect) -> Any:
    """Answer as a Vault that cannot write: a 500, after which nobody knows."""
    del lab
    if acts and call.startswith("vault"):
        raise OutcomeUnknown("vault", call, "cannot write to readonly storage", status=500)
    return effect()


def forbidden(lab: Lab, call: str, acts: bool, effect: Effect) -> Any:
    """Answer as a Vault whose policy no longer allows writes."""
    del lab
    if acts and call.startswith("vault"):
        raise Refused("vault", call, "permission denied", status=403)
    return effect()


def disk_full(lab: Lab, call: str, acts: bool, effect: Effect) -> Any:
    """Fail every append before it is written."""
    del lab, acts
    if call == "audit.append":
        raise AuditUnavailable("append: no space left on device")
    return effect()


def not_acknowledged(lab: Lab, call: str, acts: bool, effect: Effect) -> Any:
    """Write every append, and fail to say so."""
    del lab, acts
    done = effect()
    if call == "audit.append":
        raise AuditUnavailable("append: written, but not acknowledged")
    return done


def nobody_let_in(lab: Lab, call: str, acts: bool, effect: Effect) -> Any:
    """Accept no key on use."""
    del lab, acts
    return None if call == "openrouter.whoami" else effect()


def new_keys_refused(younger_than: timedelta) -> Callable[[Lab, str, bool, Effect], Any]:
    """Accept no key that was made less than a while ago."""

    def alter(lab: Lab, call: str, acts: bool, effect: Effect) -> Any:
        del acts
        if call != "openrouter.whoami":
            return effect()
        now, refused = lab.clock.now(), lab.account.refuses
        young = {
            each.hash
            for each in lab.account.keys.values()
            if each.created_at is not None and now - each.created_at < younger_than
        }
        lab.account.refuses = refused | young
        try:
            return effect()
        finally:
            lab.account.refuses = refused

    return alter


def stale(lab: Lab, number: int) -> None:
    """Answer one read with what stood there a little earlier."""
    seen: list[tuple[datetime, dict[str, Any]]] = []
    earlier = lab.faults.before_each

    def noted(service: str, name: str, acts: bool) -> None:
        seen.append((lab.clock.now(), dict(lab.account.keys)))
        earlier(service, name, acts)

    lab.faults.before_each = noted

    def alter(lab: Lab, call: str, acts: bool, effect: Effect) -> Any:
        if acts:
            return effect()
        since = lab.clock.now() - STALE_BY
        recent = [keys for at, keys in seen[-_CALLS_BACK:] if at >= since]
        keys, paths = lab.account.keys, lab.vault.paths
        behind = {
            path: versions[:-1] if versions and versions[-1].created_time > since else versions
            for path, versions in paths.items()
        }
        lab.account.keys, lab.vault.paths = recent[0], behind
        try:
            return effect()
        finally:
            lab.account.keys, lab.vault.paths = keys, paths

    once(alter)(lab, number)


def one_version_behind(lab: Lab, call: str, acts: bool, effect: Effect) -> Any:
    """Answer a read of Vault with the version before the current one, however old that is."""
    if acts or not call.startswith("vault"):
        return effect()
    paths = lab.vault.paths
    lab.vault.paths = {path: versions[:-1] for path, versions in paths.items()}
    try:
        return effect()
    finally:
        lab.vault.paths = paths


def a_day_late(lab: Lab, number: int) -> None:
    """Let the call's effect land long after its claim was settled."""
    lab.faults.very_late_by = 7 * HOUR
    lab.faults.plan[number] = Kind.VERY_LATE


def slow_within_the_claim(lab: Lab, number: int) -> None:
    """Let the call take until the last quarter of a claim, not beyond it."""
    lab.faults.slow_by = timedelta(minutes=4)
    lab.faults.plan[number] = Kind.SLOW


def management_key_refused(lab: Lab) -> None:
    """The management key is withdrawn, and given back after a while."""
    lab.account.manages = False

    def again() -> None:
        lab.account.manages = True

    later(lab, WHILE, again)


# Hands on the secret.


def _put(lab: Lab, **fields: object) -> None:
    lab.vault.put(PATH, {**(lab.vault.current(PATH) or {}), **fields})


def other_field_written(lab: Lab) -> None:
    """A person changes another field of the secret."""
    lab.promises.other = f"written at call {len(lab.faults.calls) + 1}"
    _put(lab, OTHER=lab.promises.other)


def foreign_value_pasted(lab: Lab) -> None:
    """A person pastes a value of his own over ours, and an hour later what was there before."""
    data = lab.vault.current(PATH) or {}
    value = data.get(FIELD)
    if value == "pasted by hand":
        return
    _put(lab, **{FIELD: "pasted by hand"})
    lab.excused.add(lab.served_hash() or "")

    def back() -> None:
        now = dict(lab.vault.current(PATH) or {})
        if now.pop(FIELD) != "pasted by hand":
            raise BrokenPromiseError("a foreign value was overwritten")
        lab.began.discard("app")
        lab.vault.put(PATH, now | ({FIELD: value} if value is not None else {}))

    later(lab, HOUR, back)


def console_key_pasted(lab: Lab) -> None:
    """A person makes a key in the console and pastes it over ours."""
    made = lab.account.make(NewKey("made by hand", limit=50.0, limit_reset="daily"))
    _put(lab, **{FIELD: made.secret.reveal()})


def old_value_pasted(lab: Lab) -> None:
    """A person puts the value of the version before back, if its key is still there."""
    values = [(each.data or {}).get(FIELD) for each in lab.vault.paths[PATH]]
    served = values[-1]
    old = next((each for each in reversed(values) if each not in (None, served)), None)
    key = hashlib.sha256(old.encode()).hexdigest() if old is not None else None
    if served is None or key not in lab.account.keys:
        return
    book, made = lab.ledger(), lab.faults.calls
    removing = book is not None and book.pending is not None and book.pending.key == key
    if removing and "vault.read" in (made[-1], made[-2]):
        lab.promises.too_late.add(key)
    lab.excused.add(key)
    _put(lab, **{FIELD: old})
    # A key that was disabled by then is enabled at the next look, at the latest a resync.
    later(lab, HOUR + WHILE, lambda: lab.excused.discard(key))


def secret_recreated(lab: Lab) -> None:
    """A person deletes the secret with its history and writes it again up to the same version."""
    versions = lab.vault.paths[PATH]
    lab.vault.paths[PATH] = [Entry(each.data, lab.vault._new_instant()) for each in versions]


# Hands on the ledger.


def _touched(lab: Lab) -> list[Entry]:
    lab.promises.ledger_taken()
    return lab.vault.paths.get(LEDGER) or []


def ledger_removed(lab: Lab) -> None:
    """The ledger is deleted with all its versions."""
    _touched(lab)
    lab.vault.paths.pop(LEDGER, None)


def ledger_deleted(lab: Lab) -> None:
    """The ledger's current version is deleted; its number stays taken."""
    versions = _touched(lab)
    if versions:
        versions[-1] = Entry(None, versions[-1].created_time)


def ledger_rolled_back(lab: Lab) -> None:
    """A person makes an older version the current one, as ``vault kv rollback`` does."""
    versions = _touched(lab)
    if versions:
        older = versions[max(0, len(versions) - 4)]
        versions.append(Entry(older.data, lab.vault._new_instant()))


def ledger_restored(lab: Lab) -> None:
    """Vault's storage is restored from before the ledger's last two versions."""
    versions = _touched(lab)
    del versions[max(1, len(versions) - 2) :]


def ledger_corrupted(lab: Lab) -> None:
    """Something overwrites the ledger; after half an hour its last version is put back."""
    versions = _touched(lab)
    if not versions or versions[-1].data == {"garbage": True}:
        return
    good = versions[-1].data
    versions.append(Entry({"garbage": True}, lab.vault._new_instant()))

    def mended() -> None:
        lab.vault.paths[LEDGER].append(Entry(good, lab.vault._new_instant()))

    later(lab, HOUR / 2, mended)


_openrouter = service_of("openrouter")
_vault = service_of("vault")
_audit = service_of("audit")
_both = service_of("openrouter", "vault")


def acting(call: str) -> bool:
    """Tell whether a call changes something at a service."""
    return call in REMOVALS or call in ("openrouter.create", "vault.write", "vault.write_ledger")


def _reading(call: str) -> bool:
    return not _audit(call) and not acting(call)


TROUBLES: tuple[Trouble, ...] = (
    *(of_kind(each) for each in Kind),
    Trouble("429 without a delay", once(limited(lambda _: None)), _both),
    Trouble("429 until midnight", once(limited(until_midnight)), _openrouter, 24 * HOUR),
    Trouble("another account, once", once(another_account), _openrouter),
    Trouble("another account", for_a_while(another_account, 2 * HOUR), lasts=6 * HOUR),
    Trouble("management key refused", by_hand(management_key_refused)),
    Trouble(
        "listing repeats a page",
        for_a_while(listing_repeats, 2 * HOUR),
        lambda call: call == "openrouter.list" or acting(call),
    ),
    Trouble("Vault sealed", for_a_while(sealed)),
    Trouble("Vault read-only", for_a_while(read_only)),
    Trouble("Vault forbids writes", for_a_while(forbidden)),
    Trouble("disk full", for_a_while(disk_full)),
    Trouble("appends not acknowledged", for_a_while(not_acknowledged)),
    Trouble("no key accepted", for_a_while(nobody_let_in)),
    Trouble("new keys lag", for_a_while(new_keys_refused(timedelta(seconds=60)))),
    Trouble("new keys refused", for_a_while(new_keys_refused(HOUR))),
    Trouble("stale read", stale, _reading),
    Trouble("one version behind", once(one_version_behind), lambda call: call.startswith("vault")),
    Trouble("hours late", a_day_late, acting),
    Trouble("slow within the claim", slow_within_the_claim),
    Trouble("other field written", by_hand(other_field_written)),
    Trouble("foreign value pasted", by_hand(foreign_value_pasted)),
    Trouble("console key pasted", by_hand(console_key_pasted), lasts=12 * HOUR),
    Trouble("old value pasted", by_hand(old_value_pasted)),
    Trouble("secret recreated", by_hand(secret_recreated)),
    Trouble("ledger removed", by_hand(ledger_removed)),
    Trouble("ledger deleted", by_hand(ledger_deleted)),
    Trouble("ledger rolled back", by_hand(ledger_rolled_back)),
    Trouble("ledger restored", by_hand(ledger_restored)),
    Trouble("ledger corrupted", by_hand(ledger_corrupted)),
)
"""Every row of the crash table."""


def rest(lab: Lab) -> None:
    """Check that all comes to rest, with what only an operator can do where that is called for.

    No evidence is not quiet: a key that nobody ever used is kept until it is retired by
    hand. A value put back twice within one period is contested until a release.
    """
    try:
        return lab.come_to_rest()
    except BrokenPromiseError:
        book = lab.ledger()
        if book is not None and book.hold is not None and book.hold.reason is Reason.CONTESTED:
            operate.release(lab.world, lab.targets[0], by="somebody")
            lab.live(HOUR)
            book = lab.ledger()
        for entry in book.retiring if book is not None else ():
            if entry.hash not in lab.promises.last_served and entry.disabled_at is None:
                operate.retire(lab.world, lab.targets[0], key=entry.hash, by="somebody")
    return lab.come_to_rest()
