"""What goes wrong in a chaos run: each trouble lasts for a while, and is over when it returns."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.chaos.stage import CLAIM, Stage
from tests.chaos.wire import Line
from tests.end_to_end.proxy import Answer, Forward, Request

KEYS = "/api/v1/key*"
"""The routes of the daemon; consumers only call for completions."""


class Troubles:
    """Makes one trouble after the other in a thread of its own, in an order that a seed decides.

    Args:
        stage: where.
        seed: decides everything that is drawn.
        over: ends it.
        raft: whether there is a leader to be killed.
    """

    def __init__(self, stage: Stage, seed: int, over: threading.Event, *, raft: bool) -> None:
        self.count: Counter[str] = Counter()
        self._stage = stage
        self._random = random.Random(f"troubles {seed}")
        self._over = over
        vault = self._leader_killed if raft else self._vault_restarted
        self._kinds: list[Callable[[], None]] = [
            vault,
            self._line_cut,
            self._line_reset,
            vault,
            self._line_stalled,
            self._vault_answers_dropped,
            self._openrouter_answers_dropped,
            vault,
            self._openrouter_stalled,
            self._openrouter_broken,
            self._openrouter_limits,
        ]
        self.broken: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="troubles")

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                turn = list(self._kinds)
                self._random.shuffle(turn)
                for trouble in turn:
                    if self._over.wait(self._random.uniform(0.5, 4.0)):
                        break
                    trouble()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever joins
            self.broken = error

    def _lasting(self, least: float, most: float) -> None:
        self._over.wait(self._random.uniform(least, most))

    # --- Vault -------------------------------------------------------------------------------------

    def _vault_restarted(self) -> None:
        kill = self._random.random() < 0.7
        self.count["Vault killed" if kill else "Vault stopped"] += 1
        away = self._random.uniform(0, 2.5)
        self._stage.cluster.restart(self._stage.cluster.nodes[0], kill=kill, away=away)

    def _leader_killed(self) -> None:
        cluster = self._stage.cluster
        leader = cluster.leader()
        if leader is None:
            return
        self.count["leaders killed"] += 1
        cluster.restart(leader, kill=True, away=self._random.uniform(0, 4))
        leader.until(lambda: cluster.voters() == len(cluster.nodes), "full number of voters")

    def _line_is(self, line: Line, least: float, most: float) -> None:
        self.count[f"Vault's line {line}"] += 1
        self._stage.line.set(line)
        self._lasting(least, most)
        self._stage.line.set(Line.OPEN)

    def _line_cut(self) -> None:
        self._line_is(Line.CUT, 0, 3)

    def _line_reset(self) -> None:
        self._line_is(Line.RESET, 0, 3)

    def _line_stalled(self) -> None:
        self._line_is(Line.STALLED, 0.5, CLAIM * 1.5)

    def _vault_answers_dropped(self) -> None:
        self._answers_dropped("vault")

    # --- OpenRouter --------------------------------------------------------------------------------

    def _openrouter_answers_dropped(self) -> None:
        self._answers_dropped("openrouter")

    def _answers_dropped(self, service: str) -> None:
        """A third of the changes take effect and are not answered; as many never arrive."""
        dice, lock, count = random.Random(self._random.random()), threading.Lock(), self.count

        def meddle(request: Request, forward: Forward) -> Answer | None:
            with lock:
                drawn = dice.random()
            if request.method == "GET" or drawn > 2 / 3:
                return forward()
            if drawn < 1 / 3:
                forward()
            count[f"answers of {service} dropped"] += drawn < 1 / 3
            count[f"calls of {service} dropped"] += drawn >= 1 / 3
            return None

        ears = self._stage.ears[service]
        whole = ears.meddle
        ears.meddle = meddle
        self._lasting(1, 4)
        ears.meddle = whole

    def _fault(self, name: str, **fault: Any) -> None:
        self.count[name] += 1
        sandbox = self._stage.sandbox
        seed = self._random.randrange(1 << 30)
        sandbox.fault(api="openrouter", path=KEYS, count=None, seed=seed, **fault)
        self._lasting(1, 4)
        sandbox.no_faults()

    def _openrouter_stalled(self) -> None:
        """Calls wait, longer than anyone waits for them; some take effect after all that."""
        seconds = self._random.uniform(0.5, CLAIM * 1.5)
        effect = self._random.random() < 0.5
        chance = self._random.choice((0.5, 1.0))
        self._fault(
            "OpenRouter stalled", kind="latency", seconds=seconds, effect=effect, probability=chance
        )

    def _openrouter_broken(self) -> None:
        kind = self._random.choice(("error", "html", "cut", "truncate"))
        status = self._random.choice((500, 502, 503))
        effect = self._random.random() < 0.5
        self._fault("OpenRouter broken", kind=kind, status=status, effect=effect, probability=0.5)

    def _openrouter_limits(self) -> None:
        after = self._random.choice((1, 2, None))
        self._fault("OpenRouter limits", kind="rate_limit", retry_after=after, probability=0.5)

    def end(self) -> None:
        """Wait for the end of the trouble in hand, and see to it that none is left."""
        self.thread.join()
        self._stage.line.set(Line.OPEN)
        self._stage.sandbox.no_faults()
        if self.broken is not None:
            raise self.broken


class Killer:
    """Starts daemons and ends them by SIGKILL, again and again, in a thread of its own.

    Now and then one is stopped (SIGSTOP) for longer than its claim while others live and die
    beside it, and goes on afterwards as if nothing had been.
    """

    def __init__(self, stage: Stage, seed: int, over: threading.Event) -> None:
        self.count: Counter[str] = Counter()
        self.ended: list[str] = []
        self._stage = stage
        self._random = random.Random(f"killer {seed}")
        self._over = over
        self.broken: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="killer")

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                if self._random.random() < 0.06:
                    self._pause_one()
                else:
                    self._live_and_die("a", self._lifetime())
        except BaseException as error:  # noqa: BLE001 - raised again by whoever joins
            self.broken = error

    def _lifetime(self) -> float:
        """Seconds: most lives are short, some long enough to get a lot done."""
        least, most = self._random.choices(
            ((0.2, 1.2), (1.2, 3.0), (3.0, 8.0)), weights=(35, 45, 20)
        )[0]
        return self._random.uniform(least, most)

    def _start(self, slot: str) -> Any:
        where = self._random.choice(("shared", slot))
        return self._stage.places[where].start("run")

    def _kill(self, daemon: Any) -> None:
        if not daemon.alive():
            self.ended.append(f"{daemon.process.returncode}: {daemon.err[-1000:]}")
        self.count["kills"] += 1
        daemon.kill()

    def _live_and_die(self, slot: str, lifetime: float) -> None:
        daemon = self._start(slot)
        self._over.wait(lifetime)
        self._kill(daemon)

    def _pause_one(self) -> None:
        stopped = self._start("a")
        self._over.wait(self._random.uniform(0.6, 2.0))
        stopped.process.send_signal(signal.SIGSTOP)
        self.count["pauses"] += 1
        wakes = time.monotonic() + CLAIM * self._random.uniform(1.1, 1.8)
        while not self._over.is_set() and (left := wakes - time.monotonic()) > 0:
            self._live_and_die("b", min(left, self._random.uniform(1.0, 4.0)))
        beside = self._start("b")
        self._over.wait(self._random.uniform(0.5, 1.0))
        stopped.process.send_signal(signal.SIGCONT)
        self._over.wait(self._random.uniform(0.5, 2.0))
        self._kill(stopped)
        self._over.wait(self._random.uniform(0.0, 2.0))
        self._kill(beside)

    def end(self) -> None:
        """Wait for the last kill."""
        self.thread.join()
        if self.broken is not None:
            raise self.broken
