"""What the probabilities of a setting's studies are worth, before and after calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from brainmvp_evaluation import classification, reliability
from brainmvp_evaluation.bootstrap import resampled
from brainmvp_evaluation.reliability import Curve, dense
from brainmvp_evaluation.schema import Metric, ReliabilityBin, Row
from brainmvp_models.calibration import WHOLE, Calibration, OutputCalibration
from brainmvp_models.determinable import not_determinable
from brainmvp_models.manifest import Manifest
from brainmvp_server.inference.calibrated import calibrated_scores

Values = NDArray[np.float64]

_NONE = dense(())


@dataclass(frozen=True)
class Drawn:
    """A figure over some studies, and over their resamples (B,)."""

    output: str
    metric: Metric
    value: float
    samples: Values


def probability_figures(rows: Sequence[Row], calibration: Calibration | None) -> Iterator[Drawn]:
    """The calibration errors and Brier scores of one setting's rows, by output.

    Nothing where a row was measured before there were counts.
    """
    if rows[0].scores:
        yield from _of_scores(rows, calibration)
        return
    for index, first in enumerate(rows[0].outputs):
        if all(row.outputs[index].counts for row in rows):
            counts = np.stack([dense(row.outputs[index].counts) for row in rows])
            by = None if calibration is None else calibration.of(first.output)
            yield from _of_voxels(first.output, counts, by)


def _of_voxels(
    output: str, counts: reliability.Counts, by: OutputCalibration | None
) -> Iterator[Drawn]:
    """Of voxels that were counted (N, S, 2): those of all studies together."""
    draws = resampled(len(counts))
    times = np.stack([np.bincount(draw, minlength=len(counts)) for draw in draws])
    samples = np.einsum("bn,nsk->bsk", times, counts, optimize=True)
    figures: list[tuple[Metric, Metric, Callable[..., Values]]] = [
        ("ece", "ece_calibrated", reliability.calibration_error),
        (
            "ece_suspected",
            "ece_suspected_calibrated",
            partial(reliability.calibration_error, suspected=True),
        ),
        ("brier", "brier_calibrated", reliability.brier),
    ]
    for plain, corrected, of in figures:
        for metric, way in ((plain, None), (corrected, by)):
            if metric == plain or by is not None:
                value = float(of(counts.sum(axis=0), way))
                if np.isfinite(value):
                    yield Drawn(output, metric, value, of(samples, way))


def _of_scores(rows: Sequence[Row], calibration: Calibration | None) -> Iterator[Drawn]:
    """Of the scores of studies."""
    targets = np.array([row.target for row in rows], dtype=np.intp)
    draws = resampled(len(rows))
    plain = np.array([row.scores for row in rows])
    ways: list[tuple[Metric, Metric, Values]] = [("ece", "brier", plain)]
    if calibration is not None:
        ways.append(("ece_calibrated", "brier_calibrated", calibrated_scores(plain, calibration)))
    for ece, brier, scores in ways:
        for metric, of in (
            (ece, classification.calibration_error),
            (brier, classification.brier),
        ):
            value = float(of(scores[None], targets[None])[0])
            yield Drawn(WHOLE, metric, value, of(scores[draws], targets[draws]))


def deciding(rows: Iterable[Row], output: str, manifest: Manifest) -> list[Row]:
    """The rows whose modalities can decide an output: those whose results show it."""
    found: list[Row] = []
    for (real, fill), group in groupby(rows, key=lambda row: (row.real, row.fill)):
        if output not in [one.output for one in not_determinable(manifest, real, fill)]:
            found += group
    return found


def reliability_of(
    rows: Iterable[Row], outputs: tuple[str, ...], manifest: Manifest
) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram of each output, over all settings whose modalities decide it.

    Args:
        outputs: names of the regions, or of the classes.
    """
    calibration = manifest.calibration
    measured = [row for row in rows if row.problem is None]
    found: list[ReliabilityBin] = []
    ways = (None,) if calibration is None else (None, calibration)
    if any(row.scores for row in measured):
        targets = np.array([row.target for row in measured], dtype=np.intp)
        plain = np.array([row.scores for row in measured])
        for way in ways:
            scores = plain if way is None else calibrated_scores(plain, way)
            found += _as_bins(WHOLE, way is not None, classification.reliability(scores, targets))
        return tuple(found)
    for index, output in enumerate(outputs):
        shown = deciding(measured, output, manifest)
        counts = sum((dense(row.outputs[index].counts) for row in shown), start=_NONE)
        for way in ways if counts.any() else ():
            by = None if way is None else way.of(output)
            found += _as_bins(output, way is not None, reliability.reliability(counts, by))
    return tuple(found)


def _as_bins(output: str, calibrated: bool, curve: Curve) -> Iterator[ReliabilityBin]:
    for probability, frequency, count in zip(
        curve.probability, curve.frequency, curve.count, strict=True
    ):
        yield ReliabilityBin(
            output=output,
            calibrated=calibrated,
            probability=round(float(probability), 5),
            frequency=round(float(frequency), 5),
            count=int(count),
        )
