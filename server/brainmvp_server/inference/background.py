"""A volume's background, where it is not simply what is darkest: docs/nifti.md has the rules.

Percentiles run over the background, too. One in the middle of the head's values makes dark tissue
background; one far below them, as -1000 or -32768 outside of a field of view, leaves the head a
small part of the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.percentile import value_percentiles
from brainmvp_server.imaging.volume import Volume

_DARKER = 0.1
"""Share of a head that is darker than a constant background where that lies within its values."""
_CONSTANT = 0.01
"""Share of the voxels that a value has which is a background, and no odd voxel."""
_FEW_NEGATIVE = 0.05
"""Share of the rest that interpolation towards a negative background makes negative."""
_FAR, _FAR_AMONG_NEGATIVE = 0.25, 1.0
"""How far below the rest a background is that squeezes it, in spans of the rest's percentiles."""


@dataclass(frozen=True)
class Darkened:
    """A volume whose background is its darkest value, and not far below the others.

    Attributes:
        darker: share of the head that was darker than the background; 0 unless that was mended.
        below: the value that lay far below the others; None unless that was mended.
    """

    volume: Volume
    darker: float = 0.0
    below: float | None = None


def on_dark_background(volume: Volume, view: NDArray[Any]) -> Darkened:
    """Mend a background that is amid the values, or far below them.

    Args:
        view: (X, Y, Z) the volume's stored voxels.
    """
    edge = _edge_value(view)
    return _amid(volume, view, edge) or _far_below(volume, view, edge) or Darkened(volume)


def _amid(volume: Volume, view: NDArray[Any], edge: Any | None) -> Darkened | None:
    """Z-scored brains on zeros have a background in the middle of their values.

    It is seen where the edges of the field of view all have one value: no head lies there.
    """
    if edge is None:
        return None
    darker = view < edge if volume.slope > 0 else view > edge
    count = int(np.count_nonzero(darker))
    if not count:
        return None
    background = view == edge
    share = count / (view.size - int(np.count_nonzero(background)))
    if share < _DARKER:
        return None
    return Darkened(_with(volume, volume.stored == edge, _darkest(volume, view)), darker=share)


def _far_below(volume: Volume, view: NDArray[Any], edge: Any | None) -> Darkened | None:
    """A constant negative value far below what else there is.

    Magnitudes are not negative: where hardly anything else is, all that is negative is background,
    also what interpolation made between the two. Where much is, as in z-scored brains, the edges
    must show that it is the background, and it must be further away.
    """
    darkest = _darkest(volume, view)
    value = float(volume.values(np.array([darkest]))[0])
    if value >= 0:
        return None
    others = view != darkest
    rest = view[others]
    if not rest.size or view.size - rest.size < _CONSTANT * view.size:
        return None
    low, high = value_percentiles(volume, rest, (5, 95))
    negative = _negative(volume, rest)
    if np.count_nonzero(negative) <= _FEW_NEGATIVE * rest.size:
        if -value <= _FAR * (high - low):
            return None
        floor = _darkest(volume, rest[~negative])
        return Darkened(_with(volume, _negative(volume, volume.stored), floor), below=value)
    floor = _darkest(volume, rest)
    gap = float(volume.values(np.array([floor]))[0]) - value
    if edge != darkest or gap <= _FAR_AMONG_NEGATIVE * (high - low):
        return None
    return Darkened(_with(volume, volume.stored == darkest, floor), below=value)


def _darkest(volume: Volume, stored: NDArray[Any]) -> Any:
    return stored.min() if volume.slope > 0 else stored.max()


def _negative(volume: Volume, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Which stored voxels mean a value below 0."""
    zero = -volume.intercept / volume.slope
    return stored < zero if volume.slope > 0 else stored > zero


def _with(volume: Volume, where: NDArray[np.bool_], value: Any) -> Volume:
    stored = volume.stored.copy(order="K")
    stored[where] = value
    return replace(volume, stored=stored)


def _edge_value(view: NDArray[Any]) -> Any | None:
    """The one stored value along the twelve edges of a volume (X, Y, Z); None if they differ."""
    value = view[0, 0, 0]
    ends: Sequence[slice] = (slice(0, 1), slice(-1, None))
    whole = slice(None)
    for first in ends:
        for second in ends:
            for edge in ((whole, first, second), (first, whole, second), (first, second, whole)):
                if (view[edge] != value).any():
                    return None
    return value
