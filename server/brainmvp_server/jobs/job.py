"""What a job is: the order it was made by, and what is told of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from pydantic import Field

from brainmvp_models.bundle import Bundle, digest_of
from brainmvp_models.manifest import Profile
from brainmvp_models.modality import Modality
from brainmvp_models.task import FillPolicy
from brainmvp_server.imaging.nifti_space import Form
from brainmvp_server.inference.checked_study import BRAIN
from brainmvp_server.inference.options import PredictOptions, Prepare
from brainmvp_server.results.dicom.object_options import ObjectOptions
from brainmvp_server.results.findings import Findings
from brainmvp_server.results.wire import Wire


class Priority(str, Enum):
    """Whose turn comes first."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class State(str, Enum):
    """How far a job is; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


class JobRequest(Wire):
    """What was asked for, without the study."""

    model: str
    version: str
    fill: FillPolicy | None = None
    probabilities: bool = False
    channels: bool = False
    resample: bool = False
    form: Form = "sform"
    prepare: Prepare = "auto"
    space: str | None = None
    not_determinable: bool = False
    profile: Profile | None = None
    objects: ObjectOptions = ObjectOptions()
    priority: Priority = Priority.BATCH

    @classmethod
    def of(
        cls, bundle: Bundle, options: PredictOptions, objects: ObjectOptions, priority: Priority
    ) -> JobRequest:
        """What is written down of a request; whether somebody waits is its priority."""
        return cls(
            model=bundle.manifest.name,
            version=bundle.manifest.version,
            fill=options.fill,
            probabilities=options.probabilities,
            channels=options.templates,
            resample=options.resample,
            form=options.form,
            prepare=options.prepare,
            space=options.space,
            not_determinable=options.not_determinable,
            profile=options.profile,
            objects=objects,
            priority=priority,
        )

    @property
    def options(self) -> PredictOptions:
        """What is asked of the prediction."""
        return PredictOptions(
            self.fill,
            self.probabilities,
            self.channels,
            self.resample,
            self.form,
            interactive=self.priority is Priority.INTERACTIVE,
            prepare=self.prepare,
            space=self.space,
            not_determinable=self.not_determinable,
            profile=self.profile,
        )


@dataclass(frozen=True)
class KeptStudy:
    """What is kept of a study until its job is over.

    Attributes:
        files: one a modality, in the order they came.
        findings: what was identified when it came; None where every file came under its name.
        brain: a brain mask of the sender's own.
    """

    files: Mapping[Modality, Path]
    findings: Findings | None = None
    brain: Path | None = None


class JobSpec(Wire):
    """One accepted job: what a worker needs to know.

    Attributes:
        digest: of what was asked and of the study's bytes; equal orders have equal digests.
        modalities: in the order they came; the first one's grid is the result's.
        brain: whether a brain mask came with them.
    """

    id: str
    owner: str
    asked: JobRequest
    digest: str
    modalities: tuple[Modality, ...]
    brain: bool = False


class JobError(Wire):
    """Why a job failed."""

    code: str
    title: str
    detail: str
    remedy: str


UNFORESEEN = JobError(
    code="internal-error",
    title="The job could not be finished",
    detail="It failed in an unexpected way, or its worker died every time it tried",
    remedy="Post it again; if it stays so, report it with the job's id",
)


class Outcome(Wire):
    """How a job ended, as its worker wrote it down."""

    state: State
    files: tuple[str, ...] = ()
    error: JobError | None = None


class JobProgress(Wire):
    """How far a running job is."""

    stage: str = Field(description="What is being done: read, preprocess, infer, …")
    windows_done: int = 0
    windows: int = Field(default=0, description="0 until it is known.")
    seconds_left: float | None = Field(
        default=None, description="For the windows that are left, at the pace so far."
    )


class Job(Wire):
    """A job as it is told to whoever asks."""

    id: str
    model: str
    version: str
    priority: Priority
    state: State
    progress: JobProgress | None = Field(
        default=None, description="Where a running job is, and where one that is over ended."
    )
    created: datetime
    finished: datetime | None = None
    expires: datetime | None = Field(
        default=None, description="When a finished job and its results will be gone."
    )
    results: tuple[str, ...] = Field(default=(), description="Files under /results/.")
    error: JobError | None = None


class Jobs(Wire):
    """Jobs, the newest first."""

    jobs: tuple[Job, ...]


def job_digest(asked: JobRequest, study: KeptStudy) -> str:
    """SHA-256 of what was asked and of every file, in the order they came."""
    hasher = hashlib.sha256(asked.model_dump_json().encode())
    files = {modality.value: path for modality, path in study.files.items()}
    if study.brain is not None:
        files[BRAIN] = study.brain
    for name, path in files.items():
        hasher.update(f"\0{name}\0{digest_of(path)}".encode())
    return hasher.hexdigest()
