"""The connected parts of a structure, each measured: of a lesion model, its lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.grid import Affine, Grid, carried
from brainmvp_server.inference.brain_surface import Brain, PointCloud
from brainmvp_server.inference.diameters import Mask, Point, Size, line_ends, size_of

MOST_PARTS = 20
"""So many parts of a structure are measured, the largest ones."""
SMALLEST_PART_ML = 0.01
"""Smaller parts are counted but not measured: a ball of 2.7 mm, of no more than a few voxels. The
largest part is always measured."""
ONE_SIDE = 0.9
"""What lies in one half of the brain by at least this share lies on that side."""

Side = Literal["left", "right", "both"]


@dataclass(frozen=True)
class Part:
    """One connected part (26 neighbours) of a structure.

    Attributes:
        number: 1 for the largest; the number of another result's part says nothing of this one.
        centroid_mm: mean of the voxels' centres, RAS+.
        right_share: how much of it lies in the brain's right half, 0 to 1; None where no brain is
            known.
        to_surface_mm: the smallest distance between its border and the outer surface of the brain,
            0 where it reaches outside; None where no brain is known.
    """

    number: int
    voxels: int
    volume_ml: float
    centroid_mm: Point
    size: Size
    right_share: float | None
    to_surface_mm: float | None

    @property
    def side(self) -> Side | None:
        """The half of the brain it lies in."""
        return side_of(self.right_share)


def side_of(right_share: float | None) -> Side | None:
    """The side of what lies in the right half by a share."""
    if right_share is None:
        return None
    if right_share >= ONE_SIDE:
        return "right"
    return "left" if right_share <= 1 - ONE_SIDE else "both"


def parts_of(
    mask: Mask, start: tuple[int, int, int], grid: Grid, brain: Brain | None
) -> tuple[tuple[Part, ...], int]:
    """The largest parts, by size, and how many parts there are.

    Args:
        mask: (i, j, k): a box cut out of the grid.
        start: where on the grid the box begins.
    """
    labels, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    found = cc3d.statistics(labels, no_slice_conversion=True)
    counts = found["voxel_counts"].astype(np.int64)
    order = [int(one) for one in np.argsort(-counts[1:], kind="stable") + 1]
    kept = [
        one
        for rank, one in enumerate(order[:MOST_PARTS])
        if rank == 0 or counts[one] * grid.voxel_ml >= SMALLEST_PART_ML
    ]
    parts = []
    for number, one in enumerate(kept, start=1):
        ends = [int(end) for end in found["bounding_boxes"][one]]
        slices = tuple(slice(a, b + 1) for a, b in zip(ends[::2], ends[1::2], strict=True))
        inside = np.asarray(labels[slices] == one)
        corner = tuple(a + b for a, b in zip(start, ends[::2], strict=True))
        parts.append(_part(number, inside, (corner[0], corner[1], corner[2]), grid, brain))
    return tuple(parts), int(count)


def _part(
    number: int, mask: Mask, start: tuple[int, int, int], grid: Grid, brain: Brain | None
) -> Part:
    voxels = int(np.count_nonzero(mask))
    right_share = to_surface = None
    if brain is not None and len(brain.surface.points):
        affine = grid.affine.copy()
        affine[:3, 3] += grid.affine[:3, :3] @ start
        right_share = brain.right_share(mask, affine)
        to_surface = round(_depth(mask, affine, brain), 3)
    return Part(
        number=number,
        voxels=voxels,
        volume_ml=round(voxels * grid.voxel_ml, 6),
        centroid_mm=centroid_of(mask, start, grid),
        size=size_of(mask, grid, start),
        right_share=right_share,
        to_surface_mm=to_surface,
    )


def _depth(mask: Mask, affine: Affine, brain: Brain) -> float:
    """The smallest distance in mm between a part's border and the brain's surface.

    What is seen along the axes suffices: from the nearest point of the border, the way to a convex
    surface along the axis that leads there most directly meets no other voxel of the part, for that
    one would be nearer.

    Args:
        affine: (4, 4), the mask's indices to mm.
    """

    def ends(beyond: float) -> NDArray[np.float64]:
        found = np.concatenate([line_ends(mask, axis, beyond) for axis in range(3)])
        return carried(found, affine)

    if not brain.holds(ends(0.0)):
        return 0.0
    return PointCloud(ends(0.5)).distance(brain.surface)


def centroid_of(mask: Mask, start: tuple[int, int, int], grid: Grid) -> Point:
    """The mean of the true voxels' centres in mm, R-A-S.

    Args:
        mask: (i, j, k): a box cut out of the grid.
        start: where on the grid the box begins.
    """
    means = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        weights = np.count_nonzero(mask, axis=others).astype(np.float64)
        means.append(float(np.average(np.arange(mask.shape[axis]), weights=weights)))
    place = grid.affine[:3, :3] @ (np.array(means) + start) + grid.affine[:3, 3]
    x, y, z = (round(float(value), 3) + 0.0 for value in place)
    return x, y, z


def right_share_of(parts: Sequence[Part]) -> float | None:
    """How much of some parts lies in the right half."""
    shares = [(part.right_share, part.voxels) for part in parts if part.right_share is not None]
    if not shares:
        return None
    return float(np.average([share for share, _ in shares], weights=[n for _, n in shares]))
