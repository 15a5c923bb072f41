"""One interpolation each way: what lies at a millimetre comes to it, and comes home."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_models.errors import GridMismatch
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Affine, Grid
from brainmvp_server.imaging.nifti import spatial_header
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.preparation.resample import Array, brought, returned
from brainmvp_server.preparation.rigid import RigidTransform
from dicom_studies import affine_for

CENTRE = np.array([3.0, -7.0, 11.0])
STILL = RigidTransform.identity()
SLOPES, OFFSET = np.array([0.7, -1.3, 2.1]), 500.0

PLANES = st.sampled_from(["axial", "coronal", "sagittal", "oblique"])
ANGLES = st.tuples(*[st.floats(-40, 40)] * 3)
SHIFTS = st.tuples(*[st.floats(-15, 15)] * 3)


def _grid(
    plane: str, shape: tuple[int, int, int], spacing: tuple[float, ...], reverse: bool = False
) -> Grid:
    affine = affine_for(plane, spacing, shape, reverse=reverse, centre=tuple(CENTRE))  # type: ignore[arg-type]
    return Grid(shape, affine)


def _rigid(degrees: tuple[float, ...], shift: tuple[float, ...]) -> RigidTransform:
    """Turns about the centre of the grids, then moves."""
    return RigidTransform.of_rotation(np.array(degrees), np.array(shift), CENTRE)


def _world(grid: Grid, across: Affine | None = None) -> np.ndarray:
    """(3, X, Y, Z): where the voxels lie, in another world if asked to."""
    whole = grid.affine if across is None else across @ grid.affine
    index = np.indices(grid.shape).reshape(3, -1)
    return (whole[:3, :3] @ index + whole[:3, 3:]).reshape(3, *grid.shape)


def _volume(grid: Grid) -> Volume:
    """A volume whose value is a linear function of the place, which linear interpolation keeps."""
    values = (np.tensordot(SLOPES, _world(grid), 1) + OFFSET).astype(np.float32)
    return Volume(Modality.FLAIR, values, 1.0, 0.0, grid, spatial_header(grid.affine), "sha256:0")


def _ball(grid: Grid, middle: np.ndarray, radius: float) -> Array:
    away = np.linalg.norm(_world(grid) - middle[:, None, None, None], axis=0)
    return (away < radius).astype(np.float32)


@given(plane=PLANES, flip=st.booleans(), degrees=ANGLES, shift=SHIFTS)
@settings(deadline=None, max_examples=40)
def test_a_series_that_was_moved_is_read_where_the_matrix_says(
    plane: str, flip: bool, degrees: tuple[float, ...], shift: tuple[float, ...]
) -> None:
    series = _volume(_grid(plane, (50, 48, 24), (2.0, 2.5, 5.0), flip))
    target = _grid("axial", (12, 14, 10), (1.5, 1.0, 2.0))
    matrix = _rigid(degrees, shift)
    moved = brought(series, target, spatial_header(target.affine), matrix)
    there = np.tensordot(SLOPES, _world(target, matrix.matrix), 1) + OFFSET
    assert moved.grid is target and moved.field_of_view is None
    np.testing.assert_allclose(moved.stored, there, atol=2e-2)


@given(native=PLANES, shared=PLANES, flip=st.booleans(), degrees=ANGLES, shift=SHIFTS)
@settings(deadline=None, max_examples=30)
def test_a_lesion_comes_home_to_its_millimetres_from_any_grid_and_turn(
    native: str, shared: str, flip: bool, degrees: tuple[float, ...], shift: tuple[float, ...]
) -> None:
    home = _grid(native, (40, 40, 20), (1.5, 1.5, 4.0), flip)
    away = _grid(shared, (90, 90, 90), (1.0, 1.0, 1.0))
    matrix = _rigid(degrees, shift)
    lesion = _ball(home, CENTRE + np.array([4.0, -3.0, 2.0]), 12.0)
    there, _ = interpolated(lesion, home, away, matrix.matrix)
    back = returned(there, away, home, matrix.inverse) > 0.5
    centres = [_world(home)[:, part].mean(axis=1) for part in (lesion > 0.5, back)]
    assert np.linalg.norm(centres[0] - centres[1]) < 0.5
    edge = np.argwhere(back != (lesion > 0.5))
    inside = np.argwhere(lesion > 0.5)
    away_from_edge = [np.abs(inside - voxel).max(axis=1).min() for voxel in edge]
    assert max(away_from_edge, default=0) <= 1
    assert 2 * (back & (lesion > 0.5)).sum() / (back.sum() + (lesion > 0.5).sum()) > 0.9


@given(plane=PLANES, degrees=ANGLES, shift=SHIFTS, side=st.integers(0, 16))
@settings(deadline=None, max_examples=30)
def test_only_working_where_there_is_something_changes_no_probability(
    plane: str, degrees: tuple[float, ...], shift: tuple[float, ...], side: int
) -> None:
    grid, target = (
        _grid(plane, (20, 22, 18), (2.0, 2.0, 3.0)),
        _grid("axial", (40, 38, 20), (2, 2, 3.0)),
    )
    probability = np.zeros(grid.shape, np.float32)
    probability[side : side + 4, :6, 3:9] = 0.7
    matrix = _rigid(degrees, shift)
    whole, _ = interpolated(probability, grid, target, matrix.matrix)
    part = returned(probability, grid, target, matrix)
    np.testing.assert_allclose(part, whole, atol=1e-5)


def test_where_probabilities_do_not_reach_there_is_nothing() -> None:
    grid, target = (
        _grid("axial", (10, 10, 10), (2.0, 2.0, 2.0)),
        _grid("axial", (10, 10, 10), (2, 2, 2.0)),
    )
    far = _rigid((0, 0, 0), (500, 0, 0))
    assert not returned(np.ones(grid.shape, np.float32), grid, target, far).any()
    assert not returned(np.zeros(grid.shape, np.float32), grid, target, STILL).any()


def test_outside_the_brain_a_brought_series_is_zero_and_inside_it_is_kept() -> None:
    series = _volume(_grid("axial", (30, 30, 20), (2.0, 2.0, 3.0)))
    target = _grid("axial", (16, 16, 12), (2.0, 2.0, 2.0))
    brain = _ball(target, CENTRE, 9.0) > 0
    plain = brought(series, target, spatial_header(target.affine), STILL)
    masked = brought(series, target, spatial_header(target.affine), STILL, brain)
    assert not masked.stored[~brain].any()
    np.testing.assert_array_equal(masked.stored[brain], plain.stored[brain])


def test_a_series_that_reaches_a_part_says_which_in_the_shared_world() -> None:
    series = _volume(_grid("axial", (20, 20, 4), (2.0, 2.0, 3.0)))
    target = _grid("axial", (16, 16, 16), (2.0, 2.0, 3.0))
    matrix = _rigid((0, 0, 90), (0, 0, 0))
    reach = brought(series, target, spatial_header(target.affine), matrix).field_of_view
    assert reach is not None and reach.shape == series.grid.shape
    np.testing.assert_allclose(matrix.matrix @ reach.affine, series.grid.affine, atol=1e-9)


def test_a_series_of_another_place_is_refused_by_name() -> None:
    series = _volume(_grid("axial", (10, 10, 10), (2.0, 2.0, 2.0)))
    target = _grid("axial", (10, 10, 10), (2.0, 2.0, 2.0))
    far = _rigid((0, 0, 0), (500, 0, 0))
    with pytest.raises(GridMismatch, match="flair: it shows nothing"):
        brought(series, target, spatial_header(target.affine), far)
