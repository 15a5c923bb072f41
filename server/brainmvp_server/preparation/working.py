"""Images at a working resolution: what two series are compared by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.grid import Affine
from brainmvp_server.imaging.volume import Volume

Array = NDArray[np.float32]

_DARK, _BRIGHT = 1.0, 99.5
"""Percentiles that intensities are cut off at: a few bright voxels would fill the histogram."""
_BINS = 32
_HEAD = 0.15
"""Head is what is brighter than this share of the bright end, for the centre of mass alone."""


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
    def bins(self) -> NDArray[np.int64]:
        """Each voxel's bin of a joint histogram, flat."""
        return np.minimum((self.voxels * _BINS).astype(np.int64), _BINS - 1).ravel()

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """(N, 3), where each voxel lies, in mm; in the order of :attr:`bins`."""
        indices = np.indices(self.voxels.shape).reshape(3, -1).T
        return indices @ self.affine[:3, :3].T + self.affine[:3, 3]

    def looked_up(self, points: NDArray[np.float64]) -> Array:
        """(N,), the values at points in mm, linearly; beyond the image it is dark."""
        inverse = np.linalg.inv(self.affine)
        places = points @ inverse[:3, :3].T + inverse[:3, 3]
        shape = np.array(self.voxels.shape)
        base = np.floor(places).astype(np.int64)
        share = (places - base).astype(np.float32)
        padded = np.ascontiguousarray(np.pad(self.voxels, 1))
        base = np.clip(base + 1, 0, shape)
        sx, sy = padded.strides[0] // 4, padded.strides[1] // 4
        flat, first = padded.ravel(), base[:, 0] * sx + base[:, 1] * sy + base[:, 2]
        inside = ((places > -1) & (places < shape)).all(axis=1)
        out = np.zeros(len(points), np.float32)
        x, y, z = share.T
        for dx in (0, 1):
            for dy in (0, 1):
                for dz in (0, 1):
                    weight = (x if dx else 1 - x) * (y if dy else 1 - y) * (z if dz else 1 - z)
                    out += weight * flat[first + dx * sx + dy * sy + dz]
        return np.where(inside, out, np.float32(0))


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


def mutual_information(fixed: NDArray[np.int64], moving: Array) -> float:
    """Normalised mutual information (Studholme 1999), 1 to 2.

    Args:
        fixed: (N,), bins of the one image.
        moving: (N,), values of the other at the same places, 0 to 1.
    """
    bins = np.minimum((moving * _BINS).astype(np.int64), _BINS - 1)
    joint = np.bincount(fixed * _BINS + bins, minlength=_BINS * _BINS).astype(np.float64)
    joint = joint.reshape(_BINS, _BINS) / joint.sum()
    together = _entropy(joint.ravel())
    if together == 0:
        return 1.0
    return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / together


def _entropy(shares: NDArray[np.float64]) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())


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
