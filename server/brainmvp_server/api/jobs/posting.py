"""Posting a study as a job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, status
from fastapi.responses import JSONResponse, Response

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import Overloaded
from brainmvp_server.api.access import access_of
from brainmvp_server.api.jobs.asking import AskedStore
from brainmvp_server.api.openapi import UPLOAD, faults_of_upload, owner_of
from brainmvp_server.api.parameters import IntakeAsked, ObjectsAsked, OptionsAsked
from brainmvp_server.api.studies import parts_of, received
from brainmvp_server.api.study_request import StudyRequest, StudyRequests
from brainmvp_server.api.uploads import Upload
from brainmvp_server.imaging.intake import IntakeOptions
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.jobs.job import Job, JobRequest, KeptStudy, Priority
from brainmvp_server.runtime.service import Service


@dataclass(frozen=True)
class JobParameters:
    """What a job can be asked for, all but its study."""

    options: PredictOptions
    priority: Priority
    key: str | None


def job_parameters(
    shared: OptionsAsked,
    probabilities: Annotated[bool, Query(description="Add each output's probability map.")] = False,
    channels: Annotated[
        bool,
        Query(
            description="Add, on the result's grid, the series, the templates that stood in, and "
            "of a raw study the brain's mask."
        ),
    ] = False,
    priority: Annotated[
        Priority, Query(description="Interactive jobs come before batch ones.")
    ] = Priority.BATCH,
    idempotency_key: Annotated[
        str | None,
        Header(
            max_length=200,
            description="The same key with the same request gives the same job again.",
        ),
    ] = None,
) -> JobParameters:
    """The options that predictions have too, and those of jobs alone."""
    options = replace(shared, probabilities=probabilities, templates=channels)
    return JobParameters(options, priority, idempotency_key)


def build_posting_router(service: Service, requests: StudyRequests, asked: AskedStore) -> APIRouter:
    """``POST /v1/models/{name}/jobs``."""
    router = APIRouter()
    settings, store = service.settings, asked.store

    def study_kept(
        upload: Upload,
        incoming: StudyRequest,
        intake: IntakeOptions,
        bundle: Bundle,
        options: PredictOptions,
    ) -> KeptStudy:
        """A study that its worker will not refuse, as it is kept for it."""
        study = received(upload, incoming, intake, bundle.task, settings)
        given = service.check(bundle, study, options)
        incoming.cancel.check()
        parts = parts_of(given.checked.sources, incoming.folder)
        return KeptStudy(parts, given.findings, given.checked.brain)

    @router.post(
        "/v1/models/{name}/jobs",
        summary="Post a study as a job",
        status_code=status.HTTP_202_ACCEPTED,
        response_model=Job,
        responses=faults_of_upload(404),
        openapi_extra={"requestBody": UPLOAD},
    )
    async def post(
        request: Request,
        name: str,
        wanted: Annotated[JobParameters, Depends(job_parameters)],
        intake: IntakeAsked,
        objects: ObjectsAsked,
        version: str | None = None,
    ) -> Response:
        told_apart = intake.options(settings.dicom)
        bundle = service.repository.bundle(name, version)
        access_of(request.scope).about(bundle)
        incoming = await requests.admit(request)
        if await asked.run(store.waiting) >= settings.jobs.jobs_queue:
            raise Overloaded(
                "as many jobs wait as may wait",
                remedy="Post it again after the seconds in Retry-After",
            )
        upload = await incoming.upload()

        def accept() -> tuple[Job, bool]:
            study = study_kept(upload, incoming, told_apart, bundle, wanted.options)
            order = JobRequest.of(bundle, wanted.options, objects, wanted.priority)
            return store.post(owner_of(request), order, study, wanted.key)

        job, new = await asked.run(accept)
        if new:
            incoming.share.ran()
        return _accepted(job, request)

    return router


def _accepted(job: Job, request: Request) -> Response:
    """The job, and where it can be asked for."""
    return JSONResponse(
        job.model_dump(mode="json"),
        status_code=status.HTTP_202_ACCEPTED,
        headers={"location": f"{request.scope.get('root_path', '')}/v1/jobs/{job.id}"},
    )
