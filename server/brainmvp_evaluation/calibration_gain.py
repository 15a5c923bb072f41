"""Whether a correction of probabilities holds for studies that it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from brainmvp_models.calibration import OutputCalibration

RowT = TypeVar("RowT")


def holds_for_others(
    rows: Sequence[RowT],
    studies: Sequence[int],
    fit: Callable[[Sequence[RowT]], OutputCalibration],
    loss: Callable[[Sequence[RowT], OutputCalibration | None], float],
) -> bool:
    """Whether each study gains, on average and beyond chance, by a fit on all the others.

    Leave-one-out cross-validation (Stone, Journal of the Royal Statistical Society B 36:111-147,
    1974). The sum of the gains has to be more than its standard error, for a few large lesions
    decide a sum over voxels. A study whose others cannot be fitted gains nothing.

    Args:
        studies: (N,) whose rows they are.
        fit: raises ValueError where rows do not tell.
        loss: the negative log-likelihood of rows, summed; of the network's own for None.
    """
    gains = []
    for left_out in sorted(set(studies)):
        own = [row for row, study in zip(rows, studies, strict=True) if study == left_out]
        others = [row for row, study in zip(rows, studies, strict=True) if study != left_out]
        try:
            gains.append(loss(own, None) - loss(own, fit(others)))
        except ValueError:
            gains.append(0.0)
    if len(gains) < 2:
        return False
    error = float(np.std(gains, ddof=1)) * len(gains) ** 0.5
    return bool(sum(gains) > error)
