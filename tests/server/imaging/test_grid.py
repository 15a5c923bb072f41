"""Grids against nibabel, over random orientations, rotations and spacings."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from brainmvp_server.imaging.grid import Box, Grid, bounding_box
from brainmvp_server.inference.postprocess import voxels_of
from brainmvp_server.inference.resample import resampled_length

ANGLES = st.floats(-0.7, 0.7)
SPACING = st.floats(0.4, 6.0)


def rotation(x: float, y: float, z: float) -> NDArray[np.float64]:
    turn = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        c, s = np.cos(angle), np.sin(angle)
        step = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        step[i, i], step[i, j], step[j, i], step[j, j] = c, -s, s, c
        turn = turn @ step
    return turn


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Any axis order, any flips, any rotation, any spacing; no shear."""
    order = draw(st.permutations(range(3)))
    signs = np.array(draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3)))
    axes = np.eye(3)[:, order] * signs
    turn = rotation(draw(ANGLES), draw(ANGLES), draw(ANGLES))
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes * np.array(draw(st.tuples(SPACING, SPACING, SPACING)))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    shape = draw(st.tuples(*[st.integers(2, 9)] * 3))
    return Grid(shape, affine)


@given(grids())
@settings(deadline=None)
def test_canonical_axes_are_nibabels_so_left_and_right_never_swap(grid: Grid) -> None:
    voxels = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    closest = nib.as_closest_canonical(nib.Nifti1Image(voxels.astype(np.int32), grid.affine))
    canonical = grid.canonical()
    assert canonical.shape == closest.shape
    np.testing.assert_allclose(canonical.affine, closest.affine, atol=1e-9)
    np.testing.assert_array_equal(grid.orientation.view(voxels), np.asarray(closest.dataobj))


@given(grids())
@settings(deadline=None)
def test_spacing_volume_and_skew_follow_from_the_affine(grid: Grid) -> None:
    np.testing.assert_allclose(grid.spacing, nib.affines.voxel_sizes(grid.affine))
    assert grid.voxel_ml == pytest.approx(np.prod(grid.spacing) / 1000)
    assert grid.skew_degrees == pytest.approx(0, abs=1e-4)


def test_writing_through_the_view_writes_the_native_array() -> None:
    grid = Grid((3, 4, 5), np.diag([-1.0, 1, -2, 1]))
    native = np.zeros(grid.shape)
    grid.orientation.view(native)[0, 0, 0] = 1
    assert native[2, 0, 4] == 1


def test_skew_is_measured_where_axes_are_not_at_right_angles() -> None:
    affine = np.eye(4)
    affine[0, 1] = np.tan(np.radians(10))
    assert Grid((4, 4, 4), affine).skew_degrees == pytest.approx(10, abs=0.01)


def test_distance_is_that_of_the_furthest_corner() -> None:
    grid = Grid((11, 11, 11), np.eye(4))
    moved, grown = np.eye(4), np.diag([1.1, 1, 1, 1])
    moved[:3, 3] = (3, 4, 0)
    assert grid.distance(Grid((11, 11, 11), moved)) == pytest.approx(5)
    assert grid.distance(Grid((11, 11, 11), grown)) == pytest.approx(1)


@given(st.integers(0, 2**32 - 1), st.sampled_from("CF"), st.floats(0, 0.05))
@settings(deadline=None)
def test_bounding_box_equals_the_naive_one_in_any_memory_order(
    seed: int, order: str, density: float
) -> None:
    mask = np.random.default_rng(seed).random((7, 5, 9)) < density
    box = bounding_box(np.asarray(mask, order=order))
    hits = np.argwhere(mask)
    if len(hits) == 0:
        assert box is None
    else:
        assert box == Box(tuple(hits.min(0).tolist()), tuple((hits.max(0) + 1).tolist()))


@pytest.mark.parametrize("bits", [-2e-7, -1e-7, 1e-7, 2e-7])
@pytest.mark.parametrize("length", [140, 146, 512])
def test_the_last_bit_of_a_spacing_changes_no_grid_and_no_smallest_part(
    bits: float, length: int
) -> None:
    grid, other = (Grid((length,) * 3, np.diag([s, s, s, 1.0])) for s in (1.0, 1 + bits))
    assert grid.nominal_spacing == other.nominal_spacing
    assert voxels_of(0.5, other.voxel_ml) == voxels_of(0.5, grid.voxel_ml) == 500
    # The extent lies halfway between two voxels of 2 mm.
    assert resampled_length(length, 1 + bits, 2) == resampled_length(length, 1, 2)
