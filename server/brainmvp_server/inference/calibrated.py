"""Probabilities as the frequencies that a bundle's calibration makes of them.

What is marked is decided before: masks are cut from the probabilities that the network gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.calibration import WHOLE, Calibration, OutputCalibration
from brainmvp_models.task import RegionOutputs, SegmentationOutputs

Array = NDArray[np.float32]


def calibrated(probability: Array, by: OutputCalibration) -> Array:
    """Probabilities (…) with their logits divided and moved: 1 / (1 + e⁻ᵇ ((1 - p) / p)¹ᐟᵀ).

    The order stays; 0 stays 0, and 1 stays 1.
    """
    if not by.corrects:
        return probability
    with np.errstate(divide="ignore", over="ignore"):
        against = (1 - probability) / probability
        against **= np.float32(1 / by.temperature)
        against *= np.float32(np.exp(-by.offset))
        found: Array = np.reciprocal(1 + against)
    return found


def calibrated_scores(scores: NDArray[Any], calibration: Calibration) -> NDArray[Any]:
    """Scores (…, K) of exclusive classes: the softmax of their logits over the temperature."""
    power = 1 / calibration.of(WHOLE).temperature
    raised = (scores / scores.max(axis=-1, keepdims=True)) ** power
    found: NDArray[Any] = raised / raised.sum(axis=-1, keepdims=True)
    return found


def confidence(marked: Array, by: OutputCalibration | None) -> float | None:
    """The mean probability of an output's voxels (N,), calibrated where that is known.

    None where there are none.
    """
    if not marked.size:
        return None
    found = marked if by is None else calibrated(marked, by)
    return float(found.mean(dtype=np.float64))


def uncertainty(maps: Mapping[str, Array], outputs: SegmentationOutputs) -> Array:
    """(i, j, k) how open the answer is at a voxel: the largest entropy of an output.

    Of exclusive classes the background is no output.
    """
    own = list(maps.values())[0 if isinstance(outputs, RegionOutputs) else 1 :]
    found = entropy(own[0])
    for probability in own[1:]:
        np.maximum(found, entropy(probability), out=found)
    return found


def entropy(probability: Array) -> Array:
    """Of probabilities (…) that something is so, in bits: 0 certain, 1 even."""
    found = np.zeros_like(probability)
    open_ = (probability > 0) & (probability < 1)
    p = probability[open_]
    found[open_] = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return found


def probability_maps(
    maps: Sequence[Array], outputs: SegmentationOutputs, calibration: Calibration | None
) -> dict[str, Array]:
    """An output's map (i, j, k) by its name, calibrated where that is known.

    Classes are corrected each for itself, so that a map says how often a voxel is of its class; the
    background is what they leave of 1.

    Args:
        maps: one an output channel, or none where they were not asked for.
    """
    if isinstance(outputs, RegionOutputs):
        background, names = None, [region.name for region in outputs.regions]
    else:
        background, names = outputs.classes[0].name, [entry.name for entry in outputs.classes]
    named = dict(zip(names, maps, strict=False))
    if calibration is None or not named:
        return named
    found = {
        name: calibrated(one, calibration.of(name))
        for name, one in named.items()
        if name != background
    }
    if background is None:
        return found
    left = np.ones_like(named[background])
    for one in found.values():
        left -= one
    return {background: np.maximum(left, 0), **found}
