"""``evaluation.json`` and the journal it is made from, as frozen pydantic models."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from brainmvp_models.modality import Modality
from brainmvp_models.population import Population
from brainmvp_models.task import FillPolicy, Frozen

Metric = Literal[
    "dice", "hd95_mm", "volume_error_ml", "volume_bias_ml", "volume_error_relative",
    "accuracy", "balanced_accuracy", "auc",
    "ece", "ece_calibrated", "ece_suspected", "ece_suspected_calibrated",
    "brier", "brier_calibrated",
]  # fmt: skip


class Measure(Frozen):
    """One region or class of one study; see :class:`~.overlap.Overlap`."""

    output: str
    dice: float
    hd95_mm: float
    truth_ml: float
    predicted_ml: float
    counts: tuple[tuple[int, int, int], ...] = Field(
        default=(),
        description="Voxels of the brain by the network's probability: the step of the logit, how "
        "many, how many of them true; see docs/evaluation.md. Only in the journal.",
    )


RowKey: TypeAlias = tuple[int, str, tuple[Modality, ...], FillPolicy]


class Row(Frozen):
    """One study in one setting: a line of the journal."""

    case: int = Field(ge=1, description="The case's place in the section of the list.")
    content: str = Field(default="", description="SHA-256 of the case's files and class.")
    real: tuple[Modality, ...]
    fill: FillPolicy
    outputs: tuple[Measure, ...] = ()
    target: int | None = Field(default=None, description="The true class's index.")
    scores: tuple[float, ...] = Field(
        default=(), description="Of each class, in the task's order, not calibrated."
    )
    problem: str | None = Field(default=None, description="Why the study could not be measured.")
    seconds: float

    @property
    def key(self) -> RowKey:
        """What was measured."""
        return self.case, self.content, self.real, self.fill


class Figure(Frozen):
    """One figure of one setting over its studies, with its 95 % bootstrap interval."""

    real: tuple[Modality, ...]
    fill: FillPolicy
    output: str
    metric: Metric
    value: float = Field(description="Mean over studies, or the figure of all of them.")
    median: float | None
    low: float | None
    high: float | None
    studies: int


class ReliabilityBin(Frozen):
    """One of 15 bins of probability, over all studies and settings."""

    output: str
    calibrated: bool
    probability: float = Field(description="The mean of the bin.")
    frequency: float = Field(description="The share that is true: of voxels, or of studies.")
    count: int = Field(description="Voxels of brains, or studies.")


class Subject(Frozen):
    """What was measured, and on what: two evaluations of one subject can be joined."""

    model: str
    version: str
    content: str = Field(description="SHA-256 of the manifest without its card and evaluation.")
    templates: str | None = Field(description="SHA-256 of other templates than the bundle's own.")
    datalist: str = Field(description="SHA-256 of the list of cases.")
    section: str
    engine: str
    device: str
    precision: str
    evaluator: str


class CaseName(Frozen):
    """A case's name in its list; only where it was asked for."""

    case: int
    name: str


class Evaluation(Frozen):
    """``evaluation.json``."""

    schema_version: Literal[1] = 1
    subject: Subject
    bundle: str = Field(description="SHA-256 of the manifest as it was.")
    kind: Literal["segmentation", "classification"]
    demo: bool
    outputs: tuple[str, ...]
    command: str
    created: str = Field(description="UTC, ISO 8601.")
    population: Population | None = Field(
        default=None, description="Of whom the studies are; null where nobody said so."
    )
    cases: int
    skipped: int = Field(description="Cases that lack a modality of every setting.")
    resamples: int
    seed: int
    figures: tuple[Figure, ...]
    reliability: tuple[ReliabilityBin, ...] = ()
    rows: tuple[Row, ...]
    names: tuple[CaseName, ...] = ()

    @property
    def failures(self) -> tuple[Row, ...]:
        """The studies that could not be measured."""
        return tuple(row for row in self.rows if row.problem is not None)
