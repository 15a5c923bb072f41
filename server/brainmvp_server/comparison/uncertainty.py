"""How well a volume is known: by the model's card, or by where a border lies between voxels.

A half-width is that of a 95 % interval, in mL.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.inference.parts import Components

_NORMAL_95 = 1.96
_DEVIATION_OF_MEAN = math.sqrt(math.pi / 2)
"""A normal distribution's deviation over its mean absolute value."""
_BORDER = _NORMAL_95 / math.sqrt(12)
"""In voxels: a border is somewhere in its voxel, each place as likely as any other."""
_CROSSED = 2 / 3
"""A surface of area A shows faces of 1.5 A on a grid, the mean over all its directions."""
PRODUCT_POWER = 2 / 3
"""A body that keeps its shape has a product that goes with this power of its volume."""


def by_card(volume_ml: float, total_ml: float, error_ml: float) -> float:
    """Of a lesion, from the structure's mean absolute volume error.

    Errors are taken as normal, and those of the structure's lesions as independent of each other:
    their squares add up to the structure's, a lesion has its share by volume.

    Args:
        total_ml: of the structure at that time; 0 only where ``volume_ml`` is.
    """
    share = math.sqrt(volume_ml / total_ml) if total_ml else 0.0
    return _NORMAL_95 * _DEVIATION_OF_MEAN * error_ml * share


def by_border(found: Components) -> NDArray[np.float64]:
    """(N,), of each part, if its whole border lay off by as much as nobody can know.

    Where no error was measured, this is what a mask itself leaves open; who drew it may err more.
    """
    faces = np.zeros(len(found.voxels) + 1)
    framed = np.pad(found.numbers, 1)
    for axis in range(3):
        one, other = (np.take(framed, part, axis=axis) for part in _neighbours(framed.shape[axis]))
        for side in (one, other):
            faces += np.bincount(side[one != other], minlength=faces.size)
    return _BORDER * _CROSSED * faces[1:] * found.grid.voxel_ml


def _neighbours(length: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.arange(length - 1), np.arange(1, length)
