"""From rows to figures: means, medians and bootstrap intervals of every setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from brainmvp_evaluation import classification
from brainmvp_evaluation.bootstrap import interval, resampled
from brainmvp_evaluation.probability_figures import probability_figures
from brainmvp_evaluation.schema import Figure, Measure, Metric, Row
from brainmvp_evaluation.settings import Setting
from brainmvp_models.calibration import WHOLE, Calibration

Values = NDArray[np.float64]


def by_setting(rows: Iterable[Row]) -> dict[Setting, list[Row]]:
    """The rows that were measured, by setting in order of size, each setting's by case."""
    groups: dict[Setting, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (-len(row.real), row.case)):
        if row.problem is None:
            groups.setdefault(Setting(row.real, row.fill), []).append(row)
    return groups


def figures_of(
    rows: Iterable[Row], outputs: tuple[str, ...], calibration: Calibration | None = None
) -> tuple[Figure, ...]:
    """Every figure of every setting.

    Args:
        outputs: names of the regions, or of the classes.
        calibration: the bundle's; with it, what probabilities are worth once calibrated.
    """
    found: list[Figure] = []
    for setting, group in by_setting(rows).items():
        found += _scored(setting, group, outputs) if group[0].scores else _masked(setting, group)
        found += (
            _figure(setting, one.output, one.metric, one.value, one.samples, len(group))
            for one in probability_figures(group, calibration)
        )
    return tuple(found)


_OF_A_MEASURE: dict[Metric, Callable[[Measure], float]] = {
    "dice": lambda m: m.dice,
    "hd95_mm": lambda m: m.hd95_mm,
    "volume_error_ml": lambda m: abs(m.predicted_ml - m.truth_ml),
    "volume_bias_ml": lambda m: m.predicted_ml - m.truth_ml,
    "volume_error_relative": lambda m: (
        abs(m.predicted_ml - m.truth_ml) / m.truth_ml if m.truth_ml else np.nan
    ),
}


def _masked(setting: Setting, rows: list[Row]) -> list[Figure]:
    """Means of a segmentation's measures; a relative error needs a truth that is not empty."""
    found = []
    for index, first in enumerate(rows[0].outputs):
        for metric, of in _OF_A_MEASURE.items():
            values = np.array([of(row.outputs[index]) for row in rows])
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            samples = values[resampled(len(values))].mean(axis=1)
            found.append(
                _figure(setting, first.output, metric, float(values.mean()), samples, len(values),
                        median=float(np.median(values)))
            )  # fmt: skip
    return found


def _scored(setting: Setting, rows: list[Row], outputs: tuple[str, ...]) -> list[Figure]:
    """A classification's figures over all studies; and, of three classes or more, each one's."""
    scores = np.array([row.scores for row in rows])
    targets = np.array([row.target for row in rows], dtype=np.intp)
    of: list[tuple[str, Metric, Callable[[Values, NDArray[np.intp]], Values]]] = [
        (WHOLE, "accuracy", classification.accuracy),
        (WHOLE, "balanced_accuracy", classification.balanced_accuracy),
        (WHOLE, "auc", classification.macro_auc),
    ]
    if len(outputs) > 2:
        of += [(name, "auc", _one_class(index)) for index, name in enumerate(outputs)]
    draws = resampled(len(rows))
    found = []
    for output, metric, function in of:
        value = float(function(scores[None], targets[None])[0])
        if np.isfinite(value):
            samples = function(scores[draws], targets[draws])
            found.append(_figure(setting, output, metric, value, samples, len(rows)))
    return found


def _one_class(index: int) -> Callable[[Values, NDArray[np.intp]], Values]:
    return lambda scores, targets: classification.auc_of_class(scores, targets, index)


def _figure(
    setting: Setting,
    output: str,
    metric: Metric,
    value: float,
    samples: Values,
    studies: int,
    *,
    median: float | None = None,
) -> Figure:
    ends = interval(samples) if studies > 1 else None
    low, high = ends or (None, None)
    return Figure(
        real=setting.real, fill=setting.fill, output=output, metric=metric, value=value,
        median=median, low=low, high=high, studies=studies,
    )  # fmt: skip
