"""The JSON summary of a result: what REST answers and ``summary.json`` holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from brainmvp_models.manifest import Profile, SubsetQuality
from brainmvp_models.modality import Modality
from brainmvp_models.population import Population, measured_on
from brainmvp_models.space import Space
from brainmvp_models.task import FillPolicy
from brainmvp_server.inference.preprocess import Coverage
from brainmvp_server.inference.result import Result
from brainmvp_server.inference.result_space import PreparationReport
from brainmvp_server.results.dicom.objects import MissingObject
from brainmvp_server.results.findings import Finding, Findings
from brainmvp_server.results.probabilities import ProbabilitiesGiven, ScoreGiven
from brainmvp_server.results.structures import StructureFound
from brainmvp_server.results.wire import Point, Wire


class EngineUsed(Wire):
    """What ran the network."""

    name: str
    device: str
    precision: str


class RealModality(Wire):
    """A modality that came with the study."""

    modality: Modality
    digest: str = Field(
        description="SHA-256 of its file; of a DICOM series, of its affine and voxels."
    )
    shape: tuple[int, int, int] = Field(description="Voxels along the axes of its grid.")
    spacing_mm: Point = Field(description="Millimetres between voxels, along the same axes.")
    head_ml: float = Field(description="What it shows that is brighter than its background, in mL.")
    field_share: float = Field(description="How much of its field of view that is, 0 to 1.")
    head_share: float = Field(
        description="How much of the study's head its field of view covers, 0 to 1; beyond it the "
        "modality is missing."
    )


class FilledModality(Wire):
    """A modality that is not this patient's."""

    modality: Modality
    policy: FillPolicy
    template: Modality | None = Field(description="The template that stands in, if one does.")


class ExpectedQuality(Wire):
    """Quality measured for this subset of modalities, from the bundle's subset card."""

    output: str
    metric: str
    value: float
    low: float | None = Field(description="Lower end of the 95 % confidence interval.")
    high: float | None = Field(description="Upper end of the 95 % confidence interval.")
    studies: int
    measured_on: str = Field(default="", description="On how many of whose studies, in words.")
    population: Population | None = Field(
        default=None,
        description="Whom it was measured on; null where the bundle does not record it.",
    )

    @classmethod
    def of(cls, quality: SubsetQuality, population: Population | None) -> ExpectedQuality:
        """A line of the card, with whom it was measured on."""
        return cls(
            **quality.model_dump(exclude={"real", "fill"}),
            measured_on=measured_on(quality.studies, population),
            population=population,
        )


class UndecidedOutput(Wire):
    """An output that some modalities cannot decide."""

    output: str = Field(description="A region or class; 'all' for the class of the study.")
    title: str
    reason: str
    missing: tuple[Modality, ...] = Field(
        description="With these it would be determinable; none where no others would help."
    )


class Undecided(UndecidedOutput):
    """An output that the study's modalities cannot decide."""

    given: bool = Field(
        description="Whether what was found is given all the same, because it was asked for."
    )


class MovedSeries(Wire):
    """How a series of a raw study was brought to the reference."""

    modality: Modality
    moved_mm: float = Field(description="How far a point of the head was moved, on average.")
    before: float = Field(description="Normalised mutual information by the headers, 1 to 2.")
    after: float = Field(description="The same as it was brought.")
    start: str = Field(description="What won: headers, moments, centres or turned.")


class PreparationDone(Wire):
    """What was done to a raw study before the network saw it."""

    reference: Modality = Field(description="The series the others were brought to.")
    space: Space
    turned_degrees: float | None = None
    atlas_covered: float | None = Field(
        default=None, description="Share of the atlas's brain that every series shows, 0 to 1."
    )
    moved: tuple[MovedSeries, ...]
    brain_ml: float | None = Field(
        default=None, description="Null where the series came without their skulls."
    )
    brain_series: tuple[Modality, ...] = ()
    brain_agreement: float | None = Field(
        default=None, description="Dice of the brains of the first two series."
    )

    @classmethod
    def of(cls, report: PreparationReport) -> PreparationDone:
        """As the stage told it."""
        moved = tuple(
            MovedSeries(
                modality=one.modality,
                moved_mm=round(one.moved_mm, 2),
                before=round(one.before, 4),
                after=round(one.after, 4),
                start=one.start,
            )
            for one in report.moved
        )
        return cls(
            reference=report.reference,
            space=report.space,
            turned_degrees=report.turned_degrees,
            atlas_covered=report.atlas_covered,
            moved=moved,
            brain_ml=report.brain_ml,
            brain_series=report.brain_series,
            brain_agreement=report.brain_agreement,
        )


