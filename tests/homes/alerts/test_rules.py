"""The alert rules, judged by Prometheus's own tool: each comes when it should, and not before."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"

WHO = 'job="rotator",instance="a"'
ONE = f'target="billing-api",{WHO}'
LABELS = {"job": "rotator", "instance": "a"}
TARGET = {**LABELS, "target": "billing-api"}
UP = {f'rotator_build_info{{version="1",{WHO}}}': "1x6000"}
LEADS = {f"rotator_leader{{{WHO}}}": "1x6000"}


@dataclass(frozen=True, slots=True)
class Case:
    """Series by the minute, and what comes of them.

    Attributes:
        alert: its name.
        series: by name with labels, in promtool's notation; one value a minute.
        fires: minutes after which it has come.
        silent: minutes at which it has not, or None.
        labels: of the alert, without the severity.
        value: what the annotations show as the value.
    """

    alert: str
    series: dict[str, str]
    fires: int
    silent: int | None
    labels: dict[str, str] = field(default_factory=lambda: LABELS)
    value: str = "1"


def flat(value: float) -> str:
    return f"{value}x6000"


def attention(reason: str) -> dict[str, str]:
    return {f'rotator_target_attention{{reason="{reason}",{ONE}}}': "_x100 1x6000"}


HOURS, DAYS = 3600, 86400
CASES = [
    Case("RotatorAbsent", {}, 6, 4, {}),
    Case("RotatorDeadLoop", {f"rotator_heartbeat_timestamp_seconds{{{WHO}}}": flat(60)}, 8, 5),
    Case("RotatorDeadLoop", {f"rotator_workers_wedged{{{WHO}}}": "0x10 1x6000"}, 14, 12),
    Case("RotatorNotReady", {f"rotator_ready{{{WHO}}}": "0x6000"}, 16, 14),
    Case("RotatorNoLeader", {f"rotator_leader{{{WHO}}}": "0x6000"}, 6, 4, {"job": "rotator"}),
    Case(
        "RotatorManagementKeyRefused",
        {f"rotator_management_key_refused{{{WHO}}}": "0x10 1x6000"}, 17, 14,
    ),
    Case(
        "RotatorManagementKeyExpiring",
        {f"rotator_management_key_expiry_timestamp_seconds{{{WHO}}}": flat(15 * DAYS)},
        24 * 60 + 1, 24 * 60 - 1,
    ),
    Case("RotatorAuditFailing", {f"rotator_audit_failing{{{WHO}}}": "0x10 1x6000"}, 17, 14),
    Case("RotatorReloadFailing", {f"rotator_config_reload_failing{{{WHO}}}": "1x6000"}, 16, 14),
    Case(
        "RotatorResyncFailing", {f"rotator_resync_failing{{{WHO}}}": "1x6000", **LEADS}, 121, 119
    ),
    Case(
        "RotatorOrphanedKeys",
        {f'rotator_account_keys{{kind="orphan",{WHO}}}': "3x6000", **LEADS},
        181, 179, {**LABELS, "kind": "orphan"}, "3",
    ),
    Case(
        "RotatorTargetsWithoutSeries",
        {f"rotator_targets_without_series{{{WHO}}}": "7x6000"}, 61, 59, LABELS, "7",
    ),
    Case(
        "RotatorTargetPastMaxAge",
        {f"rotator_target_max_age_timestamp_seconds{{{ONE}}}": flat(2 * HOURS)}, 136, 133, TARGET,
    ),
    Case(
        "RotatorTargetOverdue",
        {
            f"rotator_target_next_due_timestamp_seconds{{{ONE}}}": flat(HOURS),
            f"rotator_target_held{{{ONE}}}": "0x6000",
        },
        196, 193, TARGET,
    ),
    Case(
        "RotatorServedKeyExpiring",
        {f"rotator_target_expiry_timestamp_seconds{{{ONE}}}": flat(DAYS + HOURS)}, 77, 74, TARGET,
    ),
    Case(
        "RotatorTargetFailing",
        {f"rotator_target_failing_timestamp_seconds{{{ONE}}}": flat(60)}, 67, 64, TARGET,
    ),
    Case("RotatorOldKeyBlocked", attention("blocked"), 162, 159, {**TARGET, "reason": "blocked"}),
    Case(
        "RotatorForeignValue", attention("foreign_value"), 117, 114,
        {**TARGET, "reason": "foreign_value"},
    ),
    Case(
        "RotatorWrongAccount", attention("wrong_account"), 107, 104,
        {**TARGET, "reason": "wrong_account"},
    ),
    Case(
        "RotatorTargetNeedsAttention", attention("contested"), 132, 129,
        {**TARGET, "reason": "contested"},
    ),
]  # fmt: skip

QUIET = {
    "0 is none and never": {
        f"rotator_heartbeat_timestamp_seconds{{{WHO}}}": "0x6000",
        f"rotator_management_key_expiry_timestamp_seconds{{{WHO}}}": "0x6000",
        f"rotator_target_max_age_timestamp_seconds{{{ONE}}}": "0x6000",
        f"rotator_target_next_due_timestamp_seconds{{{ONE}}}": "0x6000",
        f"rotator_target_expiry_timestamp_seconds{{{ONE}}}": "0x6000",
        f"rotator_target_failing_timestamp_seconds{{{ONE}}}": "0x6000",
    },
    "a held target is not overdue": {
        f"rotator_target_next_due_timestamp_seconds{{{ONE}}}": flat(HOURS),
        f"rotator_target_held{{{ONE}}}": "1x6000",
    },
    "one of two replicas leads": {
        f"rotator_leader{{{WHO}}}": "0x6000",
        'rotator_leader{job="rotator",instance="b"}': "1x6000",
    },
    "a heart that beats": {f"rotator_heartbeat_timestamp_seconds{{{WHO}}}": "0+60x6000"},
    "a replica that stands by lists nothing": {
        f"rotator_resync_failing{{{WHO}}}": "1x6000",
        f'rotator_account_keys{{kind="orphan",{WHO}}}': "3x6000",
        f"rotator_leader{{{WHO}}}": "0x6000",
        'rotator_leader{job="rotator",instance="b"}': "1x6000",
    },
}


def rules() -> dict[str, dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return {rule["alert"]: rule for group in document["groups"] for rule in group["rules"]}


def filled_in(rule: dict[str, Any], case: Case) -> dict[str, str]:
    """The annotations with the values of a case in them."""

    def filled(text: str) -> str:
        text = re.sub(
            r"\{\{ \$labels\.(\w+) \}\}", lambda found: case.labels.get(found[1], ""), text
        )
        return text.replace("{{ $value }}", case.value)

    return {name: filled(text) for name, text in rule["annotations"].items()}


def judged(promtool: str, folder: Path, tests: list[dict[str, Any]]) -> str:
    """Run the tests; return what promtool says, "" where all hold."""
    path = folder / "tests.yaml"
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = subprocess.run(
        [promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_of(series: dict[str, str], checks: list[dict[str, Any]]) -> dict[str, Any]:
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    return {"interval": "1m", "input_series": inputs, "alert_rule_test": checks}


test_of.__test__ = False  # type: ignore[attr-defined]


def check(alert: str, minute: int, expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": expected}


def test_the_rules_are_valid(program: Any) -> None:
    done = subprocess.run(
        [program("promtool"), "check", "rules", str(RULES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(rules())} rules found" in done.stdout


def test_every_rule_has_a_case() -> None:
    assert {case.alert for case in CASES} == set(rules())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_comes_when_it_should_and_not_before(
    case: Case, program: Any, tmp_path: Path
) -> None:
    rule = rules()[case.alert]
    series = case.series if case.alert == "RotatorAbsent" else {**UP, **case.series}
    expected = {
        "exp_labels": {**case.labels, **rule["labels"]},
        "exp_annotations": filled_in(rule, case),
    }
    checks = [check(case.alert, case.fires, [expected])]
    if case.silent is not None:
        checks.append(check(case.alert, case.silent, []))
    assert judged(program("promtool"), tmp_path, [test_of(series, checks)]) == ""


@pytest.mark.parametrize("name", list(QUIET))
def test_no_alert_comes_where_nothing_is_wrong(name: str, program: Any, tmp_path: Path) -> None:
    checks = [check(alert, 5000, []) for alert in rules()]
    assert judged(program("promtool"), tmp_path, [test_of({**UP, **QUIET[name]}, checks)]) == ""


def test_a_wrong_expectation_would_be_found(program: Any, tmp_path: Path) -> None:
    wrong = [check("RotatorAbsent", 100, [{"exp_labels": {"severity": "critical"}}])]
    assert "FAILED" in judged(program("promtool"), tmp_path, [test_of(UP, wrong)])
