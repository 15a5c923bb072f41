"""The predictor as a library."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import (
    DuplicateModality,
    MissingModality,
    ServiceClosing,
    UnknownModality,
)
from brainmvp_models.manifest import SubsetQuality
from brainmvp_models.modality import Modality
from brainmvp_models.task import FillPolicy
from brainmvp_server.imaging.study import Study, read_study
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.results.summary import Summary


@pytest.fixture(scope="module")
def predictor(small_bundle: Bundle) -> Iterator[Predictor]:
    with Predictor.load(small_bundle.root) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def scan(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = nib.load(colin27).slicer[80:112, 90:138, 60:120]
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
    assert result.mask.shape == (32, 48, 60)
    assert any("t1c, flair" in warning for warning in result.warnings)


def test_a_study_that_was_read_once_gives_what_its_files_give(
    predictor: Predictor, scan: Path
) -> None:
    study = read_study({Modality.T1: scan, Modality.T2: scan})
    part = Study.of(study.volumes[1:])
    result = predictor.predict_study(part, fill="zeros")
    np.testing.assert_array_equal(result.mask, predictor.predict({"t2": scan}, fill="zeros").mask)
    with pytest.raises(MissingModality):
        predictor.predict_study(part, fill="none")


def _with_card(bundle: Bundle, *card: SubsetQuality) -> Bundle:
    return Bundle(bundle.root, bundle.manifest.model_copy(update={"subset_card": card}))


def test_a_result_reports_the_cards_measurement_of_its_own_subset_and_fill_alone(
    predictor: Predictor, small_bundle: Bundle, scan: Path
) -> None:
    def measured(*real: Modality, fill: FillPolicy, value: float) -> SubsetQuality:
        return SubsetQuality(real=real, fill=fill, output="WT", metric="dice", value=value,
                             low=value - 0.1, high=value + 0.1, studies=5)  # fmt: skip

    card = (
        measured(*small_bundle.task.modalities, fill="none", value=0.9),
        measured(Modality.T2, Modality.T1, fill="zeros", value=0.7),
        measured(Modality.T1, Modality.T2, fill="center", value=0.8),
    )
    carded = Predictor(_with_card(small_bundle, *card), predictor.worker)
    result = carded.predict({"t1": scan, "t2": scan}, fill="zeros")
    assert result.expected == card[1:2]
    (quality,) = Summary.of(result).expected_quality
    assert (quality.value, quality.low, quality.high) == (0.7, 0.7 - 0.1, 0.7 + 0.1)
    assert not any("not known" in warning for warning in result.warnings)
    whole = carded.predict(dict.fromkeys(("t1", "t1c", "t2", "flair"), scan))
    assert whole.expected == card[:1]


def test_a_result_whose_subset_is_not_on_the_card_says_so(predictor: Predictor, scan: Path) -> None:
    result = predictor.predict({"t2": scan}, fill="zeros")
    assert result.expected == ()
    assert any("no measurement of t2, the rest filled by 'zeros'" in w for w in result.warnings)


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


def test_a_predictor_closes_the_worker_that_it_made_and_no_other(
    small_bundle: Bundle, scan: Path
) -> None:
    with Predictor.load(small_bundle) as own:
        with Predictor(small_bundle, own.worker) as guest:
            assert guest.predict({"t1": scan}, fill="zeros").windows == 1
        assert own.predict({"t1": scan}, fill="zeros").windows == 1
    with pytest.raises(ServiceClosing):
        own.predict({"t1": scan}, fill="zeros")
