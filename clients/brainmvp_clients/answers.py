"""What a server says, as frozen values. A key that a newer server adds is ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from brainmvp_clients.errors import UnexpectedAnswer

Kind = Literal["segmentation", "classification"]
Triple = tuple[float, float, float]


class Answer(BaseModel):
    """A value received: it cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="ignore")


AnswerT = TypeVar("AnswerT", bound=Answer)


class Population(Answer):
    """Whom a quality was measured on, and what it may be used for."""

    kind: str
    description: str = ""
    anatomy: str = ""
    preparation: str = ""
    field_of_use: str = ""


class ExpectedQuality(Answer):
    """Quality measured earlier on studies that had the same modalities.

    Attributes:
        measured_on: on how many of whose studies, in words; empty from an older server.
        population: None where nobody recorded it.
    """

    output: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    studies: int
    measured_on: str = ""
    population: Population | None = None


class UndecidedOutput(Answer):
    """An output that some modalities cannot decide.

    Attributes:
        output: a region or class; ``all`` for the class of the study.
        missing: with these modalities it would be determinable; none where no others would help.
    """

    output: str
    title: str = ""
    reason: str = ""
    missing: tuple[str, ...] = ()


class NotDeterminable(UndecidedOutput):
    """An output that the study's modalities cannot decide.

    Attributes:
        given: whether what was found is given all the same, because it was asked for.
    """

    given: bool = False


class Engine(Answer):
    """What ran the network."""

    name: str
    device: str = ""
    precision: str = ""


class RealModality(Answer):
    """A modality that the study had.

    Attributes:
        head_ml: what it shows that is brighter than its background, in mL.
        field_share: how much of its field of view that is, 0 to 1.
        head_share: how much of the study's head its field of view covers, 0 to 1.
    """

    modality: str
    digest: str = ""
    shape: tuple[int, int, int]
    spacing_mm: Triple
    head_ml: float | None = None
    field_share: float | None = None
    head_share: float | None = None


class FilledModality(Answer):
    """A modality that the study lacked, and what stood in for it."""

    modality: str
    policy: str
    template: str | None = None


class Size(Answer):
    """The diameters of a connected part, from border to border, in mm.

    Attributes:
        plane: the slices that ``diameter_mm`` and ``across_mm`` lie in.
        across_mm: the longest diameter in the slice of ``diameter_mm``, at right angles to it.
        product_mm2: both multiplied.
    """

    plane: str
    diameter_mm: float
    across_mm: float
    product_mm2: float
    diameter_3d_mm: float
    diameter_ends_mm: tuple[Triple, Triple]
    across_ends_mm: tuple[Triple, Triple]


class Part(Answer):
    """One connected part of a structure: of a model of lesions, a lesion.

    Attributes:
        number: 1 for the largest.
        side: left, right or both; None where no brain is known.
        to_surface_mm: to the outer surface of the brain; None where none is known.
    """

    number: int
    voxels: int
    volume_ml: float
    centroid_mm: Triple
    size: Size
    side: str | None = None
    to_surface_mm: float | None = None


class Structure(Answer):
    """One segmented structure, measured.

    Attributes:
        labels: the mask's values that it is made of.
        components: how many connected parts it has.
        size: of the part that is longest in one slice; in space, of the longest of all.
        parts: the largest ones, measured.
        confidence: the mean probability of its voxels.
    """

    name: str
    title: str = ""
    value: int | None = None
    labels: tuple[int, ...] = ()
    colour: str | None = None
    volume_ml: float
    voxels: int
    components: int
    bounding_box_mm: tuple[Triple, Triple] | None = None
    centroid_mm: Triple | None = None
    size: Size | None = None
    side: str | None = None
    to_surface_mm: float | None = None
    parts: tuple[Part, ...] = ()
    confidence: float | None = None


class Score(Answer):
    """One class of a classification, with its probability; ``uncalibrated`` is the network's."""

    name: str
    title: str = ""
    score: float
    uncalibrated: float | None = None


