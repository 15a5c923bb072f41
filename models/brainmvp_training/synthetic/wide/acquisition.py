"""What a scanner and preparation make of a perfect image: slices, misalignment, shading, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from brainmvp_training.synthetic.deformation import rotation
from brainmvp_training.synthetic.fields import Array, blurred, smooth_field
from brainmvp_training.synthetic.wide.bending import sampled
from brainmvp_training.synthetic.wide.heads import VOXEL_MM


@dataclass(frozen=True)
class Acquisition:
    """How one series is taken.

    Attributes:
        gamma: exponent on the image.
        blur: deviation of the point spread, voxels.
        thickness: of a slice, mm; slices touch.
        axis: across the slices.
        tilt: of the slices, radians about the three axes.
        shift, turn: how far the series is off, mm and radians.
        bias: strength of the shading, natural logarithm.
        ghost: brightness of a ghost, and how far off it is along an axis.
        noise: deviation of the Rician noise, where white matter of a T1 is 1.
    """

    gamma: float
    blur: float
    thickness: float
    axis: int
    tilt: tuple[float, float, float]
    shift: tuple[float, float, float]
    turn: tuple[float, float, float]
    bias: float
    ghost: float
    noise: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Acquisition:
        """Half of the series have slices thicker than 2 mm, up to 6; two of three are off."""
        thick = rng.random() < 0.5
        off = rng.random() < 0.67
        direction = rng.normal(0, 1, 3)
        reach = rng.uniform(0, 2) * off / max(float(np.linalg.norm(direction)), 1e-6)
        return cls(
            gamma=float(np.exp(rng.normal(0, 0.12))),
            blur=float(rng.uniform(0, 0.5)),
            thickness=float(rng.uniform(2.5, 6) if thick else rng.uniform(1, 2)),
            axis=int(rng.choice((2, 2, 2, 1, 0))),
            tilt=_triple(rng.normal(0, 0.12, 3) * thick),
            shift=_triple(direction * reach),
            turn=_triple(rng.normal(0, 0.01, 3) * off),
            bias=float(rng.uniform(0, 0.25)),
            ghost=float(rng.uniform(0.03, 0.12)) if rng.random() < 0.1 else 0.0,
            noise=float(rng.uniform(0.005, 0.06)),
        )

    def of(self, image: Array, rng: np.random.Generator) -> Array:
        """The series (X, Y, Z) that is had of a perfect one."""
        image = np.power(np.maximum(image, 0), np.float32(self.gamma))
        if self.blur > 0.25:
            image = blurred(image, self.blur)
        image = self._sliced(image)
        image = image * np.exp(np.float32(self.bias) * smooth_field(image.shape, 30, rng))
        if self.ghost:
            axis = int(rng.integers(3))
            by = int(image.shape[axis] * rng.uniform(0.2, 0.5))
            image = image + np.float32(self.ghost) * np.roll(image, by, axis)
        real = image + np.float32(self.noise) * rng.standard_normal(image.shape, dtype=np.float32)
        other = np.float32(self.noise) * rng.standard_normal(image.shape, dtype=np.float32)
        series: Array = np.hypot(real, other)  # a magnitude image: noise is Rician
        return series

    def _sliced(self, image: Array) -> Array:
        """Thick slices in their own plane, then back onto the grid, a little off."""
        tilt = rotation(np.asarray(self.tilt))
        back = rotation(np.asarray(self.turn)) @ tilt.T
        if self.thickness > VOXEL_MM:
            image = _resampled(image, tilt, (0, 0, 0))
            image = slices(image, self.axis, self.thickness / VOXEL_MM)
        elif not any(self.shift):
            return image
        return _resampled(image, back, self.shift)


def slices(image: Array, axis: int, thickness: float) -> Array:
    """``image`` as touching slices of ``thickness`` voxels show it, interpolated back.

    Each slice is the mean over its thickness, also where that is no whole number of voxels.
    """
    n = image.shape[axis]
    count = int(np.ceil(n / thickness))
    edges = np.arange(count + 1) * float(thickness)
    voxels = np.arange(n)
    low = np.maximum(edges[:-1, None], voxels[None])
    high = np.minimum(edges[1:, None], voxels[None] + 1)
    means = np.maximum(high - low, 0)
    means /= means.sum(axis=1, keepdims=True)
    place = np.clip((voxels + 0.5) / thickness - 0.5, 0, count - 1)
    spread = np.maximum(1 - np.abs(place[:, None] - np.arange(count)[None]), 0)
    matrix = (spread @ means).astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(np.tensordot(matrix, image, (1, axis)), 0, axis))


def _resampled(image: Array, linear: NDArray[np.float64], shift: tuple[float, ...]) -> Array:
    """The image turned about its centre, then moved by ``shift`` mm."""
    turned: Array = sampled(image[None], _rigid_grid(image.shape, linear, shift))[0]
    return turned


def _rigid_grid(
    shape: tuple[int, ...], linear: NDArray[np.float64], shift: tuple[float, ...]
) -> Tensor:
    size = np.array(shape, np.float64) - 1
    # In grid_sample's units, where each axis reaches from -1 to 1, in the order z, y, x.
    scaled = linear * size[None, :] / size[:, None]
    moved = np.asarray(shift) / VOXEL_MM * 2 / size
    theta = np.concatenate((scaled[::-1, ::-1], moved[::-1, None]), axis=1)
    tensor = torch.from_numpy(np.ascontiguousarray(theta, np.float32))
    return F.affine_grid(tensor[None], [1, 1, *shape], align_corners=True)[0]


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
