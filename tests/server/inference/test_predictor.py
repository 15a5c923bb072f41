"""The predictor as a library."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import DuplicateModality, UnknownModality
from brainmvp_server.inference.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(tiny_bundle: Bundle) -> Iterator[Predictor]:
    loaded = Predictor.load(tiny_bundle.root)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def scan(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = nib.load(colin27).slicer[50:120, 70:140, 60:120]
    path = tmp_path_factory.mktemp("scan") / "t1.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), path)
    return path


def test_a_result_says_what_was_real_what_filled_and_how_long_it_took(
    predictor: Predictor, scan: Path
) -> None:
    result = predictor.predict({"t1": scan, "t2": scan}, fill="zeros")
    assert [v.modality.value for v in result.study.volumes] == ["t1", "t2"]
    assert [(f.modality.value, f.policy) for f in result.filled] == [
        ("t1c", "zeros"),
        ("flair", "zeros"),
    ]
    assert list(result.seconds) == [
        "read", "preprocess", "fill", "infer", "blend", "restore", "measure",
    ]  # fmt: skip
    assert result.windows == 1
    assert result.mask.shape == (70, 70, 60)
    assert any("t1c, flair" in warning for warning in result.warnings)


def test_progress_never_goes_back_and_ends_complete(predictor: Predictor, scan: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    predictor.predict({"flair": scan}, fill="zeros", progress=lambda *report: seen.append(report))
    for stage in dict.fromkeys(name for name, _, _ in seen):
        counts = [done / total for name, done, total in seen if name == stage]
        assert counts == sorted(counts) and counts[-1] == 1


def test_studies_side_by_side_give_what_they_give_alone(predictor: Predictor, scan: Path) -> None:
    studies = [{"t1": scan}, {"t2": scan}, {"flair": scan, "t1": scan}, {"t1": scan}]
    alone = [predictor.predict(study, fill="zeros").mask for study in studies]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda s: predictor.predict(s, fill="zeros").mask, studies))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_aliases_and_unknown_names_are_told_apart(predictor: Predictor, scan: Path) -> None:
    assert predictor.predict({"T1CE": scan}, fill="zeros").study.native.modality.value == "t1c"
    with pytest.raises(DuplicateModality):
        predictor.predict({"t1c": scan, "t1ce": scan})
    with pytest.raises(UnknownModality):
        predictor.predict({"ct": scan})
