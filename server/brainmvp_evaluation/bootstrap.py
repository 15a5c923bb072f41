"""Confidence intervals by resampling studies (Efron's percentile bootstrap)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
SEED = 0
LEVEL = 0.95


def resampled(studies: int) -> NDArray[np.intp]:
    """(``RESAMPLES``, studies) indices drawn with replacement; the same for the same number.

    So two settings that were measured on the same studies are compared on the same resamples.
    """
    rng = np.random.default_rng(SEED)
    return rng.integers(0, studies, (RESAMPLES, studies), dtype=np.intp)


def interval(figures: NDArray[np.float64]) -> tuple[float, float] | None:
    """The middle 95 % of a figure's resamples (B,); None where most of them do not define it."""
    defined = figures[np.isfinite(figures)]
    if len(defined) < len(figures) / 2:
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
