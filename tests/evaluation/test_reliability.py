"""What probabilities are worth: errors by hand and by definition, known corrections found again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_evaluation import classification, reliability
from brainmvp_evaluation.probability_figures import probability_figures, reliability_of
from brainmvp_evaluation.reliability import Counts, counted, dense, sparse
from brainmvp_evaluation.schema import Measure, Row
from brainmvp_models.bundle import Bundle
from brainmvp_models.calibration import CalibratedSetting, Calibration, OutputCalibration
from brainmvp_models.modality import Modality

T1 = Modality.T1


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def counts_of(probability: np.ndarray, truth: np.ndarray) -> Counts:
    return counted(probability.astype(np.float32), truth, np.ones_like(truth))


def distorted(by: OutputCalibration, voxels: int = 100_000, seed: int = 0) -> Counts:
    """Voxels that ``by`` would calibrate."""
    rng = np.random.default_rng(seed)
    true_logits = rng.normal(-2, 2, voxels)
    truth = rng.random(voxels) < sigmoid(true_logits)
    return counts_of(sigmoid((true_logits - by.offset) * by.temperature), truth)


def test_the_error_of_three_groups_of_voxels_is_what_a_hand_computes() -> None:
    groups = ((0.005, 800, 0), (0.5, 100, 30), (0.9, 100, 100))
    probability = np.concatenate([np.full(n, p) for p, n, _ in groups])
    truth = np.concatenate([np.arange(n) < true for _, n, true in groups])
    counts = counts_of(probability, truth)
    # |0.005 - 0| * 0.8 + |0.5 - 0.3| * 0.1 + |0.9 - 1| * 0.1; the first group is not suspected.
    assert reliability.calibration_error(counts) == pytest.approx(0.034, abs=2e-3)
    suspected = reliability.calibration_error(counts, suspected=True)
    assert suspected == pytest.approx((0.2 + 0.1) / 2, abs=1.5e-2)
    brier = (800 * 0.005**2 + 30 * 0.25 + 70 * 0.25 + 100 * 0.01) / 1000
    assert reliability.brier(counts) == pytest.approx(brier, abs=1e-3)
    curve = reliability.reliability(counts)
    assert curve.count.tolist() == [800, 100, 100]
    assert curve.frequency.tolist() == [0, 0.3, 1]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(0.4, 3), st.floats(-2, 2))
def test_the_steps_of_the_logit_cost_no_accuracy(seed: int, slope: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 3, 5000)
    truth = rng.random(5000) < sigmoid(logits)
    probability = sigmoid(slope * logits + offset)
    place = np.minimum((probability * 15).astype(int), 14)
    exact = sum(abs((probability - truth)[place == i].sum()) for i in range(15)) / 5000
    counts = counts_of(probability, truth)
    assert reliability.calibration_error(counts) == pytest.approx(exact, abs=4e-3)
    exact_brier = np.mean((probability - truth) ** 2)
    assert reliability.brier(counts) == pytest.approx(exact_brier, abs=2e-3)
    np.testing.assert_array_equal(dense(sparse(counts)), counts)


@pytest.mark.parametrize(("temperature", "offset"), [(1, 0), (2.5, 0), (0.6, -1), (1.5, 0.8)])
def test_a_known_temperature_and_offset_are_found_again_and_leave_no_error(
    temperature: float, offset: float
) -> None:
    known = OutputCalibration(output="WT", temperature=temperature, offset=offset)
    counts = distorted(known)
    found = reliability.fitted(counts, "WT")
    assert found.temperature == pytest.approx(temperature, rel=0.03)
    assert found.offset == pytest.approx(offset, abs=0.05)
    assert reliability.calibration_error(counts, found) < 0.004
    assert reliability.brier(counts, found) <= reliability.brier(counts) + 1e-6


def test_a_certain_probability_is_counted_at_the_ends() -> None:
    counts = counts_of(np.array([0.0, 1.0]), np.array([False, True]))
    assert counts[0].tolist() == [1, 0] and counts[-1].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("logits", "truth"),
    [
        ((-1.0, 1.0), (False, False)),  # never shown
        ((-1.0, 1.0), (False, True)),  # told apart: the surer the better
        ((-1.0, 1.0, -2.0, 2.0), (True, False, True, False)),  # the wrong way round
    ],
)
def test_voxels_that_do_not_tell_are_refused_and_not_fitted(
    logits: tuple[float, ...], truth: tuple[bool, ...]
) -> None:
    counts = counts_of(sigmoid(np.array(logits)), np.array(truth))
    with pytest.raises(ValueError, match=r"of one kind|no temperature"):
        reliability.fitted(counts, "WT")


def test_a_known_temperature_of_class_scores_is_found_again() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 1.5, (20_000, 3))
    powers = np.exp(logits)
    cumulated = np.cumsum(powers / powers.sum(axis=1, keepdims=True), axis=1)
    targets = (rng.random((20_000, 1)) > cumulated).sum(axis=1)
    sharp = np.exp(2 * logits)
    scores = sharp / sharp.sum(axis=1, keepdims=True)
    assert classification.fitted_temperature(scores, targets) == pytest.approx(2, rel=0.03)
    with pytest.raises(ValueError, match="no temperature"):
        classification.fitted_temperature(scores, scores.argmax(axis=1))


def test_the_error_of_four_studies_is_what_a_hand_computes() -> None:
    second = np.array([0.1, 0.62, 0.62, 0.9])
    scores = np.stack((1 - second, second), axis=-1)
    targets = np.array([0, 0, 1, 1])
    # Confidence 0.9 twice, both right; 0.62 twice, one right.
    error = classification.calibration_error(scores[None], targets[None])[0]
    assert error == pytest.approx((0.1 * 2 + 0.12 * 2) / 4)
    brier = classification.brier(scores[None], targets[None])[0]
    assert brier == pytest.approx(2 * (0.01 + 0.62**2 + 0.38**2 + 0.01) / 4)


def row(case: int, counts: Counts) -> Row:
    measure = Measure(
        output="WT", dice=1, hd95_mm=0, truth_ml=1, predicted_ml=1, counts=sparse(counts)
    )
    return Row(case=case, real=(T1,), fill="zeros", outputs=(measure,), seconds=1)


def test_figures_are_of_all_studies_voxels_before_and_after_and_none_of_older_rows(
    small_bundle: Bundle,
) -> None:
    known = OutputCalibration(output="WT", temperature=2, offset=0.5)
    calibration = Calibration(
        outputs=(known,), settings=(CalibratedSetting(real=(T1,), fill="zeros"),), studies=2,
        command="", datalist="", section="", created="",
    )  # fmt: skip
    parts = [distorted(known, 5000, seed) for seed in (1, 2)]
    rows = [row(case, counts) for case, counts in enumerate(parts, start=1)]
    found = {one.metric: one for one in probability_figures(rows, calibration)}
    assert found["ece"].value == pytest.approx(reliability.calibration_error(sum(parts)))
    assert found["ece_calibrated"].value < found["ece"].value / 3
    assert found["brier_calibrated"].value < found["brier"].value
    one_study_twice = 2 * parts[0], 2 * parts[1], sum(parts)
    possible = [float(reliability.calibration_error(counts)) for counts in one_study_twice]
    assert np.abs(found["ece"].samples[:, None] - possible).min(axis=1).max() < 1e-9
    manifest = small_bundle.manifest.model_copy(update={"calibration": calibration})
    bins = reliability_of(rows, ("WT",), manifest)
    assert {one.calibrated for one in bins} == {False, True}
    assert sum(one.count for one in bins) == 2 * 10_000
    assert not any(one.metric.endswith("calibrated") for one in probability_figures(rows, None))
    older = rows[0].model_copy(
        update={"outputs": (rows[0].outputs[0].model_copy(update={"counts": ()}),)}
    )
    assert list(probability_figures([older, rows[1]], calibration)) == []
    assert reliability_of([older], ("WT",), manifest) == ()
