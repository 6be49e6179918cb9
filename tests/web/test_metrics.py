"""The metrics: what is measured, that it is there from the first scrape, and how much there is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from rotator.core.plan import plan
from rotator.core.reasons import Reason
from rotator.core.steps import Finding
from rotator.errors import AuditUnavailable
from rotator.web import AuditRecorder, Role
from rotator.web.fleet import STATES, Views
from rotator.web.metrics import ATTENTION, DESCRIBED, MOST_TARGETS, STEPS, TYPE, Metrics
from tests.core.builders import DAY, NOW
from tests.fakes.clock import FakeClock
from tests.web.samples import Sample, Sink, fleet, heard, name_of, of, wedged

ROOT = Path(__file__).resolve().parents[2]


class Line(NamedTuple):
    """One sample of a scrape."""

    name: str
    labels: dict[str, str]
    value: float


def lines(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        assert found is not None, line
        labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
        yield Line(found[1], labels, float(found[3]))


def scrape(sample: Sample, clock: FakeClock, recorder: AuditRecorder | None = None) -> list[Line]:
    metrics = Metrics(sample, recorder or heard(clock), Views(), clock)
    return list(lines(metrics.text().decode()))


def value(found: list[Line], name: str, **labels: str) -> float:
    (one,) = [line.value for line in found if line.name == name and line.labels == labels]
    return one


def test_every_metric_of_ours_is_there_from_the_first_scrape(clock: FakeClock) -> None:
    sample = fleet(2)
    sample.told.clear()
    found = scrape(sample, clock, AuditRecorder(clock))
    there = {line.name for line in found}
    missing = {each.name for each in DESCRIBED} - there
    assert missing == {"rotator_target_attention"}
    assert value(found, "rotator_target_next_due_timestamp_seconds", target=name_of(0)) == 0
    for step in STEPS:
        assert value(found, "rotator_steps_total", step=step, result="done") == 0
    assert value(found, "rotator_targets", state="unseen") == 2
    for state in set(STATES) - {"unseen"}:
        assert value(found, "rotator_targets", state=state) == 0
    assert value(found, "rotator_audit_failures_total") == 0


def test_no_metric_of_ours_is_undescribed_and_labels_are_as_described(clock: FakeClock) -> None:
    sample = fleet(40, bad=14, busy=True)
    described = {each.name: set(each.labels) for each in DESCRIBED}
    for line in scrape(sample, clock):
        if line.name.startswith("process_"):
            continue
        assert set(line.labels) == described[line.name], line


def test_times_are_absolute(clock: FakeClock) -> None:
    sample = Sample()
    sample.add(of(0, age=10 * DAY))
    found = scrape(sample, clock)
    name = name_of(0)
    born = NOW - 10 * DAY
    assert value(found, "rotator_target_served_timestamp_seconds", target=name) == born.timestamp()
    due = value(found, "rotator_target_next_due_timestamp_seconds", target=name)
    assert datetime.fromtimestamp(due, UTC) == born + 30 * DAY
    oldest = value(found, "rotator_target_max_age_timestamp_seconds", target=name)
    assert datetime.fromtimestamp(oldest, UTC) == born + 45 * DAY
    clock.advance(DAY)
    again = scrape(sample, clock)
    assert value(again, "rotator_target_next_due_timestamp_seconds", target=name) == due


def test_what_needs_a_person_is_named_with_its_reason_and_counted(clock: FakeClock) -> None:
    sample = fleet(14, bad=14)
    found = scrape(sample, clock)
    for number, reason in ((0, "foreign_value"), (2, "blocked"), (5, "wrong_account")):
        assert value(found, "rotator_target_attention", target=name_of(number), reason=reason) == 1
        assert value(found, "rotator_targets_attention", reason=reason) == 2
    assert value(found, "rotator_target_failures", target=name_of(1)) == 14
    since = value(found, "rotator_target_failing_timestamp_seconds", target=name_of(1))
    assert datetime.fromtimestamp(since, UTC) == NOW - 2 * DAY / 24
    assert value(found, "rotator_targets", state="unreachable") == 2


def test_each_reason_that_can_need_a_person_is_counted_under_its_own_name() -> None:
    found = set()
    for path in (ROOT / "rotator" / "core").glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id == "Finding"
                and any(keyword.arg == "attention" for keyword in call.keywords)
                and isinstance(call.args[0], ast.Attribute)
                and isinstance(call.args[0].value, ast.Name)
                and call.args[0].value.id == "Reason"
            ):
                found.add(call.args[0].attr.lower())
    assert len(found) >= 7
    assert found - set(ATTENTION) == set()


def test_more_targets_than_the_cap_are_counted_and_the_worst_keep_their_series(
    clock: FakeClock,
) -> None:
    sample = fleet(MOST_TARGETS + 200)
    sample.unreachable(of(1199).target, "vault: no route")
    found = scrape(sample, clock)
    named = {line.labels["target"] for line in found if "target" in line.labels}
    assert len(named) == MOST_TARGETS
    assert name_of(1199) in named
    assert value(found, "rotator_targets_without_series") == 200
    assert sum(line.value for line in found if line.name == "rotator_targets") == 1200


def test_there_are_no_more_series_than_the_page_says(clock: FakeClock) -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    fixed, by_target = re.findall(r"(\d+) series for (?:the process|each target)", text)
    found = scrape(fleet(10), clock, AuditRecorder(clock))
    assert sum(1 for line in found if "target" in line.labels) == 10 * int(by_target)
    process = [line for line in found if "target" not in line.labels]
    assert len(process) <= int(fixed)


def test_a_replica_that_stands_by_has_no_series_by_target(clock: FakeClock) -> None:
    sample = fleet(3, bad=3)
    sample.whole = replace(sample.whole, role=Role.STANDBY, leader="rotator-b")
    found = scrape(sample, clock)
    assert value(found, "rotator_leader") == 0
    assert [line for line in found if "target" in line.labels] == []
    assert value(found, "rotator_targets", state="ok") == 0


def test_a_replica_that_cannot_tell_who_acts_keeps_its_series(clock: FakeClock) -> None:
    sample = fleet(3, bad=3)
    sample.whole = replace(sample.whole, role=Role.UNKNOWN)
    found = scrape(sample, clock)
    assert value(found, "rotator_leader") == 0
    assert value(found, "rotator_target_failures", target=name_of(1)) == 14


def test_the_state_of_the_process_is_measured(clock: FakeClock) -> None:
    sample = fleet(1)
    sample.whole = replace(
        sample.whole,
        key_refused="401",
        reload_error="bad",
        resync_error="503",
        busy=(wedged(),),
        key_expires_at=NOW + DAY,
    )
    found = scrape(sample, clock)
    for name in (
        "management_key_refused",
        "config_reload_failing",
        "resync_failing",
        "workers_wedged",
        "workers_busy",
        "leader",
        "ready",
    ):
        assert value(found, f"rotator_{name}") == 1, name
    ends = value(found, "rotator_management_key_expiry_timestamp_seconds")
    assert ends == (NOW + DAY).timestamp()
    assert value(found, "rotator_build_info", version="1.0.0") == 1


def test_steps_and_failures_of_the_audit_trail_are_counted(clock: FakeClock) -> None:
    recorder = heard(clock)
    found = scrape(fleet(1), clock, recorder)
    assert value(found, "rotator_steps_total", step="key.create", result="done") == 3
    assert value(found, "rotator_steps_total", step="key.disable", result="failed") == 1
    assert value(found, "rotator_account_keys", kind="all") == 57
    assert value(found, "rotator_account_keys", kind="foreign") == 2
    assert value(found, "rotator_audit_failing") == 0
    sink = Sink()
    sink.broken = AuditUnavailable("no space left")
    with pytest.raises(AuditUnavailable):
        recorder.before(sink).append(None)  # type: ignore[arg-type]
    found = scrape(fleet(1), clock, recorder)
    assert value(found, "rotator_audit_failing") == 1
    assert value(found, "rotator_audit_failures_total") == 1


def test_one_that_stands_by_and_writes_nothing_does_not_say_that_the_audit_trail_fails(
    clock: FakeClock,
) -> None:
    recorder, sample = heard(clock), fleet(1)
    recorder.refused("no space left")
    assert value(scrape(sample, clock, recorder), "rotator_audit_failing") == 1
    sample.whole = replace(sample.whole, role=Role.STANDBY, leader="rotator-b")
    assert value(scrape(sample, clock, recorder), "rotator_audit_failing") == 0
    sample.whole = replace(sample.whole, role=Role.UNKNOWN, leader=None)
    assert value(scrape(sample, clock, recorder), "rotator_audit_failing") == 1


def test_odd_names_do_not_break_the_format(clock: FakeClock) -> None:
    sample = Sample()
    snapshot = of(0)
    odd = replace(snapshot.target, name='a"b\\c\nd')
    found = Finding(Reason.WRONG_ACCOUNT, attention=True)
    sample.note(replace(snapshot, target=odd), replace(plan(snapshot, NOW), findings=(found,)))
    text = Metrics(sample, heard(clock), Views(), clock).text().decode()
    assert 'target="a\\"b\\\\c\\nd"' in text
    list(lines(text))


def test_the_page_on_metrics_names_each_with_its_labels_and_no_other() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(rotator_\w+)` \|([^|]*)\|", text, re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert told == {each.name: set(each.labels) for each in DESCRIBED}
    assert len(rows) == len(told)


def test_the_answer_is_of_the_type_that_prometheus_expects() -> None:
    assert TYPE.startswith("text/plain; version=0.0.4")
