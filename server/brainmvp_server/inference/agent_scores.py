"""How far a T1 and a T1c look as if contrast agent had been given before them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_models.training_distribution import LinearScore
from brainmvp_server.inference.agent_figures import AgentFigures

_BETWEEN = 2.0
"""How much more the score between two series counts than that of one: it varies half as much."""
_EXCHANGED = 1.0
"""Half-way to exchanged from what both or neither with the agent have."""


@dataclass(frozen=True)
class AgentScores:
    """What is seen of contrast agent in a study that has T1 and T1c.

    Attributes:
        t1, t1c: how far each is from a T1, at -1, towards a T1c, at 1.
        between: 1 if the agent is in the T1c and not in the T1, -1 if they were exchanged, 0 if
            they are alike.
    """

    t1: float
    t1c: float
    between: float

    @property
    def both(self) -> float:
        """-3 if the agent is in the T1c alone, 1 if both have it."""
        return self.t1 - _BETWEEN * self.between

    @property
    def neither(self) -> float:
        """-3 if the agent is in the T1c alone, 1 if neither has it."""
        return -self.t1c - _BETWEEN * self.between

    @property
    def exchanged(self) -> bool:
        """Whether they look exchanged rather than alike."""
        return (self.t1 - self.t1c) / 2 - self.between > _EXCHANGED


def scored(score: LinearScore, figures: NDArray[np.float32]) -> float:
    """The value of a linear function."""
    weights = np.frombuffer(score.weights, np.int8).astype(np.float32)
    return score.offset + score.scale * float(weights @ figures)


def agent_scores(
    figures: AgentFigures, alone: LinearScore, between: LinearScore
) -> AgentScores | None:
    """The scores of T1 and T1c together; none unless both came."""
    if figures.between is None:
        return None
    t1, t1c = (scored(alone, figures.alone[m]) for m in (Modality.T1, Modality.T1C))
    return AgentScores(t1, t1c, scored(between, figures.between))
