"""Brain extraction as tools do it: tight or loose, with what they leave and what they cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from brainmvp_training.synthetic.fields import Array, smooth_field
from brainmvp_training.synthetic.wide.heads import BRAIN, VOXEL_MM, Tissue

Mask = NDArray[np.bool_]
_CLOSED_MM = 6


def extracted(shares: Array, rng: np.random.Generator) -> Mask:
    """A brain mask (X, Y, Z) of a head's shares (18, X, Y, Z)."""
    brain = shares[list(BRAIN)].sum(axis=0) + shares[Tissue.FLOWING_CSF] * 0.5 > 0.5
    depth = signed_distance(_closed(brain))
    margin = _margin(rng)
    wavy = float(rng.uniform(0, 1.5)) * smooth_field(depth.shape, 10, rng)
    mask = depth < margin + wavy
    _leave(mask, shares, depth, rng)
    if rng.random() < 0.15:  # a tool that takes CSF for background
        mask &= shares[Tissue.CSF] + shares[Tissue.DURA] < rng.uniform(0.4, 0.8)
    if rng.random() < 0.15:
        mask &= ~_below(depth, brain, rng)
    return mask


def varied(mask: Mask, rng: np.random.Generator) -> Mask:
    """The mask a little tighter or looser, by a smooth field: another series' own."""
    moved: Mask = signed_distance(mask) < rng.uniform(-2, 1) + smooth_field(mask.shape, 10, rng)
    return moved


def signed_distance(mask: Mask) -> Array:
    """Distance in mm to the mask's border, negative inside."""
    outside = distance_transform_edt(~mask, sampling=VOXEL_MM)
    inside = distance_transform_edt(mask, sampling=VOXEL_MM)
    return np.asarray(outside - inside, np.float32)


def _margin(rng: np.random.Generator) -> float:
    """Millimetres beyond the brain without its outer CSF: tight, usual or loose."""
    low, high = ((-3, -0.5), (-0.5, 3), (3, 8))[int(rng.choice(3, p=(0.2, 0.55, 0.25)))]
    return float(rng.uniform(low, high))


def _leave(mask: Mask, shares: Array, depth: Array, rng: np.random.Generator) -> None:
    """What a tool leaves outside the brain: sinuses, and patches of skull base or dura."""
    if rng.random() < 0.35:
        mask |= (shares[Tissue.VESSEL] > 0.3) & (depth < rng.uniform(4, 12))
    if rng.random() < 0.35:
        patch = smooth_field(depth.shape, 12, rng) > rng.uniform(0.3, 1.2)
        low = np.arange(depth.shape[2]) < depth.shape[2] * rng.uniform(0.3, 0.6)
        mask |= patch & low & (depth < rng.uniform(4, 12))
    if rng.random() < 0.2:
        patch = smooth_field(depth.shape, 10, rng) > rng.uniform(0.8, 1.5)
        mask |= patch & (depth < rng.uniform(3, 8))


def _below(depth: Array, brain: Mask, rng: np.random.Generator) -> Mask:
    """What lies under a tilted plane through the brain's lower third."""
    (hits,) = np.nonzero(brain.any(axis=(0, 1)))
    height = hits[0] + (hits[-1] - hits[0]) * rng.uniform(0.03, 0.3)
    tilt = rng.normal(0, 0.25)
    _, y, z = np.ogrid[tuple(slice(n) for n in depth.shape)]
    plane: Mask = np.broadcast_to(z < height + tilt * (y - depth.shape[1] / 2), depth.shape)
    return plane


def _closed(brain: Mask) -> Mask:
    """The brain with its folds and cisterns filled."""
    reach = _CLOSED_MM
    near = distance_transform_edt(~brain, sampling=VOXEL_MM) <= reach
    closed: Mask = distance_transform_edt(near, sampling=VOXEL_MM) > reach
    return closed | brain
