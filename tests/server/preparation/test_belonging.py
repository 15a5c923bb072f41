"""A series of another head, a mirrored one, half a head and another part are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.errors import RegistrationFailed
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import read_nifti, spatial_header
from brainmvp_server.imaging.volume import SpatialHeader, Volume
from brainmvp_server.preparation.belonging import (
    LEAST_SHARPNESS,
    check_belongs,
    compared,
    match,
)
from brainmvp_server.preparation.register import register
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.stage import spaced
from brainmvp_server.preparation.working import Pyramid

RealData = Callable[[str], Path]
STILL = RigidTransform.identity()


@pytest.fixture(scope="module")
def flair(real_data: RealData) -> Volume:
    return read_nifti(real_data("longitudinal") / "ms01" / "study1_flair.nii.gz", Modality.FLAIR)


@pytest.fixture(scope="module")
def t2(real_data: RealData) -> Volume:
    """Of the same visit; its header is right."""
    return read_nifti(real_data("longitudinal") / "ms01" / "study1_t2.nii.gz", Modality.T2)


def _across(volume: Volume) -> int:
    """The axis that runs from left to right."""
    return volume.grid.orientation.axes[0]


def _best(moving: Volume, reference: Volume) -> RigidTransform:
    return register(Pyramid(moving), Pyramid(reference)).to_moving


def _at_2_mm(volume: Volume) -> Volume:
    grid = spaced(volume.grid, (2.0, 2.0, 2.0))
    values, _ = interpolated(volume.values(volume.stored), volume.grid, grid)
    header = spatial_header(grid.affine)
    return replace(volume, stored=values, slope=1.0, intercept=0.0, grid=grid, header=header)


def test_series_of_one_visit_fit(flair: Volume, t2: Volume) -> None:
    found = check_belongs(t2, flair, STILL)
    assert found.sharpness > 0.5 and found.covered > 0.9


def test_thick_slices_with_a_tumour_fit_once_they_are_registered(real_data: RealData) -> None:
    folder = real_data("clinical") / "fg6692" / "raw"
    t1 = read_nifti(folder / "t1.nii.gz", Modality.T1)
    moving = read_nifti(folder / "flair.nii.gz", Modality.FLAIR)
    check_belongs(moving, t1, _best(moving, t1))
    with pytest.raises(RegistrationFailed):  # by the headers alone, 9 to 24 mm off
        check_belongs(moving, t1, STILL)


def test_a_large_cavity_does_not_make_a_series_another_heads(real_data: RealData) -> None:
    folder = real_data("clinical") / "fg6692"
    ways = json.loads((folder / "reference" / "rigid_ras_mm.json").read_text())
    way = RigidTransform(np.array(ways["t1_to_flair"]) @ np.linalg.inv(ways["t1_to_t1c"]))
    t1c, flair = (
        read_nifti(folder / "raw" / f"{m}.nii.gz", m) for m in (Modality.T1C, Modality.FLAIR)
    )
    frontal = np.array([-46.7, 43.3, 43.9])
    one, other = _with_cavity(t1c, frontal), _with_cavity(flair, way.apply(frontal))
    assert match(other, one, way).sharpness < LEAST_SHARPNESS, "as flat 4 mm away as here"
    assert compared(other, one, way)[1] is None
    mirrored = replace(other, stored=np.flip(other.stored, _across(other)))
    assert compared(mirrored, one, way)[1] is not None


def _with_cavity(volume: Volume, centre: np.ndarray) -> Volume:
    """Dark fluid in a ball 48 mm wide."""
    affine, shape = volume.grid.affine, volume.grid.shape
    points = affine[:3, :3] @ np.indices(shape).reshape(3, -1) + affine[:3, 3:]
    away = np.linalg.norm(points - centre[:, None], axis=0).reshape(shape)
    fluid = np.percentile(volume.stored[volume.stored > volume.stored.max() * 0.1], 2)
    return replace(volume, stored=np.where(away < 24, fluid, volume.stored))


def test_thick_slices_that_were_resampled_to_2_mm_are_not_taken_for_another_head(
    flair: Volume, real_data: RealData
) -> None:
    t1 = read_nifti(real_data("longitudinal") / "ms01" / "study1_t1.nii.gz", Modality.T1)
    one, other = (_at_2_mm(volume) for volume in (flair, t1))
    assert check_belongs(one, other, _best(one, other)).sharpness < 0.5


def test_thin_slices_of_two_brains_in_one_template_s_frame_are_told_apart(
    real_data: RealData,
) -> None:
    folder = real_data("brains")
    t1, t2 = (
        read_nifti(folder / "ms07" / f"{name}.nii.gz", Modality(name)) for name in ("t1", "t2")
    )
    other = read_nifti(folder / "ms26" / "t2.nii.gz", Modality.T2)
    assert check_belongs(t2, t1, STILL).sharpness > 0.7
    with pytest.raises(RegistrationFailed):
        check_belongs(other, t1, STILL)


def test_a_mirrored_series_is_refused(flair: Volume, t2: Volume) -> None:
    mirrored = replace(t2, stored=np.ascontiguousarray(np.flip(t2.stored, _across(t2))))
    with pytest.raises(RegistrationFailed, match="not mirrored"):
        check_belongs(mirrored, flair, _best(mirrored, flair))


def test_a_series_that_ended_in_a_wrong_place_is_refused(flair: Volume, t2: Volume) -> None:
    for shift in np.diag([12.0, 12.0, 12.0]):
        wrong = RigidTransform.of_rotation(np.zeros(3), shift, np.zeros(3))
        with pytest.raises(RegistrationFailed):
            check_belongs(t2, flair, wrong)


def test_a_slab_that_shows_little_of_the_head_is_refused(flair: Volume, t2: Volume) -> None:
    axis = _across(t2)
    some = [slice(None)] * 3
    some[axis] = slice(0, t2.stored.shape[axis] * 2 // 5)
    stored = np.ascontiguousarray(t2.stored[tuple(some)])
    slab = replace(t2, stored=stored, grid=Grid(stored.shape, t2.grid.affine))
    with pytest.raises(RegistrationFailed, match=r"t2: it shows \d+% of the middle"):
        check_belongs(slab, flair, STILL)


def test_the_upper_half_of_the_same_head_is_refused_however_well_it_fits(
    flair: Volume, t2: Volume
) -> None:
    grid = t2.grid.canonical()
    view = t2.grid.orientation.view(t2.stored)
    middle = view.shape[2] // 2
    step = np.eye(4)
    step[2, 3] = middle
    stored = np.ascontiguousarray(view[:, :, middle:])
    half = replace(t2, stored=stored, grid=Grid(stored.shape, grid.affine @ step))
    with pytest.raises(RegistrationFailed, match=r"t2: it shows \d+% of the middle"):
        check_belongs(half, flair, STILL)


def test_a_knee_is_refused(flair: Volume) -> None:
    """Two shafts with marrow and a joint between them, in soft tissue, with noise."""
    x, y, z = (np.indices((80, 80, 80)) - 40.0) * 2
    soft, shaft = np.hypot(x, y) < 70, np.hypot(x, y) < 25 + 20 * np.exp(-((z / 30) ** 2))
    image = 300.0 * soft + 500 * (shaft & (np.abs(z) > 4))
    image += np.random.default_rng(0).normal(0, 10, image.shape)
    affine = np.diag([2.0, 2, 2, 1])
    middle = flair.grid.affine @ [*(np.array(flair.grid.shape) / 2), 1]
    affine[:3, 3] = middle[:3] - 80
    grid = Grid((80, 80, 80), affine)
    knee = Volume(Modality.T2, image.astype(np.float32), 1, 0, grid, SpatialHeader({}), "sha256:0")
    with pytest.raises(RegistrationFailed):
        check_belongs(knee, flair, _best(knee, flair))


def test_an_empty_reference_fits_nothing(t2: Volume) -> None:
    empty = replace(t2, stored=np.zeros_like(t2.stored), slope=1.0, intercept=0.0)
    assert match(t2, empty, STILL).covered == 0
