"""Every setting of a service, in groups.

A setting's name is unique across the groups, so that it has one name everywhere: ``upload_mb`` is
the flag ``--upload-mb``, the variable ``BRAINMVP_UPLOAD_MB`` and ``upload_mb`` under ``[limits]``
in the TOML file. To add one, add a field with a description; the command line, the file, the
environment and the docs follow. A ``SecretStr`` gets no flag, but a file: ``--NAME-file``,
``BRAINMVP_NAME_FILE`` or ``NAME_file``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, WithJsonSchema, model_validator

from brainmvp_models.manifest import CpuPrecision, UsualProfile
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.observability.logs import Format, Level
from brainmvp_server.settings.group import Group
from brainmvp_server.settings.security import SecuritySettings

ModalityName = Annotated[
    Modality, WithJsonSchema({"type": "string", "enum": [modality.value for modality in Modality]})
]
"""Its schema stands where it is used: the chart's has no place for definitions."""


class ServiceSettings(Group):
    """What is served, and where."""

    models: Path = Field(description="Folder that holds the bundles.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one."
    )
    root_path: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path under which a proxy shows the service, such as /brainmvp; the proxy may "
        "keep it or take it off.",
    )
    scratch: Path | None = Field(
        default=None,
        description="Where uploads lie while their request lasts; else the temporary folder.",
    )
    watch_s: float = Field(
        default=5, ge=0, description="Seconds between two looks at the model folder; 0 looks once."
    )
    drain_s: float = Field(
        default=0, ge=0, description="Seconds between 'not ready' and the end of listening."
    )
    grace_s: float = Field(
        default=30, ge=0, description="Seconds that running studies have to finish at the end."
    )


class LimitSettings(Group):
    """How much one request may ask for."""

    upload_mb: int = Field(default=2048, ge=1, description="Largest request body, in MiB.")
    upload_parts: int = Field(default=16, ge=1, description="Most parts a request may have.")
    header_kb: int = Field(
        default=32, ge=4, description="Largest head of a request (line and headers), in KiB."
    )
    upload_files: int = Field(
        default=20_000, ge=1, description="Most files to be identified a request may have."
    )
    volume_mvoxels: int = Field(default=135, ge=1, description="Largest volume, in million voxels.")
    least_field_mm: float = Field(
        default=15,
        ge=0,
        description="Width of a series' field of view along each axis at least, in mm; a series "
        "that shows less is refused.",
    )
    least_head_ml: float = Field(
        default=250,
        ge=0,
        description="Head that a series shows at least, in mL; a result from less carries a "
        "warning.",
    )
    least_cover: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="Share of the study's head that a resampled series covers at least; a result "
        "from less carries a warning.",
    )
    head_s: float = Field(
        default=20, gt=0, description="Longest wait for a request's head, in seconds."
    )
    upload_s: float = Field(default=600, gt=0, description="Longest upload, in seconds.")
    answer_s: float = Field(
        default=60,
        gt=0,
        description="Longest wait for a client that takes nothing of its answer, in seconds.",
    )
    study_s: float = Field(default=3600, gt=0, description="Longest work on a study, in seconds.")
    requests: int = Field(
        default=64, ge=1, description="Predictions under way or waiting; more are answered 503."
    )
    key_requests: int | None = Field(
        default=None, ge=1, description="The same for one API key; more are answered 429."
    )
    key_studies_per_hour: int = Field(
        default=0,
        ge=0,
        description="Studies that one API key may have done in an hour; more are answered 429. 0 "
        "is no limit. A key may have its own ('brainmvp keys limit').",
    )
    key_mb_per_day: int = Field(
        default=0,
        ge=0,
        description="The same of what it sends in a day, in MiB.",
    )
    memory_mb: int | None = Field(
        default=None, ge=1, description="Memory for studies, in MiB; else half of the machine's."
    )

    @property
    def upload_bytes(self) -> int:
        """Largest request body."""
        return self.upload_mb << 20

    @property
    def volume(self) -> Limits:
        """How large one volume may be, and how little of a head it may show."""
        return Limits(
            voxels=self.volume_mvoxels * 1_000_000,
            field_mm=self.least_field_mm,
            head_ml=self.least_head_ml,
            cover=self.least_cover,
        )


class WorkerSettings(Group):
    """How studies are worked on."""

    engine: str | None = Field(
        default=None,
        description="openvino, onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt, tensorrt, "
        "torch or torch-cpu; else the best one installed.",
    )
    engine_cache: Path | None = Field(
        default=None,
        description="Folder for what is built for a GPU; else the folder cache in each bundle.",
    )
    engine_build: bool = Field(
        default=True,
        description="Build what is missing for this GPU, driver and version, which takes minutes; "
        "else refuse to load the network.",
    )
    cpu_precision: CpuPrecision = Field(
        default="auto",
        description="What networks are computed in on CPUs: fp32; auto, which is bf16 where a "
        "bundle has a proof for this kind of CPU by which it is faster; or bf16, which is refused "
        "where a bundle has no proof or the CPU no instructions for it.",
    )
    profile: UsualProfile = Field(
        default="reference",
        description="How studies are cut into windows of which no profile is asked: reference, as "
        "published; or auto, which is speed where a bundle has a proof of it, else reference.",
    )
    studies: int = Field(default=4, ge=1, description="Studies worked on at once.")
    batch: int | None = Field(
        default=None,
        ge=1,
        description="Most windows an engine takes at once; else 1 on a CPU, and on a GPU what is "
        "measured to be fastest when a network is loaded.",
    )
    batch_wait_ms: float = Field(
        default=0, ge=0, description="Longest wait of an idle engine for a batch to fill."
    )
    engine_s: float = Field(
        default=120, gt=0, description="Longest work on one batch; after it the engine is replaced."
    )
    engines_hung: int = Field(
        default=3,
        ge=1,
        description="Engines that may hang at once; with that many none is loaded any more, and "
        "/health/live fails, so that whoever watches starts the service again.",
    )
    networks_mb: int | None = Field(
        default=None, ge=1, description="Memory for networks, in MiB; else no limit."
    )
    atlas: Path | None = Field(
        default=None,
        description="A T1 without its skull (NIfTI) in the frame of SRI24 or of the MNI152, which "
        "studies are brought to where a task asks for that frame; else the packaged MNI152.",
    )
    warm_up: bool = Field(
        default=True,
        description="Load networks at the start, not at first use, and run one window each.",
    )


