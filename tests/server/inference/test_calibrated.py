"""Calibrated probabilities: they keep their order, and what is marked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmvp_models.calibration import (
    WHOLE,
    CalibratedSetting,
    Calibration,
    OutputCalibration,
    calibrated_outputs,
)
from brainmvp_models.modality import Modality
from brainmvp_models.task import load_task
from brainmvp_server.inference.calibrated import (
    calibrated,
    calibrated_scores,
    confidence,
    probability_maps,
    uncertainty,
)

temperatures = st.floats(0.05, 20)
offsets = st.floats(-5, 5)


def correction(temperature: float, offset: float = 0, output: str = "WT") -> OutputCalibration:
    return OutputCalibration(output=output, temperature=temperature, offset=offset)


def calibration(*outputs: OutputCalibration) -> Calibration:
    return Calibration(
        outputs=outputs,
        settings=(CalibratedSetting(real=(Modality.T1,), fill="zeros"),),
        studies=3, command="", datalist="", section="", created="",
    )  # fmt: skip


@given(temperatures, offsets, st.lists(st.floats(0, 1, width=32), min_size=2, max_size=20))
def test_a_calibrated_map_keeps_the_order_so_a_cut_marks_the_same_voxels(
    temperature: float, offset: float, values: list[float]
) -> None:
    probability = np.sort(np.array(values, dtype=np.float32))
    found = calibrated(probability, correction(temperature, offset))
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= 0).all()


def test_nothing_and_certainty_stay_and_the_logit_is_divided_and_moved() -> None:
    found = calibrated(np.array([0, 0.2, 1], dtype=np.float32), correction(2, 0.5))
    logit = np.log(0.2 / 0.8) / 2 + 0.5
    np.testing.assert_allclose(found, [0, 1 / (1 + np.exp(-logit)), 1], rtol=1e-5)
    same = np.linspace(0, 1, 11, dtype=np.float32)
    np.testing.assert_allclose(calibrated(same, correction(1)), same, atol=1e-6)


@given(temperatures, st.lists(st.floats(-30, 30), min_size=2, max_size=5))
def test_calibrated_scores_are_the_softmax_of_the_divided_logits(
    temperature: float, logits: list[float]
) -> None:
    def softmax(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values - values.max())
        return powers / powers.sum()

    found = calibrated_scores(
        softmax(np.array(logits)), calibration(correction(temperature, output=WHOLE))
    )
    np.testing.assert_allclose(found, softmax(np.array(logits) / temperature), atol=1e-6)


def test_each_class_is_corrected_for_itself_and_the_background_is_what_they_leave() -> None:
    outputs = load_task("mrbrains13").outputs
    assert outputs.kind == "classes"
    names = calibrated_outputs(outputs)
    assert names == tuple(entry.name for entry in outputs.classes[1:])
    by = calibration(*(correction(2, -0.5, name) for name in names))
    maps = np.zeros((outputs.count, 2), dtype=np.float32)
    maps[1] = 0.7, 0
    maps[2] = 0.2, 0
    maps[0] = 0.1, 0  # the second voxel lies outside of what was looked at
    found = probability_maps(tuple(maps), outputs, by)
    assert list(found) == [entry.name for entry in outputs.classes]
    for name, one in zip(names, maps[1:], strict=True):
        np.testing.assert_array_equal(found[name], calibrated(one, by.of(name)))
    np.testing.assert_allclose(sum(found.values()), 1, atol=1e-6)
    assert probability_maps(tuple(maps), outputs, None)[names[0]] is not None
    assert probability_maps((), outputs, by) == {}


def test_confidence_is_the_mean_calibrated_probability_and_none_of_nothing() -> None:
    marked = np.array([0.5, 0.9], dtype=np.float32)
    assert confidence(marked, None) == pytest.approx(0.7)
    by = correction(2, -0.3)
    assert confidence(marked, by) == pytest.approx(float(calibrated(marked, by).mean()))
    assert confidence(marked[:0], by) is None


def test_the_uncertainty_of_a_voxel_is_its_most_open_output_without_the_background() -> None:
    outputs = load_task("mrbrains13").outputs
    assert outputs.kind == "classes"
    maps = np.zeros((outputs.count, 4), dtype=np.float32)
    maps[0] = 0.5, 1, 0, 0.9
    maps[1] = 0.5, 0, 1, 0.1
    maps[2] = 0.25, 0, 0, 0
    found = uncertainty(probability_maps(tuple(maps), outputs, None), outputs)
    in_ten = -(0.1 * np.log2(0.1) + 0.9 * np.log2(0.9))
    np.testing.assert_allclose(found, [1, 0, 0, in_ten], atol=1e-6)
