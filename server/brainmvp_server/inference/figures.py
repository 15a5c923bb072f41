"""What a study looks like to a network, in figures: its size, and each series' intensities.

They are taken in model space, after the model's own scaling. A series' pattern says where it is
bright and where dark: its brain in 12 × 14 × 12 blocks, by which white matter, cortex, ventricles
and what takes up contrast agent can be told from each other in any contrast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_models.training_distribution import BLOCKS
from brainmvp_server.inference.agent_figures import AgentFigures, agent_figures

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

SHARPNESS = "sharpness"
AXES = ("left to right", "back to front", "bottom to top")

_TISSUE = 0.02
"""Scaled intensities up to this are background."""
_LEVELS = {
    "5th percentile": 5.0,
    "median": 50.0,
    "95th percentile": 95.0,
    "99.9th percentile": 99.9,
}
_END = 0.01
"""Share of a brain that may lie beyond either end of its blocks: a sinus or a strip of skull."""
_SAME = 0.999
"""Two series whose voxels correlate more than that are one: noise alone keeps others below."""
_FEW = (slice(None, None, 2),) * 3
_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class SeriesFigures:
    """One series, in what is no background of it.

    Attributes:
        values: percentiles of the scaled intensities, ``median`` among them, ``contrast``, which
            is q90 - q10 over the median, and ``sharpness``, the mean step
            between neighbours along the blurriest axis over that along the sharpest.
        pattern: (4032,), for each block of the brain's box its mean, then the mean over its
            eighths of their brightest voxel, where intensities are taken less the median and over
            q90 - q10, and background is 0; then the hyperbolic tangent of each, so that no block
            decides alone. None of a brain of fewer voxels than that needs.
    """

    values: Mapping[str, float]
    pattern: Array | None


@dataclass(frozen=True, eq=False)
class StudyFigures:
    """All figures of a study.

    Attributes:
        foreground_ml: all that is no background in any series.
        extent_mm: of the same, along R, A, S.
        series: by modality.
        same: series that hold the same image.
        agent: what tells of contrast agent.
    """

    foreground_ml: float
    extent_mm: tuple[float, float, float]
    series: Mapping[Modality, SeriesFigures]
    same: tuple[tuple[Modality, Modality], ...]
    agent: AgentFigures


def study_figures(
    images: Mapping[Modality, Array],
    voxel_mm: tuple[float, float, float],
    *,
    agent: bool = True,
) -> StudyFigures:
    """The figures of a study.

    Args:
        images: (X, Y, Z) a modality, along R, A, S, in model space, scaled; at least one.
        voxel_mm: along X, Y, Z.
        agent: whether contrast agent is looked at, which takes longer than all else.
    """
    masks = {modality: image > _TISSUE for modality, image in images.items()}
    foreground = np.logical_or.reduce(list(masks.values()))
    few = foreground[_FEW]
    x, y, z = (
        mm * float(np.count_nonzero(_shown(foreground, axis))) for axis, mm in enumerate(voxel_mm)
    )
    return StudyFigures(
        foreground_ml=float(np.count_nonzero(foreground)) * float(np.prod(voxel_mm)) / 1000,
        extent_mm=(x, y, z),
        series={m: _series(image, masks[m]) for m, image in images.items()},
        same=tuple(
            (a, b)
            for a, b in combinations(images, 2)
            if _correlation(images[a][_FEW][few], images[b][_FEW][few]) > _SAME
        ),
        agent=agent_figures(images, masks, voxel_mm) if agent else AgentFigures({}, None),
    )


def _shown(mask: Mask, axis: int) -> Mask:
    """(N,) whether a slice along an axis holds any of a mask."""
    others = tuple(other for other in range(3) if other != axis)
    return np.asarray(mask.any(axis=others))


def _series(image: Array, own: Mask) -> SeriesFigures:
    inside = image[own]
    if inside.size == 0:
        return SeriesFigures({}, None)
    wanted = (*_LEVELS.values(), 10.0, 90.0)
    *levels, low, high = (float(q) for q in np.percentile(inside, wanted))
    values = dict(zip(_LEVELS, levels, strict=True))
    values["contrast"] = (high - low) / max(values["median"], _TINY)
    values[SHARPNESS] = _sharpness(image, own)
    spread = max(high - low, _TINY)
    return SeriesFigures(values, _pattern(image, own, values["median"], spread))


def _pattern(image: Array, own: Mask, median: float, spread: float) -> Array | None:
    ends = [_ends(own, axis) for axis in range(3)]
    if any(stop - first < 2 * n for (first, stop), n in zip(ends, BLOCKS, strict=True)):
        return None
    box = tuple(slice(first, stop) for first, stop in ends)
    mask = own[box]
    background = ~mask
    values = np.clip((image[box] - median) / np.float32(spread), -2, 4)
    values[background] = -2
    brightest = _in_eighths(np.maximum, values)
    values[background] = 0
    lengths = [np.diff([*_edges(n, axis), n]) for axis, n in enumerate(mask.shape)]
    voxels = np.einsum("i,j,k->ijk", *lengths).astype(np.float32)
    seen = _in_eighths(np.add, mask)
    mean = _halved(_in_eighths(np.add, values)) / _halved(voxels)
    share = np.minimum(2 * seen / voxels, 1)
    brightest = _halved(np.where(seen > 0, brightest, 0) * share)
    parts = np.concatenate([mean.ravel(), brightest.ravel()])
    return np.asarray(np.tanh(parts), np.float32)


def _edges(voxels: int, axis: int) -> list[int]:
    """The first voxel of each of the blocks' eighths along an axis."""
    return [round(edge) for edge in np.linspace(0, voxels, 2 * BLOCKS[axis] + 1)[:-1]]


def _in_eighths(reduced: np.ufunc, values: Array | Mask) -> Array:
    """A sum or maximum of each of the blocks' eighths."""
    found: Array = values  # type: ignore[assignment]
    for axis in range(3):
        edges = _edges(found.shape[axis], axis)
        found = reduced.reduceat(found, edges, axis=axis, dtype=np.float32)
    return found


def _ends(mask: Mask, axis: int) -> tuple[int, int]:
    """First slice along an axis, and the one after the last, that hold 98 % of a mask."""
    others = tuple(other for other in range(3) if other != axis)
    share = np.cumsum(np.count_nonzero(mask, axis=others)) / np.count_nonzero(mask)
    return int(np.searchsorted(share, _END)), int(np.searchsorted(share, 1 - _END)) + 1


def _halved(fine: Array) -> Array:
    """Means of 2 × 2 × 2 neighbours."""
    x, y, z = BLOCKS
    return np.asarray(fine.reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5)))


def _correlation(one: Array, other: Array) -> float:
    """Pearson's."""
    if one.size == 0:
        return 0.0
    a, b = one - one.mean(), other - other.mean()
    return float(np.dot(a, b) / max(float(np.sqrt(np.dot(a, a) * np.dot(b, b))), _TINY))


def _sharpness(image: Array, own: Mask) -> float:
    steps = []
    for axis in range(3):
        every = tuple(slice(None) if a == axis else slice(None, None, 3) for a in range(3))
        here, known = np.moveaxis(image[every], axis, 0), np.moveaxis(own[every], axis, 0)
        both = known[1:] & known[:-1]
        steps.append(float(np.abs(here[1:] - here[:-1])[both].mean()) if both.any() else 0.0)
    return min(steps) / max(max(steps), _TINY)
