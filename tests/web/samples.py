"""A fleet to be shown: targets in every state, each planned by the planner itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rotator.core.ledger import Failure, ForeignValue, Hold, PolicyDurations, RetiringKey, ServedKey
from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.snapshot import LedgerSeen, Snapshot
from rotator.core.steps import Finding, Plan
from rotator.core.target import SecretRef, Target
from rotator.engine.reconcile import Report
from rotator.events import (
    KeyCreate,
    KeyDisable,
    LedgerChange,
    Phase,
    ProcessStart,
    Result,
    Resync,
    SecretPublish,
    TargetAttention,
)
from rotator.web import AuditRecorder, Busy, Process, Vitals
from tests.core import builders
from tests.core.builders import DAY, HOUR, MINUTE, NOW
from tests.fakes.clock import FakeClock

TEAMS = ("billing", "search", "support", "mobile", "ingest", "insights", "partner", "labs")
PARTS = ("api", "worker", "batch", "chat", "eval", "gateway", "summaries", "agent")


def name_of(number: int) -> str:
    """A name as teams give them, different for each number."""
    name = f"{TEAMS[number % 8]}-{PARTS[number // 8 % 8]}"
    return name if number < 64 else f"{name}-{number // 64 + 1}"


def digest(text: str) -> str:
    """A hash that looks like a key's."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(slots=True)
class Sample:
    """A source whose every value a test may set."""

    made: dict[str, Target] = field(default_factory=dict)
    told: dict[str, Report] = field(default_factory=dict)
    life: Vitals = field(default_factory=lambda: Vitals(None, ready=True))
    whole: Process = field(
        default_factory=lambda: Process(
            instance="prod",
            version="1.0.0",
            holder="rotator-7f9c-1-5d2a0c9e",
            started_at=NOW - 9 * DAY,
            workers=8,
            heartbeat_at=NOW - timedelta(seconds=4),
            resync_at=NOW - 21 * MINUTE,
            config_sha256=digest("configuration"),
            config_at=NOW - 9 * DAY,
        )
    )

    def vitals(self) -> Vitals:
        return self.life

    def process(self) -> Process:
        return self.whole

    def targets(self) -> tuple[Target, ...]:
        return tuple(self.made.values())

    def reports(self) -> Mapping[str, Report]:
        return dict(self.told)

    def add(self, snapshot: Snapshot, at: datetime = NOW) -> None:
        """Add a target by what was observed of it."""
        chosen = plan(snapshot, at)
        self.note(snapshot, chosen, at)

    def note(self, snapshot: Snapshot, chosen: Plan, at: datetime = NOW) -> None:
        """Add a target by what was observed of it and what was planned."""
        book = snapshot.ledger.ledger
        name = snapshot.target.name
        self.made[name] = snapshot.target
        failure = book.failure if book is not None else None
        self.told[name] = Report(name, at, chosen, snapshot, (), failure, chosen.wake_at)

    def unreachable(self, target: Target, detail: str, at: datetime = NOW) -> None:
        """Add a target that could not be observed."""
        failure = Failure(Reason.UNAVAILABLE, detail, at - 25 * MINUTE, 5, at + 3 * MINUTE)
        self.made[target.name] = target
        self.told[target.name] = Report(target.name, at, None, None, (), failure, at)


def of(number: int, *, age: timedelta | None = None) -> Snapshot:
    """A target in order, with a predecessor in some stage or with none."""
    name = name_of(number)
    age = age if age is not None else timedelta(hours=(number * 37) % 690 + 3)
    target = Target(
        name,
        SecretRef(f"secret/apps/{name.replace('-', '/', 1)}", "OPENROUTER_API_KEY"),
        builders.policy(max_age=45 * DAY),
    )
    born = NOW - age
    served: ServedKey = builders.served(
        digest(name), minted_at=born, claimed_at=born, published_at=born, due_from=born
    )
    old = builders.retiring(
        digest(f"{name} before"), since=born, minted_at=born - 30 * DAY, secret=target.secret
    )
    retiring: tuple[RetiringKey, ...] = ()
    if age < DAY:
        retiring = (old,)
    elif age < 2 * DAY:
        used = NOW - 20 * MINUTE
        retiring = (replace(old, looked_at=NOW - 5 * MINUTE, last_used_at=used),)
    elif age < 5 * DAY:
        retiring = (replace(old, disabled_at=born + DAY + HOUR, disable_claimed=True),)
    book = builders.ledger(
        secret=target.secret,
        served=served,
        retiring=retiring,
        policy=PolicyDurations.of(target.policy),
    )
    return builders.snapshot(book, target=target, secret=builders.seen())


