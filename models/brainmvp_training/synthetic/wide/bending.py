"""New subjects: a random affine, a smooth displacement, and what a growing mass pushes aside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from brainmvp_training.synthetic.deformation import rotation
from brainmvp_training.synthetic.fields import Array, smooth_field
from brainmvp_training.synthetic.wide.heads import VOXEL_MM


@dataclass(frozen=True)
class Push:
    """A mass at ``centre`` (voxels) that moves tissue near it outwards, most at ``radius`` mm."""

    centre: tuple[int, int, int]
    radius: float
    share: float


def subject_grid(
    shape: tuple[int, int, int], rng: np.random.Generator, *, strength: float = 1.0
) -> Tensor:
    """Where each voxel of a new subject comes from: (X, Y, Z, 3), as ``grid_sample`` takes it."""
    angles = rng.normal(0, 0.1, 3) * strength
    linear = rotation(angles) * np.exp(rng.normal(0, 0.07, 3) * strength)
    theta = torch.from_numpy(np.concatenate((linear, np.zeros((3, 1))), axis=1).astype(np.float32))
    grid = F.affine_grid(theta[None], [1, 1, *shape], align_corners=True)[0]
    for axis, n in enumerate(reversed(shape)):
        mm = 6 * smooth_field(shape, 22, rng) + 2 * smooth_field(shape, 8, rng)
        grid[..., axis] += torch.from_numpy(mm * np.float32(strength * 2 / VOXEL_MM / (n - 1)))
    if rng.random() < 0.5:  # left and right are alike
        grid[..., 2] *= -1
    return grid


def pushed(grid: Tensor, push: Push) -> Tensor:
    """The grid with tissue around the mass moved outwards.

    What lies at distance d came from d · (1 - share · exp(-d² / 2 radius²)).
    """
    shape = grid.shape[:3]
    offsets = [
        (torch.arange(n, dtype=torch.float32) - c) for n, c in zip(shape, push.centre, strict=True)
    ]
    x, y, z = torch.meshgrid(*offsets, indexing="ij")
    squares = (x * x + y * y + z * z) * VOXEL_MM**2
    pull = push.share * torch.exp(squares * (-0.5 / push.radius**2))
    # In grid_sample's units: each axis reaches from -1 to 1, in the order z, y, x.
    axes = zip((z, y, x), reversed(shape), strict=True)
    steps = torch.stack([offset * (2 / (n - 1)) for offset, n in axes], dim=-1)
    mirrored = torch.sign(grid[-1, ..., 2].mean() - grid[0, ..., 2].mean())
    steps[..., 2] *= mirrored
    return grid - pull[..., None] * steps


def sampled(maps: NDArray[np.generic], grid: Tensor) -> Array:
    """(C, X, Y, Z) at the grid's places, linear; zero beyond the border."""
    source = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))
    bent: Array = F.grid_sample(source[None], grid[None], align_corners=True)[0].numpy()
    return bent
