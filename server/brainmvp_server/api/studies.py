"""From an upload to a study; and ``POST /v1/studies/identify``, which stops there."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fastapi import APIRouter, Request

from brainmvp_models.errors import NothingIdentified
from brainmvp_models.modality import Modality
from brainmvp_models.task import Task
from brainmvp_server.api.openapi import UPLOAD, faults_of_upload
from brainmvp_server.api.parameters import IntakeAsked
from brainmvp_server.api.study_request import StudyRequest, StudyRequests
from brainmvp_server.api.uploads import Upload
from brainmvp_server.imaging.archive import ArchiveLimits
from brainmvp_server.imaging.intake import IntakeOptions, opened, take_in
from brainmvp_server.imaging.sources import Source
from brainmvp_server.inference.checked_study import BRAIN
from brainmvp_server.results.findings import Findings
from brainmvp_server.runtime.received_study import ReceivedStudy
from brainmvp_server.runtime.service import Service
from brainmvp_server.settings import Settings


def build_study_router(service: Service, requests: StudyRequests) -> APIRouter:
    """The routes that look at a study without a model."""
    router = APIRouter()
    settings = service.settings

    @router.post(
        "/v1/studies/identify",
        tags=["studies"],
        summary="Tell which series or file is which modality; no model is run",
        responses=faults_of_upload(504),
        openapi_extra={"requestBody": UPLOAD},
    )
    async def identify(request: Request, asked: IntakeAsked) -> Findings:
        options = asked.options(settings.dicom)
        incoming = await requests.admit(request, study=False)
        upload = await incoming.upload()
        named = [*upload.parts, *([BRAIN] if upload.brain else ())]
        if named:
            raise NothingIdentified(
                "the part says itself what it is, and is not looked at",
                remedy="Call it files to have it identified (-F files=@t1.nii.gz)",
                subject=str(named[0]),
            )

        def work() -> Findings:
            with service.admission.place(incoming.cancel):
                found = take_in(
                    upload.files,
                    incoming.folder,
                    options,
                    archive_limits(settings),
                    incoming.cancel.check,
                )
                return Findings.of_all(found)

        return await incoming.work(work)

    return router


def received(
    upload: Upload, incoming: StudyRequest, options: IntakeOptions, task: Task, settings: Settings
) -> ReceivedStudy:
    """Look into an upload; zips are unpacked into the request's folder, and no voxel is read.

    Args:
        task: of the model that is asked; it says whether steady-state images may be T2.

    Raises:
        InvalidInput: one of its kinds; see :func:`take_in` and :func:`one_series`.
        BrainMVPError: the reason why the request may not go on.
    """
    named = opened(upload.parts, incoming.folder, options, incoming.cancel.check)
    if not upload.files:
        return ReceivedStudy(named, brain=upload.brain)
    limits = archive_limits(settings)
    options = replace(options, stand_ins=task.steady_states)
    intake = take_in(upload.files, incoming.folder, options, limits, incoming.cancel.check)
    return ReceivedStudy(named, intake, brain=upload.brain)


def archive_limits(settings: Settings) -> ArchiveLimits:
    """How much one zip may hold."""
    return ArchiveLimits(entries=settings.limits.upload_files)


def parts_of(sources: Mapping[Modality, Source], folder: Path) -> dict[Modality, Path]:
    """One file a modality, as a job keeps them: a DICOM series becomes a zip of its objects."""
    parts: dict[Modality, Path] = {}
    for modality, source in sources.items():
        if isinstance(source, Path):
            parts[modality] = source
            continue
        parts[modality] = folder / f"{modality.value}.zip"
        with zipfile.ZipFile(parts[modality], "w", zipfile.ZIP_STORED) as archive:
            for number, path in enumerate(dict.fromkeys(f.path for f in source.frames)):
                # Neither a name nor a time: equal series give equal bytes.
                archive.writestr(zipfile.ZipInfo(f"{number:06d}.dcm"), path.read_bytes())
    return parts
