"""Every setting of a service, in groups.

A setting's name is unique across the groups, so that it has one name everywhere: ``upload_mb`` is
the flag ``--upload-mb``, the variable ``BRAINMVP_UPLOAD_MB`` and ``upload_mb`` under ``[limits]``
in the TOML file. To add one, add a field with a description; the command line, the file, the
environment and the docs follow. A ``SecretStr`` gets no flag, but a file: ``--NAME-file``,
``BRAINMVP_NAME_FILE`` or ``NAME_file``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from brainmvp_server.imaging.nifti import Limits


class Group(BaseModel):
    """A table of the TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ServiceSettings(Group):
    """What is served, and where."""

    models: Path = Field(description="Folder that holds the bundles.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one."
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
    volume_mvoxels: int = Field(default=135, ge=1, description="Largest volume, in million voxels.")

    upload_s: float = Field(default=600, gt=0, description="Longest upload, in seconds.")
    study_s: float = Field(default=3600, gt=0, description="Longest work on a study, in seconds.")
    requests: int = Field(
        default=64, ge=1, description="Predictions under way or waiting; more are answered 503."
    )
    key_requests: int | None = Field(
        default=None, ge=1, description="The same for one API key; more are answered 429."
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
        """How large one volume may be."""
        return Limits(voxels=self.volume_mvoxels * 1_000_000)


class WorkerSettings(Group):
    """How studies are worked on."""

    engine: str | None = Field(
        default=None, description="openvino, onnxruntime or tensorrt; else the best one installed."
    )
    studies: int = Field(default=4, ge=1, description="Studies worked on at once.")
    batch: int = Field(default=1, ge=1, description="Most windows an engine takes at once.")
    batch_wait_ms: float = Field(
        default=0, ge=0, description="Longest wait of an idle engine for a batch to fill."
    )
    engine_s: float = Field(
        default=120, gt=0, description="Longest work on one batch; after it the engine is replaced."
    )
    networks_mb: int | None = Field(
        default=None, ge=1, description="Memory for networks, in MiB; else no limit."
    )
    warm_up: bool = Field(default=True, description="Run one window when a network is loaded.")


class JobSettings(Group):
    """Durable jobs."""


class Settings(Group):
    """Settings of one service."""

    service: ServiceSettings
    limits: LimitSettings = LimitSettings()
    worker: WorkerSettings = WorkerSettings()
    jobs: JobSettings = JobSettings()

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
