"""Figures of a classification, each for many resamples of the studies at once.

``scores`` are (B, N, K) probabilities of K classes for N studies in B resamples, ``targets`` (B, N)
their true classes. A figure is (B,), NaN where a resample does not define it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainmvp_evaluation.reliability import BINS, HIGHEST_TEMPERATURE, Curve, ratio

Scores = NDArray[np.float64]
Targets = NDArray[np.intp]

_LEAST = 1e-12
"""No score is taken to be less."""


def accuracy(scores: Scores, targets: Targets) -> Scores:
    """Share of the studies whose class has the highest score; the first of equal ones wins."""
    right: Scores = (scores.argmax(axis=-1) == targets).mean(axis=-1)
    return right


def balanced_accuracy(scores: Scores, targets: Targets) -> Scores:
    """Mean over the classes that occur of the share of their studies that is recognised."""
    chosen = scores.argmax(axis=-1)
    recalls = []
    for index in range(scores.shape[-1]):
        members = targets == index
        hits = (members & (chosen == index)).sum(axis=-1)
        recalls.append(ratio(hits, members.sum(axis=-1)))
    return _mean_of_defined(recalls)


def auc_of_class(scores: Scores, targets: Targets, index: int) -> Scores:
    """Area under the ROC curve of one class against the rest, equal scores counting half.

    The Mann-Whitney statistic: (R - n(n + 1)/2) / (n m), where R is the sum of the ranks of the n
    studies of the class among all n + m. NaN where the class, or the rest, has no study.
    """
    from scipy.stats import rankdata  # slow to load

    members = targets == index
    ranks = rankdata(scores[..., index], axis=-1)
    inside = members.sum(axis=-1)
    outside = members.shape[-1] - inside
    above = (ranks * members).sum(axis=-1) - inside * (inside + 1) / 2
    return ratio(above, inside * outside)


def macro_auc(scores: Scores, targets: Targets) -> Scores:
    """Mean over the classes that occur of the area under the ROC curve, one against the rest."""
    classes = range(scores.shape[-1])
    return _mean_of_defined([auc_of_class(scores, targets, index) for index in classes])


def calibration_error(scores: Scores, targets: Targets) -> Scores:
    """The expected calibration error: Σ over bins of their share · |confidence - accuracy|.

    Confidence is the highest score; a bin's is the mean of its studies, its accuracy the share of
    them that get their class (Guo et al., On Calibration of Modern Neural Networks, ICML 2017).
    """
    confidence, right, place = _confidence(scores, targets)
    gaps = [np.abs(((confidence - right) * (place == index)).sum(axis=-1)) for index in range(BINS)]
    error: Scores = np.sum(gaps, axis=0) / targets.shape[-1]
    return error


def brier(scores: Scores, targets: Targets) -> Scores:
    """The mean over studies of Σ over classes of (score - truth)² (Brier, 1950)."""
    truth = targets[..., None] == np.arange(scores.shape[-1])
    found: Scores = ((scores - truth) ** 2).sum(axis=-1).mean(axis=-1)
    return found


def reliability(scores: Scores, targets: Targets) -> Curve:
    """The mean confidence of each bin of studies (N, K) against their accuracy."""
    confidence, right, place = _confidence(scores, targets)
    held = np.bincount(place, minlength=BINS).astype(np.float64)
    some = held > 0
    sums = [np.bincount(place, values, BINS)[some] / held[some] for values in (confidence, right)]
    return Curve(sums[0], sums[1], held[some])


def log_loss(scores: Scores, targets: Targets, temperature: float = 1.0) -> float:
    """The negative log-likelihood of studies (N, K) and their classes, summed, in nats."""
    tempered = np.log(np.clip(scores, _LEAST, 1)) / temperature
    total = np.logaddexp.reduce(tempered, axis=-1)
    return float((total - tempered[np.arange(len(targets)), targets]).sum())


def fitted_temperature(scores: Scores, targets: Targets) -> float:
    """The temperature of the least negative log-likelihood of studies (N, K) and their classes.

    Raises:
        ValueError: every study gets its class, or the scores tell nothing: no temperature is best.
    """
    from scipy.optimize import minimize_scalar  # slow to load

    def loss(at: float) -> float:
        """Of a logarithm of the temperature."""
        return log_loss(scores, targets, float(np.exp(at)))

    end = float(np.log(HIGHEST_TEMPERATURE))
    at = float(minimize_scalar(loss, bounds=(-end, end), method="bounded").x)
    if end - abs(at) < 0.01:
        raise ValueError("no temperature is better than all others")
    return float(np.exp(at))


def _confidence(scores: Scores, targets: Targets) -> tuple[Scores, Scores, Targets]:
    """The highest score of each study, whether its class is right, and the bin it lies in."""
    confidence = scores.max(axis=-1)
    right = (scores.argmax(axis=-1) == targets).astype(np.float64)
    return confidence, right, np.minimum((confidence * BINS).astype(np.intp), BINS - 1)


def roc_curve(scores: Scores, members: NDArray[np.bool_]) -> tuple[Scores, Scores]:
    """False and true positive rates of one class's scores (N,), from no study to all."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], members[order]
    last = np.append(np.diff(ranked) != 0, True)  # equal scores pass the threshold together
    true = np.cumsum(hits)[last] / max(int(hits.sum()), 1)
    false = np.cumsum(~hits)[last] / max(int((~hits).sum()), 1)
    return np.append(0.0, false), np.append(0.0, true)


def _mean_of_defined(figures: list[Scores]) -> Scores:
    stack = np.stack(figures)
    defined = np.isfinite(stack)
    return ratio(np.where(defined, stack, 0).sum(axis=0), defined.sum(axis=0))
