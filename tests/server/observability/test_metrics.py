"""Metrics: what is counted, and that no label can hold a client's words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from brainmvp_server.observability.metrics import FAMILIES, STUDIES, WAITING, Metrics

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "helm" / "brainmvp" / "dashboards" / "brainmvp.json"


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_what_happens_is_counted_where_it_belongs() -> None:
    metrics = Metrics()
    metrics.request_began()
    assert samples(metrics)["brainmvp_requests_in_flight",] == 1
    metrics.request_done("/v1/models", "GET", 401, "unauthenticated", 0.01)
    metrics.batch_done("demo", 3, 4, 0.5)
    metrics.engine_replaced("demo")
    metrics.study_done("demo", {"read": 0.1, "infer": 2.0}, "bf16", "speed")
    metrics.study_outside("demo", "exchanged")
    metrics.read_from({WAITING: lambda: 7})
    seen = samples(metrics)
    assert seen["brainmvp_requests_in_flight",] == 0
    assert seen["brainmvp_requests_total", "call=/v1/models", "method=GET", "status=401"] == 1
    assert seen["brainmvp_problems_total", "code=unauthenticated"] == 1
    assert seen["brainmvp_windows_total", "model=demo"] == 3
    assert seen["brainmvp_batch_fill_bucket", "le=0.75", "model=demo"] == 1
    assert seen["brainmvp_batch_fill_bucket", "le=0.5", "model=demo"] == 0
    assert seen["brainmvp_stage_seconds_sum", "model=demo", "stage=infer"] == 2.0
    assert seen["brainmvp_engines_replaced_total", "model=demo"] == 1
    assert seen["brainmvp_studies_total", "model=demo"] == 1
    by_precision = "brainmvp_studies_by_precision_total", "model=demo", "precision=bf16"
    by_profile = "brainmvp_studies_by_profile_total", "model=demo", "profile=speed"
    assert seen[by_precision] == seen[by_profile] == 1
    assert seen["brainmvp_studies_outside_total", "kind=exchanged", "model=demo"] == 1
    assert seen["brainmvp_windows_waiting",] == 7
    assert seen["process_resident_memory_bytes",] > 1e6


def test_what_became_of_preparations_is_counted_and_their_figures_are_kept() -> None:
    metrics = Metrics()
    metrics.preparation_ended("refused", "no-brain")
    metrics.preparation_warned("thick-slices")
    metrics.series_moved("t2", 3.5, 1.12)
    metrics.brain_measured(1450.0, None)
    metrics.brain_measured(1350.0, 0.94)
    metrics.head_turned(12.0)
    metrics.atlas_covered(0.985)
    seen = samples(metrics)
    name = "brainmvp_preparation"
    assert seen[f"{name}s_total", "outcome=refused", "reason=no-brain"] == 1
    assert seen[f"{name}_warnings_total", "kind=thick-slices"] == 1
    assert seen[f"{name}_moved_mm_bucket", "le=5.0", "modality=t2"] == 1
    assert seen[f"{name}_moved_mm_bucket", "le=2.0", "modality=t2"] == 0
    assert seen[f"{name}_similarity_sum", "modality=t2"] == 1.12
    assert seen[f"{name}_brain_ml_count",] == 2 and seen[f"{name}_brain_ml_sum",] == 2800
    assert seen[f"{name}_brain_agreement_count",] == 1
    assert seen[f"{name}_turned_degrees_bucket", "le=15.0"] == 1
    assert seen[f"{name}_atlas_covered_bucket", "le=0.98"] == 0
    assert seen[f"{name}_atlas_covered_sum",] == 0.985


def test_every_metric_has_a_name_of_its_own_and_says_what_it_is() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    for family in FAMILIES:
        assert family.name.startswith("brainmvp_") and family.help.endswith(".")
    assert STUDIES.samples == ("brainmvp_studies_total",)


def test_two_services_in_one_process_do_not_share_their_numbers() -> None:
    first, second = Metrics(), Metrics()
    first.study_done("demo", {}, "fp32", "reference")
    assert ("brainmvp_studies_total", "model=demo") not in samples(second)


def _queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


@pytest.mark.parametrize("query", _queries())
def test_the_dashboard_asks_only_for_metrics_that_there_are(query: str) -> None:
    known = {name for family in FAMILIES for name in family.samples}
    known |= {"process_resident_memory_bytes", "process_cpu_seconds_total"}
    asked = set(re.findall(r"\b(?:brainmvp|process)_[a-z_]+", query))
    assert asked and asked <= known


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(_queries())
    assert [f.name for f in FAMILIES if not any(name in shown for name in f.samples)] == []


def test_the_dashboards_panels_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}
    assert len(places) == len(panels) == len({panel["id"] for panel in panels})
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in panels)
