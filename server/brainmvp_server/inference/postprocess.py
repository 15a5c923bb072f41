"""From blended logits in model space to a mask and probabilities on the native grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.task import RegionOutputs, SegmentationOutputs
from brainmvp_server.inference.connected import Mask, kept_parts
from brainmvp_server.inference.preprocess import ModelSpace
from brainmvp_server.inference.resample import along_axes, interpolation
from brainmvp_server.inference.result_space import ResultSpace

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmentation on the native grid.

    Attributes:
        mask: (i, j, k) uint8 label values, Fortran-ordered as NIfTI stores them.
        outputs: one (i, j, k) boolean array a region, or a class without the background.
        probabilities: one (i, j, k) float32 array an output channel, where they were asked for; as
            the network gives them, not calibrated.
        marked: one (N,) float32 array an entry of ``outputs``: the same of its voxels alone.
    """

    mask: NDArray[np.uint8]
    outputs: tuple[NDArray[np.bool_], ...]
    probabilities: tuple[Array, ...]
    marked: tuple[Array, ...] = ()


def segment(
    logits: Array,
    space: ModelSpace,
    outputs: SegmentationOutputs,
    *,
    probabilities: bool,
    onto: ResultSpace | None = None,
) -> Segmentation:
    """Turn logits (O, X, Y, Z) of model space into a segmentation on the native grid.

    Probabilities are interpolated linearly and then thresholded, as MONAI's inversion does;
    outside the crop every probability is zero. Where nothing is resampled, the logits are compared
    directly, whether probabilities are asked for or not: rounding could move a voxel. Parts that
    the task calls too small, or too unsure, go last; probabilities keep them.

    Args:
        onto: the grid that the result is wanted on, where that is not the native one.
    """
    native: tuple[Array, ...] = ()
    values: tuple[Array, ...]
    level: Callable[[float], float] = _same
    if probabilities or onto is not None:
        native = tuple(restored(p, space, onto) for p in activate(logits, outputs))
    if placed := onto is not None or (probabilities and space.resampled):
        values = native
    elif space.resampled:
        values = tuple(_in_window(p, space) for p in activate(logits, outputs))
    else:
        values, level = tuple(logits), _logit
    members = _members(values, outputs, level(_threshold(outputs)))
    if isinstance(outputs, RegionOutputs) and outputs.leaves_parts_out:
        voxel_ml = (onto.grid if onto else space.native).voxel_ml
        sure = tuple(
            None if r.high_threshold is None else value > np.float32(level(r.high_threshold))
            for r, value in zip(outputs.regions, values, strict=True)
        )
        members = _shown_parts(members, sure, outputs, voxel_ml)
    marked = _marked(values, members, outputs, logits=not placed and not space.resampled)
    if not placed:
        members = _all_placed(members, space)
    return Segmentation(
        mask=_painted(members, outputs),
        outputs=members,
        probabilities=native if probabilities else (),
        marked=marked,
    )


def _marked(
    values: tuple[Array, ...],
    members: tuple[Mask, ...],
    outputs: SegmentationOutputs,
    *,
    logits: bool,
) -> tuple[Array, ...]:
    """Each member's probabilities (N,), from values and members on one grid."""
    first = len(values) - len(members)  # the background has no member
    if not logits:
        return tuple(value[member] for value, member in zip(values[first:], members, strict=True))
    found = []
    for index, member in enumerate(members, start=first):
        evidence = np.stack([value[member] for value in values])
        found.append(activate(evidence, outputs)[index])
    return tuple(found)


def _shown_parts(
    members: tuple[Mask, ...],
    sure: tuple[Mask | None, ...],
    outputs: RegionOutputs,
    voxel_ml: float,
) -> tuple[Mask, ...]:
    """The regions (i, j, k) without the parts that are too small or hold no sure voxel.

    What is left out of a region is left out of those inside it: the mask could not show it.
    """
    kept = list(members)
    for index in outputs.largest_first:
        labels = set(outputs.regions[index].labels)
        for outer, larger in enumerate(outputs.regions):
            if labels < set(larger.labels) and kept[outer] is not members[outer]:
                kept[index] = kept[index] & ~(members[outer] & ~kept[outer])
        fewest = voxels_of(outputs.smallest_parts_ml[index], voxel_ml)
        if fewest or sure[index] is not None:
            kept[index] = kept_parts(kept[index], fewest, sure[index])
    return tuple(kept)


