"""The chart's alerts, in Prometheus's own tool: each fires on its fault, and on nothing sound."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmvp_server.observability.metrics import FAMILIES

from .conftest import CHART, Render

ENABLED = {"metrics": {"rules": {"enabled": True, "labels": {"release": "prometheus"}}}}
MINUTES = 60
PAGE = CHART.parents[1] / "docs" / "runbook.md"
_OURS = 'namespace="radiology",service="demo-brainmvp",pod="demo-0"'

SOUND = {
    f'brainmvp_requests_total{{{_OURS},call="predict",method="POST",status="200"}}': "0+60",
    f'brainmvp_requests_total{{{_OURS},call="predict",method="POST",status="422"}}': "0+10",
    f'brainmvp_requests_total{{{_OURS},call="predict",method="POST",status="500"}}': "0+0",
    f'brainmvp_requests_total{{{_OURS},call="predict",method="POST",status="503"}}': "0+1",
    f"brainmvp_ready{{{_OURS}}}": "1+0",
    f"brainmvp_jobs_oldest_seconds{{{_OURS}}}": "30+0",
    f"brainmvp_jobs_given_back_total{{{_OURS}}}": "0+0",
    f'brainmvp_engines_replaced_total{{{_OURS},model="demo"}}': "0+0",
    f"brainmvp_engines_hung{{{_OURS}}}": "0+0",
    f"brainmvp_models_refused{{{_OURS}}}": "0+0",
}
"""What each series is every minute of an hour: a first value and what is added."""

FAULTS = {
    "BrainMVPErrorBudget": ('status="500"', "0+20"),
    "BrainMVPDown": ("brainmvp_ready", "0+0"),
    "BrainMVPRefusing": ('status="503"', "0+30"),
    "BrainMVPQueueAge": ("brainmvp_jobs_oldest_seconds", "4000+60"),
    "BrainMVPWorkerLost": ("brainmvp_jobs_given_back_total", "0+1"),
    "BrainMVPEngineReplaced": ("brainmvp_engines_replaced_total", "0+1"),
    "BrainMVPEnginesHang": ("brainmvp_engines_hung", "1+0"),
    "BrainMVPBundleRefused": ("brainmvp_models_refused", "1+0"),
}
"""The series that a fault shows in, and what it then is."""


@pytest.fixture(scope="module")
def rules(render: Render) -> dict[str, Any]:
    """The rules of a release, as Prometheus loads them."""
    (made,) = [one for one in render(ENABLED) if one["kind"] == "PrometheusRule"]
    assert made["metadata"]["labels"]["release"] == "prometheus"
    spec: dict[str, Any] = made["spec"]
    return spec


def alerts(rules: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in rules["groups"] for rule in group["rules"]]


def firing(promtool: Path, folder: Path, rules: dict[str, Any], series: dict[str, str]) -> set[str]:
    """Which alerts fire after an hour of these series."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    names = sorted({rule["alert"] for rule in alerts(rules)})
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": f"{values}x{MINUTES}"}
                    for name, values in series.items()
                ],
                "alert_rule_test": [
                    {"eval_time": f"{MINUTES}m", "alertname": name, "exp_alerts": []}
                    for name in names
                ],
            }
        ],
    }
    (folder / "test.yaml").write_text(json.dumps(test))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yaml"],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    said = done.stdout + done.stderr
    found = set(re.findall(r"alertname: (\w+), time", said))
    assert (done.returncode == 0) == (not found), said
    return found


@pytest.mark.parametrize("alert", [None, *FAULTS])
def test_an_alert_fires_on_its_fault_alone_and_none_on_a_sound_service(
    program: Callable[[str], Path], tmp_path: Path, rules: dict[str, Any], alert: str | None
) -> None:
    series = dict(SOUND)
    if alert is not None:
        where, values = FAULTS[alert]
        (broken,) = [name for name in series if where in name]
        series[broken] = values
    expected = set() if alert is None else {alert}
    assert firing(program("promtool"), tmp_path, rules, series) == expected


def test_the_first_engine_that_is_replaced_is_noticed_though_its_counter_is_born_with_it(
    program: Callable[[str], Path], tmp_path: Path, rules: dict[str, Any]
) -> None:
    (counter,) = [name for name in SOUND if "engines_replaced" in name]
    promtool, quiet = program("promtool"), {k: v for k, v in SOUND.items() if k != counter}
    assert firing(promtool, tmp_path, rules, quiet) == set()
    born = {**quiet, counter: f"_x{MINUTES - 10} 1+0"}
    assert firing(promtool, tmp_path, rules, born) == {"BrainMVPEngineReplaced"}
    long_ago = {**quiet, counter: "_x9 1+0"}
    assert firing(promtool, tmp_path, rules, long_ago) == set()


def test_no_process_at_all_is_noticed(
    program: Callable[[str], Path], tmp_path: Path, rules: dict[str, Any]
) -> None:
    other = {name.replace("demo-", "other-"): values for name, values in SOUND.items()}
    assert firing(program("promtool"), tmp_path, rules, other) == {"BrainMVPDown"}


def test_every_alert_has_its_section_of_the_runbook_and_asks_for_metrics_that_there_are(
    rules: dict[str, Any],
) -> None:
    sections = {line[3:].lower() for line in PAGE.read_text().splitlines() if line[:3] == "## "}
    known = {name for family in FAMILIES for name in family.samples}
    for rule in alerts(rules):
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert set(re.findall(r"\bbrainmvp_\w+", rule["expr"])) <= known
    assert (
        sections
        == {rule["alert"].lower() for rule in alerts(rules)}
        == {name.lower() for name in FAULTS}
    )
