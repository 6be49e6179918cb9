"""Many seeds: run them on several processes, shrink what fails, and tell what was covered."""

from __future__ import annotations

import logging
import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from tests.engine.promises import BrokenPromiseError
from tests.simulation.life import Simulation
from tests.simulation.scenario import (
    CELLS,
    CONDITIONS,
    FAULTS,
    STEPS,
    Scenario,
    possible,
    scenario,
)

AT_ONCE = 25
"""How many seeds a worker is given at a time."""

SHRUNK_AT_ONCE = 2
"""How many failing seeds of those are shrunk and told in full; the rest are named."""

MOST_FAILURES = 200
"""After as many failures a run ends early."""

ENOUGH_FOR_ALL = 10_000
"""From as many seeds on, a cell of the table that stays empty is a failure of the run."""

MOST_NAMED = 40
"""So many empty cells are named; a run of a few seeds leaves nearly all of them empty."""

_LINES = 60

_PARTICULARS = re.compile(r"\b[0-9a-f]{8}\b|\d+|: .*")
"""What of a failure's words is not the same each time: hashes, numbers, and what follows a colon."""


@dataclass
class Totals:
    """What some seeds came to, together.

    Attributes:
        seeds: how many were run.
        calls: port calls.
        rotations: keys that were published after a first one.
        struck: faults, conditions and hands that came.
        passes: reconciliations.
        most_passes: how many a target needed at most to come to rest.
        key_days: days that keys lived, together.
        seconds: how long it took.
        cpu: seconds of processors.
        hits: by step and fault, how often that came to pass.
        conditions: by name, how often one made a difference.
        fleets: by how many replicas there were, with a lease or without, how many lives.
        failures: the reports of the seeds that failed.
    """

    seeds: int = 0
    calls: int = 0
    rotations: int = 0
    struck: int = 0
    passes: int = 0
    most_passes: int = 0
    key_days: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    conditions: Counter[str] = field(default_factory=Counter)
    fleets: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _told: int = 0

    def new_failures(self) -> list[str]:
        """Return the failures since this was last asked for."""
        told, self._told = self._told, len(self.failures)
        return self.failures[told:]

    def live(self, sim: Simulation) -> None:
        """Count one life."""
        self.seeds += 1
        self.calls += sim.calls
        self.struck += sim.struck
        self.passes += sim.passes.total()
        self.most_passes = max(self.most_passes, sim.most_passes)
        self.rotations += sim.rotations()
        self.key_days += sim.hub.elapsed * len(sim.scenario.targets) / 86400
        self.hits.update(sim.hits)
        self.conditions.update(sim.conditions)
        self.fleets[_fleet(sim.scenario)] += 1

    def add(self, other: Totals) -> None:
        """Count what other seeds came to."""
        self.seeds += other.seeds
        self.calls += other.calls
        self.struck += other.struck
        self.passes += other.passes
        self.most_passes = max(self.most_passes, other.most_passes)
        self.rotations += other.rotations
        self.key_days += other.key_days
        self.cpu += other.cpu
        self.hits.update(other.hits)
        self.conditions.update(other.conditions)
        self.fleets.update(other.fleets)
        self.failures += other.failures

    def empty(self) -> list[str]:
        """Return the cells of the table, and the conditions, that never came to pass."""
        cells = [f"{step}: {fault}" for step, fault in CELLS if not self.hits[step, fault]]
        return cells + [what for _, what in CONDITIONS if not self.conditions[what]]

    def passed(self) -> bool:
        """Tell whether no seed failed, and enough seeds left no cell empty."""
        return not self.failures and (self.seeds < ENOUGH_FOR_ALL or not self.empty())


def run(
    seeds: range, *, workers: int = 1, progress: Callable[[Totals, int], None] = lambda *_: None
) -> Totals:
    """Run seeds, in their order, and shrink those that fail.

    Args:
        seeds: which.
        workers: on how many processes.
        progress: called from time to time with the totals so far and how many seeds are left.
    """
    totals, began = Totals(), time.monotonic()
    for some in _shared_out(seeds, workers):
        totals.add(some)
        totals.seconds = time.monotonic() - began
        progress(totals, len(seeds) - totals.seeds)
        if len(totals.failures) >= MOST_FAILURES:
            break
    return totals


def _shared_out(seeds: range, workers: int) -> Iterator[Totals]:
    """Yield what each few seeds came to, in the order of the seeds."""
    parts = [seeds[first : first + AT_ONCE] for first in range(0, len(seeds), AT_ONCE)]
    if workers == 1:
        yield from map(run_some, parts)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(run_some, parts)


