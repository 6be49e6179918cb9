"""Events and helpers that the tests of the audit trail share."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rotator.adapters.audit import StreamAuditTrail
from rotator.adapters.audit.chain import addition
from rotator.adapters.audit.line import GENESIS
from rotator.adapters.audit.report import Report
from rotator.adapters.audit.tail import tail_of
from rotator.adapters.audit.verify import verify
from rotator.events import (
    Event,
    KeyCreate,
    KeyDelete,
    KeyDisable,
    KeyEnable,
    KeyVerify,
    LedgerChange,
    OperatorCommand,
    Phase,
    ProcessReload,
    ProcessStart,
    ProcessStop,
    Result,
    Resync,
    SecretFence,
    SecretPublish,
    StepSettled,
    TargetAttention,
    TornLineSealed,
)

START = datetime(2026, 8, 24, 3, 0, tzinfo=UTC)
OLD = "1f" * 32
NEW = "a0" * 32


class TickingClock:
    """Moves by one second whenever the time is asked; sleeping moves the monotonic clock."""

    def __init__(self, now: datetime = START) -> None:
        self.time = now
        self.elapsed = 0.0

    def now(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time

    def monotonic(self) -> float:
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        self.elapsed += seconds


def intent(op: str = "c1/disable", key_hash: str | None = OLD) -> KeyDisable:
    return KeyDisable(
        phase=Phase.INTENT, op=op, target="billing-api", reason="quiet", key_hash=key_hash
    )


def outcome(op: str = "c1/disable", result: Result = Result.DONE) -> KeyDisable:
    return replace(intent(op), phase=Phase.OUTCOME, result=result)


def settled(op: str = "c1/disable", result: Result = Result.INTERRUPTED) -> StepSettled:
    return StepSettled(phase=Phase.OUTCOME, op=op, target="billing-api", result=result)


def notice(detail: str = "The old key is still in use.") -> TargetAttention:
    return TargetAttention(
        phase=Phase.OUTCOME,
        op="51aa/attention",
        target="billing-api",
        detail=detail,
        result=Result.DONE,
    )


_WHO: dict[str, Any] = {"target": "billing-api", "reason": "due"}

CREATE = KeyCreate(
    phase=Phase.INTENT,
    op="7c1e/mint",
    key_name="rotator prod 5d0f billing-api 7c1e",
    limit=12.5,
    limit_reset="monthly",
    expires_at=START + timedelta(days=60),
    **_WHO,
)

SAMPLES: tuple[Event, ...] = (
    CREATE,
    KeyVerify(phase=Phase.INTENT, op="7c1e/verify", key_hash=NEW, **_WHO),
    KeyDisable(phase=Phase.INTENT, op="9a44/disable", key_hash=OLD, **_WHO),
    KeyEnable(phase=Phase.INTENT, op="b2d0/enable", key_hash=OLD, **_WHO),
    KeyDelete(phase=Phase.INTENT, op="e7f3/delete", key_hash=OLD, **_WHO),
    SecretPublish(
        phase=Phase.INTENT,
        op="7c1e/publish",
        key_hash=NEW,
        path="secret/apps/billing",
        field="OPENROUTER_API_KEY",
        base_version=3,
        **_WHO,
    ),
    SecretFence(
        phase=Phase.INTENT, op="7c1e/fence", path="secret/apps/billing", base_version=4, **_WHO
    ),
    LedgerChange(phase=Phase.INTENT, op="7c1e/claim", change="claim", base_version=11, **_WHO),
    StepSettled(phase=Phase.OUTCOME, op="7c1e/mint", result=Result.NOT_FOUND, **_WHO),
    TargetAttention(
        phase=Phase.OUTCOME,
        op="51aa/attention",
        target="billing-api",
        reason="blocked",
        key_hash=OLD,
        result=Result.DONE,
        detail="The old key was used 4 minutes ago and the deadline has passed.",
    ),
    OperatorCommand(
        phase=Phase.OUTCOME,
        op="51aa/retire",
        target="billing-api",
        result=Result.DONE,
        command="retire",
        by="ana@ops-1",
        detail=OLD[:12],
    ),
    Resync(
        phase=Phase.OUTCOME,
        op="0312/resync",
        result=Result.DONE,
        keys=212,
        served=200,
        orphans=0,
        foreign=9,
    ),
    ProcessStart(
        phase=Phase.OUTCOME,
        op="process/ops-1.4711",
        result=Result.DONE,
        version="0.1.0",
        holder="ops-1.4711",
        mode="run",
        config_sha256="3b" * 32,
    ),
    ProcessStop(
        phase=Phase.OUTCOME, op="process/ops-1.4711", result=Result.DONE, holder="ops-1.4711"
    ),
    ProcessReload(
        phase=Phase.OUTCOME,
        op="5e0a/reload",
        result=Result.DONE,
        holder="ops-1.4711",
        config_sha256="7d" * 32,
    ),
    TornLineSealed(
        phase=Phase.OUTCOME,
        op="4be1c0de4be1c0de/seal",
        result=Result.DONE,
        torn_bytes=118,
        torn_sha256="c4" * 32,
    ),
)
"""One event of each type, in the order of the catalogue."""

PROCESS_START = next(each for each in SAMPLES if isinstance(each, ProcessStart))

HISTORY: tuple[Event, ...] = (
    PROCESS_START,
    intent("c1/disable"),
    outcome("c1/disable"),
    notice("A line \n with \x1b[31mcontrol\x07 characters and ünïcödé."),
    intent("c2/disable"),
    intent("c3/disable", None),
    outcome("c2/disable", Result.UNKNOWN),
    outcome("c3/disable"),
    settled("c2/disable", Result.FOUND),
)
"""A small trail in which everything is in order."""


def written(events: tuple[Event, ...] = HISTORY, chain: str = "4be1c0de4be1c0de") -> bytes:
    """The bytes of a trail with these events."""
    stream = io.BytesIO()
    trail = StreamAuditTrail(
        stream, instance="prod", clock=TickingClock(), new_chain_id=lambda: chain
    )
    for event in events:
        trail.append(event)
    return stream.getvalue()


def lines_of(data: bytes) -> list[bytes]:
    """The lines of some bytes, with their newlines, as an open file gives them."""
    return list(io.BytesIO(data))


def judge(*contents: bytes, heads: tuple[str, ...] = (), recording: bool = False) -> Report:
    """The verdict on files of these contents, which are called a, b, c ..."""
    files = [(chr(ord("a") + i), lines_of(data)) for i, data in enumerate(contents)]
    return verify(files, expected_heads=heads, recording=recording)


def judge_paths(*paths: Path) -> Report:
    """The verdict on files by their paths, reported by their names."""
    return judge(*(each.read_bytes() for each in paths))


def records(path: Path) -> list[dict[str, Any]]:
    """The events of a file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def append_after(data: bytes, event: Event) -> tuple[bytes, str]:
    """What an append makes of a trail with these bytes, as a crash left them, and its head."""
    added = addition(
        tail_of(data), event, fresh_chain="c" * 16, link=GENESIS, at=START, instance="prod"
    )
    return data + added.data, added.head
