"""What people do beside the program: in the console, in Vault, and by its own commands."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rotator.core.keys import NewKey
from rotator.core.snapshot import Demand, Rollback
from rotator.core.target import Target
from rotator.engine import operate
from rotator.engine.reconcile import reconcile
from rotator.engine.world import World
from rotator.ports import MintedKey
from tests.engine.promises import FIELD
from tests.fakes.vault import FakeLedgers
from tests.simulation.scenario import Trouble

if TYPE_CHECKING:
    from tests.simulation.life import Simulation


def console_key(sim: Simulation) -> MintedKey:
    """Make a key in the console."""
    minted = sim.account.make(NewKey("made in the console"))
    sim.judge.strangers.add(minted.key.hash)
    return minted


def act(sim: Simulation, trouble: Trouble) -> None:
    """Do one thing; where there is nothing to do it to, nothing is done."""
    target = sim.scenario.targets[trouble.target]
    rng = random.Random(f"{sim.scenario.seed}/{trouble}")
    match trouble.what:
        case "kill":
            replica = sim.replicas[trouble.replica]
            replica.doomed, replica.down_for = True, trouble.seconds
            replica.wake_soon()
        case "rotate" | "compromised":
            if trouble.what == "compromised":
                sim.judge.compromised_by.add(target.name)
            sim.rotate(target, compromised=trouble.what == "compromised")
        case "rollback":
            _rollback(sim, target, rng)
        case "overwrite_foreign":
            sim.rotate(target, foreign=True)
        case "rotate_all":
            _rotate_all(sim)
        case "hold" | "release" | "retire":
            _command(sim, target, trouble.what)
        case _:
            with sim.judge.hand():
                _HANDS[trouble.what](sim, target, rng)


def _rotate_all(sim: Simulation) -> None:
    demand = Demand(sim.hub.now(), named=False)

    def work(world: World) -> None:
        for target in sim.scenario.targets:
            reconcile(world, target, demand=demand)

    sim.command(work)


def _rollback(sim: Simulation, target: Target, rng: random.Random) -> None:
    book = sim.judge.book(target.name)
    known = [entry.hash for entry in book.retiring] if book is not None else []
    if known:
        demand = Demand(sim.hub.now(), rollback=Rollback(rng.choice(known)))
        sim.command(lambda world: reconcile(world, target, demand=demand))


def _command(sim: Simulation, target: Target, what: str) -> None:
    if what == "retire":
        sim.judge.retired_by.add(target.name)
    commands: dict[str, Callable[[World], object]] = {
        "hold": lambda world: operate.hold(world, target, why="sim", by="somebody"),
        "release": lambda world: operate.release(world, target, by="somebody"),
        "retire": lambda world: operate.retire(world, target, key=None, by="somebody"),
    }
    sim.command(commands[what])


def _put(sim: Simulation, path: str, **fields: Any) -> None:
    data = {**(sim.vault.current(path) or {"OTHER": sim.judge.others[path]}), **fields}
    sim.vault.put(path, {name: value for name, value in data.items() if value is not None})


def _paste_back(sim: Simulation, target: Target, rng: random.Random) -> None:
    path = target.secret.path
    served = sim.judge.served_hash(path)
    known = [
        (key_hash, value)
        for key_hash, value in sim.judge.values[path].items()
        if key_hash != served and value.startswith("sk-or-")
    ]
    living = [each for each in known if each[0] in sim.account.keys]
    if known:
        key_hash, value = rng.choice(living or known)
        sim.judge.touched_by_hand.add(key_hash)
        _put(sim, path, **{FIELD: value})


def _paste_foreign(sim: Simulation, target: Target, rng: random.Random) -> None:
    _put(sim, target.secret.path, **{FIELD: f"foreign {rng.random()}"})


def _paste_console_key(sim: Simulation, target: Target, rng: random.Random) -> None:
    minted = console_key(sim)
    _put(sim, target.secret.path, **{FIELD: minted.secret.reveal()})


def _other_field(sim: Simulation, target: Target, rng: random.Random) -> None:
    if sim.vault.current(target.secret.path) is not None:
        sim.judge.others[target.secret.path] = value = str(rng.random())
        _put(sim, target.secret.path, OTHER=value)


def _remove_field(sim: Simulation, target: Target, rng: random.Random) -> None:
    if sim.vault.current(target.secret.path) is not None:
        _put(sim, target.secret.path, **{FIELD: None})


def _delete_secret(sim: Simulation, target: Target, rng: random.Random) -> None:
    if sim.vault.paths.get(target.secret.path):
        _lose_other(sim, target)
        sim.vault.delete(target.secret.path)


def _lose_other(sim: Simulation, target: Target) -> None:
    """A deleted secret takes its other fields along."""
    path = target.secret.path
    sim.judge.deleted_others[path] = sim.judge.others[path]
    sim.judge.others[path] = None


def _recreate_secret(sim: Simulation, target: Target, rng: random.Random) -> None:
    data = sim.vault.current(target.secret.path)
    sim.judge.erase(target)
    sim.vault.forget(target.secret.path)
    if data is not None:
        sim.vault.put(target.secret.path, data)
    else:
        _lose_other(sim, target)


def _recreate_same_version(sim: Simulation, target: Target, rng: random.Random) -> None:
    path = target.secret.path
    versions = sim.vault.paths.get(path) or []
    data = sim.vault.current(path)
    if data is None:
        return
    known = sim.judge.values[path]
    living = [value for key_hash, value in known.items() if key_hash in sim.account.keys]
    if living and rng.random() < 0.5:
        data = {**data, FIELD: rng.choice(living)}
        sim.judge.touched_by_hand |= set(known)
    sim.judge.erase(target)
    sim.vault.forget(path)
    for _ in versions:
        sim.vault.put(path, data)


def _served(sim: Simulation, target: Target) -> str | None:
    served = sim.judge.served_hash(target.secret.path)
    return served if served in sim.account.keys else None


def _old(sim: Simulation, target: Target, rng: random.Random) -> str | None:
    served = sim.judge.served_hash(target.secret.path)
    known = sim.judge.values[target.secret.path]
    return rng.choice([h for h in known if h != served and h in sim.account.keys] or [None])


def _disable_served(sim: Simulation, target: Target, rng: random.Random) -> None:
    if key_hash := _served(sim, target):
        sim.judge.touched_by_hand.add(key_hash)
        sim.account.set_disabled(key_hash, disabled=True)


def _disable_old(sim: Simulation, target: Target, rng: random.Random) -> None:
    if key_hash := _old(sim, target, rng):
        sim.judge.touched_by_hand.add(key_hash)
        sim.account.set_disabled(key_hash, disabled=True)


def _enable_old(sim: Simulation, target: Target, rng: random.Random) -> None:
    if key_hash := _old(sim, target, rng):
        sim.judge.touched_by_hand.add(key_hash)
        sim.account.set_disabled(key_hash, disabled=False)


def _delete_served(sim: Simulation, target: Target, rng: random.Random) -> None:
    if key_hash := _served(sim, target):
        sim.account.remove(key_hash)


def _delete_old(sim: Simulation, target: Target, rng: random.Random) -> None:
    if key_hash := _old(sim, target, rng):
        sim.account.remove(key_hash)


def _rename_key(sim: Simulation, target: Target, rng: random.Random) -> None:
    key_hash = rng.choice([*sim.account.keys])
    sim.judge.renamed.add(key_hash)
    sim.account.change(key_hash, name=f"renamed {rng.random()}")


def _ledger(target: Target) -> str:
    return f"{FakeLedgers.prefix}targets/{target.name}"


def _touch_ledger(sim: Simulation, target: Target) -> None:
    sim.judge.ledger_touched[target.name] = sim.hub.now()


def _ledger_deleted(sim: Simulation, target: Target, rng: random.Random) -> None:
    _touch_ledger(sim, target)
    if rng.random() < 0.5 and sim.vault.paths.get(_ledger(target)):
        sim.vault.delete(_ledger(target))
    else:
        sim.vault.forget(_ledger(target))


def _ledger_rolled_back(sim: Simulation, target: Target, rng: random.Random) -> None:
    older = [each.data for each in sim.vault.paths.get(_ledger(target)) or () if each.data]
    if older:
        _touch_ledger(sim, target)
        sim.vault.put(_ledger(target), copy.deepcopy(rng.choice(older)))


def _ledger_corrupted(sim: Simulation, target: Target, rng: random.Random) -> None:
    _touch_ledger(sim, target)
    sim.vault.put(_ledger(target), rng.choice(({"schema": 99}, {"schema": 1}, {"what": "?"})))


_HANDS = {
    "paste_back": _paste_back,
    "paste_foreign": _paste_foreign,
    "paste_console_key": _paste_console_key,
    "other_field": _other_field,
    "remove_field": _remove_field,
    "delete_secret": _delete_secret,
    "recreate_secret": _recreate_secret,
    "recreate_same_version": _recreate_same_version,
    "disable_served": _disable_served,
    "disable_old": _disable_old,
    "enable_old": _enable_old,
    "delete_served": _delete_served,
    "delete_old": _delete_old,
    "rename_key": _rename_key,
    "ledger_deleted": _ledger_deleted,
    "ledger_rolled_back": _ledger_rolled_back,
    "ledger_corrupted": _ledger_corrupted,
}


def help_out(sim: Simulation) -> None:
    """Operators mend what only a person can: the program says so, and waits for it."""
    sim.note("world", "operators help out")
    for target in sim.scenario.targets:
        document = sim.judge.document(target.name)
        book = sim.judge.book(target.name)
        if document is not None and book is None:
            with sim.judge.hand():
                _touch_ledger(sim, target)
                sim.vault.forget(_ledger(target))
            continue
        if book is None:
            continue
        if book.hold is not None:
            _command(sim, target, "release")
        if book.foreign is not None:
            sim.rotate(target, foreign=True)
            continue
        served = sim.judge.serving[target.name]
        key = sim.account.keys.get(served or "")
        if key is not None and key.disabled and key.hash in sim.judge.touched_by_hand:
            sim.rotate(target)
        if any(each.disabled_at is None or each.enabled_by_hand for each in book.retiring):
            _command(sim, target, "retire")