def run_some(seeds: range) -> Totals:
    """Run a few seeds in this process."""
    logging.disable(logging.CRITICAL)
    totals, began = Totals(), time.process_time()
    try:
        for seed in seeds:
            sim, error = lived(scenario(seed))
            totals.live(sim)
            if error is not None:
                shrink = len(totals.failures) < SHRUNK_AT_ONCE
                totals.failures.append(report(seed) if shrink else _named(seed, error))
    finally:
        logging.disable(logging.NOTSET)
    totals.cpu = time.process_time() - began
    return totals


def lived(life: Scenario) -> tuple[Simulation, Exception | None]:
    """Live one life, and return what broke, or None."""
    sim = Simulation(life)
    try:
        sim.live()
    except Exception as error:  # noqa: BLE001 - a defect is a finding like a broken promise
        return sim, error
    finally:
        sim.hub.end()
    return sim, None


def shrunk(life: Scenario) -> Scenario:
    """Drop troubles one by one while the life still fails in the same way."""
    kind = _kind(lived(life)[1])
    dropped = True
    while dropped:
        dropped = False
        for number in range(len(life.troubles)):
            smaller = life.without(frozenset({number}))
            if _kind(lived(smaller)[1]) == kind:
                life, dropped = smaller, True
                break
    return life


def _kind(error: Exception | None) -> tuple[type, str]:
    """Return what makes two failures the same, whichever key or target they are about."""
    return type(error), _PARTICULARS.sub("", str(error))


def _named(seed: int, error: Exception | None) -> str:
    name = "" if isinstance(error, BrokenPromiseError) else f"{type(error).__name__}: "
    return f"seed {seed}: {name}{error}\n  replay: make simulate SEEDS=1 FIRST={seed}"


def report(seed: int) -> str:
    """Return what a person needs to understand a failing seed."""
    life = shrunk(scenario(seed))
    sim, error = lived(life)
    lines = [_named(seed, error), *(f"  needs: {each}" for each in life.troubles)]
    lines += [
        f"  {at:10.1f} {who:12} {what} {more}".rstrip()
        for at, who, what, more in sim.history[-_LINES:]
    ]
    return "\n".join(lines)


def tell_progress(totals: Totals, left: int) -> None:
    """Print failures as they come, and to standard error one line over the one before."""
    for failure in totals.new_failures():
        print(failure, end="\n\n", flush=True)
    speed = totals.seeds / max(totals.seconds, 0.001)
    line = (
        f"\r{totals.seeds} seeds, {len(totals.failures)} failed, {speed:.1f} seeds/s, "
        f"{timedelta(seconds=round(left / speed))} left "
    )
    sys.stderr.write(line if left else line + "\n")
    sys.stderr.flush()


def told(totals: Totals) -> str:
    """Return the totals in words, with the table of what befell which step."""
    seeds = max(totals.seeds, 1)
    averages = (
        f"{totals.calls / seeds:.0f} port calls, {totals.rotations / seeds:.1f} rotations, "
        f"{totals.struck / seeds:.1f} faults and hands, {totals.passes / seeds:.0f} passes, "
        f"{1000 * totals.cpu / seeds:.0f} ms of a processor"
    )
    took = timedelta(seconds=round(totals.seconds))
    lines = [
        f"{totals.seeds} seeds in {took}, {totals.key_days / 365.25:.1f} key-years",
        f"a seed on average: {averages}",
        f"at most {totals.most_passes} passes until a target came to rest",
        "",
        *table(totals.hits),
        "",
        "conditions (calls that felt them), hands and clocks:",
        *_columns([f"{what:22}{totals.conditions[what]:7}" for _, what in CONDITIONS]),
        "",
        "lives by replicas:",
        *_columns([f"{fleet:22}{lives:7}" for fleet, lives in sorted(totals.fleets.items())]),
        "",
        f"empty: {_few(totals.empty())}",
        f"{len(totals.failures)} failed",
    ]
    return "\n".join(lines)


def _few(empty: list[str]) -> str:
    """Return the names of what is empty, or only their number where it is most."""
    if len(empty) > MOST_NAMED:
        return f"{len(empty)} of {len(CELLS) + len(CONDITIONS)}"
    return ", ".join(empty) or "none"


def table(hits: Counter[tuple[str, str]]) -> list[str]:
    """Return the table of hits by step and fault: a row for each step, "-" where nothing can be."""
    width = max(map(len, STEPS))
    lines = [" " * width + " " + " ".join(f"{each[:6]:>6}" for each in FAULTS)]
    for step in STEPS:
        cells = (str(hits[step, each]) if possible(step, each) else "-" for each in FAULTS)
        lines.append(f"{step:{width}} " + " ".join(f"{each:>6}" for each in cells))
    return lines


def _fleet(life: Scenario) -> str:
    """Return how many replicas a life has, and whether a lease says which of them acts."""
    return f"{len(life.skews)} {'with' if life.lease else 'without'} a lease"


def _columns(cells: list[str]) -> list[str]:
    """Return cells in lines of three."""
    return ["  " + "   ".join(cells[first : first + 3]) for first in range(0, len(cells), 3)]
