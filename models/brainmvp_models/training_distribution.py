"""What a model's training studies looked like, in figures that a study can be compared with.

Two kinds of series are told apart by the pattern of brightness in a brain: a linear function of it
is -1 for the one and 1 for the other, on average over the training studies. Ranges hold all other
figures; ``docs/out-of-distribution.md`` says what each is.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Base64Bytes, Field, field_validator

from brainmvp_models.modality import Modality
from brainmvp_models.population import Population
from brainmvp_models.task import Frozen

FIGURES: Literal[1] = 1
"""Version of the figures' definitions: those of another version cannot be compared."""
BLOCKS = (12, 14, 12)
"""Blocks of a pattern along R, A, S; each has two numbers."""
PATTERN = 2 * BLOCKS[0] * BLOCKS[1] * BLOCKS[2]
"""Length of a pattern."""
AGENT_ALONE, AGENT_BETWEEN = 3 * 15 * 16, 3 * 13 * 8
"""Lengths of what tells of contrast agent: in one series, and between T1 and T1c."""


class FigureRange(Frozen):
    """Where a figure lay in training, with a margin."""

    figure: str = Field(description="For example foreground_ml, or t2.median.")
    low: float
    high: float


class LinearScore(Frozen):
    """A linear function of figures."""

    weights: Base64Bytes = Field(description="One signed byte a figure.")
    scale: float = Field(gt=0, description="What a weight of 1 is.")
    offset: float


class KindContrast(LinearScore):
    """A linear function of a series' pattern that tells two kinds of series apart."""

    one: Modality = Field(description="Series of this kind have -1 on average.")
    other: Modality = Field(description="Series of this kind have 1 on average.")

    @field_validator("weights")
    @classmethod
    def _as_many_as_a_pattern_has(cls, weights: bytes) -> bytes:
        return _so_many(weights, PATTERN)


class KindLimit(Frozen):
    """How far a series given as one kind may be towards another; what is beyond is outside."""

    given: Modality
    looks_like: Modality
    alone: float = Field(description="Where the study has no other series.")
    among: float = Field(description="Where it has others.")
    exchanged: float = Field(
        description="By how much it may be further than the series given as that other kind."
    )


class AgentContrast(Frozen):
    """What tells whether a T1 and a T1c show contrast agent, and what is beyond what is right.

    Where both came, ``alone`` and ``between`` are taken together: ``both`` limits the T1's score
    less twice the one between, ``neither`` that of the T1c, negative, less the same.
    """

    alone: LinearScore = Field(description="Of one series: -1 for a T1, 1 for a T1c, on average.")
    between: LinearScore = Field(description="1 for T1 and T1c, -1 if exchanged, on average.")
    t1c_at_least: float = Field(description="Where no T1 came, by the score alone.")
    both: float = Field(description="What is more: both show the agent.")
    neither: float = Field(description="What is more: neither does.")

    @field_validator("alone")
    @classmethod
    def _as_many_as_a_series_has(cls, alone: LinearScore) -> LinearScore:
        _so_many(alone.weights, AGENT_ALONE)
        return alone

    @field_validator("between")
    @classmethod
    def _as_many_as_two_have(cls, between: LinearScore) -> LinearScore:
        _so_many(between.weights, AGENT_BETWEEN)
        return between


class LesionLoad(Frozen):
    """How much of one output the training studies had, at most."""

    output: str
    most_ml: float = Field(ge=0)


class TrainingDistribution(Frozen):
    """Figures of the studies that a model was trained on."""

    figures: Literal[1] = FIGURES
    studies: int = Field(gt=0)
    datalist: str = Field(description="SHA-256 of the list of cases.")
    population: Population | None = Field(
        default=None, description="Of whom they are; null where the list does not say."
    )
    calibrated_on: int = Field(gt=0, description="Studies by which limits were set.")
    calibration_list: str = Field(description="SHA-256 of their list.")
    calibration_population: Population | None = Field(
        default=None, description="Of whom those are; null where the list does not say."
    )
    false_alarms: float = Field(ge=0, le=1, description="Share of those that are outside.")
    command: str
    evaluator: str
    created: str = Field(description="UTC, ISO 8601.")
    ranges: tuple[FigureRange, ...]
    contrasts: tuple[KindContrast, ...]
    limits: tuple[KindLimit, ...]
    agent: AgentContrast | None = Field(
        default=None, description="None of models that do not take T1 and T1c, and of earlier ones."
    )
    lesion_load: tuple[LesionLoad, ...] = ()


def _so_many(weights: bytes, wanted: int) -> bytes:
    if len(weights) != wanted:
        raise ValueError(f"needs {wanted} weights, and has {len(weights)}")
    return weights
