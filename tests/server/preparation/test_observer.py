"""What is told of preparations: what breaks here leaves an operator without a sign."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from brainmvp_models.errors import EngineFailed, NoBrain
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.inference.result_space import (
    PreparationReport,
    PreparationWarning,
    SeriesMoved,
    WorkedOn,
)
from brainmvp_server.observability.metrics import Metrics
from brainmvp_server.preparation.observer import Observed
from drawn_head import draw_head


def counted(metrics: Metrics) -> dict[str, float]:
    """The samples about preparations that are not 0: name and label values, without buckets."""
    return {
        " ".join((sample.name.removeprefix("brainmvp_preparation"), *sample.labels.values())): (
            sample.value
        )
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name.startswith("brainmvp_preparation")
        and sample.value
        and not sample.name.endswith(("_created", "_bucket"))
    }


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study((read_nifti(draw_head(tmp_path).series, Modality.T1),))


def test_every_figure_of_a_prepared_study_is_told(study: Study) -> None:
    metrics = Metrics()
    report = PreparationReport(
        reference=Modality.T1,
        space=Space.SRI24,
        turned_degrees=9.5,
        atlas_covered=0.875,
        moved=(SeriesMoved(Modality.T2, 3.0, 1.05, 1.25, "headers"),),
        brain_ml=1400.0,
        brain_series=(Modality.T1, Modality.T2),
        brain_agreement=0.75,
        picture=lambda: b"",
    )
    warning = PreparationWarning("brains-disagree", "t1 and t2 agree badly")
    worked_on = WorkedOn(study, report=report, warnings=(warning, warning))
    assert Observed(metrics).taken(worked_on, PredictOptions()) is worked_on
    assert counted(metrics) == {
        "s_total prepared ": 1,
        "_warnings_total brains-disagree": 2,
        "_moved_mm_count t2": 1,
        "_moved_mm_sum t2": 3,
        "_similarity_count t2": 1,
        "_similarity_sum t2": 1.25,
        "_brain_ml_count": 1,
        "_brain_ml_sum": 1400,
        "_brain_agreement_count": 1,
        "_brain_agreement_sum": 0.75,
        "_turned_degrees_count": 1,
        "_turned_degrees_sum": 9.5,
        "_atlas_covered_count": 1,
        "_atlas_covered_sum": 0.875,
    }


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        (PredictOptions(), "not-needed"),
        (PredictOptions(prepare="none"), "not-asked"),
        (PredictOptions(resample=True), "not-asked"),
    ],
)
def test_a_study_that_is_taken_as_it_is_counts_for_why(
    study: Study, options: PredictOptions, outcome: str
) -> None:
    metrics = Metrics()
    Observed(metrics).taken(WorkedOn(study), options)
    assert counted(metrics) == {f"s_total {outcome} ": 1}


def test_a_refusal_counts_by_its_code_and_an_engines_fault_is_none_of_the_study() -> None:
    metrics = Metrics()
    with pytest.raises(NoBrain), Observed(metrics).refusals():
        raise NoBrain("shows no brain", remedy="Send a head", subject="t1")
    with pytest.raises(EngineFailed), Observed(metrics).refusals():
        raise EngineFailed("it hung", remedy="Send it again")
    assert counted(metrics) == {"s_total refused no-brain": 1}
