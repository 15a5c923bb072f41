"""Bring a volume onto another grid.

Linear interpolation in scanner coordinates; nothing is registered. Where the axes of the two grids
agree, up to flips and permutations, one axis is interpolated after the other; otherwise eight
neighbours are weighted, slab by slab.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import GridMismatch
from brainmvp_server.imaging.grid import Affine, Grid
from brainmvp_server.imaging.volume import Volume

_ALIGNED = 1e-4
"""Cosines smaller than this do not turn an axis: 0.03 mm over 256 voxels of 1 mm."""
_LITTLE = 0.5

Array = NDArray[np.float32]


def resampled(volume: Volume, onto: Volume) -> Volume:
    """The volume on the grid of another one; voxels that it does not reach are 0, and known so.

    Raises:
        GridMismatch: the two do not overlap.
    """
    image, covered = interpolated(volume.values(volume.stored), volume.grid, onto.grid)
    if not covered or image.min() == image.max():
        raise GridMismatch(
            f"it does not overlap {onto.modality}",
            remedy="Send series of one region",
            subject=volume.modality.value,
        )
    notes = [f"{volume.modality}: resampled onto the grid of {onto.modality}"]
    if covered < _LITTLE:
        notes.append(f"{volume.modality}: it covers {covered:.0%} of {onto.modality} only")
    return replace(
        volume,
        stored=image,
        slope=1.0,
        intercept=0.0,
        grid=onto.grid,
        header=onto.header,
        warnings=(*volume.warnings, *notes),
        field_of_view=volume.grid if covered < 1 else None,
    )


def interpolated(
    values: Array, old: Grid, new: Grid, across: Affine | None = None
) -> tuple[Array, float]:
    """Values (i, j, k) of one grid at the voxels of another, by one linear interpolation.

    Args:
        across: (4, 4), takes a point of the new grid's world, R-A-S mm, to the old one's; None
            where both lie in one world.

    Returns:
        The values, 0 where the old grid does not reach, and the share of voxels that it reaches.
    """
    world = new.affine if across is None else across @ new.affine
    step = np.linalg.inv(old.affine) @ world
    lines = _lines(step, old, new)
    return _oblique(values, step, new) if lines is None else _separable(values, lines)


@dataclass(frozen=True, eq=False)
class _Line:
    """One axis of the new grid: the old axis it runs along, and where its voxels lie on it."""

    axis: int
    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    weight: Array
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, axis: int, places: NDArray[np.float64], length: int) -> _Line:
        lower, upper, weight, inside = _neighbours(places, length)
        return cls(axis, lower, upper, weight, inside)


def _neighbours(
    places: NDArray[np.float64], length: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], Array, NDArray[np.bool_]]:
    """The two voxels around each place, the weight of the upper one, and whether it is inside.

    Inside reaches to the outer edges of the outer voxels, half a voxel past their centres.
    """
    inside = (places >= -0.5) & (places <= length - 0.5)
    clipped = np.clip(places, 0, length - 1)
    lower = np.floor(clipped).astype(np.intp)
    return lower, np.minimum(lower + 1, length - 1), (clipped - lower).astype(np.float32), inside


def _lines(step: NDArray[np.float64], old: Grid, new: Grid) -> list[_Line] | None:
    """The new grid's axes along the old one's; None where they are oblique to each other."""
    linear = step[:3, :3] * np.asarray(old.spacing)[:, None] / np.asarray(new.spacing)
    axes = np.abs(linear).argmax(axis=0)
    rest = linear.copy()
    rest[axes, np.arange(3)] = 0
    if len(set(axes.tolist())) < 3 or np.abs(rest).max() > _ALIGNED:
        return None
    lines = []
    for column, axis in enumerate(axes.tolist()):
        places = step[axis, column] * np.arange(new.shape[column]) + step[axis, 3]
        lines.append(_Line.of(axis, places, old.shape[axis]))
    return lines


def _separable(values: Array, lines: list[_Line]) -> tuple[Array, float]:
    # The axis that shrinks most comes first, so that the rest is less work.
    for line in sorted(lines, key=lambda one: one.lower.size / values.shape[one.axis]):
        shape = [1, 1, 1]
        shape[line.axis] = -1
        below = np.take(values, line.lower, axis=line.axis)
        above = np.take(values, line.upper, axis=line.axis)
        above -= below
        above *= line.weight.reshape(shape)
        below += above
        values = below
    values = values.transpose([line.axis for line in lines])
    covered = 1.0
    for column, line in enumerate(lines):
        shape = [1, 1, 1]
        shape[column] = -1
        values *= line.inside.reshape(shape)
        covered *= float(line.inside.mean())
    return np.asfortranarray(values), covered


def _oblique(values: Array, step: NDArray[np.float64], new: Grid) -> tuple[Array, float]:
    image = np.zeros(new.shape, dtype=values.dtype, order="F")
    flat = np.ascontiguousarray(values).ravel()
    strides = (values.shape[1] * values.shape[2], values.shape[2], 1)
    i, j = np.arange(new.shape[0])[:, None], np.arange(new.shape[1])[None, :]
    covered = 0
    for k in range(new.shape[2]):
        corners: list[tuple[Any, Any, Array]] = []
        inside = np.ones(new.shape[:2], dtype=bool)
        for axis in range(3):
            places = step[axis, 0] * i + step[axis, 1] * j + (step[axis, 2] * k + step[axis, 3])
            lower, upper, weight, within = _neighbours(places, values.shape[axis])
            corners.append((lower * strides[axis], upper * strides[axis], weight))
            inside &= within
        covered += int(np.count_nonzero(inside))
        image[:, :, k] = _weighted(flat, corners) * inside
    return image, covered / float(np.prod(new.shape))


def _weighted(flat: Array, corners: list[tuple[Any, Any, Array]]) -> Array:
    """Values between eight neighbours: along the third axis, then the second, then the first."""
    (x0, x1, wx), (y0, y1, wy), (z0, z1, wz) = corners

    def between(start: Any) -> Array:
        near, far = flat[start + z0], flat[start + z1]
        along: Array = near + (far - near) * wz
        return along

    sides = [(low := between(x + y0)) + (between(x + y1) - low) * wy for x in (x0, x1)]
    mixed: Array = sides[0] + (sides[1] - sides[0]) * wx
    return mixed
