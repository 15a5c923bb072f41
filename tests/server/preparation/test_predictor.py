"""The library's predictor: what breaks here answers otherwise in a notebook than over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import brainmvp
from brainmvp_models.errors import GridMismatch, TemplateMismatch
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_models.templates import TEMPLATE_SHAPE, TemplateBank
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.inference.predictor import by_modality
from brainmvp_server.preparation.atlas import atlas_of
from brainmvp_server.preparation.brain_network import dice
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


def average_brains(spacing_mm: float) -> TemplateBank:
    """Templates that show the average brain, on the templates' grid in SRI24's frame."""
    atlas = atlas_of(Space.SRI24)
    assert atlas is not None
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[0, 3] = -239  # R-A-S, where the SRI24 grid is stored L-P-S
    image = atlas.brain.values(atlas.brain.stored).astype(np.float32)
    grid = Grid(TEMPLATE_SHAPE, affine)
    brain = interpolated(image, atlas.brain.grid, grid, atlas.to_brain.matrix)[0]
    names = (Modality.T1, Modality.T1C, Modality.T2, Modality.FLAIR)
    return TemplateBank(dict.fromkeys(names, brain / brain.max())).at_spacing((spacing_mm,) * 3)


def test_templates_come_to_a_patients_brain_in_its_own_space(
    predictor: brainmvp.Predictor, real_data: Callable[[str], Path]
) -> None:
    raw = real_data("clinical") / "fg6692" / "raw"
    overlap = {}
    brain = np.asarray(nib.load(raw.parent / "reference" / "brain_t1.nii.gz").dataobj) > 0
    bundle = predictor.bundle
    with brainmvp.Predictor(bundle, predictor.worker) as average:
        average.__dict__["_bank"] = average_brains(bundle.task.preprocessing.spacing_mm[0])
        for fill in ("center", "register"):
            found = average.predict({"t1": raw / "t1.nii.gz"}, fill=fill, templates=True)
            assert found.templates is not None
            template = found.templates[Modality.T1C]
            assert {one.policy for one in found.filled} == {fill}
            overlap[fill] = dice(template > 0.1 * template.max(), brain)
    assert overlap["register"] > 0.85, overlap
    assert overlap["register"] > overlap["center"] + 0.03, overlap


def test_templates_do_not_come_to_a_head_with_its_skull(
    predictor: brainmvp.Predictor, tmp_path: Path
) -> None:
    head = draw_head(tmp_path).series
    with pytest.raises(TemplateMismatch, match="shows a whole head"):
        predictor.predict({"t1": head}, fill="register", prepare="none")