class MissingFile(Wire):
    """A file that the result should have, and why it has not."""

    name: str
    problem: str
    remedy: str


class Summary(Wire):
    """Everything about a result but its voxels."""

    model: str
    version: str
    kind: Literal["segmentation", "classification"]
    demo: bool
    bundle: str
    engine: EngineUsed
    profile: Profile = Field(
        default="reference",
        description="How the study was cut into windows: reference as published, speed into fewer.",
    )
    real: tuple[RealModality, ...]
    filled: tuple[FilledModality, ...]
    identified: tuple[Finding, ...] = Field(
        default=(),
        description="Every volume that came without a name: what it was taken for, on what "
        "evidence, and whether it was used.",
    )
    structures: tuple[StructureFound, ...]
    scores: tuple[ScoreGiven, ...]
    probabilities: ProbabilitiesGiven = Field(
        default=ProbabilitiesGiven(), description="What scores and probability maps are."
    )
    not_determinable: tuple[Undecided, ...] = Field(
        default=(),
        description="What the modalities that came cannot decide. It is not among structures and "
        "scores, nor in the mask, unless it was asked for.",
    )
    expected_quality: tuple[ExpectedQuality, ...]
    warnings: tuple[str, ...]
    missing: tuple[MissingFile, ...] = Field(
        default=(),
        description="DICOM objects that could not be written, where objects were asked for.",
    )
    preparation: PreparationDone | None = Field(
        default=None, description="What was done to a raw study; null where nothing was."
    )
    windows: int
    seconds: dict[str, float] = Field(description="Wall-clock seconds by stage.")
    intended_use: str

    @classmethod
    def of(
        cls,
        result: Result,
        findings: Findings | None = None,
        missing: Sequence[MissingObject] = (),
    ) -> Summary:
        """The summary of a result, of what was identified to get there, and what it lacks."""
        manifest = result.manifest
        return cls(
            model=manifest.name,
            version=manifest.version,
            kind=manifest.task.kind,
            demo=manifest.demo,
            bundle=result.bundle_digest,
            engine=EngineUsed(**vars(result.engine)),
            profile=result.profile,
            real=tuple(
                RealModality(
                    modality=volume.modality,
                    digest=volume.digest,
                    shape=volume.grid.shape,
                    spacing_mm=_rounded(volume.grid.spacing),
                    **_coverage(result.coverage[volume.modality]),
                )
                for volume in result.study.volumes
            ),
            filled=tuple(FilledModality(**vars(entry)) for entry in result.filled),
            identified=findings.volumes if findings else (),
            structures=tuple(StructureFound.of(entry) for entry in result.structures),
            scores=tuple(ScoreGiven(**vars(entry)) for entry in result.scores),
            probabilities=ProbabilitiesGiven.of(manifest.calibration),
            not_determinable=tuple(
                Undecided(**vars(one), given=not result.left_out) for one in result.not_determinable
            ),
            expected_quality=tuple(
                ExpectedQuality.of(quality, result.population) for quality in result.expected
            ),
            warnings=result.warnings,
            missing=tuple(
                MissingFile(name=one.name, problem=one.error.problem, remedy=one.error.remedy)
                for one in missing
            ),
            preparation=PreparationDone.of(result.preparation) if result.preparation else None,
            windows=result.windows,
            seconds={stage: round(seconds, 4) for stage, seconds in result.seconds.items()},
            intended_use=manifest.task.intended_use,
        )


def _coverage(shown: Coverage) -> dict[str, float]:
    return {name: round(value, 4) for name, value in vars(shown).items()}


def _rounded(spacing: tuple[float, float, float]) -> Point:
    x, y, z = (round(value, 4) for value in spacing)
    return x, y, z
