"""Series on different grids of one world meet voxel for voxel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_models.errors import GridMismatch
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.align import resampled
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import spatial_header
from brainmvp_server.imaging.volume import Volume
from dicom_studies import affine_for

SLOPES, OFFSET = np.array([0.7, -1.3, 2.1]), 500.0


def volume(grid: Grid, modality: Modality = Modality.FLAIR) -> Volume:
    """A volume whose value is a linear function of the place, which linear interpolation keeps."""
    index = np.indices(grid.shape).reshape(3, -1)
    world = grid.affine[:3, :3] @ index + grid.affine[:3, 3:]
    values = (SLOPES @ world + OFFSET).reshape(grid.shape).astype(np.float32)
    return Volume(modality, values, 1.0, 0.0, grid, spatial_header(grid.affine), "sha256:0")


def grid(
    plane: str, shape: tuple[int, int, int], spacing: tuple[float, ...], reverse: bool
) -> Grid:
    affine = affine_for(plane, spacing, shape, reverse=reverse, centre=(3.0, -7.0, 11.0))  # type: ignore[arg-type]
    return Grid(shape, affine)


PLANES = st.sampled_from(["axial", "coronal", "sagittal", "oblique"])


@given(old=PLANES, new=PLANES, flips=st.tuples(st.booleans(), st.booleans()))
@settings(deadline=None, max_examples=40)
def test_values_at_equal_places_are_equal_whatever_the_two_grids_are(
    old: str, new: str, flips: tuple[bool, bool]
) -> None:
    there = volume(grid(old, (40, 36, 20), (2.0, 2.5, 4.0), flips[0]))
    here = volume(grid(new, (12, 14, 10), (1.5, 1.0, 2.0), flips[1]), Modality.T1)
    moved = resampled(there, here)
    assert moved.grid is here.grid and moved.modality == Modality.FLAIR
    np.testing.assert_allclose(moved.stored, here.stored, atol=2e-2)
    assert "resampled onto the grid of t1" in moved.warnings[0]


def test_what_the_volume_does_not_reach_is_zero_and_told() -> None:
    there = volume(grid("axial", (40, 40, 6), (2.0, 2.0, 4.0), False))
    here = volume(grid("axial", (30, 30, 30), (2.0, 2.0, 4.0), False), Modality.T1)
    moved = resampled(there, here)
    assert (moved.stored[:, :, :12] == 0).all() and (moved.stored[:, :, 18:] == 0).all()
    np.testing.assert_allclose(moved.stored[:, :, 12:18], here.stored[:, :, 12:18], rtol=1e-5)
    assert "covers 20% of t1" in moved.warnings[1]


@pytest.mark.parametrize("plane", ["axial", "oblique"])
def test_volumes_of_two_regions_are_refused(plane: str) -> None:
    here = volume(grid("axial", (10, 10, 10), (1.0, 1.0, 1.0), False), Modality.T1)
    far = grid(plane, (10, 10, 10), (1.0, 1.0, 1.0), False)
    affine = far.affine.copy()
    affine[:3, 3] += 300
    with pytest.raises(GridMismatch, match="does not overlap t1"):
        resampled(volume(replace(far, affine=affine)), here)


def test_stored_integers_are_scaled_before_they_are_mixed() -> None:
    there = volume(grid("axial", (20, 20, 20), (2.0, 2.0, 2.0), False))
    here = volume(grid("axial", (8, 8, 8), (2.0, 2.0, 2.0), False), Modality.T1)
    packed = replace(
        there, stored=np.round(there.stored * 4).astype(np.int16), slope=0.25, intercept=0.0
    )
    np.testing.assert_allclose(resampled(packed, here).stored, here.stored, atol=0.3)
