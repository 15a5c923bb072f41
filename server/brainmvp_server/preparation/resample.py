"""One interpolation each way: series onto a common grid, and the answer back onto any.

Where a series lies, how it was registered and the atlas are matrices; they are multiplied, and the
voxels are interpolated once, linearly, by the product.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import GridMismatch
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Affine, Box, Grid, bounding_box
from brainmvp_server.imaging.volume import SpatialHeader, Volume
from brainmvp_server.preparation.rigid import RigidTransform

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


def brought(
    volume: Volume,
    target: Grid,
    header: SpatialHeader,
    to_volume: RigidTransform,
    brain: Mask | None = None,
) -> Volume:
    """A series on the grid that all series share.

    Args:
        target, header: the shared grid, and the header that says the same.
        to_volume: takes a point of the shared world to the series's.
        brain: (i, j, k) on ``target``; what lies outside becomes 0, after the interpolation.

    Raises:
        GridMismatch: the series does not reach the grid, or not the brain on it.
    """
    image, covered = interpolated(
        volume.values(volume.stored), volume.grid, target, to_volume.matrix
    )
    if brain is not None:
        image = np.where(brain, image, np.float32(0))
    if not covered or image.min() == image.max():
        raise GridMismatch(
            "it shows nothing of the part of the head that the study is brought to",
            remedy="Leave it out, or send a series of the same part",
            subject=volume.modality.value,
        )
    there = to_volume.inverse.matrix
    return replace(
        volume,
        stored=np.asfortranarray(image),
        slope=1.0,
        intercept=0.0,
        grid=target,
        header=header,
        field_of_view=Grid(volume.grid.shape, there @ volume.grid.affine) if covered < 1 else None,
    )


def returned(probability: Array, grid: Grid, target: Grid, to_grid: RigidTransform) -> Array:
    """Probabilities (i, j, k) of one grid at the voxels of another; 0 where they do not reach.

    A threshold comes after it, never before. Only the part of the target that probabilities above
    0 can reach is worked on.

    Args:
        to_grid: takes a point of the target's world to the grid's.
    """
    native = np.zeros(target.shape, dtype=np.float32, order="F")
    some = bounding_box(probability > 0)
    if some is None:
        return native
    # One voxel more on each side: between it and the last voxel above 0 there is something.
    box = _box_on(target, some.grown(1, grid.shape), to_grid.inverse.matrix @ grid.affine)
    if box is None:
        return native
    part = target.cropped(box)
    native[box.slices] = interpolated(probability, grid, part, to_grid.matrix)[0]
    return native


def _box_on(target: Grid, box: Box, world: Affine) -> Box | None:
    """The target's voxels in which a box of another grid can lie; None where there are none.

    Args:
        world: (4, 4), voxels of the other grid to the target's world.
    """
    # Voxels reach half an edge past their centres.
    ends = [(a - 0.5, b - 0.5) for a, b in zip(box.start, box.stop, strict=True)]
    corners = np.array(np.meshgrid(*ends, [1.0], indexing="ij")).reshape(4, -1)
    places = (np.linalg.inv(target.affine) @ world @ corners)[:3]
    start = np.clip(np.floor(places.min(axis=1)), 0, target.shape).astype(int)
    stop = np.clip(np.ceil(places.max(axis=1)) + 1, 0, target.shape).astype(int)
    if (start >= stop).any():
        return None
    return Box(
        (int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2]))
    )
