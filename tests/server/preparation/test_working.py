"""Images at a working resolution: what lies where stays there."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.volume import SpatialHeader, Volume
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.working import Pyramid, WorkingImage


def _bump(
    spacing: tuple[float, float, float], turn: tuple[float, float, float], centre: np.ndarray
) -> Volume:
    """A smooth bump of 12 mm around a point, on an oblique grid of 110 mm."""
    shape = tuple(int(110 / edge) for edge in spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -55
    affine = RigidTransform.of_rotation(np.array(turn), np.zeros(3), np.zeros(3)).matrix @ affine
    places = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    stored = 1000 * np.exp(-((places - centre) ** 2).sum(axis=-1) / 2 / 12**2)
    grid = Grid((shape[0], shape[1], shape[2]), affine)
    return Volume(Modality.T1, stored.astype(np.int16), 1, 0, grid, SpatialHeader({}), "sha256:0")


ANGLES = st.floats(-180, 180)
NEAR = st.floats(-15, 15)
SPACING = st.floats(0.9, 6)


@given(
    st.tuples(SPACING, SPACING, SPACING),
    st.tuples(ANGLES, ANGLES, ANGLES),
    st.tuples(NEAR, NEAR, NEAR),
)
@settings(deadline=None, max_examples=15)
def test_averaging_moves_nothing_whatever_the_spacing_and_the_axes(
    spacing: tuple[float, float, float],
    turn: tuple[float, float, float],
    centre: tuple[float, float, float],
) -> None:
    image = WorkingImage.of(_bump(spacing, turn, np.array(centre)), 4.0)
    weights = image.voxels.ravel().astype(np.float64)
    middle = (image.points(np.arange(weights.size)) * weights[:, None]).sum(axis=0) / weights.sum()
    np.testing.assert_allclose(middle, centre, atol=1.0)


def test_a_value_is_found_where_its_voxel_lies_and_none_beyond_the_image() -> None:
    image = WorkingImage.of(_bump((2.0, 3.0, 4.0), (10, 20, 30), np.zeros(3)), 1.0)
    every = image.points(np.arange(image.voxels.size))
    here = RigidTransform.identity()
    np.testing.assert_allclose(image.looked_up(here, every), image.voxels.ravel(), atol=0.01)
    assert not image.looked_up(here, every + 500).any()
    elsewhere = RigidTransform.of_rotation(np.array([20.0, 0, 5]), np.ones(3) * 9, np.zeros(3))
    values = image.looked_up(elsewhere, elsewhere.inverse.apply(every))
    np.testing.assert_allclose(values, image.voxels.ravel(), atol=0.01)


def test_what_lies_outside_the_mask_does_not_count() -> None:
    volume = _bump((3.0, 3.0, 3.0), (0, 0, 0), np.zeros(3))
    mask = np.zeros(volume.grid.shape, np.bool_)
    mask[:18] = True
    assert not WorkingImage.of(volume, 3.0, mask).voxels[18:].any()


def test_a_pyramid_gets_coarser_and_makes_each_image_once() -> None:
    pyramid = Pyramid(_bump((1.0, 1.0, 5.0), (0, 0, 0), np.zeros(3)))
    shapes = [image.voxels.shape for image in (pyramid.coarse, pyramid.middle, pyramid.fine)]
    assert shapes == [(18, 18, 22), (27, 27, 22), (55, 55, 22)]
    assert pyramid.fine is pyramid.fine
