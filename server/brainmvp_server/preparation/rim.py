"""Whether what passes for a brain has a skull: bone is dark in every contrast, below the skin.

Where the air around a head was set to one value, a small head has no more tissue than a brain.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.volume import Volume
from brainmvp_server.preparation.belonging import scaled

Mask = NDArray[np.bool_]

_SHELL_MM = (6.0, 12.0)
"""How deep below the surface is looked: skin is 3 to 6 mm thick, bone as much below it."""
_DARK = 0.15
"""Share of the bright end."""


def dark_rim(series: Volume, mask: Mask) -> float:
    """The share of voxels some way below the surface that are dark, 0 to 1.

    Only the upper half counts: below it lie air, bone and eyes in heads, and flat cuts in brains.

    Args:
        series: with axes along R-L, A-P and S-I, the way of R-A-S.
        mask: (X, Y, Z), what is no background.
    """
    heights = np.flatnonzero(mask.any(axis=(0, 1)))
    if not heights.size:
        return 0.0
    outer, inner = (_eroded(mask, mm, series.grid.spacing) for mm in _SHELL_MM)
    shell = outer & ~inner
    shell[:, :, : (int(heights[0]) + int(heights[-1])) // 2] = False
    return float((scaled(series)[shell] < _DARK).mean()) if shell.any() else 0.0


def _eroded(mask: Mask, mm: float, spacing: tuple[float, float, float]) -> Mask:
    """What of a mask lies deeper than so many millimetres, along its axes."""
    left = mask.copy()
    for axis, edge in enumerate(spacing):
        along, whole = np.moveaxis(left, axis, 0), np.moveaxis(mask, axis, 0)
        for step in range(1, max(round(mm / edge), 1) + 1):
            along[step:] &= whole[:-step]
            along[:-step] &= whole[step:]
            along[:step] = along[-step:] = False
    return left