def _book(snapshot: Snapshot, **changes: object) -> Snapshot:
    book = replace(snapshot.book, **changes)  # type: ignore[arg-type]
    return replace(snapshot, ledger=replace(snapshot.ledger, ledger=book))


def wrong(sample: Sample, number: int) -> None:
    """Add a target with which something is wrong; what it is goes round."""
    snapshot = of(number)
    name = snapshot.target.name
    match number % 7:
        case 0:
            foreign = ForeignValue(3, builders.WRITTEN, NOW - 3 * HOUR)
            sample.add(_book(snapshot, foreign=foreign, served=None))
        case 1:
            detail = "openrouter create a key: 503 from https://openrouter.ai/api/v1/keys"
            failure = Failure(Reason.UNAVAILABLE, detail, NOW - 2 * HOUR, 14, NOW + 9 * MINUTE)
            sample.add(_book(snapshot, failure=failure))
        case 2:
            old = builders.retiring(
                digest(f"{name} before"),
                since=NOW - 9 * DAY,
                looked_at=NOW - 10 * MINUTE,
                last_used_at=NOW - 12 * MINUTE,
            )
            sample.add(_book(of(number, age=9 * DAY), retiring=(old,)))
        case 3:
            sample.unreachable(
                snapshot.target, "vault: read the ledger: connection refused by vault.example.com."
            )
        case 4:
            late = of(number, age=47 * DAY)
            failure = Failure(
                Reason.MINT_REFUSED,
                "402 Insufficient credits for this workspace",
                NOW - 2 * DAY,
                61,
                NOW + 31 * MINUTE,
            )
            sample.add(_book(late, failure=failure))
        case 5:
            chosen = plan(snapshot, NOW)
            found = Finding(Reason.WRONG_ACCOUNT, "", snapshot.book.served.hash, attention=True)  # type: ignore[union-attr]
            sample.note(snapshot, replace(chosen, findings=(*chosen.findings, found)))
        case _:
            trouble = LedgerSeen(
                9, NOW - HOUR, None, Reason.LEDGER_UNREADABLE, "line 1: not a JSON document"
            )
            sample.add(replace(snapshot, ledger=trouble))


def fleet(count: int, *, bad: int = 0, busy: bool = False) -> Sample:
    """A fleet of so many targets, of which some are wrong."""
    sample = Sample()
    for number in range(count):
        if number < bad:
            wrong(sample, number)
        elif busy and number % 11 == 10:
            hold = Hold(Reason.HELD, "waiting for the vendor", "ana@ops-1", NOW - 4 * DAY)
            sample.add(_book(of(number), hold=hold))
        else:
            sample.add(of(number))
    return sample


class Sink:
    """An audit sink that takes everything, until it is told not to."""

    def __init__(self) -> None:
        self.broken: Exception | None = None

    def append(self, event: object) -> str:
        if self.broken is not None:
            raise self.broken
        return "0" * 64

    def head(self) -> str:
        return "0" * 64

    def unsettled(self) -> tuple[()]:
        return ()


def heard(clock: FakeClock) -> AuditRecorder:
    """A recorder that has heard a day's work."""
    recorder = AuditRecorder(clock)
    trail = recorder.before(Sink())
    done: Any = {"phase": Phase.OUTCOME, "result": Result.DONE}
    start = ProcessStart(
        op="a/start", version="1.0.0", holder="rotator-7f9c-1-5d2a0c9e", mode="run",
        config_sha256=digest("configuration"), **done,
    )  # fmt: skip
    trail.append(start)
    trail.append(Resync(op="b/resync", keys=57, served=30, orphans=0, foreign=2, **done))
    for number in range(3):
        name, key = name_of(number), digest(name_of(number))
        about: Any = {"target": name, "key_hash": key, "reason": "every"}
        trail.append(LedgerChange(op="c/claim", change="claim", base_version=4, **about, **done))
        trail.append(KeyCreate(op="c/mint", key_name="prod", **about, **done))
        trail.append(
            SecretPublish(op="c/p", path="secret/a", field="K", base_version=3, **about, **done)
        )
        trail.append(LedgerChange(op="c/pr", change="promote", base_version=5, **about, **done))
    trail.append(
        KeyDisable(
            op="d/d", phase=Phase.OUTCOME, result=Result.FAILED, target=name_of(1),
            key_hash=digest("x"), error="503 from OpenRouter",
        )
    )  # fmt: skip
    trail.append(
        TargetAttention(
            op="e/attention", phase=Phase.OUTCOME, result=Result.FOUND, target=name_of(0),
            reason="foreign_value", detail="The field holds a value that no key explains.",
        )
    )  # fmt: skip
    return recorder


def wedged() -> Busy:
    """A thread that is past its call's deadline."""
    return Busy("billing-api", 412.0, "openrouter.create", late=True)
