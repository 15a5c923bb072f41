"""New subjects from one anatomy: bent as a whole, and with their own tissue borders."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from brainmvp_training.synthetic.anatomy import Anatomy
from brainmvp_training.synthetic.fields import Array, smooth_field


def draw_subject(anatomy: Anatomy, rng: np.random.Generator, *, strength: float = 1.0) -> Anatomy:
    """A new subject: the anatomy bent, its tissue borders displaced, cropped to its brain.

    Args:
        strength: 1 for the usual variety; near 0 the subject resembles the anatomy.
    """
    bent = _deformed(np.concatenate((anatomy.tissue, anatomy.texture[None])), rng, strength)
    tissue, texture = bent[:3], bent[3]
    outside = tissue.sum(axis=0) <= 0.5
    tissue = _displaced_borders(tissue, rng, strength)
    tissue[:, outside] = 0
    texture[outside] = 0
    return Anatomy(tissue, texture).cropped(margin=1)


def _deformed(maps: Array, rng: np.random.Generator, strength: float) -> Array:
    """Resample (C, X, Y, Z) through a random affine and a smooth displacement of some mm."""
    shape = maps.shape[1:]
    angles = rng.normal(0, 0.08, 3) * strength
    linear = rotation(angles) * np.exp(rng.normal(0, 0.06, 3) * strength)
    theta = torch.from_numpy(np.concatenate((linear, np.zeros((3, 1))), axis=1).astype(np.float32))
    grid = F.affine_grid(theta[None], [1, 1, *shape], align_corners=True)
    for axis, n in enumerate(reversed(shape)):
        millimetres = 5 * smooth_field(shape, 40, rng) + 1.5 * smooth_field(shape, 15, rng)
        grid[0, ..., axis] += torch.from_numpy(millimetres * (strength * 2 / (n - 1)))
    if rng.random() < 0.5:  # left and right are alike
        grid[..., 2] *= -1
    bent = F.grid_sample(torch.from_numpy(maps[None]), grid, align_corners=True)
    result: Array = bent[0].numpy()
    return result


def _displaced_borders(tissue: Array, rng: np.random.Generator, strength: float) -> Array:
    """Sharpen soft shares into one subject's own folds.

    Each tissue's log share is shifted by a smooth random field, then the shares are made sharper.
    """
    sharpness = np.float32(rng.uniform(1.5, 4.0))
    logits = np.log(tissue + 1e-3)
    for index in range(len(logits)):
        amplitude = np.float32(strength * rng.uniform(0.2, 1.0))
        logits[index] += amplitude * smooth_field(logits.shape[1:], rng.uniform(3, 6), rng)
    logits *= sharpness
    shares: Array = np.exp(logits - logits.max(axis=0))
    shares /= shares.sum(axis=0)
    return shares


def rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation about the three axes, one after another, by angles in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(x @ y @ z)
