"""One chaos run, from the first key to the table of figures."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import promises
from tests.chaos.stage import Stage
from tests.chaos.troubles import Killer, Troubles
from tests.end_to_end.bench import eventually

LONGER = 5
"""So many times the wanted time may pass until enough has happened."""

REST_WITHIN = 400.0
"""Seconds until all is at rest: a target that failed often waits half of an expiry for a retry."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is to be.

    Attributes:
        seconds: how long there are troubles at the least; longer, until enough has happened.
        seed: decides what goes wrong, and when.
        raft: three nodes whose leader is killed, else one that is restarted.
        targets: how many.
    """

    seconds: float
    seed: int
    raft: bool = False
    targets: int = 14

    @property
    def least(self) -> dict[str, float]:
        """What has to happen in a run of that length, so that its promises are not kept too easily.

        An idle machine does several times as much.
        """
        minutes = self.seconds / 60
        return {
            "kills": 17 * minutes,
            "leaders killed" if self.raft else "Vault killed": 2 * minutes,
            "rotations": 4 * minutes,
            "calls of consumers": self.targets * self.seconds,
            "looks of the watcher": self.seconds / 10,
        }

    def lacking(self, figures: Mapping[str, int]) -> list[str]:
        """What has not happened often enough."""
        return [
            f"{name}: {figures.get(name, 0)} of at least {number:.0f}"
            for name, number in self.least.items()
            if figures.get(name, 0) < number
        ]


@dataclass(slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        figures: by name, in the order in which they are shown.
        problems: broken promises; none where all is well.
        folder: the evidence, if it was kept.
    """

    folder: Path
    figures: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def table(self) -> str:
        """The figures, one a line."""
        width = max(map(len, self.figures))
        return "\n".join(f"{name:{width}}  {number:>9,}" for name, number in self.figures.items())


def chaos(
    wanted: Wanted, vault: Path, folder: Path, say: Callable[[str], None] = lambda line: None
) -> Outcome:
    """Run it, check every promise, and leave the evidence in the folder where one is broken."""
    outcome = Outcome(folder)
    nodes = 3 if wanted.raft else 1
    with Stage(folder, vault, nodes=nodes, targets=wanted.targets, seed=wanted.seed) as stage:
        say(f"Vault with {nodes} node(s), {wanted.targets} targets; evidence in {folder}")
        _troubled(stage, wanted, outcome, say)
        say("no more troubles: waiting for rest")
        began = time.monotonic()
        outcome.problems += promises.settle(stage, REST_WITHIN)
        outcome.figures["seconds until rest"] = round(time.monotonic() - began)
        stage.consumers.stop()
        stage.watcher.stop.set()
        _judge(stage, outcome)
    if not outcome.problems:
        shutil.rmtree(folder)
    return outcome


def _troubled(stage: Stage, wanted: Wanted, outcome: Outcome, say: Callable[[str], None]) -> None:
    """Let things go wrong for as long as was wanted."""
    over = threading.Event()
    killer = Killer(stage, wanted.seed, over)
    troubles = Troubles(stage, wanted.seed, over, raft=wanted.raft)
    began = time.monotonic()
    killer.thread.start()
    try:
        eventually(lambda: stage.everyone_served() or killer.ended, "first keys", 600, pause=0.5)
        if killer.ended:
            raise RuntimeError(f"a daemon ended by itself: {killer.ended[0]}")
        stage.open()
        troubles.thread.start()
        last = began + wanted.seconds * LONGER
        while killer.broken is None and troubles.broken is None:
            figures = killer.count | troubles.count | stage.figures()
            past = time.monotonic() - began
            say(_progress(stage, figures, past))
            if past >= wanted.seconds and (not wanted.lacking(figures) or began + past > last):
                break
            over.wait(min(10.0, wanted.seconds - past) if past < wanted.seconds else 10.0)
    finally:
        over.set()
        killer.thread.join()
        if troubles.thread.is_alive():
            troubles.thread.join()
    killer.end()
    troubles.end()
    outcome.figures |= dict(sorted(killer.count.items())) | dict(sorted(troubles.count.items()))
    outcome.problems += [f"a daemon ended by itself: {each}" for each in killer.ended]
    outcome.problems += [
        f"too little happened: {each}" for each in wanted.lacking(outcome.figures | stage.figures())
    ]


def _progress(stage: Stage, figures: Mapping[str, int], past: float) -> str:
    return (
        f"{past / 60:5.1f} min  {figures['kills']:4} kills  {figures['rotations']:5} rotations  "
        f"{figures['calls of consumers']:7} calls of consumers, "
        f"{len(stage.consumers.failures)} failed, {len(stage.watcher.orphans)} orphans"
    )


def _judge(stage: Stage, outcome: Outcome) -> None:
    """Add to the outcome what is seen in the end."""
    problems, figures = outcome.problems, outcome.figures
    consumers, watcher = stage.consumers, stage.watcher
    if watcher.broken is not None:
        raise watcher.broken
    problems += [f"a consumer's call failed: {each}" for each in consumers.failures[:50]]
    problems += [f"an orphan was seen: {each}" for each in watcher.orphans]
    problems += [f"{target}: a field that is not ours was changed" for target in stage.fields()]
    mints, states = promises.mints_accounted_for(stage)
    audit, lines = promises.audit_holds(stage)
    leaks, secrets = promises.secrets_in_files(stage)
    problems += mints + audit + leaks
    figures |= stage.figures() | {
        "publishes in the audit trail": promises.rotations(stage),
        "keys made": sum(states.values()),
        "keys served": states["served"],
        "keys deleted": states["deleted"],
        "keys left": states["left"],
        "orphans seen by the watcher": len(watcher.orphans),
        "looks that Vault did not answer": watcher.missed,
        "failed calls": len(consumers.failures),
        "reads of consumers": consumers.reads[0],
        "failed reads": consumers.reads[1],
        "audit lines verified": lines,
        "secrets looked for": secrets,
        "files with a secret": len(leaks),
    }
