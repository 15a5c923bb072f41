"""What cannot be decided is in no mask, no measurement and no score, and the result says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.manifest import SubsetQuality
from brainmvp_models.modality import Modality
from brainmvp_models.task import ClassOutputs, FillPolicy, Label
from brainmvp_server.imaging.grid import Box, Grid
from brainmvp_server.inference.left_out import segment_without
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.preprocess import ModelSpace
from limited_bundle import measured, needing

SHAPE = (4, 5, 6)
SPACE = ModelSpace(Grid(SHAPE, np.eye(4)), SHAPE, SHAPE, (1.0, 1.0, 1.0), Box((0, 0, 0), SHAPE))


@pytest.fixture(scope="module")
def scan(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small part of a real T1."""
    image = nib.load(colin27).slicer[80:112, 90:138, 60:120]
    path = tmp_path_factory.mktemp("scan") / "t1.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), path)
    return path


@pytest.fixture(scope="module")
def needy(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    """The small bundle, whose enhancing tumour needs a T1c."""
    folder = tmp_path_factory.mktemp("needy")
    with Predictor.load(needing(small_bundle, folder, {"ET": Modality.T1C})) as predictor:
        yield predictor


def test_the_mask_without_a_region_is_the_whole_mask_but_for_that_region(
    needy: Predictor, scan: Path
) -> None:
    whole = needy.predict({"t1": scan}, fill="zeros", not_determinable=True)
    part = needy.predict({"t1": scan}, fill="zeros", probabilities=True)
    assert np.any(whole.mask == 4), "the network finds something to leave out"
    assert whole.segmentation is not None
    core, tumour, _ = whole.segmentation.outputs
    np.testing.assert_array_equal(part.mask, np.where(core, 1, np.where(tumour, 2, 0)))
    assert [one.name for one in whole.structures] == ["TC", "WT", "ET"]
    assert [(one.name, one.labels) for one in part.structures] == [("TC", (1,)), ("WT", (1, 2))]
    assert [one.voxels for one in part.structures] == [one.voxels for one in whole.structures[:2]]
    assert part.segmentation is not None and len(part.segmentation.probabilities) == 2


def test_the_result_says_why_whether_it_was_asked_for_or_not(needy: Predictor, scan: Path) -> None:
    for asked in (False, True):
        result = needy.predict({"t1": scan}, fill="zeros", not_determinable=asked)
        (one,) = result.not_determinable
        assert (one.output, one.missing, result.left_out) == ("ET", (Modality.T1C,), not asked)
        assert one.sentence in result.warnings
    with_it = needy.predict({"t1c": scan}, fill="zeros")
    assert with_it.not_determinable == () and len(with_it.structures) == 3


def test_where_nothing_can_be_decided_the_mask_is_empty(
    small_bundle: Bundle, tmp_path: Path, scan: Path
) -> None:
    names = dict.fromkeys(("TC", "WT", "ET"), Modality.FLAIR)
    with Predictor.load(needing(small_bundle, tmp_path, names)) as predictor:
        result = predictor.predict({"t1": scan}, fill="zeros", probabilities=True)
    assert len(result.not_determinable) == 3
    assert result.structures == () and not result.mask.any()
    assert result.mask.shape == result.study.native.grid.shape


@pytest.mark.parametrize(("low", "fill", "is_open"), [(0.5, "zeros", True), (0.51, "zeros", False)])
def test_scores_that_were_no_better_than_chance_are_given_only_where_they_are_asked_for(
    grade_bundle: Bundle, tmp_path: Path, scan: Path, low: float, fill: FillPolicy, is_open: bool
) -> None:
    line = SubsetQuality(
        real=(Modality.T1,), fill=fill, output="all", metric="balanced_accuracy",
        value=0.6, low=low, high=0.7, studies=12,
    )  # fmt: skip
    with Predictor.load(measured(grade_bundle, tmp_path, line)) as predictor:
        told = predictor.predict({"t1": scan}, fill=fill)
        asked = predictor.predict({"t1": scan}, fill=fill, not_determinable=True)
    assert (told.scores == ()) is is_open
    assert len(told.not_determinable) == len(asked.not_determinable) == int(is_open)
    assert len(asked.scores) == 2


def test_a_class_that_is_left_out_is_background_and_gives_nothing_to_the_others() -> None:
    outputs = ClassOutputs(
        classes=tuple(Label(value=value, name=f"c{value}") for value in (0, 1, 7, 9))
    )
    logits = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
    whole = segment_without(logits, SPACE, outputs, (), probabilities=True).mask
    part = segment_without(logits, SPACE, outputs, ("c7",), probabilities=True)
    assert set(np.unique(whole)) == {0, 1, 7, 9}
    np.testing.assert_array_equal(part.mask, np.where(whole == 7, 0, whole))
    assert len(part.outputs) == 2 and len(part.probabilities) == 3
    np.testing.assert_array_equal(part.outputs[1], whole == 9)
    bare = segment_without(logits, SPACE, outputs, ("c7",), probabilities=False)
    assert bare.probabilities == ()
