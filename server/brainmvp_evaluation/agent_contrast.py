"""How contrast agent is told in a T1 and a T1c, learnt from a model's training studies.

Two ridge regressions on their figures: of which of the two a series is, and of the sign of what is
between them. Limits are set on studies that no training saw.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainmvp_evaluation.training_distribution import (
    Values,
    between_means,
    in_bytes,
    limits_between,
)
from brainmvp_models.modality import Modality
from brainmvp_models.training_distribution import AgentContrast, LinearScore
from brainmvp_server.inference.agent_scores import agent_scores
from brainmvp_server.inference.figures import StudyFigures

_PAIR = (Modality.T1, Modality.T1C)

_RIDGE_ALONE, _RIDGE_BETWEEN = 1.0, 3.0
"""Of the mean squared length of the figures."""
_ALONE, _TOGETHER = 0.025, 0.0125
"""Share of the studies that may be beyond the limits."""
_FEWEST = 20
"""Studies from which it can be learnt."""


def agent_contrast_of(
    studies: Sequence[StudyFigures], held_out: Sequence[StudyFigures]
) -> AgentContrast | None:
    """What tells of contrast agent; none where too few studies have T1 and T1c."""
    known = [study.agent for study in studies if study.agent.between is not None]
    if len(known) < _FEWEST:
        return None
    t1, t1c = (np.array([one.alone[m] for one in known], np.float64) for m in _PAIR)
    alone = _alone(t1, t1c)
    between = _between(np.array([one.between for one in known], np.float64))
    found = [agent_scores(study.agent, alone, between) for study in held_out]
    scores = [one for one in found if one is not None]
    if len(scores) < _FEWEST:
        return None
    own = np.array([[-one.t1c] for one in scores])
    (without,) = limits_between(own, np.array([[-one.t1] for one in scores]), _ALONE, [[0]])
    together = np.array([[one.both, one.neither] for one in scores])
    both, neither = limits_between(together, None, _TOGETHER, [[0, 1]])
    return AgentContrast(
        alone=alone,
        between=between,
        t1c_at_least=-without,
        both=both,
        neither=neither,
    )


def _alone(t1: Values, t1c: Values) -> LinearScore:
    x = np.concatenate([t1, t1c])
    x -= x.mean(axis=0)
    weights = in_bytes(_ridge(x, np.repeat([-1.0, 1.0], [len(t1), len(t1c)]), _RIDGE_ALONE))
    return _score(weights, *between_means(weights, t1, t1c))


def _between(figures: Values) -> LinearScore:
    """Without an offset: exchanged, the figures change their sign, and so does the score."""
    weights = in_bytes(_ridge(figures, np.ones(len(figures)), _RIDGE_BETWEEN))
    return _score(weights, 1 / float(figures.mean(axis=0) @ weights), 0.0)


def _ridge(x: Values, y: Values, ridge: float) -> Values:
    """(P,) of figures (N, P)."""
    length = float((x**2).sum(axis=1).mean())
    return np.asarray(x.T @ np.linalg.solve(x @ x.T + ridge * length * np.eye(len(x)), y))


def _score(weights: NDArray[np.int8], scale: float, offset: float) -> LinearScore:
    return LinearScore(weights=base64.b64encode(weights.tobytes()), scale=scale, offset=offset)
