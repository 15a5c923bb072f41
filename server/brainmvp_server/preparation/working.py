"""Images at a working resolution: what two series are compared by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.grid import Affine, carried
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.preparation.rigid import RigidTransform

Array = NDArray[np.float32]

_DARK, _BRIGHT = 1.0, 99.5
"""Percentiles that intensities are cut off at: a few bright voxels would fill the histogram."""
_HEAD = 0.15
"""Head is what is brighter than this share of the bright end: enough to tell where it is."""


@dataclass(frozen=True, eq=False)
class WorkingImage:
    """A series, averaged to voxels no smaller than the working resolution.

    Attributes:
        voxels: (i, j, k), 0 to 1.
        affine: (4, 4), indices to R-A-S millimetres.
    """

    voxels: Array
    affine: Affine

    @classmethod
    def of(cls, volume: Volume, mm: float, mask: NDArray[np.bool_] | None = None) -> WorkingImage:
        """The volume at ``mm`` millimetres or its own, coarser spacing.

        Args:
            mask: (i, j, k); what lies outside is made dark.
        """
        values = volume.values(volume.stored).astype(np.float32)
        if mask is not None:
            values = np.where(mask, values, values.min())
        affine = volume.grid.affine.copy()
        for axis, spacing in enumerate(volume.grid.spacing):
            factor = mm / spacing
            if factor > 1.3 and values.shape[axis] > factor * 4:
                values, affine = _averaged(values, affine, axis, factor)
        low, high = np.percentile(values, (_DARK, _BRIGHT))
        scaled = np.clip((values - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1)
        return cls(scaled.astype(np.float32), affine)

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """(3,), the middle of the grid in mm."""
        middle = (np.array(self.voxels.shape) - 1) / 2
        return np.asarray(self.affine[:3, :3] @ middle + self.affine[:3, 3])

    @cached_property
    def centre_of_mass(self) -> NDArray[np.float64]:
        """(3,), the centre of what is no background, in mm."""
        inside = np.argwhere(self.voxels > _HEAD)
        if not len(inside):
            return self.centre
        return np.asarray(self.affine[:3, :3] @ inside.mean(axis=0) + self.affine[:3, 3])

    @cached_property
    def head(self) -> NDArray[np.float64]:
        """(N, 3), some places of what is no background, in mm; the centre where all is."""
        inside = np.flatnonzero(self.voxels > _HEAD)
        if not len(inside):
            return self.centre[np.newaxis]
        return self.points(inside[:: max(len(inside) // 5000, 1)])

    def points(self, voxels: NDArray[np.intp]) -> NDArray[np.float64]:
        """(N, 3), where voxels lie in mm, given by their places in the flat array."""
        indices = np.stack(np.unravel_index(voxels, self.voxels.shape), axis=1)
        return carried(indices, self.affine)

    def looked_up(self, transform: RigidTransform, points: NDArray[np.float64]) -> Array:
        """(N,), the values where points (N, 3) come to lie, linearly; dark beyond the image.

        Args:
            transform: from the points' world to the image's.
        """
        places = carried(points, self._to_padded @ transform.matrix)
        _, ny, nz = shape = np.array(self.voxels.shape) + 2
        # Whatever lies beyond comes to the dark border, just inside it.
        np.clip(places, 0, shape - 1 - 1e-3, out=places)
        whole = places.astype(np.int32)
        x, y, z = (places - whole).astype(np.float32).T
        i, j, k = whole.T
        first = (i * ny + j) * nz + k

        def edge(offset: int) -> Array:
            low: Array = self._padded.take(first + offset)
            return np.asarray(low + (self._padded.take(first + (offset + 1)) - low) * z)

        def face(offset: int) -> Array:
            low = edge(offset)
            return np.asarray(low + (edge(offset + nz) - low) * y)

        near = face(0)
        values: Array = near + (face(ny * nz) - near) * x
        return values

    @cached_property
    def _padded(self) -> Array:
        """The voxels with a dark border, flat."""
        return np.pad(self.voxels, 1).ravel()

    @cached_property
    def _to_padded(self) -> Affine:
        """(4, 4), millimetres to indices of the padded image."""
        inverse = np.asarray(np.linalg.inv(self.affine), np.float64)
        inverse[:3, 3] += 1
        return inverse


@dataclass(frozen=True, eq=False)
class Pyramid:
    """A series at the resolutions it is registered at, each made once, when it is first needed.

    Attributes:
        volume: the series.
        mask: (i, j, k), the brain, where it is known: what lies outside, such as a jaw that moved,
            does not count.
    """

    volume: Volume
    mask: NDArray[np.bool_] | None = None

    @cached_property
    def coarse(self) -> WorkingImage:
        """6 mm: for a look at many turns."""
        return WorkingImage.of(self.volume, 6.0, self.mask)

    @cached_property
    def middle(self) -> WorkingImage:
        """4 mm: what the starts compete on."""
        return WorkingImage.of(self.volume, 4.0, self.mask)

    @cached_property
    def fine(self) -> WorkingImage:
        """2 mm: for the last millimetre."""
        return WorkingImage.of(self.volume, 2.0, self.mask)


def _averaged(values: Array, affine: Affine, axis: int, factor: float) -> tuple[Array, Affine]:
    """Voxels ``factor`` times as long along an axis, each the mean of what it covers."""
    length = values.shape[axis]
    count = int(length / factor)
    edges = np.arange(count + 1) * factor + (length - count * factor) / 2
    sums = np.cumsum(np.moveaxis(values, axis, 0), axis=0, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(sums[:1]), sums])
    whole = np.minimum(edges.astype(np.int64), length - 1)
    share = (edges - whole)[:, None, None]
    at = sums[whole] * (1 - share) + sums[whole + 1] * share
    means = np.diff(at, axis=0) / factor
    step = np.eye(4)
    step[axis, axis] = factor
    step[axis, 3] = edges[0] + factor / 2 - 0.5
    return np.moveaxis(means, 0, axis).astype(np.float32), affine @ step
