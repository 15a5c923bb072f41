"""How often what has a probability is so: voxels counted by logit, and figures of the counts.

Voxels are counted in steps of 0.1 of the logit, so that a correction of the logit can be fitted and
judged without predicting again. A step's probability is that of its middle. Counts are (…, S, 2):
voxels in each of :data:`STEPS` steps, and how many of them belong to the output.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from brainmvp_evaluation.overlap import Mask
from brainmvp_models.calibration import OutputCalibration
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.intensity import Turned

Counts = NDArray[np.int64]
Values = NDArray[np.float64]

_STEP, _LIMIT = 0.1, 16.0
STEPS = round(2 * _LIMIT / _STEP)
LOGITS: Values = np.arange(STEPS, dtype=np.float64) * _STEP + (_STEP / 2 - _LIMIT)
"""(S,) of the middles; the first and the last step hold all that is beyond."""

BINS = 15
"""Of equal width, in which probabilities are compared with frequencies (Guo et al., 2017)."""

SUSPECTED = 0.01
"""From this probability on, before calibration, a voxel is suspected; most of a brain is not."""


HIGHEST_TEMPERATURE = 20.0
"""A best temperature above it, or below its inverse, is none: the studies do not tell."""


def brain_of(study: Study) -> Mask:
    """(X, Y, Z) in the R, A, S view: where a series of the study is above its background."""
    brain: Mask = np.zeros(study.native.grid.canonical().shape, dtype=np.bool_)
    for volume in study.volumes:
        turned = Turned.of(volume)
        lit = turned.view != turned.darkest
        brain |= lit if turned.measured is None else lit & turned.measured
    return brain


def counted(probability: NDArray[np.float32], truth: Mask, brain: Mask) -> Counts:
    """(S, 2) counts of the voxels of a brain, from a map and a mask on one grid."""
    inside, true = probability[brain], truth[brain]
    with np.errstate(divide="ignore"):
        logit = np.log(inside) - np.log1p(-inside)
    step = np.floor((np.clip(logit, -_LIMIT, _LIMIT) + _LIMIT) / _STEP).astype(np.intp)
    np.minimum(step, STEPS - 1, out=step)
    found = (np.bincount(step, minlength=STEPS), np.bincount(step[true], minlength=STEPS))
    return np.stack(found, axis=1).astype(np.int64)


def sparse(counts: Counts) -> tuple[tuple[int, int, int], ...]:
    """(step, voxels, of them true) of each step that has a voxel."""
    return tuple(
        (int(i), int(counts[i, 0]), int(counts[i, 1])) for i in np.flatnonzero(counts[:, 0])
    )


def dense(entries: tuple[tuple[int, int, int], ...]) -> Counts:
    """(S, 2) of what :func:`sparse` made."""
    counts = np.zeros((STEPS, 2), dtype=np.int64)
    for step, voxels, true in entries:
        counts[step] = voxels, true
    return counts


def probabilities(by: OutputCalibration | None = None) -> Values:
    """(S,) of the steps, calibrated by what is given."""
    logits = LOGITS if by is None else LOGITS / by.temperature + by.offset
    found: Values = expit(logits)
    return found


def calibration_error(
    counts: NDArray[np.number], by: OutputCalibration | None = None, *, suspected: bool = False
) -> Values:
    """(…) the expected calibration error: Σ over bins of their share · |probability - frequency|.

    Probability is the mean of a bin's voxels, frequency the share of them that is true (Guo et al.,
    2017, for one output against the rest).

    Args:
        suspected: only of the voxels that are suspected.
    """
    voxels, true = _chosen(counts, suspected)
    into = _bins(by)
    gaps = np.abs((voxels * probabilities(by)) @ into - true @ into)
    return ratio(gaps.sum(axis=-1), voxels.sum(axis=-1))


def brier(counts: NDArray[np.number], by: OutputCalibration | None = None) -> Values:
    """(…) the mean over voxels of (probability - truth)² (Brier, 1950)."""
    voxels, true = _chosen(counts, suspected=False)
    p = probabilities(by)
    return ratio(true @ (1 - p) ** 2 + (voxels - true) @ p**2, voxels.sum(axis=-1))


@dataclass(frozen=True)
class Curve:
    """A reliability diagram, each (B,) of the bins that hold something.

    Attributes:
        probability, frequency: the mean probability of a bin, and the share of it that is true.
        count: voxels, or studies.
    """

    probability: Values
    frequency: Values
    count: Values


def reliability(counts: Counts, by: OutputCalibration | None = None) -> Curve:
    """The mean probability of each bin against the frequency in it."""
    voxels, true = _chosen(counts, suspected=False)
    into = _bins(by)
    held = voxels @ into
    some = held > 0
    sums = (voxels * probabilities(by)) @ into, true @ into
    return Curve(sums[0][some] / held[some], sums[1][some] / held[some], held[some])


def log_loss(counts: NDArray[np.number], by: OutputCalibration | None = None) -> float:
    """The negative log-likelihood of voxels (S, 2), summed, in nats."""
    voxels, true = _chosen(counts, suspected=False)
    z = LOGITS if by is None else LOGITS / by.temperature + by.offset
    return float(true @ np.logaddexp(0, -z) + (voxels - true) @ np.logaddexp(0, z))


def fitted(counts: Counts, output: str) -> OutputCalibration:
    """The temperature T and the offset b of the least negative log-likelihood of logit / T + b.

    A logistic regression on the logit, which is convex.

    Raises:
        ValueError: the voxels do not tell: all or none of them are true, they are told apart
            without a mistake, or the frequency does not rise with the probability.
    """
    from scipy.optimize import minimize  # slow to load: for those alone who calibrate

    voxels, true = _chosen(counts, suspected=False)
    total = voxels.sum()
    if not 0 < true.sum() < total:
        raise ValueError("all of its voxels are of one kind")

    def loss(at: Values) -> tuple[float, Values]:
        """The mean over voxels, and its slopes."""
        z = at[0] * LOGITS + at[1]
        value = true @ np.logaddexp(0, -z) + (voxels - true) @ np.logaddexp(0, z)
        rest = voxels * expit(z) - true
        return float(value / total), np.array([rest @ LOGITS, rest.sum()]) / total

    slope, offset = minimize(loss, (1.0, 0.0), jac=True, method="BFGS", tol=1e-9).x
    if not 1 / HIGHEST_TEMPERATURE < slope < HIGHEST_TEMPERATURE:
        raise ValueError("no temperature is better than all others")
    return OutputCalibration(
        output=output, temperature=round(1 / slope, 3), offset=round(float(offset), 3) + 0.0
    )


def _chosen(counts: NDArray[np.number], suspected: bool) -> tuple[Values, Values]:
    """Voxels and true voxels (…, S), those that are not asked for as none."""
    keep = probabilities() >= SUSPECTED if suspected else np.ones(STEPS, dtype=np.bool_)
    found = counts.astype(np.float64) * keep[:, None]
    return found[..., 0], found[..., 1]


def _bins(by: OutputCalibration | None) -> Values:
    """(S, B) 1 where a step lies in a bin."""
    into = np.zeros((STEPS, BINS))
    place = np.minimum((probabilities(by) * BINS).astype(np.intp), BINS - 1)
    into[np.arange(STEPS), place] = 1
    return into


def ratio(part: NDArray[np.generic], whole: NDArray[np.generic]) -> Values:
    """Their ratio (…), NaN where there is nothing to divide by."""
    found = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=found, where=np.asarray(whole) > 0)
    return found
