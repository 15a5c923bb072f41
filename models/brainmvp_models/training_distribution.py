"""What a model's training studies looked like, in figures that a study can be compared with.

Two kinds of series are told apart by the pattern of brightness in a brain: a linear function of it
is -1 for the one and 1 for the other, on average over the training studies. Ranges hold all other
figures; ``docs/out-of-distribution.md`` says what each is.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Base64Bytes, Field, field_validator

from brainmvp_models.modality import Modality
from brainmvp_models.task import Frozen

FIGURES: Literal[1] = 1
"""Version of the figures' definitions: those of another version cannot be compared."""
BLOCKS = (12, 14, 12)
"""Blocks of a pattern along R, A, S; each has two numbers."""
PATTERN = 2 * BLOCKS[0] * BLOCKS[1] * BLOCKS[2]
"""Length of a pattern."""


class FigureRange(Frozen):
    """Where a figure lay in training, with a margin."""

    figure: str = Field(description="For example foreground_ml, or t2.median.")
    low: float
    high: float


class KindContrast(Frozen):
    """A linear function of a series' pattern that tells two kinds of series apart."""

    one: Modality = Field(description="Series of this kind have -1 on average.")
    other: Modality = Field(description="Series of this kind have 1 on average.")
    weights: Base64Bytes = Field(description="One signed byte a number of the pattern.")
    scale: float = Field(gt=0, description="What a weight of 1 is.")
    offset: float

    @field_validator("weights")
    @classmethod
    def _as_many_as_a_pattern_has(cls, weights: bytes) -> bytes:
        if len(weights) != PATTERN:
            raise ValueError(f"needs {PATTERN} weights, and has {len(weights)}")
        return weights


class KindLimit(Frozen):
    """How far a series given as one kind may be towards another; what is beyond is outside."""

    given: Modality
    looks_like: Modality
    alone: float = Field(description="Where the study has no other series.")
    among: float = Field(description="Where it has others.")
    exchanged: float = Field(
        description="By how much it may be further than the series given as that other kind."
    )


class LesionLoad(Frozen):
    """How much of one output the training studies had, at most."""

    output: str
    most_ml: float = Field(ge=0)


class TrainingDistribution(Frozen):
    """Figures of the studies that a model was trained on."""

    figures: Literal[1] = FIGURES
    studies: int = Field(gt=0)
    datalist: str = Field(description="SHA-256 of the list of cases.")
    calibrated_on: int = Field(gt=0, description="Studies by which limits were set.")
    calibration_list: str = Field(description="SHA-256 of their list.")
    false_alarms: float = Field(ge=0, le=1, description="Share of those that are outside.")
    command: str
    evaluator: str
    created: str = Field(description="UTC, ISO 8601.")
    ranges: tuple[FigureRange, ...]
    contrasts: tuple[KindContrast, ...]
    limits: tuple[KindLimit, ...]
    lesion_load: tuple[LesionLoad, ...] = ()
