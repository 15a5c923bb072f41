"""Which voxels of a grid lie within another grid's field of view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.grid import Affine, Grid, Shape
from brainmvp_server.imaging.volume import Volume

_EDGE = 0.5 + 1e-6
"""A field of view ends at the outer edges of its outer voxels, but for rounding."""


def measured(volume: Volume) -> NDArray[np.bool_] | None:
    """Where a volume has voxels of its own, (X, Y, Z) along R, A, S; None where everywhere."""
    if volume.field_of_view is None:
        return None
    grid = volume.grid.canonical()
    return within(volume.field_of_view, grid.affine, grid.shape)


def within(field: Grid, affine: Affine, shape: Shape) -> NDArray[np.bool_]:
    """Which of the (X, Y, Z) voxels that an affine places lie within a field of view."""
    step = np.linalg.inv(field.affine) @ affine
    i, j = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    inside = np.ones(shape, dtype=bool, order="F")
    for axis, length in enumerate(field.shape):
        plane = step[axis, 0] * i + step[axis, 1] * j + step[axis, 3]
        for k in range(shape[2]):
            places = plane + step[axis, 2] * k
            inside[:, :, k] &= (places >= -_EDGE) & (places <= length - 1 + _EDGE)
    return inside
