"""Many seeds: run each, shrink what fails, and tell what was covered."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from tests.engine.promises import BrokenPromiseError
from tests.fakes.faults import Kind
from tests.simulation.life import Simulation
from tests.simulation.scenario import ACTS, CALLS, Scenario, scenario

_LINES = 60


@dataclass
class Totals:
    """What some seeds came to, together.

    Attributes:
        seeds: how many were run.
        calls: port calls.
        rotations: keys that were published after a first one.
        struck: troubles that came to pass.
        passes: reconciliations.
        key_days: days that keys lived, together.
        seconds: how long it took.
        hits: by step and trouble, how often that came to pass.
        failures: the reports of the seeds that failed.
    """

    seeds: int = 0
    calls: int = 0
    rotations: int = 0
    struck: int = 0
    passes: int = 0
    key_days: float = 0.0
    seconds: float = 0.0
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, sim: Simulation) -> None:
        """Count one life."""
        self.seeds += 1
        self.calls += sim.calls
        self.struck += sim.struck
        self.passes += sim.passes
        self.rotations += sim.rotations()
        self.key_days += sim.hub.elapsed * len(sim.scenario.targets) / 86400
        self.hits.update(sim.hits)


def run(seeds: Iterable[int]) -> Totals:
    """Run seeds, and shrink those that fail."""
    logging.disable(logging.CRITICAL)
    totals, began = Totals(), time.monotonic()
    try:
        for seed in seeds:
            sim, error = lived(scenario(seed))
            totals.add(sim)
            if error is not None:
                totals.failures.append(report(seed))
    finally:
        logging.disable(logging.NOTSET)
    totals.seconds = time.monotonic() - began
    return totals


def lived(life: Scenario) -> tuple[Simulation, Exception | None]:
    """Live one life, and return what broke, or None."""
    sim = Simulation(life)
    try:
        sim.live()
    except Exception as error:  # noqa: BLE001 - a defect is a finding like a broken promise
        return sim, error
    return sim, None


def shrunk(life: Scenario) -> Scenario:
    """Drop troubles one by one while the life still fails in the same way."""
    _, error = lived(life)
    kind = type(error)
    dropped = True
    while dropped:
        dropped = False
        for number in range(len(life.troubles)):
            smaller = life.without(frozenset({number}))
            if type(lived(smaller)[1]) is kind:
                life, dropped = smaller, True
                break
    return life


def report(seed: int) -> str:
    """Return what a person needs to understand a failing seed."""
    life = shrunk(scenario(seed))
    sim, error = lived(life)
    name = "" if isinstance(error, BrokenPromiseError) else f"{type(error).__name__}: "
    lines = [f"seed {seed}: {name}{error}", f"  replay: make simulate SEEDS=1 FIRST={seed}"]
    lines += [f"  needs: {each}" for each in life.troubles]
    lines += [
        f"  {at:10.1f} {who:12} {what} {more}".rstrip()
        for at, who, what, more in sim.history[-_LINES:]
    ]
    return "\n".join(lines)


def told(totals: Totals) -> str:
    """Return the totals in words, with the table of what befell which step."""
    seeds = max(totals.seeds, 1)
    years = totals.key_days / 365.25
    first = (
        f"{totals.seeds} seeds in {timedelta(seconds=round(totals.seconds))}: "
        f"{totals.calls / seeds:.0f} port calls, {totals.rotations / seeds:.1f} rotations, "
        f"{totals.struck / seeds:.1f} faults and hands, "
        f"{totals.passes / seeds:.0f} passes a seed; {years:.1f} key-years"
    )
    empty = f"empty cells: {', '.join(holes(totals.hits)) or 'none'}"
    return "\n".join((first, "", *table(totals.hits), "", empty))


def table(hits: Counter[tuple[str, str]]) -> list[str]:
    """Return the table of hits by step and fault, a row for each step, and one line for the rest."""
    kinds = [str(each) for each in Kind]
    steps = sorted({step for step, what in hits if what in kinds} | set(CALLS) - _SPLIT)
    width = max(len(each) for each in steps)
    lines = [" " * width + "  " + " ".join(f"{each[:9]:>9}" for each in kinds)]
    for step in steps:
        cells = (_cell(hits, step, kind) for kind in kinds)
        lines.append(f"{step:{width}}  " + " ".join(f"{each:>9}" for each in cells))
    others: Counter[str] = Counter()
    for (_, what), count in hits.items():
        if what not in kinds:
            others[what] += count
    lines += ["", "hands, conditions (by calls) and steps of clocks:"]
    lines += [f"  {what:24} {count:8}" for what, count in sorted(others.items())]
    return lines


_SPLIT = frozenset({"vault.write", "vault.write_ledger"})
# Their rows are told apart by what is written.


def _cell(hits: Counter[tuple[str, str]], step: str, kind: str) -> str:
    return str(hits[step, kind]) if _possible(step, kind) else "-"


def _possible(step: str, kind: str) -> bool:
    """Tell whether a fault means anything at a step."""
    call = step.split(" ", maxsplit=1)[0]
    delayed = kind in (Kind.LATE, Kind.VERY_LATE)
    return not delayed or (call in ACTS and call != "audit.append")


def holes(hits: Counter[tuple[str, str]]) -> list[str]:
    """Return the calls that some fault never befell."""
    found: Counter[tuple[str, str]] = Counter()
    for (step, what), count in hits.items():
        found[step.split(" ")[0], what] += count
    return [
        f"{call}: {kind}"
        for call in CALLS
        for kind in Kind
        if _possible(call, kind) and not found[call, kind]
    ]
