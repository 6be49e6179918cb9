"""What people do beside the program: in the console, in Vault, and by its own commands."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rotator.core.keys import NewKey
from rotator.core.ledger import Ledger
from rotator.core.request import Arguments, Verb
from rotator.core.snapshot import Demand, Rollback
from rotator.core.target import Target
from rotator.engine import operate
from rotator.engine.reconcile import reconcile
from rotator.engine.world import World
from rotator.ports import MintedKey
from tests.engine.promises import FIELD
from tests.fakes.vault import FakeLedgers
from tests.simulation.scenario import Trouble, policy_for

if TYPE_CHECKING:
    from tests.simulation.life import Replica, Simulation


COMMANDS = frozenset(
    {"rotate", "compromised", "overwrite_foreign", "rollback", "hold", "release", "retire"}
)


def console_key(sim: Simulation, limit: float | None = None) -> MintedKey:
    """Make a key in the console."""
    minted = sim.account.make(NewKey("made in the console", limit=limit))
    sim.judge.strangers.add(minted.key.hash)
    return minted


def act(sim: Simulation, trouble: Trouble) -> bool:
    """Do one thing, and tell whether there was anything to do it to."""
    target = sim.judge.named[sim.scenario.targets[trouble.target].name]
    rng = random.Random(f"{sim.scenario.seed}/{trouble}")
    if trouble.what in COMMANDS and target not in sim.targets:
        return False  # no command knows a name that is not configured
    match trouble.what:
        case "kill":
            _kill(sim.replicas[trouble.replica], trouble.seconds)
        case "suspend":
            for replica in sim.replicas:
                _kill(replica, trouble.seconds)
        case "rotate":
            sim.rotate(target)
        case "compromised":
            sim.judge.compromised(target.name)
            sim.rotate(target, compromised=True)
        case "overwrite_foreign":
            sim.judge.overwritten(target.name)
            sim.rotate(target, foreign=True)
        case "rollback":
            return _rollback(sim, target, rng)
        case "rotate_all":
            _rotate_all(sim)
        case "hold" | "release" | "retire":
            _command(sim, target, trouble.what)
        case "remove_target" | "add_target" | "change_policy":
            return _configure(sim, target, trouble.what, rng)
        case _:
            # What he puts there, or takes from the ledger, while a command is under way is as it
            # was before that command's rotation, and may be rotated by it once more.
            sim.judge.asked[target.name] += 1
            with sim.judge.hand():
                return _HANDS[trouble.what](sim, target, rng) is not False
    return True


def _kill(replica: Replica, seconds: float) -> None:
    replica.doomed, replica.down_for = True, seconds
    replica.wake_soon()


def _configure(sim: Simulation, target: Target, what: str, rng: random.Random) -> bool:
    """Change the configuration, as a reload brings it into force."""
    there = [each for each in sim.targets if each.name == target.name]
    others = tuple(each for each in sim.targets if each.name != target.name)
    if what == "remove_target":
        if there:
            sim.configure(others)
        return bool(there)
    if what == "add_target":
        away = [each for each in sim.judge.named.values() if each not in sim.targets]
        if away:
            sim.configure((*sim.targets, *away))
        return bool(away)
    changed = replace(target, policy=policy_for(rng, sim.scenario.start))
    sim.judge.named[target.name] = changed
    if there:
        sim.configure((*others, changed))
    return bool(there)


def _rotate_all(sim: Simulation) -> None:
    demand, targets = Demand(named=False), sim.targets
    sim.judge.asked.update(target.name for target in targets)

    def work(world: World) -> None:
        for target in targets:
            reconcile(world, target, demand=demand)

    sim.command(work)


def _rollback(sim: Simulation, target: Target, rng: random.Random) -> bool:
    book = sim.judge.book(target.name)
    known = [entry.hash for entry in book.retiring] if book is not None else []
    if known:
        key = rng.choice(known)
        demand = Demand(rollback=Rollback(key))
        sim.ask(
            target,
            Verb.ROLLBACK,
            lambda world: reconcile(world, target, demand=demand),
            Arguments(keys=(key,)),
        )
    return bool(known)


def _command(sim: Simulation, target: Target, what: str) -> None:
    if what == "retire":
        sim.judge.may_retire[target.name] += 1
    commands: dict[str, Callable[[World], object]] = {
        "hold": lambda world: operate.hold(world, target, why="sim", by="somebody"),
        "release": lambda world: operate.release(world, target, by="somebody"),
        "retire": lambda world: operate.retire(world, target, key=None, by="somebody"),
    }
    book = sim.judge.book(target.name)
    old = tuple(sorted(operate.retirable(book))) if what == "retire" and book is not None else ()
    why = "sim" if what == "hold" else ""
    sim.ask(target, Verb(what), commands[what], Arguments(keys=old, why=why))


Done = bool | None
"""False where there was nothing to do it to."""


def _put(sim: Simulation, path: str, **fields: Any) -> None:
    data = {**(sim.vault.current(path) or {"OTHER": sim.judge.others[path]}), **fields}
    sim.vault.put(path, {name: value for name, value in data.items() if value is not None})


def _paste_back(sim: Simulation, target: Target, rng: random.Random) -> Done:
    path = target.secret.path
    served = sim.judge.served_hash(path)
    known = [
        (key_hash, value)
        for key_hash, value in sim.judge.values[path].items()
        if key_hash != served and value.startswith("sk-or-")
    ]
    living = [each for each in known if each[0] in sim.account.keys]
    if known:
        _, value = rng.choice(living or known)
        _put(sim, path, **{FIELD: value})
    return bool(known)


def _paste_foreign(sim: Simulation, target: Target, rng: random.Random) -> Done:
    _put(sim, target.secret.path, **{FIELD: f"foreign {rng.random()}"})
    return True


def _paste_console_key(sim: Simulation, target: Target, rng: random.Random) -> Done:
    minted = console_key(sim, rng.choice((None, None, 30.0, 0.0)))
    _put(sim, target.secret.path, **{FIELD: minted.secret.reveal()})
    return True


def _other_field(sim: Simulation, target: Target, rng: random.Random) -> Done:
    if sim.vault.current(target.secret.path) is None:
        return False
    sim.judge.others[target.secret.path] = value = str(rng.random())
    _put(sim, target.secret.path, OTHER=value)
    return True


def _remove_field(sim: Simulation, target: Target, rng: random.Random) -> Done:
    if sim.vault.current(target.secret.path) is None:
        return False
    _put(sim, target.secret.path, **{FIELD: None})
    return True


def _delete_secret(sim: Simulation, target: Target, rng: random.Random) -> Done:
    if not sim.vault.paths.get(target.secret.path):
        return False
    _lose_other(sim, target)
    sim.vault.delete(target.secret.path)
    return True


def _lose_other(sim: Simulation, target: Target) -> None:
    """A deleted secret takes its other fields along."""
    path = target.secret.path
    sim.judge.deleted_others[path] = sim.judge.others[path]
    sim.judge.others[path] = None


def _recreate_secret(sim: Simulation, target: Target, rng: random.Random) -> Done:
    data = sim.vault.current(target.secret.path)
    sim.judge.erase(target)
    sim.vault.forget(target.secret.path)
    if data is not None:
        sim.vault.put(target.secret.path, data)
    else:
        _lose_other(sim, target)
    return True


def _recreate_same_version(
    sim: Simulation, target: Target, rng: random.Random, more: int = 0
) -> Done:
    path = target.secret.path
    versions = sim.vault.paths.get(path) or []
    data = sim.vault.current(path)
    if data is None:
        return False
    known = sim.judge.values[path]
    living = [value for key_hash, value in known.items() if key_hash in sim.account.keys]
    if living and rng.random() < 0.5:
        data = {**data, FIELD: rng.choice(living)}
    sim.judge.erase(target)
    sim.vault.forget(path)
    for _ in range(len(versions) + more):
        sim.vault.put(path, data)
    return True


def _recreate_higher(sim: Simulation, target: Target, rng: random.Random) -> Done:
    return _recreate_same_version(sim, target, rng, more=rng.randint(1, 3))


def rewrite_secret(sim: Simulation, target: Target) -> bool:
    """Write the secret once more as it is: a new version, in which nothing changed."""
    data = sim.vault.current(target.secret.path)
    if data is not None:
        with sim.judge.hand():
            sim.vault.put(target.secret.path, data)
    return data is not None


def _rewrite_secret(sim: Simulation, target: Target, rng: random.Random) -> Done:
    return rewrite_secret(sim, target)


def _served(sim: Simulation, target: Target) -> str | None:
    served = sim.judge.served_hash(target.secret.path)
    return served if served in sim.account.keys else None


def _old(sim: Simulation, target: Target, rng: random.Random) -> str | None:
    served = sim.judge.served_hash(target.secret.path)
    known = sim.judge.values[target.secret.path]
    return rng.choice([h for h in known if h != served and h in sim.account.keys] or [None])


def _disable(sim: Simulation, key_hash: str | None) -> Done:
    if key_hash is None:
        return False
    sim.judge.disabled_by_hand(key_hash)
    sim.judge.ended_at[key_hash] = sim.hub.now()
    sim.account.set_disabled(key_hash, disabled=True)
    return True


def _disable_served(sim: Simulation, target: Target, rng: random.Random) -> Done:
    return _disable(sim, _served(sim, target))


def _disable_old(sim: Simulation, target: Target, rng: random.Random) -> Done:
    return _disable(sim, _old(sim, target, rng))


def _enable_old(sim: Simulation, target: Target, rng: random.Random) -> Done:
    key_hash = _old(sim, target, rng)
    if key_hash is None:
        return False
    sim.judge.enabled_at[key_hash] = sim.hub.now()
    sim.account.set_disabled(key_hash, disabled=False)
    return True


def _delete_served(sim: Simulation, target: Target, rng: random.Random) -> Done:
    key_hash = _served(sim, target)
    if key_hash is not None:
        sim.account.remove(key_hash)
    return key_hash is not None


def _delete_old(sim: Simulation, target: Target, rng: random.Random) -> Done:
    key_hash = _old(sim, target, rng)
    if key_hash is not None:
        sim.judge.ended_at[key_hash] = sim.hub.now()
        sim.account.remove(key_hash)
    return key_hash is not None


def _rename_key(sim: Simulation, target: Target, rng: random.Random) -> Done:
    key_hash = rng.choice([*sim.account.keys])
    sim.judge.renamed.add(key_hash)
    sim.account.change(key_hash, name=f"renamed {rng.random()}")
    return True


def _spend(sim: Simulation, target: Target, rng: random.Random) -> Done:
    """Consumers spend much of what their key has left, or all of it."""
    key_hash = _served(sim, target)
    if key_hash is None:
        return False
    key = sim.account.keys[key_hash]
    left = key.limit_remaining
    spent = 5.0 if left is None else left * rng.choice((0.5, 1.0))
    sim.judge.spent[key_hash] = (sim.hub.now(), left)
    after = None if left is None else left - spent
    sim.account.change(key_hash, usage=(key.usage or 0.0) + spent, limit_remaining=after)
    return True


def _ledger(target: Target) -> str:
    return f"{FakeLedgers.prefix}targets/{target.name}"


def _ledger_deleted(sim: Simulation, target: Target, rng: random.Random) -> Done:
    if not sim.vault.paths.get(_ledger(target)):
        return False
    sim.judge.delete_ledger(target.name)
    # A write that is still on its way may fit the numbers that begin anew, and bring back what
    # the ledger said before a command's rotation: as if a person had rolled it back once more.
    sim.judge.asked[target.name] += len(sim.hub.late.effects)
    if rng.random() < 0.5:
        sim.vault.delete(_ledger(target))
    else:
        sim.vault.forget(_ledger(target))
    return True


def _ledger_rolled_back(sim: Simulation, target: Target, rng: random.Random) -> Done:
    older = [each.data for each in sim.vault.paths.get(_ledger(target)) or () if each.data]
    if not older:
        return False
    sim.judge.touch_ledger(target.name)
    sim.vault.put(_ledger(target), copy.deepcopy(rng.choice(older)))
    return True


def _ledger_corrupted(sim: Simulation, target: Target, rng: random.Random) -> Done:
    sim.judge.touch_ledger(target.name)
    sim.vault.put(_ledger(target), rng.choice(({"schema": 99}, {"schema": 1}, {"what": "?"})))
    return True


def rewrite_ledger(sim: Simulation, target: Target) -> bool:
    """Write the ledger once more as it is: a new version, in which nothing changed."""
    data = sim.vault.current(_ledger(target))
    if data is not None:
        with sim.judge.hand():
            sim.vault.put(_ledger(target), data)
    return data is not None


def _lease_lost(sim: Simulation, target: Target, rng: random.Random) -> Done:
    path = f"{FakeLedgers.prefix}lease"
    if not sim.vault.paths.get(path):
        return False
    if rng.random() < 0.5:
        sim.vault.forget(path)
    else:
        sim.vault.put(path, {"what": "?"})
    return True


def _ledger_rewritten(sim: Simulation, target: Target, rng: random.Random) -> Done:
    return rewrite_ledger(sim, target)


_HANDS: dict[str, Callable[[Simulation, Target, random.Random], Done]] = {
    "paste_back": _paste_back,
    "paste_foreign": _paste_foreign,
    "paste_console_key": _paste_console_key,
    "other_field": _other_field,
    "rewrite_secret": _rewrite_secret,
    "remove_field": _remove_field,
    "delete_secret": _delete_secret,
    "recreate_secret": _recreate_secret,
    "recreate_same_version": _recreate_same_version,
    "recreate_higher": _recreate_higher,
    "disable_served": _disable_served,
    "disable_old": _disable_old,
    "enable_old": _enable_old,
    "delete_served": _delete_served,
    "delete_old": _delete_old,
    "rename_key": _rename_key,
    "spend": _spend,
    "ledger_deleted": _ledger_deleted,
    "ledger_rolled_back": _ledger_rolled_back,
    "ledger_corrupted": _ledger_corrupted,
    "ledger_rewritten": _ledger_rewritten,
    "lease_lost": _lease_lost,
}


def help_out(sim: Simulation) -> None:
    """Operators mend what only a person can: the program says so, and waits for it."""
    sim.note("world", "operators help out")
    for target in sim.targets:
        document = sim.judge.document(target.name)
        book = sim.judge.book(target.name)
        if document is not None and book is None:
            with sim.judge.hand():
                sim.judge.touch_ledger(target.name)
                sim.vault.forget(_ledger(target))
            continue
        if book is None:
            continue
        if book.hold is not None:
            _command(sim, target, "release")
        if book.foreign is not None:
            sim.judge.overwritten(target.name)
            sim.rotate(target, foreign=True)
        served = sim.judge.serving[target.name]
        key = sim.account.keys.get(served or "")
        if key is not None and key.disabled:
            sim.rotate(target)
        if served is not None and key is None and _limit_unknown(target, book):
            with sim.judge.hand():
                _put(sim, target.secret.path, **{FIELD: console_key(sim).secret.reveal()})
        if any(each.disabled_at is None or each.enabled_by_hand for each in book.retiring):
            _command(sim, target, "retire")


def _limit_unknown(target: Target, book: Ledger) -> bool:
    """Tell whether what a deleted key had left to spend is unknown, so that no key is made."""
    terms = book.served.terms if book.served is not None else None
    lifetime = terms is not None and terms.limit is not None and terms.limit_reset is None
    return target.key.limit is None and (terms is None or lifetime)
