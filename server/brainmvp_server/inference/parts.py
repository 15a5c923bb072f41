"""The connected parts of a structure, each measured: of a lesion model, its lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.grid import Affine, Box, Grid, Shape, carried
from brainmvp_server.inference.brain_surface import Brain, PointCloud
from brainmvp_server.inference.connected import connected
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


@dataclass(frozen=True, eq=False)
class Components:
    """All connected parts (26 neighbours) of a mask, numbered from 1 by size, the largest first.

    Attributes:
        numbers: (i, j, k), the number of the part that each voxel is of, 0 outside.
        voxels: of each part, in the order of their numbers.
        start: where on the grid the box of ``numbers`` begins.
    """

    numbers: NDArray[np.int32]
    voxels: tuple[int, ...]
    boxes: tuple[Box, ...]
    start: Shape
    grid: Grid

    @classmethod
    def of(cls, mask: Mask, start: Shape, grid: Grid) -> Components:
        """Those of a mask.

        Args:
            mask: (i, j, k): a box cut out of the grid.
            start: where on the grid the box begins.
        """
        labels, count = connected(mask)
        found = cc3d.statistics(labels, no_slice_conversion=True)
        counts = found["voxel_counts"].astype(np.int64)
        order = np.argsort(-counts[1:], kind="stable") + 1
        numbers = np.zeros(count + 1, dtype=np.int32)
        numbers[order] = np.arange(1, count + 1)
        boxes = []
        for one in order:
            a, b, c, d, e, f = (int(end) for end in found["bounding_boxes"][one])
            boxes.append(Box((a, c, e), (b + 1, d + 1, f + 1)))
        return cls(
            numbers[labels], tuple(int(counts[one]) for one in order), tuple(boxes), start, grid
        )

    def volume_ml(self, number: int) -> float:
        """The volume of a part."""
        return round(self.voxels[number - 1] * self.grid.voxel_ml, 6)

    def centre(self, number: int) -> Point:
        """The mean of a part's voxels' centres in mm, R-A-S."""
        box = self.boxes[number - 1]
        inside = np.asarray(self.numbers[box.slices] == number)
        return centroid_of(inside, box.shifted(self.start).start, self.grid)

    def part(self, number: int, brain: Brain | None) -> Part:
        """One of them, measured."""
        box = self.boxes[number - 1]
        inside = np.asarray(self.numbers[box.slices] == number)
        return _part(number, inside, box.shifted(self.start).start, self.grid, brain)


def parts_of(
    mask: Mask, start: Shape, grid: Grid, brain: Brain | None
) -> tuple[tuple[Part, ...], int]:
    """The largest parts, by size, and how many parts there are.

    Args:
        mask: (i, j, k): a box cut out of the grid.
        start: where on the grid the box begins.
    """
    found = Components.of(mask, start, grid)
    kept = [
        number
        for number in range(1, min(len(found.voxels), MOST_PARTS) + 1)
        if number == 1 or found.volume_ml(number) >= SMALLEST_PART_ML
    ]
    return tuple(found.part(number, brain) for number in kept), len(found.voxels)


def _part(number: int, mask: Mask, start: Shape, grid: Grid, brain: Brain | None) -> Part:
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


def centroid_of(mask: Mask, start: Shape, grid: Grid) -> Point:
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
