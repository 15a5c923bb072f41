"""The library's predictor: what breaks here answers otherwise in a notebook than over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import brainmvp
from brainmvp_models.errors import GridMismatch
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.inference.predictor import by_modality
from brainmvp_server.runtime.received_study import ReceivedStudy
from brainmvp_server.runtime.service import Service
from brainmvp_server.settings import Settings
from drawn_head import draw_head

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def predictor(swift_models: Path) -> Iterator[brainmvp.Predictor]:
    with brainmvp.Predictor.load(swift_models / "swift" / "1") as predictor:
        yield predictor


def test_a_raw_study_is_prepared_as_the_service_does_it(
    predictor: brainmvp.Predictor,
    swift_models: Path,
    real_data: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    raw = real_data("clinical") / "fg6692" / "raw"
    files = {name: raw / f"{name}.nii.gz" for name in ("t1", "t2")}
    found = predictor.predict(files, fill="zeros", space="t2")
    assert found.mask.shape == nib.load(files["t2"]).shape
    assert found.preparation is not None and found.preparation.brain_series
    service = Service(Settings.of(models=swift_models, scratch=tmp_path, watch_s=0, warm_up=False))
    options = PredictOptions(fill="zeros", space="t2")
    bundle, study = service.repository.bundle("swift"), ReceivedStudy(by_modality(files))
    try:
        with service.predict(bundle, study, options, CancelToken()) as served:
            np.testing.assert_array_equal(found.mask, served.result.mask)
    finally:
        service.close()
    with pytest.raises(GridMismatch):
        predictor.predict(files, fill="zeros", prepare="none")


def test_a_brain_mask_is_taken(predictor: brainmvp.Predictor, tmp_path: Path) -> None:
    drawn = draw_head(tmp_path)
    found = predictor.predict({"t1": str(drawn.series)}, fill="zeros", brain=str(drawn.brain))
    assert found.preparation is not None
    assert found.preparation.brain_ml == pytest.approx(drawn.ml)


def test_a_ready_study_gives_the_same_bits_as_without_preparation(
    predictor: brainmvp.Predictor,
) -> None:
    files = {name: ROOT / "examples" / "glioma_study" / f"{name}.nii.gz" for name in ("t1", "t2")}
    auto, none = (
        predictor.predict(files, fill="zeros", prepare=how).mask for how in ("auto", "none")
    )
    np.testing.assert_array_equal(auto, none)