class DicomSettings(Group):
    """How DICOM studies are read."""

    b_value: float = Field(
        default=1000, gt=0, description="Diffusion weighting that is preferred, in s/mm²."
    )
    identification_rules: Path | None = Field(
        default=None, description="A site's own rules of identification, asked first (YAML)."
    )
    dicom_fallback: Literal["none", "dcm2niix"] = Field(
        default="none",
        description="Who is asked about a series that is no volume by its attributes, such as a "
        "Siemens mosaic; dcm2niix must be installed.",
    )


class ComparisonSettings(Group):
    """From which change on two studies of a patient differ."""

    change_volume_percent: float = Field(
        default=40,
        ge=0,
        description="Change of a volume that is called grown or shrunk, in percent of what it was.",
    )
    change_product_percent: float = Field(
        default=25, ge=0, description="The same of a bidimensional product, in percent."
    )


class ViewerSettings(Group):
    """Viewers that speak MONAI Label: 3D Slicer, OHIF, MITK."""

    monailabel: bool = Field(default=False, description="Answer the calls of MONAI Label.")
    monailabel_session_s: float = Field(
        default=3600, gt=0, description="Seconds after its last use that a viewer's image is kept."
    )
    monailabel_sessions: int = Field(
        default=16, ge=1, description="Images of viewers that may be kept at once."
    )
    monailabel_modality: ModalityName | None = Field(
        default=None,
        description="What a viewer's file is where neither its name nor the request says it, such "
        "as flair; MITK's never do.",
    )
    pacs_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^@\s]+$",
        description="DICOMweb root of the PACS that viewers' series are fetched from, with all "
        "of their study, such as https://pacs.example.org/dicom-web.",
    )
    pacs_user: str | None = Field(default=None, description="Name to sign in there with.")
    pacs_password: SecretStr | None = Field(default=None, description="The password of that name.")
    pacs_token: SecretStr | None = Field(
        default=None, description="A bearer token to sign in there with, instead of a name."
    )

    @model_validator(mode="after")
    def _consistent(self) -> ViewerSettings:
        if (self.pacs_user is None) != (self.pacs_password is None):
            raise ValueError("pacs_user and pacs_password need each other")
        if self.pacs_user is not None and self.pacs_token is not None:
            raise ValueError("pacs_user and pacs_token exclude each other")
        return self


class JobSettings(Group):
    """Durable jobs."""

    role: Literal["all", "api", "worker"] = Field(
        default="all",
        description="all: answers requests and works on jobs; api: only answers and posts; "
        "worker: only works on jobs.",
    )
    jobs_storage: str | None = Field(
        default=None,
        description="Folder, or s3://BUCKET/PREFIX, for jobs' studies and results; "
        "without it there are no jobs.",
    )
    jobs_database: SecretStr | None = Field(
        default=None,
        description="postgresql://… for several processes; else SQLite in the storage folder.",
    )
    jobs_keep_h: float = Field(
        default=24, gt=0, description="Hours that a finished job and its results are kept."
    )
    jobs_queue: int = Field(
        default=1000, ge=1, description="Jobs that may wait; more are answered 503."
    )
    jobs_lease_s: float = Field(
        default=60,
        ge=1,
        description="Seconds without a sign of life after which a worker's jobs go to others.",
    )
    executor: str | None = Field(
        default=None,
        description="Name of this worker, the same at each of its starts; else the host's name.",
    )


class ObservabilitySettings(Group):
    """What the service says about itself."""

    log_format: Format = Field(default="text", description="How logs are written: json or text.")
    log_level: Level = Field(
        default="info", description="From which level on: debug, info, warning or error."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="Where traces are sent, such as http://collector:4318/v1/traces.",
    )


class Settings(Group):
    """Settings of one service."""

    service: ServiceSettings
    limits: LimitSettings = LimitSettings()
    worker: WorkerSettings = WorkerSettings()
    dicom: DicomSettings = DicomSettings()
    comparison: ComparisonSettings = ComparisonSettings()
    viewers: ViewerSettings = ViewerSettings()
    jobs: JobSettings = JobSettings()
    security: SecuritySettings = SecuritySettings()
    observability: ObservabilitySettings = ObservabilitySettings()

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """Settings from values by their own names, ``Settings.of(models=folder, upload_mb=4)``.

        Raises:
            pydantic.ValidationError: a name that no group has, or a value that does not fit.
        """
        groups: dict[str, dict[str, Any]] = {}
        for group, field in cls.model_fields.items():
            kind = field.annotation
            assert isinstance(kind, type) and issubclass(kind, Group)
            names = values.keys() & kind.model_fields.keys()
            groups[group] = {name: values.pop(name) for name in names}
        return cls.model_validate({**groups, **values})
