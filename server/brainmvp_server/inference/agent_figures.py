"""What tells contrast agent: how bright voxels of a T1 and a T1c are beside what surrounds them.

The agent lights up what is small: veins, sinuses, the choroid plexus, a tumour's rim. A voxel's
local contrast is its intensity less the brain's mean within a box of 18 mm; how bright white
matter, cortex and CSF are matters little to it. Histograms say how much of a brain is lit up, and
how dark or bright that is otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
_Binned = tuple[Array, tuple[float, ...]]

_STEP_MM, _BOX_MM = 2.0, 18.0
_DEEP = (0.7, 0.9999)
"""Shares of its box that are brain: near the border up to the first, deep from the second on."""
_LEVEL_EDGES = (-1.2, -0.8, -0.55, -0.35, -0.2, -0.08, 0.04, 0.16, 0.3, 0.45, 0.65, 0.9, 1.3, 2.0)
_CONTRAST_EDGES = (
    *(-1.2, -0.8, -0.55, -0.35, -0.2, -0.1, 0.0, 0.1),
    *(0.2, 0.35, 0.55, 0.8, 1.2, 1.7, 2.4),
)
_MEAN_EDGES = (-1.0, -0.7, -0.45, -0.25, -0.1, 0.05, 0.2, 0.35, 0.5, 0.7, 1.0, 1.5)
_MORE_EDGES = (0.04, 0.1, 0.18, 0.28, 0.4, 0.55, 0.8, 1.2)
_DIFFERENCE_EDGES = (*(-edge for edge in reversed(_MORE_EDGES)), *_MORE_EDGES)
_FEWEST = 1000
"""Voxels of a brain that a histogram is made of."""
_TINY = np.float32(1e-6)


@dataclass(frozen=True, eq=False)
class AgentFigures:
    """What tells whether a T1 and a T1c show contrast agent.

    Attributes:
        alone: (720,) a series, of the two that came: the fourth root of the share of its brain in
            each of 3 depths × 15 levels × 16 local contrasts. A level is an intensity less the
            median, over q90 - q10; local contrasts are over q90 - q10 of their own.
        between: (312,) where both came, in each of 3 depths × 13 means of their local contrasts × 8
            differences: the fourth root of the share of the brain where the T1c's is more by that,
            less that of the share where the T1's is. Were they exchanged, its sign would change.
    """

    alone: Mapping[Modality, Array]
    between: Array | None


@dataclass(frozen=True, eq=False)
class _Local:
    """A series' voxels, every 2 mm: (X, Y, Z) each, and its figures."""

    own: Mask
    contrast: Array
    depth: NDArray[np.int8]
    figures: Array


def agent_figures(
    images: Mapping[Modality, Array],
    masks: Mapping[Modality, Mask],
    voxel_mm: tuple[float, float, float],
) -> AgentFigures:
    """The figures of a study's T1 and T1c; of other series none.

    Args:
        images: (X, Y, Z) a modality, in model space, scaled.
        masks: (X, Y, Z) a modality: what is no background of it.
        voxel_mm: along X, Y, Z.
    """
    found = {
        modality: local
        for modality in (Modality.T1, Modality.T1C)
        if modality in images
        and (local := _local(images[modality], masks[modality], voxel_mm)) is not None
    }
    alone = {modality: local.figures for modality, local in found.items()}
    return AgentFigures(alone, _between(*found.values()) if len(found) == 2 else None)


def _local(image: Array, own: Mask, voxel_mm: tuple[float, float, float]) -> _Local | None:
    steps = [max(1, round(_STEP_MM / mm)) for mm in voxel_mm]
    few = tuple(slice(None, None, step) for step in steps)
    mask = own[few]
    if np.count_nonzero(mask) < _FEWEST:
        return None
    reach = [
        round(_BOX_MM / (mm * step) / 2 - 0.5) for mm, step in zip(voxel_mm, steps, strict=True)
    ]
    inside = image[few][mask]
    low, median, high = np.percentile(inside, (10, 50, 90)).astype(np.float32)
    level = np.where(mask, image[few] - median, np.float32(0))
    share = _box_mean(mask.astype(np.float32), reach)
    contrast = np.subtract(
        level, _box_mean(level, reach) / np.maximum(share, _TINY), dtype=np.float32
    )
    least, most = np.percentile(contrast[mask], (10, 90)).astype(np.float32)
    contrast /= max(most - least, _TINY)
    depth = np.searchsorted(_DEEP, share).astype(np.int8)
    levels: Array = level[mask] / max(high - low, _TINY)
    binned = (levels, _LEVEL_EDGES), (contrast[mask], _CONTRAST_EDGES)
    return _Local(mask, contrast, depth, _histogram(depth[mask], *binned).ravel())


def _box_mean(values: Array, reach: list[int]) -> Array:
    """Means over so many neighbours on both sides along each axis; outside is 0."""
    for axis, n in enumerate(reach):
        edge = [(0, 0)] * 3
        edge[axis] = (n + 1, n)
        sums = np.moveaxis(np.cumsum(np.pad(values, edge), axis=axis, dtype=np.float32), axis, 0)
        means = (sums[2 * n + 1 :] - sums[: -2 * n - 1]) / np.float32(2 * n + 1)
        values = np.moveaxis(means, 0, axis)
    return values


def _between(t1: _Local, t1c: _Local) -> Array | None:
    both = t1.own & t1c.own
    if np.count_nonzero(both) < _FEWEST:
        return None
    one, other = t1.contrast[both], t1c.contrast[both]
    mean: Array = (one + other) / np.float32(2)
    depth = np.minimum(t1.depth, t1c.depth)[both]
    found = _histogram(depth, (mean, _MEAN_EDGES), (other - one, _DIFFERENCE_EDGES))
    middle = len(_MORE_EDGES)
    return (found[..., middle + 1 :] - found[..., middle - 1 :: -1]).ravel()


def _histogram(depth: NDArray[np.int8], first: _Binned, second: _Binned) -> Array:
    """(3, N, M) the fourth root of the share of voxels in each bin, so that rare ones count."""
    shape = (len(_DEEP) + 1, len(first[1]) + 1, len(second[1]) + 1)
    bins = depth.astype(np.int64)
    for values, edges in (first, second):
        bins = bins * (len(edges) + 1) + np.searchsorted(np.array(edges, np.float32), values)
    counts = np.bincount(bins, minlength=int(np.prod(shape))).reshape(shape)
    return np.asarray((counts / depth.size) ** 0.25, np.float32)
