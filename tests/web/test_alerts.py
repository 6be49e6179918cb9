"""Alert rules, runbook and dashboard agree with the metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rotator.config.schema import LONGEST_HEARTBEAT
from rotator.web.metrics import DESCRIBED

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
METRIC = re.compile(r"\b(?:rotator|process)_\w+")
THERE = {each.name for each in DESCRIBED} | {
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def entries() -> dict[str, str]:
    """The runbook's entries by heading."""
    parts = re.split(r"^## (.+)$", RUNBOOK, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_alert_has_an_entry_in_the_runbook_and_every_entry_an_alert() -> None:
    assert [rule["alert"] for rule in rules()] == list(entries())


@pytest.mark.parametrize("name", list(entries()))
def test_an_entry_says_what_it_means_what_harm_it_does_and_what_to_do(name: str) -> None:
    found = re.findall(r"^\*\*(.+?)\.\*\* \S", entries()[name], re.MULTILINE)
    assert found == ["Meaning", "Harm", "What to do"]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_uses_metrics_that_there_are_and_leads_to_its_entry(rule: dict[str, Any]) -> None:
    used = set(METRIC.findall(rule["expr"]))
    assert used
    assert used <= THERE
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    labels = {label for each in DESCRIBED for label in each.labels} | {"job", "instance"}
    assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= labels


def test_the_alert_on_a_dead_loop_waits_for_three_of_the_longest_heartbeats() -> None:
    (rule,) = [rule for rule in rules() if rule["alert"] == "RotatorDeadLoop"]
    assert f"timestamp_seconds > {3 * LONGEST_HEARTBEAT.total_seconds():.0f})" in rule["expr"]


def test_there_is_a_dashboard() -> None:
    assert [path.name for path in DASHBOARDS] == ["rotator.json"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_shows_metrics_that_there_are(path: Path) -> None:
    board = json.loads(path.read_text(encoding="utf-8"))
    expressions = [
        target["expr"] for panel in board["panels"] for target in panel.get("targets", [])
    ]
    assert len(expressions) >= 10
    for expression in expressions:
        used = set(METRIC.findall(expression))
        assert used, expression
        assert used <= THERE, expression
    identifiers = [panel["id"] for panel in board["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    for panel in board["panels"]:
        assert panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
