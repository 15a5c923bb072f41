"""The brain that a result lies in, where one is known: its surface and its halves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.grid import Affine, Grid, bounding_box, carried
from brainmvp_server.inference.diameters import Mask, Points, line_ends

_CELL_MM = 8.0
"""Points of a cloud that lie in a cube of this edge are one group."""


@dataclass(frozen=True, eq=False)
class Brain:
    """A brain mask, and how it lies to a result.

    Attributes:
        mask: (i, j, k) on ``grid``.
        to_result: (4, 4), R-A-S mm of the mask's world to the result's.
        rightward: (3,), in the result's world the unit vector from the left half to the right.
    """

    mask: Mask
    grid: Grid
    to_result: Affine
    rightward: NDArray[np.float64]

    @cached_property
    def surface(self) -> PointCloud:
        """The outer surface in the result's world: where lines along the axes enter and leave.

        Holes inside do not count; nor does the border of the image, where it cuts the brain.
        """
        box = bounding_box(self.mask)
        if box is None:
            return PointCloud(np.empty((0, 3)))
        ends = []
        for axis in range(3):
            places = line_ends(self.mask[box.slices], axis) + box.start
            inside = (places[:, axis] > 0) & (places[:, axis] < self.mask.shape[axis] - 1)
            ends.append(places[inside])
        return PointCloud(carried(np.concatenate(ends), self._affine))

    @cached_property
    def middle(self) -> NDArray[np.float64]:
        """(3,), the mean of the surface, in mm of the result's world."""
        return np.asarray(self.surface.points.mean(axis=0))

    def right_share(self, mask: Mask, affine: Affine) -> float:
        """The share of the true voxels that lie in the right half.

        Args:
            mask: (i, j, k), not empty.
            affine: (4, 4), its indices to mm of the result's world.
        """
        steps = self.rightward @ affine[:3, :3]
        corner = float(self.rightward @ (affine[:3, 3] - self.middle))
        j, k = (np.arange(n) for n in mask.shape[1:])
        plane = corner + steps[1] * j[:, None] + steps[2] * k
        right = sum(
            np.count_nonzero(level & (plane > -steps[0] * i)) for i, level in enumerate(mask)
        )
        return float(right / np.count_nonzero(mask))

    def holds(self, points: Points) -> bool:
        """Whether all of (N, 3) points, in mm of the result's world, lie in its voxels."""
        places = np.rint(carried(points, np.asarray(np.linalg.inv(self._affine)))).astype(np.intp)
        if ((places < 0) | (places >= self.mask.shape)).any():
            return False
        return bool(self.mask[tuple(places.T)].all())

    @property
    def _affine(self) -> Affine:
        return np.asarray(self.to_result @ self.grid.affine)


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points in mm, (N, 3), in groups of near ones."""

    points: Points

    @cached_property
    def groups(self) -> tuple[tuple[Points, ...], Points, NDArray[np.float64]]:
        """The points of each group, the groups' centres (G, 3), and their radii (G,)."""
        cells = np.floor(self.points / _CELL_MM).astype(np.int64)
        cells -= cells.min(axis=0)
        numbers = np.ravel_multi_index(tuple(cells.T), tuple(cells.max(axis=0) + 1))
        order = np.argsort(numbers, kind="stable")
        _, begins, counts = np.unique(numbers[order], return_index=True, return_counts=True)
        points = self.points[order]
        centres = np.add.reduceat(points, begins) / counts[:, None]
        away = np.square(points - np.repeat(centres, counts, axis=0)).sum(axis=1)
        radii = np.sqrt(np.maximum.reduceat(away, begins))
        groups = tuple(np.split(points, begins[1:]))
        return groups, centres, radii

    def distance(self, other: PointCloud) -> float:
        """The smallest distance in mm between a point of one and a point of the other; exact.

        Two groups are nearer than their centres by at most their radii, and farther by no more.
        """
        here, middles, radii = self.groups
        there, others, reaches = other.groups
        apart = np.linalg.norm(middles[:, None] - others[None], axis=2)
        slack = radii[:, None] + reaches[None]
        least, best = apart - slack, float((apart + slack).min())
        near = np.argwhere(least <= best)
        for a, b in near[np.argsort(least[tuple(near.T)])]:
            if least[a, b] > best:
                break
            best = min(best, _nearest(here[a], there[b]))
        return best


def _nearest(here: Points, there: Points) -> float:
    """The smallest distance between two small groups of points."""
    middle = here[0]  # near both, so that squares of differences lose no digits that count
    one, two = here - middle, there - middle
    squares = one @ (-2 * two.T)
    squares += np.square(one).sum(axis=1)[:, None]
    squares += np.square(two).sum(axis=1)
    a, b = np.unravel_index(int(squares.argmin()), squares.shape)
    return float(np.linalg.norm(here[a] - there[b]))