class Probabilities(Answer):
    """Whether scores and probability maps are calibrated, and on how many of whose studies.

    Attributes:
        not_calibrated: outputs whose probabilities are the network's own all the same.
    """

    calibrated: bool = False
    measured_on: str = ""
    not_calibrated: tuple[str, ...] = ()
    population: Population | None = None


class Finding(Answer):
    """One volume of a study that was looked at: what it is, on what evidence, and if it is used."""

    label: str
    kind: str
    modality: str | None = None
    confidence: str = ""
    evidence: tuple[str, ...] = ()
    used: bool = False
    reason: str = ""
    series_uid: str | None = None
    series_number: int | None = None
    description: str | None = None
    slices: int | None = None
    spacing_mm: Triple | None = None
    plane: str | None = None
    b_value: float | None = None
    echo_time_ms: float | None = None
    notes: tuple[str, ...] = ()


class Findings(Answer):
    """Every volume of a study, and how many files were none."""

    volumes: tuple[Finding, ...]
    unreadable: int = 0
    other: int = 0
    warnings: tuple[str, ...] = ()


class MissingFile(Answer):
    """A file that a result should have, and why it has not."""

    name: str
    problem: str = ""
    remedy: str = ""


class MovedSeries(Answer):
    """How a series of a raw study was brought to the reference."""

    modality: str
    moved_mm: float
    before: float
    after: float
    start: str = ""


class PreparationDone(Answer):
    """What was done to a raw study before the network saw it."""

    reference: str
    space: str
    turned_degrees: float | None = None
    atlas_covered: float | None = None
    moved: tuple[MovedSeries, ...] = ()
    brain_ml: float | None = None
    brain_series: tuple[str, ...] = ()
    brain_agreement: float | None = None


class Summary(Answer):
    """The result of one study, without its voxels."""

    model: str
    version: str
    kind: Kind
    demo: bool = False
    bundle: str = ""
    engine: Engine
    profile: str = "reference"
    real: tuple[RealModality, ...]
    filled: tuple[FilledModality, ...] = ()
    identified: tuple[Finding, ...] = ()
    structures: tuple[Structure, ...] = ()
    scores: tuple[Score, ...] = ()
    probabilities: Probabilities = Probabilities()
    not_determinable: tuple[NotDeterminable, ...] = ()
    expected_quality: tuple[ExpectedQuality, ...] = ()
    warnings: tuple[str, ...] = ()
    missing: tuple[MissingFile, ...] = ()
    preparation: PreparationDone | None = None
    windows: int = 0
    seconds: dict[str, float] = {}
    intended_use: str = ""


JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class JobProgress(Answer):
    """How far a running job is; ``windows`` is 0 until it is known."""

    stage: str
    windows_done: int = 0
    windows: int = 0
    seconds_left: float | None = None


class JobError(Answer):
    """Why a job failed."""

    code: str = ""
    title: str = ""
    detail: str = ""
    remedy: str = ""


class Job(Answer):
    """A study that the server works on, or has worked on."""

    id: str
    model: str
    version: str
    priority: str = ""
    state: JobState
    progress: JobProgress | None = None
    created: datetime
    finished: datetime | None = None
    expires: datetime | None = None
    results: tuple[str, ...] = ()
    error: JobError | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")


class JobList(Answer):
    """Jobs, the newest first."""

    jobs: tuple[Job, ...]


def parse(kind: type[AnswerT], text: bytes | str, *, subject: str) -> AnswerT:
    """``text`` as an answer of that kind; ``subject`` names its origin in errors.

    Raises:
        UnexpectedAnswer: it is no JSON, or not of that kind.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step) for step in fault["loc"])
        raise UnexpectedAnswer(
            f"sent no valid {kind.__name__} ({f'{where}: ' if where else ''}{fault['msg']})",
            remedy="Check that it is a BrainMVP server of a matching version",
            subject=subject,
        ) from None
