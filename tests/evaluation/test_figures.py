"""Figures: classification's by hand and by scikit-learn, intervals, and what has no figure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc

from brainmvp_evaluation.bootstrap import RESAMPLES, interval, resampled
from brainmvp_evaluation.classification import (
    accuracy,
    auc_of_class,
    balanced_accuracy,
    macro_auc,
    roc_curve,
)
from brainmvp_evaluation.figures import figures_of
from brainmvp_evaluation.schema import Figure, Measure, Row
from brainmvp_models.modality import Modality

T1, T2 = Modality.T1, Modality.T2


def _scores(*of_second: float) -> np.ndarray:
    second = np.array(of_second)
    return np.stack((1 - second, second), axis=-1)[None]


def test_classification_of_four_studies_is_what_a_hand_computes() -> None:
    scores, targets = _scores(0.1, 0.6, 0.4, 0.9), np.array([[0, 0, 1, 1]])
    assert accuracy(scores, targets) == pytest.approx(0.5)
    assert balanced_accuracy(scores, targets) == pytest.approx(0.5)
    # Of the four pairs, only (0.6, 0.4) is in the wrong order.
    assert macro_auc(scores, targets) == pytest.approx(0.75)


def test_balanced_accuracy_weighs_a_rare_class_as_a_common_one() -> None:
    scores, targets = _scores(0.1, 0.2, 0.3, 0.4), np.array([[0, 0, 0, 1]])
    assert accuracy(scores, targets) == pytest.approx(0.75)
    assert balanced_accuracy(scores, targets) == pytest.approx(0.5)


def test_equal_scores_count_half() -> None:
    assert auc_of_class(_scores(0.5, 0.5), np.array([[0, 1]]), 1) == pytest.approx(0.5)


def test_auc_without_one_of_the_classes_is_not_defined() -> None:
    assert np.isnan(macro_auc(_scores(0.5, 0.7), np.array([[1, 1]]))).all()


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
def test_classification_figures_are_scikit_learns(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.dirichlet(np.ones(classes), 30), 1)  # rounded, so that some are equal
    scores /= scores.sum(axis=1, keepdims=True)
    targets = np.arange(30) % classes
    chosen = scores.argmax(axis=1)
    assert accuracy(scores[None], targets[None])[0] == pytest.approx(
        accuracy_score(targets, chosen)
    )
    assert balanced_accuracy(scores[None], targets[None])[0] == pytest.approx(
        balanced_accuracy_score(targets, chosen)
    )
    given_scores = scores[:, 1] if classes == 2 else scores
    theirs = roc_auc_score(targets, given_scores, multi_class="ovr")
    assert macro_auc(scores[None], targets[None])[0] == pytest.approx(theirs)
    false, true = roc_curve(scores[:, 0], targets == 0)
    their_false, their_true, _ = sklearn_roc(targets == 0, scores[:, 0], drop_intermediate=False)
    np.testing.assert_allclose((false, true), (their_false, their_true))


def test_intervals_are_seeded_and_hold_the_middle_95_percent() -> None:
    np.testing.assert_array_equal(resampled(7), resampled(7))
    assert resampled(7).shape == (RESAMPLES, 7)
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert interval(np.full(10, np.nan)) is None


def test_the_interval_of_a_mean_is_as_wide_as_theory_has_it() -> None:
    values = np.random.default_rng(1).normal(0.8, 0.1, 100)
    ends = interval(values[resampled(100)].mean(axis=1))
    assert ends is not None
    half = 1.96 * values.std() / 10
    assert ends[0] == pytest.approx(values.mean() - half, abs=0.003)
    assert ends[1] == pytest.approx(values.mean() + half, abs=0.003)


def _row(case: int, dice: float, truth: float, found: float) -> Row:
    measure = Measure(output="WT", dice=dice, hd95_mm=case, truth_ml=truth, predicted_ml=found)
    return Row(case=case, real=(T1, T2), fill="none", outputs=(measure,), seconds=1)


def _by_metric(figures: tuple[Figure, ...]) -> dict[str, Figure]:
    return {figure.metric: figure for figure in figures}


def test_segmentation_figures_are_means_and_a_relative_error_needs_a_truth() -> None:
    rows = [_row(1, 0.5, 10, 12), _row(2, 0.9, 0, 3), _row(3, 1.0, 8, 4)]
    failed = Row(case=4, real=(T1, T2), fill="none", problem="unreadable", seconds=0)
    found = _by_metric(figures_of([*rows, failed], ("WT",)))
    assert found["dice"].value == pytest.approx(0.8) and found["dice"].median == 0.9
    assert found["hd95_mm"].value == pytest.approx(2)
    assert found["volume_error_ml"].value == pytest.approx(3)
    assert found["volume_bias_ml"].value == pytest.approx(1 / 3)
    assert found["volume_error_relative"].value == pytest.approx(0.35)
    assert [found[m].studies for m in ("dice", "volume_error_relative")] == [3, 2]
    dice = found["dice"]
    assert dice.low is not None and dice.high is not None
    assert 0.5 <= dice.low < dice.value < dice.high <= 1.0


def test_one_study_has_no_interval() -> None:
    assert all(figure.low is None for figure in figures_of([_row(1, 0.5, 10, 12)], ("WT",)))


def test_each_setting_has_figures_of_its_own_the_largest_subset_first() -> None:
    small = _row(1, 0.2, 1, 1).model_copy(update={"real": (T1,), "fill": "zeros"})
    figures = [f for f in figures_of([small, _row(1, 0.5, 1, 1)], ("WT",)) if f.metric == "dice"]
    assert [(f.real, f.fill, f.value) for f in figures] == [
        ((T1, T2), "none", 0.5),
        ((T1,), "zeros", 0.2),
    ]


def test_three_classes_have_an_auc_each() -> None:
    rows = [
        Row(case=i + 1, real=(T1,), fill="none", target=i % 3, seconds=0,
            scores=tuple(0.8 if k == i % 3 else 0.1 for k in range(3)))
        for i in range(6)
    ]  # fmt: skip
    figures = figures_of(rows, ("A", "B", "C"))
    assert [f.output for f in figures if f.metric == "auc"] == ["all", "A", "B", "C"]
    assert all(f.value == 1 for f in figures if f.metric in ("auc", "accuracy"))
