"""The metrics, in the format that Prometheus reads. ``docs/metrics.md`` explains each.

Instants are given as absolute timestamps, not as ages: an age would stand still where the
process does. 0 stands for "never" or "none", so that a series is there from the first scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rotator.core.reasons import Reason
from rotator.core.retirement import Stage
from rotator.events import CATALOGUE, Result
from rotator.ports import Clock
from rotator.web.fleet import UNSEEN, Fleet, Row, Tone, Views
from rotator.web.recorder import AuditRecorder, AuditState
from rotator.web.state import Process, Role, Source

TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of what `Metrics.text` returns."""

MOST_TARGETS = 1000
"""How many targets have series of their own; of more, those that need a person come first."""

STEPS = tuple(event.name for event in CATALOGUE if event.step)
"""The steps that are counted, each by its result."""

RESULTS = (Result.DONE, Result.REFUSED, Result.FAILED, Result.UNKNOWN)
"""How a step can end in the process that took it."""

ATTENTION = tuple(
    str(reason)
    for reason in (
        Reason.BLOCKED,
        Reason.CLOCKS_DISAGREE,
        Reason.CONTESTED,
        Reason.DISABLED_BY_HAND,
        Reason.ENABLED_BY_HAND,
        Reason.FOREIGN_VALUE,
        Reason.LEDGER_NEWER,
        Reason.LEDGER_UNREADABLE,
        Reason.LEFT_BEHIND,
        Reason.LIMIT_UNKNOWN,
        Reason.PUT_BACK_COMPROMISED,
        Reason.SERVED_TWICE,
        Reason.STILL_SERVED,
        Reason.TOO_MANY_DEAD,
        Reason.WORKSPACE_UNKNOWN,
        Reason.WRONG_ACCOUNT,
    )
)
"""The reasons that have a count of their own; all others are counted as ``other``."""


@dataclass(frozen=True, slots=True)
class Described:
    """A metric's name, what it says, and its labels."""

    name: str
    says: str
    labels: tuple[str, ...] = ()


_PROCESS = (
    Described("rotator_build_info", "Always 1; the label tells the version.", ("version",)),
    Described("rotator_start_timestamp_seconds", "When the process started."),
    Described("rotator_ready", "1 once the configuration is loaded and Vault has let us in."),
    Described("rotator_leader", "1 where this process acts, 0 where it stands by."),
    Described("rotator_heartbeat_timestamp_seconds", "When the loop last compared due times."),
    Described("rotator_workers", "Targets that can be worked on at the same time."),
    Described("rotator_workers_busy", "Threads that have something in hand."),
    Described("rotator_workers_wedged", "Threads past the outer deadline of their call."),
    Described(
        "rotator_resync_timestamp_seconds",
        "When the account was last compared in full with configuration and ledgers.",
    ),
    Described("rotator_resync_failing", "1 where the last full comparison failed."),
    Described(
        "rotator_account_keys",
        "Keys of the account at the last full comparison.",
        ("kind",),
    ),
    Described("rotator_config_timestamp_seconds", "When the configuration in force was loaded."),
    Described("rotator_config_reload_failing", "1 where a newer configuration was refused."),
    Described("rotator_management_key_refused", "1 where OpenRouter refuses the management key."),
    Described(
        "rotator_management_key_expiry_timestamp_seconds",
        "When the management key ends by itself.",
    ),
    Described("rotator_audit_failing", "1 where the last audit event could not be written."),
    Described("rotator_targets", "Configured targets by state.", ("state",)),
    Described("rotator_targets_attention", "Targets that need a person, by reason.", ("reason",)),
    Described("rotator_targets_without_series", "Targets left out of the series by target."),
)

_COUNTERS = (
    Described(
        "rotator_audit_failures_total", "Audit events that could not be written since the start."
    ),
    Described(
        "rotator_steps_total",
        "Steps that ended since the start, by event and result.",
        ("step", "result"),
    ),
)

_TARGET = (
    Described(
        "rotator_target_seen_timestamp_seconds", "When the target was last looked at.", ("target",)
    ),
    Described(
        "rotator_target_served_timestamp_seconds", "When the served key was made.", ("target",)
    ),
    Described(
        "rotator_target_next_due_timestamp_seconds", "When the key is replaced next.", ("target",)
    ),
    Described(
        "rotator_target_max_age_timestamp_seconds",
        "When the served key reaches the policy's max_age.",
        ("target",),
    ),
    Described(
        "rotator_target_expiry_timestamp_seconds",
        "When the served key stops working by itself.",
        ("target",),
    ),
    Described(
        "rotator_target_failing_timestamp_seconds",
        "Since when the target fails without a success between.",
        ("target",),
    ),
    Described("rotator_target_failures", "Failures in a row.", ("target",)),
    Described("rotator_target_held", "1 while a person holds the target.", ("target",)),
    Described("rotator_target_retiring_keys", "Old keys that are not deleted yet.", ("target",)),
    Described(
        "rotator_target_attention",
        "1 while the target needs a person; the series ends with the need.",
        ("target", "reason"),
    ),
)

DESCRIBED = (*_PROCESS, *_COUNTERS, *_TARGET)
"""Every metric of ours."""

_BY_NAME = {each.name: each for each in DESCRIBED}


