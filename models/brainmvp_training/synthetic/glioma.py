"""Glioma-like lesions: a necrotic core, an enhancing rim, oedema along the white matter.

Labels are BraTS's: 1 necrotic and non-enhancing core, 2 oedema, 4 enhancing tumour. The lesion
replaces tissue; it does not push it aside (no mass effect).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_training.synthetic.anatomy import Anatomy
from brainmvp_training.synthetic.fields import Array, smooth_field

CORE, OEDEMA, ENHANCING = 1, 2, 4


@dataclass(frozen=True, eq=False)
class Glioma:
    """Where a lesion's parts are, as labels (X, Y, Z); all zero for none."""

    labels: NDArray[np.uint8]

    @property
    def enhancing(self) -> bool:
        """Whether any part takes up contrast agent."""
        return bool((self.labels == ENHANCING).any())

    def part(self, label: int) -> NDArray[np.bool_]:
        """Where one label is."""
        inside: NDArray[np.bool_] = self.labels == label
        return inside


def no_glioma(anatomy: Anatomy) -> Glioma:
    """A healthy brain's."""
    return Glioma(np.zeros(anatomy.shape, np.uint8))


def grow_glioma(anatomy: Anatomy, rng: np.random.Generator, *, enhancing: bool) -> Glioma:
    """Grow one lesion, sometimes two.

    A part is where a distance from the centre, bent by smooth noise, is below its radius: the core
    9 to 26 mm, the rim 2.5 to 6 mm of it, oedema 8 to 24 mm beyond it, less far in grey matter.

    Args:
        enhancing: whether the rim takes up contrast agent; without, core and rim are one label.
    """
    labels = np.zeros(anatomy.shape, np.uint8)
    radius = float(np.clip(rng.lognormal(np.log(16), 0.3), 9, 26))
    foci = [radius] if rng.random() < 0.85 else [radius, radius * float(rng.uniform(0.4, 0.8))]
    for size in foci:
        _add_focus(labels, anatomy, size, rng, enhancing=enhancing)
    return Glioma(labels)


def _add_focus(
    labels: NDArray[np.uint8],
    anatomy: Anatomy,
    radius: float,
    rng: np.random.Generator,
    *,
    enhancing: bool,
) -> None:
    rim, reach = float(rng.uniform(2.5, 6)), float(rng.uniform(8, 24))
    box = _box_around(_centre(anatomy, rng), radius + reach + 12, anatomy.shape)
    inside = anatomy.brain[box.slices]
    distance = _distance(box, radius, rng)
    solid = inside & (distance < radius)
    white = anatomy.tissue[2][box.slices]
    csf = anatomy.tissue[0][box.slices]
    extent = reach * (0.35 + 0.65 * white) * (1 + 0.3 * smooth_field(box.shape, 12, rng))
    swollen = inside & ~solid & (distance < radius + extent) & (csf < 0.5)
    thickness = rim * (1 + 0.4 * smooth_field(box.shape, 8, rng))
    hollow = solid & (distance < radius - thickness)
    part = labels[box.slices]
    part[swollen & (part == 0)] = OEDEMA
    part[solid] = ENHANCING if enhancing else CORE
    part[hollow] = CORE


@dataclass(frozen=True)
class _Box:
    centre: tuple[int, int, int]
    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))


def _box_around(centre: tuple[int, int, int], reach: float, shape: tuple[int, int, int]) -> _Box:
    start = tuple(max(int(c - reach), 0) for c in centre)
    stop = tuple(min(int(c + reach) + 1, n) for c, n in zip(centre, shape, strict=True))
    return _Box(centre, start, stop)


def _centre(anatomy: Anatomy, rng: np.random.Generator) -> tuple[int, int, int]:
    """A voxel in or near white matter, where gliomas begin."""
    candidates = np.flatnonzero(anatomy.tissue[2] > 0.4)
    x, y, z = np.unravel_index(int(rng.choice(candidates)), anatomy.shape)
    return int(x), int(y), int(z)


def _distance(box: _Box, radius: float, rng: np.random.Generator) -> Array:
    """Distance in mm from the centre: an ellipsoid's, bent by coarse and fine noise."""
    squares = np.zeros(box.shape, np.float32)
    for axis, (c, start, n) in enumerate(zip(box.centre, box.start, box.shape, strict=True)):
        along = (np.arange(n, dtype=np.float32) + start - c) * np.float32(
            np.exp(rng.normal(0, 0.2))
        )
        shape = [1, 1, 1]
        shape[axis] = n
        squares += (along**2).reshape(shape)
    noise = 0.3 * smooth_field(box.shape, max(radius * 0.8, 5), rng)
    noise += 0.08 * smooth_field(box.shape, 4, rng)
    bent: Array = np.sqrt(squares) + np.float32(radius) * noise
    return bent
