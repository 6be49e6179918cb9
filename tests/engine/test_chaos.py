"""Several things go wrong at once: seeded lives of two processes, with people's hands beside.

Each seed chooses faults for both processes, pauses in which the other one lives, and
what people do between and during them. What people do is chosen so that nothing is
excused: the promises hold without exception.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from datetime import timedelta

import pytest

from rotator.core.snapshot import Demand, Rollback
from rotator.engine import operate
from rotator.errors import RotatorError
from tests.engine.lab import PATH, Lab, Process
from tests.engine.promises import FIELD, BrokenPromiseError
from tests.fakes.faults import Kind

SEEDS = range(40)
SPANS = tuple(timedelta(seconds=each) for each in (5, 30, 120, 240, 290, 310, 600, 3600, 18000))
REMOVALS = ("openrouter.disable", "openrouter.delete")


class Chaos:
    """One seeded life."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lab = Lab(cache=timedelta(minutes=self.random.choice([0, 5, 30, 45])))
        self.rival = self.lab.another()
        self.processes = (self.lab.process, self.rival)
        self.values: dict[str, str] = {}
        self.own_field: object = None
        self.retired: set[str] = set()
        kinds = [*Kind, *[Kind.SLOW, Kind.SLOW_AFTER] * 3]
        for process, calls in ((self.lab.process, 170), (self.rival, 60)):
            count = self.random.choice([0, 1, 2, 3, 4])
            numbers = [self.random.randint(1, calls) for _ in range(count)]
            process.faults.plan = {each: self.random.choice(kinds) for each in numbers}
            process.faults.late_by = self.random.choice(SPANS)
            process.faults.very_late_by = self.random.choice(SPANS)
            process.faults.after_each = self.check
        self.lab.late.after_each = self.check
        self.lab.faults.sleep = self.pause
        self.lab.account.on_disable = self.before_disable

    def check(self) -> None:
        """Check the promises, and that a field that people write keeps its value."""
        data = self.lab.vault.current(PATH) or {}
        if (value := data.get(FIELD)) is not None:
            self.values[hashlib.sha256(value.encode()).hexdigest()] = value
        self.lab.promises.check()
        if data.get("OWN") != self.own_field:
            raise BrokenPromiseError("a field that a person wrote was changed back")

    def before_disable(self, key_hash: str) -> None:
        """What an operator retired may go at once, unless it is served."""
        served = self.lab.served_hash() == key_hash
        if key_hash not in self.retired or served:
            self.lab.promises._before_disable(key_hash)

    def pause(self, seconds: float) -> None:
        """The first process stands still; the other one lives, or nobody does."""
        span = self.random.choice(SPANS)
        if self.random.random() < 0.3:
            self.hand(paused=True)
        if self.random.random() < 0.15:
            self.lab.clock.advance(span)
        else:
            self.rival.live(span)
        if self.random.random() < 0.3:
            self.hand(paused=True)
        if self.random.random() < 0.7:
            self.rival.run(full=self.random.random() < 0.3)

    def hand(self, *, paused: bool = False) -> None:
        """A person does something, but not while a removal or a late effect is under way.

        The provider has no conditional request: what lands then cannot be prevented.
        """
        removing = any(
            each.faults.calls[-1:] in ([REMOVALS[0]], [REMOVALS[1]]) for each in self.processes
        )
        what = self.random.choice(
            ["paste", "paste", "field", "command", "forget", "rotate", "back"]
        )
        if self.lab.late.effects or (paused and removing):
            return
        data = self.lab.vault.current(PATH) or {}
        if what == "paste" and (value := self.known_value()) is not None:
            self.lab.vault.put(PATH, {**data, FIELD: value})
        elif what == "field":
            self.own_field = self.random.random()
            self.lab.vault.put(PATH, {**data, "OWN": self.own_field})
        elif what == "command":
            with contextlib.suppress(RotatorError):
                self.command()
        elif what == "forget" and not paused:
            self.lab.vault.forget("state/targets/app")
        elif what == "rotate":
            self.lab.another("asked").run(demand=Demand())
        elif what == "back" and (key := self.retiring_key()) is not None:
            asked = self.lab.another("asked")
            asked.faults.plan = {self.random.randint(1, 60): self.random.choice(list(Kind))}
            asked.run(demand=Demand(rollback=Rollback(key)))

    def retiring_key(self) -> str | None:
        """Return an older key to go back to, in whatever stage it is, if there is one."""
        book = self.lab.ledger()
        found = [each.hash for each in book.retiring] if book is not None else []
        return self.random.choice(found) if found else None

    def known_value(self) -> str | None:
        """Return the value of a key that was served before and still works, if there is one."""
        keys = self.lab.account.keys
        found = [
            value
            for key_hash, value in self.values.items()
            if key_hash in keys
            and not keys[key_hash].disabled
            and key_hash != self.lab.served_hash()
        ]
        return self.random.choice(found) if found else None

    def command(self) -> None:
        """An operator holds, releases or retires."""
        world, target = self.lab.another("operator").world, self.lab.targets[0]
        match self.random.choice(["hold", "release", "retire"]):
            case "hold":
                operate.hold(world, target, why="chaos", by="somebody")
            case "release":
                operate.release(world, target, by="somebody")
            case _:
                self.retired |= set(operate.retire(world, target, key=None, by="somebody"))

    def live(self) -> None:
        """Live with everything that goes wrong, and then without, until all is at rest."""
        ends = self.lab.clock.now() + timedelta(hours=20)
        while self.lab.clock.now() < ends:
            process: Process = self.random.choices(self.processes, [3, 1])[0]
            process.live(timedelta(minutes=self.random.choice([1, 20, 60, 240])))
            if self.random.random() < 0.25:
                self.hand()
        for each in self.processes:
            each.faults.plan = {}
        self.lab.run(full=True)
        operate.release(self.lab.world, self.lab.targets[0], by="somebody")
        self.lab.live(timedelta(hours=40))
        self.retire_what_was_never_used()
        self.lab.come_to_rest()

    def retire_what_was_never_used(self) -> None:
        """No evidence is not quiet: a key that was never used waits for an operator."""
        book = self.lab.ledger()
        for entry in book.retiring if book is not None else ():
            if entry.hash not in self.lab.promises.last_served:
                self.retired |= set(
                    operate.retire(
                        self.lab.world, self.lab.targets[0], key=entry.hash, by="somebody"
                    )
                )


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_goes_wrong_together_no_promise_is_broken(seed: int) -> None:
    chaos = Chaos(seed)
    chaos.live()
    assert chaos.lab.account.minted > 0
    assert chaos.lab.account.accepts(chaos.lab.served_hash() or "")
