"""The ``reference`` profile equals the published evaluation pipeline, step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.study import read_study
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.preprocess import prepare

from .conftest import Published

Evaluate = Callable[[dict[str, Path]], Published]


@pytest.fixture(scope="module", params=["real", "oblique"])
def study(request: pytest.FixtureRequest) -> dict[str, Path]:
    if request.param == "real":
        return {"t1": request.getfixturevalue("real_crop")}
    oblique: dict[str, Path] = request.getfixturevalue("oblique_study")
    return oblique


@pytest.fixture(scope="module")
def theirs(study: dict[str, Path], published: Evaluate) -> Published:
    return published(study)


def test_preprocessing_equals_monais_transforms(
    study: dict[str, Path], theirs: Published, tiny_bundle: Bundle
) -> None:
    files = {Modality(name): path for name, path in study.items()}
    ours = prepare(read_study(files), tiny_bundle.task.preprocessing)
    np.testing.assert_array_equal(ours.space.box.start, theirs.box[0])
    np.testing.assert_array_equal(ours.space.box.stop, theirs.box[1])
    for index, modality in enumerate(tiny_bundle.task.modalities):
        if modality in ours.images:
            # MONAI interpolates in float64, we in float32.
            np.testing.assert_allclose(ours.images[modality], theirs.image[index], atol=2e-5)


def test_masks_and_probabilities_equal_the_published_pipelines(
    study: dict[str, Path], theirs: Published, tiny_bundle: Bundle
) -> None:
    predictor = Predictor.load(tiny_bundle, "openvino")
    result = predictor.predict(study, fill="zeros", probabilities=True)
    predictor.close()
    assert result.segmentation is not None
    np.testing.assert_allclose(result.study.native.grid.affine, theirs.affine, atol=1e-4)
    # No edge is left out: linear interpolation and its border are the same on both sides.
    for ours, expected in zip(result.segmentation.probabilities, theirs.probabilities, strict=True):
        assert np.abs(ours - expected).max() < 1e-3
    for ours, expected in zip(result.segmentation.outputs, theirs.probabilities > 0.5, strict=True):
        overlap = 2 * np.count_nonzero(ours & expected)
        total = np.count_nonzero(ours) + np.count_nonzero(expected)
        assert total > 1000
        assert overlap / total >= 0.999
