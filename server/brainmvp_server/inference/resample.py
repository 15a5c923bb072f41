"""Linear resampling along the axes of an array.

Model space differs from the R, A, S view of the native grid by a scaling of each axis alone, so
resampling is three small matrix products, one an axis: faster than gathering eight neighbours a
voxel, and done by BLAS.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_HALFWAY = 3
"""Decimals of a voxel that a spacing in float32 tells, over 512 voxels and more."""

Array = NDArray[np.float32]


def resampled_length(length: int, spacing: float, target: float) -> int:
    """Voxels along an axis after resampling; the first voxel stays where it is.

    The published pipeline's rule (MONAI ``compute_shape_offset`` without ``scale_extent``):
    the extent between the first and the last voxel's centre is kept, to the nearest voxel. An
    extent that lies halfway between two is one that does so by the header's float32.
    """
    return int(np.round(round((length - 1) * spacing / target + 1, _HALFWAY)))


def interpolation(
    places: NDArray[np.float64], length: int, *, start: int = 0, stop: int | None = None
) -> Array:
    """The matrix that reads an axis of ``length`` voxels at some places, by linear interpolation.

    Places beyond the axis read its border. Only voxels from ``start`` to ``stop`` are given to the
    matrix; the others count as zero.

    Args:
        places: (M,) fractional voxel indices on the whole axis.
        length: voxels of the whole axis.

    Returns:
        (M, stop - start).
    """
    stop = length if stop is None else stop
    inside = np.clip(places, 0, length - 1)
    below = np.minimum(np.floor(inside).astype(np.intp), length - 1)
    above = np.minimum(below + 1, length - 1)
    share = inside - below
    matrix = np.zeros((len(places), length), dtype=np.float64)
    rows = np.arange(len(places))
    np.add.at(matrix, (rows, below), 1 - share)
    np.add.at(matrix, (rows, above), share)
    return matrix[:, start:stop].astype(np.float32)


def along_axes(volume: Array, matrices: Sequence[Array]) -> Array:
    """Apply one matrix to each axis of (X, Y, Z), the one that shrinks the array most first."""
    order = sorted(range(3), key=lambda axis: matrices[axis].shape[0] / matrices[axis].shape[1])
    for axis in order:
        volume = _along(volume, matrices[axis], axis)
    return volume


def _along(volume: Array, matrix: Array, axis: int) -> Array:
    x, y, z = volume.shape
    volume = np.ascontiguousarray(volume)
    if axis == 0:
        return (matrix @ volume.reshape(x, y * z)).reshape(-1, y, z)
    if axis == 1:
        product: Array = np.matmul(matrix, volume)
        return product
    return (volume.reshape(x * y, z) @ matrix.T).reshape(x, y, -1)