def voxels_of(volume_ml: float, voxel_ml: float) -> int:
    """The fewest whole voxels that have a volume, but for what rounding does to a voxel's own."""
    return math.ceil(volume_ml / voxel_ml * (1 - 1e-6))


def activate(logits: Array, outputs: SegmentationOutputs) -> Array:
    """Probabilities of logits (O, …): a sigmoid each for regions, one softmax for classes."""
    if isinstance(outputs, RegionOutputs):
        odds = np.exp(-logits)
        odds += 1
        return np.reciprocal(odds, out=odds)
    return softmax(logits)


def softmax(logits: Array) -> Array:
    """Softmax over the first axis."""
    powers: Array = np.exp(logits - logits.max(axis=0))
    powers /= powers.sum(axis=0)
    return powers


def _members(
    values: tuple[Array, ...], outputs: SegmentationOutputs, level: float
) -> tuple[NDArray[np.bool_], ...]:
    """Which voxels belong to each region, or to each class but the background."""
    if isinstance(outputs, RegionOutputs):
        return tuple(value > np.float32(level) for value in values)
    # The first of equal values wins, so that a voxel without any evidence is background.
    best, winner = values[0].copy(order="K"), np.zeros_like(values[0], dtype=np.uint8)
    for index, value in enumerate(values[1:], start=1):
        better = value > best
        np.copyto(best, value, where=better)
        winner[better] = index
    return tuple(winner == index for index in range(1, outputs.count))


def _painted(
    members: tuple[NDArray[np.bool_], ...], outputs: SegmentationOutputs
) -> NDArray[np.uint8]:
    mask = np.zeros(members[0].shape, dtype=np.uint8, order="F")
    if isinstance(outputs, RegionOutputs):
        strokes = outputs.painting
    else:
        strokes = tuple((i, label.value) for i, label in enumerate(outputs.classes[1:]))
    for index, value in strokes:
        mask[members[index]] = value
    return mask


def _threshold(outputs: SegmentationOutputs) -> float:
    return outputs.threshold if isinstance(outputs, RegionOutputs) else 0.5


def _same(probability: float) -> float:
    return probability


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def _all_placed(
    parts: tuple[NDArray[np.bool_], ...], space: ModelSpace
) -> tuple[NDArray[np.bool_], ...]:
    with ThreadPoolExecutor(max_workers=len(parts)) as pool:
        return tuple(pool.map(lambda part: _placed(part, space), parts))


def _placed(part: NDArray[Any], space: ModelSpace) -> NDArray[Any]:
    """What was found in the whole native grid: a crop of it, or its window if it was resampled."""
    native = np.zeros(space.native.shape, dtype=part.dtype, order="F")
    window = space.native.orientation.view(native)[space.window.slices]
    window[... if space.resampled else space.box.slices] = part
    return native


def restored(image: Array, space: ModelSpace, onto: ResultSpace | None = None) -> Array:
    """An image (X, Y, Z) of model space on the native or the wanted grid, by linear interpolation.

    Outside the crop it is zero.
    """
    if onto is not None:
        return onto.lookup(image, space)
    return _placed(_in_window(image, space) if space.resampled else image, space)


def _in_window(image: Array, space: ModelSpace) -> Array:
    """An image of model space at the native voxels that were worked on, (X, Y, Z)."""
    matrices = [
        interpolation(np.arange(n) / step, full, start=start, stop=stop)
        for n, step, full, start, stop in zip(
            space.turned, space.scale, space.full, space.box.start, space.box.stop, strict=True
        )
    ]
    return along_axes(image, matrices)
