"""A brain mask of the user's own: what breaks here puts it elsewhere, or believes any file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import (
    BrainMVPError,
    GridMismatch,
    ImplausibleBrain,
    InvalidInput,
    InvalidVolume,
    NoBrain,
)
from brainmvp_models.modality import Modality
from brainmvp_models.task import Preprocessing, load_task
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.study import read_volumes
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.checked_study import check_study
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.preparation.brain_network import BrainNetworks
from brainmvp_server.preparation.given_brain import given_brain
from brainmvp_server.preparation.inspect import inspect
from brainmvp_server.preparation.look import RawStudy, look_at
from brainmvp_server.preparation.mask_place import best_elsewhere
from brainmvp_server.preparation.stage import Means, StudyPreparation, prepare_study
from drawn_head import DrawnHead, draw_head

FULL = np.ones((60, 60, 60), np.uint8)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DrawnHead:
    return draw_head(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def head(drawn: DrawnHead) -> Volume:
    return read_nifti(drawn.series, Modality.T1)


@contextmanager
def untimed(_: str) -> Iterator[None]:
    yield


def not_asked() -> BrainNetworks:
    raise AssertionError("the brain is given, and nobody has to look for it")


def written(folder: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    path = folder / "mask.nii.gz"
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def test_every_voxel_that_is_not_0_is_brain_whatever_the_other_value(
    drawn: DrawnHead, head: Volume, tmp_path: Path
) -> None:
    image = nib.load(drawn.brain)
    inside = np.asarray(image.dataobj) > 0
    for other in (np.uint8(1), np.uint8(255), np.int16(-1), np.float32(0.5)):
        path = written(tmp_path, inside * other, image.affine)
        found = given_brain(path, [head])
        np.testing.assert_array_equal(found.mask, inside)
        assert found.ml == pytest.approx(drawn.ml) and found.series == ()


@pytest.mark.parametrize(
    ("voxels", "kind", "words"),
    [
        (FULL * 0, NoBrain, "the mask is empty"),
        (FULL, ImplausibleBrain, "the mask is the whole image"),
        (np.eye(60, dtype=np.uint8)[..., None] * FULL, ImplausibleBrain, "the brain has 230 mL"),
        (np.arange(60, dtype=np.uint8) * FULL, InvalidVolume, "other values than 0 and one more"),
        (np.arange(60, dtype=np.uint8) % 2 + FULL, InvalidVolume, "other values than 0"),
        (np.where(FULL, np.float32("nan"), 0), InvalidVolume, "NaN"),
    ],
    ids=["empty", "full", "too small", "values", "no zero", "not finite"],
)
def test_a_file_that_is_no_mask_of_a_brain_is_refused_by_name(
    head: Volume, tmp_path: Path, voxels: np.ndarray, kind: type[BrainMVPError], words: str
) -> None:
    path = written(tmp_path, voxels, head.grid.affine)
    with pytest.raises(kind, match=words) as refused:
        given_brain(path, [head])
    assert refused.value.subject == "brain" and refused.value.remedy


def test_a_mask_on_no_series_grid_is_refused_since_nothing_says_whose_world_it_lies_in(
    drawn: DrawnHead, head: Volume, tmp_path: Path
) -> None:
    moved = head.grid.affine.copy()
    moved[0, 3] += 3
    path = written(tmp_path, np.asarray(nib.load(drawn.brain).dataobj), moved)
    with pytest.raises(GridMismatch, match="on the grid of none of the series") as refused:
        given_brain(path, [head])
    assert "t1" in refused.value.remedy


def test_a_mask_is_used_where_its_affine_puts_it_whatever_order_its_axes_have(
    drawn: DrawnHead, head: Volume, tmp_path: Path
) -> None:
    image = nib.load(drawn.brain)
    off = np.roll(np.asarray(image.dataobj), 3, axis=0)  # 12 mm to one side
    turned = image.affine @ np.array([[-1, 0, 0, 59], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    path = written(tmp_path, off[::-1].transpose(0, 2, 1), turned)
    brain = given_brain(path, [head])
    raw = RawStudy(inspect([head]), brain)
    rules = Preprocessing(spacing_mm=(4.0, 4.0, 4.0))
    prepared = prepare_study([head], rules, Means(not_asked), CancelToken(), untimed, raw)
    (series,) = prepared.study.volumes
    centre = np.argwhere(series.stored > 0).mean(axis=0)
    world = series.grid.affine[:3, :3] @ centre + series.grid.affine[:3, 3]
    np.testing.assert_allclose(world, (12, 0, 0), atol=0.5)
    assert np.count_nonzero(series.stored) * 0.064 == pytest.approx(drawn.ml, rel=0.05)


def test_a_mask_that_lies_beside_the_brain_or_upside_down_is_refused_itself_and_no_series(
    real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = real_data("clinical") / "fg6692"
    flair = read_nifti(folder / "raw" / "flair.nii.gz", Modality.FLAIR)
    image = nib.load(folder / "reference" / "brain_flair.nii.gz")
    mask = np.asarray(image.dataobj) > 0
    brain = given_brain(folder / "reference" / "brain_flair.nii.gz", [flair])
    assert best_elsewhere(brain, flair)[0] < 0
    view = flair.grid.orientation.view
    beside, turned = np.zeros_like(mask), np.zeros_like(mask)
    view(beside)[:, 30:] = view(mask)[:, :-30]  # voxels of 0.9 mm
    view(turned)[...] = view(mask)[:, ::-1, ::-1]
    for wrong, words in ((beside, "mm further to the back"), (turned, "turned by 180° about")):
        path = written(tmp_path, wrong.astype(np.uint8), image.affine)
        with pytest.raises(ImplausibleBrain, match=f"where flair shows the brain: .*{words}") as no:
            look_at([flair], brain=path)
        assert no.value.subject == "brain" and "over the brain of flair" in no.value.remedy


def test_brains_without_skulls_are_taken_as_they_came_and_their_reader_is_told(
    drawn: DrawnHead, tmp_path: Path
) -> None:
    image, mask = nib.load(drawn.series), nib.load(drawn.brain)
    inside = np.asarray(mask.dataobj)
    nib.save(nib.Nifti1Image(image.get_fdata() * inside, image.affine), tmp_path / "t1.nii.gz")
    task = load_task("brats-ped")
    options = PredictOptions(fill="zeros")
    checked = check_study({Modality.T1: tmp_path / "t1.nii.gz"}, task, options, brain=drawn.brain)
    stage = StudyPreparation(Means(not_asked))
    worked_on = stage(checked, task, CancelToken(), untimed)
    assert worked_on.onto is None
    assert "mask-not-used" in [one.kind for one in worked_on.warnings]


def test_what_a_reader_should_know_of_a_file_is_not_lost_in_the_preparation(
    drawn: DrawnHead, tmp_path: Path
) -> None:
    for path in (drawn.series, drawn.brain):
        image = nib.load(path)
        image.header["sform_code"] = image.header["qform_code"] = 0
        nib.save(nib.Nifti1Image(image.dataobj, None, image.header), tmp_path / path.name)
    sources, brain = {Modality.T1: tmp_path / drawn.series.name}, tmp_path / drawn.brain.name
    task = load_task("mrbrains13")
    checked = check_study(sources, task, PredictOptions(fill="zeros"), brain=brain)
    worked_on = StudyPreparation(Means(not_asked))(checked, task, CancelToken(), untimed)
    assert worked_on.report is not None
    assert any("left and right are assumed" in text for text in worked_on.study.native.warnings)


@pytest.mark.parametrize("options", [PredictOptions(prepare="none"), PredictOptions(resample=True)])
def test_a_mask_for_a_study_that_is_taken_as_it_is_is_refused(
    drawn: DrawnHead, options: PredictOptions
) -> None:
    task = load_task("brats-ped")
    with pytest.raises(InvalidInput, match="brain mask is of no use") as refused:
        check_study({Modality.T1: drawn.series}, task, options, brain=drawn.brain)
    assert refused.value.subject == "brain"


def test_memory_for_the_mask_is_counted(drawn: DrawnHead) -> None:
    task, sources = load_task("brats-ped"), {Modality.T1: drawn.series}
    with_mask, without = (
        check_study(sources, task, brain=brain).memory for brain in (drawn.brain, None)
    )
    assert with_mask - without == 2 * 60**3


def test_a_mask_on_any_series_grid_gives_the_same_brain_of_a_real_study(
    real_data: Callable[[str], Path],
) -> None:
    folder = real_data("clinical") / "fg6692"
    volumes = read_volumes({m: folder / "raw" / f"{m}.nii.gz" for m in (Modality.T1, Modality.T2)})
    brains = []
    for name in ("t1", "t2"):
        brain = given_brain(folder / "reference" / f"brain_{name}.nii.gz", volumes)
        assert brain.world == name
        raw = RawStudy(inspect(volumes), brain)
        rules = Preprocessing(spacing_mm=(2.0, 2.0, 2.0))
        prepared = prepare_study(volumes, rules, Means(not_asked), CancelToken(), untimed, raw)
        assert prepared.report.brain_series == () and prepared.report.brain_ml == brain.ml
        brains.append(prepared)
    grids = [prepared.study.native.grid for prepared in brains]
    where = [
        grid.affine @ np.append(np.argwhere(p.study.native.stored > 0).mean(axis=0), 1)
        for grid, p in zip(grids, brains, strict=True)
    ]
    np.testing.assert_allclose(where[0], where[1], atol=2.0)
