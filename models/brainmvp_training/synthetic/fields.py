"""Smooth random fields, and the blur of an imaging system."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

Array = NDArray[np.float32]


def smooth_field(shape: tuple[int, ...], grain: float, rng: np.random.Generator) -> Array:
    """A smooth random field (X, Y, Z), deviation about 1, that changes over ``grain`` voxels."""
    coarse = [max(int(np.ceil(n / grain)) + 2, 3) for n in shape]
    knots = torch.from_numpy(rng.standard_normal((1, 1, *coarse), dtype=np.float32))
    field = F.interpolate(knots, size=list(shape), mode="trilinear", align_corners=True)
    smooth: Array = field[0, 0].numpy()
    return smooth


def blurred(image: Array, deviation: float) -> Array:
    """``image`` (X, Y, Z) under a Gaussian of ``deviation`` voxels, by three short convolutions."""
    reach = np.arange(-2, 3, dtype=np.float32)
    kernel = np.exp(-0.5 * (reach / np.float32(deviation)) ** 2)
    for axis in range(3):
        image = _convolved(image, kernel / kernel.sum(), axis)
    return image


def thick_slices(image: Array, axis: int, thickness: int) -> Array:
    """``image`` (X, Y, Z) as slices of ``thickness`` voxels show it, interpolated back.

    Every slice is the mean over its thickness; slices touch.
    """
    n = image.shape[axis]
    count = -(-n // thickness)
    padded = np.pad(
        image, [(0, count * thickness - n) if a == axis else (0, 0) for a in range(3)], mode="edge"
    )
    shape = list(padded.shape)
    shape[axis : axis + 1] = [count, thickness]
    slices = np.moveaxis(padded.reshape(shape).mean(axis=axis + 1), axis, 0)
    place = np.clip((np.arange(n) - (thickness - 1) / 2) / thickness, 0, count - 1)
    below = np.minimum(place.astype(int), max(count - 2, 0))
    share = (place - below).astype(np.float32).reshape(-1, 1, 1)
    above = np.minimum(below + 1, count - 1)
    mixed = slices[below] * (1 - share) + slices[above] * share
    return np.ascontiguousarray(np.moveaxis(mixed, 0, axis), dtype=np.float32)


def _convolved(image: Array, kernel: Array, axis: int) -> Array:
    shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
    shape[axis + 2], padding[axis] = len(kernel), len(kernel) // 2
    weights = torch.from_numpy(kernel.astype(np.float32)).reshape(shape)
    result: Array = F.conv3d(torch.from_numpy(image)[None, None], weights, padding=padding)[
        0, 0
    ].numpy()
    return result
