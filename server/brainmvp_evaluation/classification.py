"""Figures of a classification, each for many resamples of the studies at once.

``scores`` are (B, N, K) probabilities of K classes for N studies in B resamples, ``targets`` (B, N)
their true classes. A figure is (B,), NaN where a resample does not define it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Scores = NDArray[np.float64]
Targets = NDArray[np.intp]


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
        recalls.append(_ratio(hits, members.sum(axis=-1)))
    return _mean_of_defined(recalls)


def auc_of_class(scores: Scores, targets: Targets, index: int) -> Scores:
    """Area under the ROC curve of one class against the rest, equal scores counting half.

    The Mann-Whitney statistic: (R - n(n + 1)/2) / (n m), where R is the sum of the ranks of the n
    studies of the class among all n + m. NaN where the class, or the rest, has no study.
    """
    members = targets == index
    ranks = rankdata(scores[..., index], axis=-1)
    inside = members.sum(axis=-1)
    outside = members.shape[-1] - inside
    above = (ranks * members).sum(axis=-1) - inside * (inside + 1) / 2
    return _ratio(above, inside * outside)


def macro_auc(scores: Scores, targets: Targets) -> Scores:
    """Mean over the classes that occur of the area under the ROC curve, one against the rest."""
    classes = range(scores.shape[-1])
    return _mean_of_defined([auc_of_class(scores, targets, index) for index in classes])


def roc_curve(scores: Scores, members: NDArray[np.bool_]) -> tuple[Scores, Scores]:
    """False and true positive rates of one class's scores (N,), from no study to all."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], members[order]
    last = np.append(np.diff(ranked) != 0, True)  # equal scores pass the threshold together
    true = np.cumsum(hits)[last] / max(int(hits.sum()), 1)
    false = np.cumsum(~hits)[last] / max(int((~hits).sum()), 1)
    return np.append(0.0, false), np.append(0.0, true)


def _ratio(part: NDArray[np.generic], whole: NDArray[np.generic]) -> Scores:
    """Their ratio, NaN where there is nothing to divide by."""
    ratio = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=np.asarray(whole) > 0)
    return ratio


def _mean_of_defined(figures: list[Scores]) -> Scores:
    stack = np.stack(figures)
    defined = np.isfinite(stack)
    return _ratio(np.where(defined, stack, 0).sum(axis=0), defined.sum(axis=0))
