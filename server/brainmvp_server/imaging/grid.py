"""Where voxels lie: shape and affine, orientation, and the boxes cut out of them.

Affines map voxel indices (i, j, k) to millimetres in the RAS+ world of NIfTI and nibabel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Shape = tuple[int, int, int]


def carried(points: NDArray[Any], affine: Affine) -> NDArray[np.float64]:
    """Points (..., 3) by a (4, 4) matrix: indices to mm, or the mm of one world to another's."""
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid of voxels in scanner space.

    Attributes:
        shape: voxels along i, j, k.
        affine: (4, 4), voxel indices to millimetres, RAS+.
    """

    shape: Shape
    affine: Affine

    @cached_property
    def inverse(self) -> Affine:
        """(4, 4), millimetres to voxel indices."""
        return np.asarray(np.linalg.inv(self.affine), np.float64)

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxels along i, j, k."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def nominal_spacing(self) -> tuple[float, float, float]:
        """The spacing as far as a header's float32 tells it: equal for the same study."""
        x, y, z = (round(edge, 6) for edge in self.spacing)
        return x, y, z

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @cached_property
    def skew_degrees(self) -> float:
        """How far the axes are from right angles, in degrees."""
        axes = self.affine[:3, :3] / np.asarray(self.spacing)
        cosines = np.abs(axes.T @ axes - np.eye(3))
        return float(np.degrees(np.arcsin(np.clip(cosines.max(), 0, 1))))

    @property
    def orientation(self) -> Orientation:
        """How the axes must be permuted and flipped to run R, A, S."""
        return Orientation.of(self.affine)

    def canonical(self) -> Grid:
        """The same voxels with axes as close to R, A, S as flips and permutations allow."""
        turn = self.orientation
        shape = tuple(self.shape[axis] for axis in turn.axes)
        step = np.zeros((4, 4))
        step[3, 3] = 1
        for to, (axis, flipped) in enumerate(zip(turn.axes, turn.flips, strict=True)):
            step[axis, to] = -1 if flipped else 1
            step[axis, 3] = self.shape[axis] - 1 if flipped else 0
        return Grid((shape[0], shape[1], shape[2]), self.affine @ step)

    def cropped(self, box: Box) -> Grid:
        """The grid of the voxels in a box."""
        corner = np.eye(4)
        corner[:3, 3] = box.start
        return Grid(box.shape, self.affine @ corner)

    def thinned(self, steps: Sequence[int]) -> Grid:
        """The grid of every n-th voxel along each axis, from the first."""
        x, y, z = (-(-n // step) for n, step in zip(self.shape, steps, strict=True))
        return Grid((x, y, z), self.affine @ np.diag([*steps, 1]))

    def distance(self, other: Grid) -> float:
        """Largest distance in mm between the same corners of two grids of equal shape."""
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], [1], indexing="ij"))
        apart = (self.affine - other.affine)[:3] @ corners.reshape(4, -1)
        return float(np.linalg.norm(apart, axis=0).max())


@dataclass(frozen=True)
class Orientation:
    """A permutation and flips that turn native axes into R, A, S.

    Attributes:
        axes: the native axis that becomes R, A and S.
        flips: whether that axis runs the other way.
    """

    axes: Shape
    flips: tuple[bool, bool, bool]

    @classmethod
    def of(cls, affine: Affine) -> Orientation:
        """The orientation closest to an affine, each world axis getting one voxel axis.

        The assignment goes by the largest direction cosine first, as nibabel's
        ``io_orientation`` does.
        """
        left = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        axes, flips = [0, 0, 0], [False, False, False]
        cosines = np.abs(left)
        for _ in range(3):
            world, axis = np.unravel_index(int(np.argmax(cosines)), (3, 3))
            axes[world], flips[world] = int(axis), bool(left[world, axis] < 0)
            cosines[world, :] = cosines[:, axis] = -1
        return cls((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))

    def view(self, native: NDArray[Any]) -> NDArray[Any]:
        """The R, A, S view of a native (i, j, k) array; writing to it writes to ``native``."""
        turned = native.transpose(self.axes)
        return turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]


@dataclass(frozen=True)
class Box:
    """A half-open box of voxels: ``start`` inclusive, ``stop`` exclusive."""

    start: Shape
    stop: Shape

    @property
    def shape(self) -> Shape:
        """Voxels along each axis."""
        x, y, z = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return x, y, z

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index."""
        x, y, z = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return x, y, z

    def grown(self, margin: int, within: Shape) -> Box:
        """The box with ``margin`` voxels more on every side, but inside an array's shape."""
        start = tuple(max(a - margin, 0) for a in self.start)
        stop = tuple(min(b + margin, n) for b, n in zip(self.stop, within, strict=True))
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def joined(self, other: Box) -> Box:
        """The smallest box that holds both."""
        start = tuple(map(min, self.start, other.start))
        stop = tuple(map(max, self.stop, other.stop))
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def shifted(self, by: Shape) -> Box:
        """The box moved by whole voxels."""
        start = tuple(a + d for a, d in zip(self.start, by, strict=True))
        stop = tuple(b + d for b, d in zip(self.stop, by, strict=True))
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box around the true voxels of a (X, Y, Z) mask; None if there are none."""
    # Reduce along the fastest axis first, whatever the memory order is.
    fast = int(np.argmin(np.abs(mask.strides)))
    flat = np.any(mask, axis=fast)
    if not flat.any():
        return None
    rest = [axis for axis in range(3) if axis != fast]
    ends = {rest[0]: _ends(np.any(flat, axis=1)), rest[1]: _ends(np.any(flat, axis=0))}
    inner = [slice(None)] * 3
    for axis in rest:
        inner[axis] = slice(*ends[axis])
    ends[fast] = _ends(np.any(mask[tuple(inner)], axis=tuple(rest)))
    (a, d), (b, e), (c, f) = (ends[axis] for axis in range(3))
    return Box((a, b, c), (d, e, f))


def _ends(line: Any) -> tuple[int, int]:
    (hits,) = np.nonzero(line)
    return int(hits[0]), int(hits[-1]) + 1