class Metrics:
    """Writes all metrics from what the daemon has noted."""

    def __init__(self, source: Source, recorder: AuditRecorder, views: Views, clock: Clock) -> None:
        """Take what they are made from.

        Args:
            source: the daemon.
            recorder: what was heard of the audit trail.
            views: turns reports into rows.
            clock: the time.
        """
        self._source = source
        self._recorder = recorder
        self._views = views
        self._clock = clock
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(self._collect))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return all metrics as they are now."""
        return bytes(generate_latest(self._registry))

    def _collect(self) -> Iterator[Metric]:
        process = self._source.process()
        targets = () if process.role is Role.STANDBY else self._source.targets()
        fleet = self._views.fleet(targets, self._source.reports(), self._clock.now())
        ready = self._source.vitals().ready
        yield from _process(process, ready=ready)
        yield from _audit(self._recorder.state(), stands_by=process.role is Role.STANDBY)
        yield from _fleet(fleet)
        yield from _targets(fleet.rows[:MOST_TARGETS])


class _Collector(Collector):
    """Calls a function at each scrape."""

    def __init__(self, collect: object) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        assert callable(self._collect)
        found: Iterable[Metric] = self._collect()
        return found


def _gauge(name: str, *samples: tuple[tuple[str, ...], float]) -> GaugeMetricFamily:
    described = _BY_NAME[name]
    family = GaugeMetricFamily(name, described.says, labels=described.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _seconds(at: datetime | None) -> float:
    """Return an instant as seconds of the epoch, 0 for None."""
    return at.timestamp() if at is not None else 0.0


def _process(process: Process, *, ready: bool) -> Iterator[Metric]:
    """Write what concerns the process as a whole."""
    wedged = sum(1 for each in process.busy if each.late)
    values = {
        "rotator_start_timestamp_seconds": _seconds(process.started_at),
        "rotator_ready": ready,
        "rotator_leader": process.role is Role.ACTING,
        "rotator_heartbeat_timestamp_seconds": _seconds(process.heartbeat_at),
        "rotator_workers": process.workers,
        "rotator_workers_busy": len(process.busy),
        "rotator_workers_wedged": wedged,
        "rotator_resync_timestamp_seconds": _seconds(process.resync_at),
        "rotator_resync_failing": process.resync_error is not None,
        "rotator_config_timestamp_seconds": _seconds(process.config_at),
        "rotator_config_reload_failing": process.reload_error is not None,
        "rotator_management_key_refused": process.key_refused is not None,
        "rotator_management_key_expiry_timestamp_seconds": _seconds(process.key_expires_at),
    }
    yield _gauge("rotator_build_info", ((process.version,), 1))
    for name, value in values.items():
        yield _gauge(name, ((), float(value)))


def _audit(heard: AuditState, *, stands_by: bool) -> Iterator[Metric]:
    """Write what was heard of the audit trail, into which one that stands by writes nothing."""
    account = heard.account
    kinds = ("served", "orphan", "foreign", "all")
    counts = (0, 0, 0, 0)
    if account is not None:
        counts = (account.served, account.orphans, account.foreign, account.keys)
    yield _gauge(
        "rotator_account_keys", *(((kind,), n) for kind, n in zip(kinds, counts, strict=True))
    )
    failing = heard.failing is not None and not stands_by
    yield _gauge("rotator_audit_failing", ((), float(failing)))
    failures = _BY_NAME["rotator_audit_failures_total"]
    yield CounterMetricFamily(failures.name, failures.says, value=heard.failures)
    described = _BY_NAME["rotator_steps_total"]
    steps = CounterMetricFamily(described.name, described.says, labels=described.labels)
    for step in STEPS:
        for result in RESULTS:
            steps.add_metric((step, str(result)), heard.steps.get((step, str(result)), 0))
    yield steps


def _fleet(fleet: Fleet) -> Iterator[Metric]:
    """Write what is counted over all targets, whatever their number."""
    yield _gauge("rotator_targets", *(((s,), n) for s, n in fleet.counts.items()))
    needs = dict.fromkeys((*ATTENTION, "other"), 0)
    for row in fleet.rows:
        for reason in _attention(row):
            needs[reason if reason in needs else "other"] += 1
    yield _gauge("rotator_targets_attention", *(((r,), n) for r, n in needs.items()))
    left_out = max(0, len(fleet.rows) - MOST_TARGETS)
    yield _gauge("rotator_targets_without_series", ((), left_out))


def _attention(row: Row) -> list[str]:
    """Return for which reasons a target needs a person, each once."""
    if row.seen is None:
        return []
    found = {str(each.reason) for each in row.seen.findings if each.attention}
    if any(each.stage is Stage.BLOCKED for each in row.seen.retiring):
        found.add(str(Reason.BLOCKED))
    return sorted(found)


def _targets(rows: Iterable[Row]) -> Iterator[Metric]:
    """Write the series of each target."""
    families = {each.name: _gauge(each.name) for each in _TARGET}
    for row in rows:
        label = (row.target.name,)
        for name, value in _of_target(row).items():
            families[f"rotator_target_{name}"].add_metric(label, value)
        for reason in _attention(row):
            families["rotator_target_attention"].add_metric((*label, reason), 1)
    yield from families.values()


def _of_target(row: Row) -> dict[str, float]:
    """Return the values of one target, by the part of the name that is its own."""
    seen, failure = row.seen, row.failure
    served = seen.served if seen is not None else None
    failing = failure is not None and row.tone is Tone.BAD
    return {
        "seen_timestamp_seconds": 0.0 if row.state == UNSEEN else _seconds(row.at),
        "served_timestamp_seconds": _seconds(served.minted_at if served is not None else None),
        "next_due_timestamp_seconds": _seconds(seen.next_due if seen is not None else None),
        "max_age_timestamp_seconds": _seconds(seen.max_age_at if seen is not None else None),
        "expiry_timestamp_seconds": _seconds(served.expires_at if served is not None else None),
        "failing_timestamp_seconds": _seconds(failure.since if failure and failing else None),
        "failures": float(failure.count if failure and failing else 0),
        "held": float(seen is not None and seen.hold is not None),
        "retiring_keys": float(len(seen.retiring) if seen is not None else 0),
    }
