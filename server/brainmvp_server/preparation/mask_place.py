"""Whether a brain mask of the user's own lies where its series shows the brain.

Moved, or turned the wrong way round, a mask still has a brain's volume. In its place it tells most
of the image: inside and outside it differ in brightness. Where it would tell more in another
place, it lies wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import ImplausibleBrain
from brainmvp_server.imaging.grid import bounding_box
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.checked_study import BRAIN
from brainmvp_server.preparation.belonging import mutual_information, scaled
from brainmvp_server.preparation.brain import BrainMask

Mask = NDArray[np.bool_]

_SPACING_MM = 4.0
_MOVED_MM = 12.0
_BINS = 32
MOST_GAIN = 0.06
"""Of mutual information, by another place. In eleven real series masks in their place lose 3 % and
more by any, and gain 3 % at most where they are 8 mm too large all round; turned, or moved by 20
mm, they gain 13 % and more."""
_FULL = 0.9
"""Share of the grid above which a mask leaves too little outside to be told by."""
_SIDES = (("left", "right"), ("back", "front"), ("bottom", "top"))
_TURNS = {
    "upside down": (2,),
    "back to front": (1,),
    "turned by 180° about the left-right axis": (1, 2),
    "turned by 180° about the back-front axis": (0, 2),
}


def check_mask_place(brain: BrainMask, series: Volume) -> None:
    """Refuse a mask that would lie better elsewhere; one that fills its grid is not looked at.

    Args:
        brain: on the grid of ``series``, whatever order its axes are stored in.

    Raises:
        ImplausibleBrain: it would, with the place and the figure.
    """
    if brain.mask.mean() > _FULL:
        return
    gain, place = best_elsewhere(brain, series)
    if gain > MOST_GAIN:
        raise ImplausibleBrain(
            f"the mask does not lie where {series.modality} shows the brain: {place} it tells "
            f"{gain:.0%} more of the image, where {MOST_GAIN:.0%} are allowed",
            remedy=f"See that it is of this study and lies over the brain of {series.modality}",
            subject=BRAIN,
        )


def best_elsewhere(brain: BrainMask, series: Volume) -> tuple[float, str]:
    """What more of the image a mask would tell in the best of some other places, and which.

    Returns:
        The share of what it tells where it is, below 0 where it tells less, and the place in words.
    """
    grid = series.grid.canonical()
    steps = [max(1, round(_SPACING_MM / edge)) for edge in grid.spacing]
    some = tuple(slice(None, None, step) for step in steps)
    view = series.grid.orientation.view(series.stored)[some]
    mask = brain.grid.orientation.view(brain.mask)[some]
    bright = (scaled(replace(series, stored=view)) * (_BINS - 1)).astype(np.int64) * 2

    def told(placed: Mask) -> float:
        return mutual_information((bright + placed).ravel(), _BINS, 2)

    here = max(told(mask), float(np.finfo(np.float32).tiny))
    edges = np.asarray(grid.spacing) * steps
    tried = ((told(other) / here - 1, place) for place, other in _places(mask, edges))
    return max(tried)


def _places(mask: Mask, edges: NDArray[np.float64]) -> Iterator[tuple[str, Mask]]:
    """A mask (R-L, A-P, S-I) moved along each axis and turned in its own box."""
    for axis, sides in enumerate(_SIDES):
        voxels = max(1, round(_MOVED_MM / edges[axis]))
        for side, way in zip(sides, (-voxels, voxels), strict=True):
            mm = voxels * edges[axis]
            yield f"{mm:.0f} mm further to the {side}", _moved(mask, axis, way)
    box = bounding_box(mask)
    if box is None:
        return
    for place, axes in _TURNS.items():
        turned = mask.copy()
        turned[box.slices] = np.flip(mask[box.slices], axes)
        yield place, turned


def _moved(mask: Mask, axis: int, voxels: int) -> Mask:
    """A mask moved along an axis; what comes in is empty."""
    moved = np.roll(mask, voxels, axis)
    entered = slice(0, voxels) if voxels > 0 else slice(voxels, None)
    np.moveaxis(moved, axis, 0)[entered] = False
    return moved
