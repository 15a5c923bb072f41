"""Probabilities as the frequencies that a bundle's calibration makes of them.

What is marked is decided before: masks are cut from the probabilities that the network gives.
"""

from __future__ import annotations

from collections.abc import Sequence
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
