"""Registration: real series come together as the references say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.preparation.register import register
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.working import Pyramid

RealData = Callable[[str], Path]


def _matrix(path: Path, name: str) -> RigidTransform:
    return RigidTransform(np.array(json.loads(path.read_text())[name]))


def _points(path: Path) -> np.ndarray:
    """Some millimetres of a brain, (N, 3)."""
    image = nib.load(path)
    indices = np.argwhere(np.asarray(image.dataobj) > 0)[::97]
    return indices @ image.affine[:3, :3].T + image.affine[:3, 3]


def _displaced(volume: Volume, by: RigidTransform) -> Volume:
    """The same voxels, said to lie elsewhere."""
    return replace(volume, grid=Grid(volume.grid.shape, by.matrix @ volume.grid.affine))


@pytest.fixture(scope="module")
def pair(colin27: Path) -> tuple[Volume, np.ndarray]:
    """A real brain, and some of its points."""
    return read_nifti(colin27, Modality.T1), _points(colin27)


@pytest.mark.parametrize(("series", "bound"), [("t1c", 0.8), ("t2", 1.0), ("flair", 0.8)])
def test_series_of_whole_heads_on_four_grids_come_together(
    real_data: RealData, series: str, bound: float
) -> None:
    study = real_data("clinical") / "fg6692"
    reference = Pyramid(read_nifti(study / "raw" / "t1.nii.gz", Modality.T1))
    moving = Pyramid(read_nifti(study / "raw" / f"{series}.nii.gz", Modality(series)))
    truth = _matrix(study / "reference" / "rigid_ras_mm.json", f"t1_to_{series}")
    points = _points(study / "reference" / "brain_t1.nii.gz")
    found = register(moving, reference)
    assert truth.moved(points) > 8
    assert found.to_moving.apart(truth, points) < bound
    assert found.after > found.before


def test_two_visits_come_together(real_data: RealData) -> None:
    folder = real_data("longitudinal") / "ms01"
    one, two = (
        Pyramid(read_nifti(folder / f"study{visit}_flair.nii.gz", Modality.FLAIR))
        for visit in (1, 2)
    )
    truth = _matrix(folder / "affine_ras_mm.json", "study1_flair_to_study2_flair")
    points = _points(folder / "study1_brain_flair.nii.gz")
    assert register(two, one).to_moving.apart(truth, points) < 0.6


def test_headers_that_are_right_are_kept(real_data: RealData) -> None:
    folder = real_data("longitudinal") / "ms01"
    flair = Pyramid(read_nifti(folder / "study1_flair.nii.gz", Modality.FLAIR))
    t2 = Pyramid(read_nifti(folder / "study1_t2.nii.gz", Modality.T2))
    found = register(t2, flair)
    truth = _matrix(folder / "affine_ras_mm.json", "study1_flair_to_study1_t2")
    points = _points(folder / "study1_brain_flair.nii.gz")
    assert found.to_moving.apart(truth, points) <= max(truth.moved(points), 1.0)


def test_brains_of_thick_slices_come_together(real_data: RealData) -> None:
    study = real_data("clinical") / "du7294"
    reference = Pyramid(read_nifti(study / "brains" / "t1.nii.gz", Modality.T1))
    moving = Pyramid(read_nifti(study / "brains" / "flair.nii.gz", Modality.FLAIR))
    truth = _matrix(study / "reference" / "rigid_ras_mm.json", "t1_to_flair")
    points = _points(study / "brains" / "t1.nii.gz")
    assert register(moving, reference).to_moving.apart(truth, points) < 0.8


def test_a_registration_is_the_same_to_the_last_bit_when_it_is_repeated(
    pair: tuple[Volume, np.ndarray],
) -> None:
    volume, points = pair
    by = RigidTransform.of_rotation(np.array([5.0, 0, 9]), np.array([4.0, 0, 9]), points[0])
    moved = _displaced(volume, by)
    one, two = (register(Pyramid(moved), Pyramid(volume)) for _ in range(2))
    np.testing.assert_array_equal(one.to_moving.matrix, two.to_moving.matrix)


@pytest.mark.parametrize(
    ("degrees", "shift"), [((12, -8, 20), (15, -20, 10)), ((-30, 10, -15), (-30, 10, 20))]
)
def test_a_displaced_brain_comes_back_and_the_distance_is_told(
    pair: tuple[Volume, np.ndarray],
    degrees: tuple[float, float, float],
    shift: tuple[float, float, float],
) -> None:
    volume, points = pair
    truth = RigidTransform.of_rotation(np.array(degrees), np.array(shift), points.mean(axis=0))
    found = register(Pyramid(_displaced(volume, truth)), Pyramid(volume))
    assert found.to_moving.apart(truth, points) < 0.5
    assert found.moved_mm == pytest.approx(truth.moved(points), rel=0.15)


@pytest.mark.parametrize("shape", [(30, 30, 30), (9, 9, 1)])
def test_an_image_that_shows_nothing_leaves_the_headers_as_they_are(
    pair: tuple[Volume, np.ndarray], shape: tuple[int, int, int]
) -> None:
    volume, _ = pair
    empty = replace(volume, stored=np.ones(shape, np.int16), grid=Grid(shape, volume.grid.affine))
    for moving, reference in ((volume, empty), (empty, volume)):
        found = register(Pyramid(moving), Pyramid(reference))
        assert (found.start, found.moved_mm, found.after) == ("headers", 0, found.before)


def test_the_same_series_stays_where_it_is(pair: tuple[Volume, np.ndarray]) -> None:
    volume, _ = pair
    found = register(Pyramid(volume), Pyramid(volume))
    assert found.start == "headers"
    np.testing.assert_array_equal(found.to_moving.matrix, np.eye(4))
    assert found.after == found.before
