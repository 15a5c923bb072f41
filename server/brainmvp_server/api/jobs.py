"""The calls of durable jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio
from anyio import CapacityLimiter
from fastapi import APIRouter, Header, Query, Request, status
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from brainmvp_models.errors import JobsUnavailable, Overloaded, UnknownJob
from brainmvp_models.modality import printable
from brainmvp_models.task import FillPolicy
from brainmvp_server.api.access import access_of
from brainmvp_server.api.openapi import PROBLEM, UPLOAD, owner_of
from brainmvp_server.api.studies import (
    Assign,
    BValue,
    Objects,
    Placing,
    Resample,
    intake_options,
    parts_of,
    received,
)
from brainmvp_server.api.study_request import StudyRequests
from brainmvp_server.inference.fill import check_modalities
from brainmvp_server.inference.footprint import footprint
from brainmvp_server.jobs.job import Job, JobRequest, Jobs, KeptStudy, Priority
from brainmvp_server.jobs.store import JobStore
from brainmvp_server.runtime.service import Service

T = TypeVar("T")

_LOOK_S = 0.5
_QUIET_S = 15.0
_MEDIA = {
    ".json": "application/json",
    ".png": "image/png",
    ".gz": "application/gzip",
    ".dcm": "application/dicom",
    ".html": "text/html",
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    404: PROBLEM,
}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": dict.fromkeys(_MEDIA.values(), _BYTES)},
    404: PROBLEM,
}


def build_job_router(service: Service, requests: StudyRequests, store: JobStore) -> APIRouter:
    """The routes over one store of jobs."""
    router = APIRouter(tags=["jobs"], responses={422: PROBLEM, 503: PROBLEM})
    settings, repository = service.settings, service.repository
    # Threads of their own: a database that is away must not hold up the other calls.
    threads = CapacityLimiter(16)

    async def ask(work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=threads)

    @router.post(
        "/v1/models/{name}/jobs",
        summary="Post a study as a job",
        status_code=status.HTTP_202_ACCEPTED,
        response_model=Job,
        responses=dict.fromkeys((400, 404, 408, 413, 415, 422, 429, 503, 507), PROBLEM),
        openapi_extra={"requestBody": UPLOAD},
    )
    async def post(
        request: Request,
        name: str,
        objects: Objects,
        version: str | None = None,
        fill: Annotated[
            FillPolicy | None, Query(description="How missing modalities are filled.")
        ] = None,
        probabilities: Annotated[
            bool, Query(description="Add each output's probability map.")
        ] = False,
        channels: Annotated[
            bool,
            Query(
                description="Add the study's volumes, and the templates that stood in, on its grid."
            ),
        ] = False,
        resample: Resample = False,
        form: Placing = "sform",
        priority: Annotated[
            Priority, Query(description="Interactive jobs come before batch ones.")
        ] = Priority.BATCH,
        assign: Assign = None,
        b_value: BValue = None,
        idempotency_key: Annotated[
            str | None,
            Header(
                max_length=200,
                description="The same key with the same request gives the same job again.",
            ),
        ] = None,
    ) -> Response:
        options = intake_options(settings, assign or (), b_value)
        bundle = repository.bundle(name, version)
        task = bundle.task
        access_of(request.scope).about(bundle)
        asked = JobRequest(
            model=bundle.manifest.name,
            version=bundle.manifest.version,
            fill=fill,
            probabilities=probabilities,
            channels=channels,
            resample=resample,
            form=form,
            objects=objects,
            priority=priority,
        )
        incoming = await requests.admit(request)
        if await ask(store.waiting) >= settings.jobs.jobs_queue:
            raise Overloaded(
                "as many jobs wait as may wait",
                remedy="Post it again after the seconds in Retry-After",
            )
        upload = await incoming.upload()

        def accept() -> Job:
            study = received(upload, incoming, options, task, settings)
            sources = study.sources(task)
            check_modalities(tuple(sources), task, fill or task.filling.policy)
            service.admission.check_size(
                footprint(
                    sources,
                    task,
                    settings.limits.volume,
                    form=form,
                    probabilities=probabilities,
                    templates=channels,
                )
            )
            incoming.cancel.check()
            kept = KeptStudy(parts_of(sources, incoming.folder), study.findings(sources, task))
            return store.post(owner_of(request), asked, kept, idempotency_key)

        job = await ask(accept)
        return JSONResponse(
            job.model_dump(mode="json"),
            status_code=status.HTTP_202_ACCEPTED,
            headers={"location": f"{request.scope.get('root_path', '')}/v1/jobs/{job.id}"},
        )

    @router.get("/v1/jobs", summary="Your jobs, the newest first")
    async def jobs(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Jobs:
        owner = owner_of(request)
        return Jobs(jobs=await ask(lambda: store.jobs(owner, limit)))

    @router.get("/v1/jobs/{job}", summary="One job", responses={404: PROBLEM})
    async def one(request: Request, job: str) -> Job:
        owner = owner_of(request)
        return await ask(lambda: store.job(owner, job))

    @router.get(
        "/v1/jobs/{job}/events",
        summary="A job's progress as server-sent events, until it is over",
        response_class=StreamingResponse,
        responses=_EVENTS,
    )
    async def events(request: Request, job: str) -> StreamingResponse:
        """Every event holds the whole job, so whoever reconnects has missed nothing.

        Events are called ``progress``, and the last one ``done``, ``failed`` or ``cancelled``.
        """
        owner = owner_of(request)
        first = await ask(lambda: store.job(owner, job))

        async def stream() -> AsyncIterator[str]:
            now, told, number, quiet = first, None, 0, 0.0
            yield "retry: 1000\n\n"
            while True:
                if now != told:
                    number, quiet, told = number + 1, 0.0, now
                    yield _event(number, now)
                elif quiet >= _QUIET_S:
                    quiet = 0.0
                    yield ": still here\n\n"
                if now.state.final or service.draining:
                    return
                await asyncio.sleep(_LOOK_S)
                quiet += _LOOK_S
                try:
                    now = await ask(lambda: store.job(owner, job))
                except JobsUnavailable:
                    continue
                except UnknownJob:
                    return

        return StreamingResponse(
            stream(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    @router.get(
        "/v1/jobs/{job}/results",
        summary="All files of a job's result, in a zip",
        response_class=FileResponse,
        responses={200: {"content": {"application/zip": _BYTES}}, 404: PROBLEM},
    )
    async def results(request: Request, job: str) -> FileResponse:
        owner = owner_of(request)
        found = await ask(lambda: store.job(owner, job))
        if not found.results:
            raise UnknownJob("the job has no results", remedy="Wait until its state is done")
        archive = await requests.folder(request) / "results.zip"
        await ask(lambda: store.storage.pack(job, found.results, archive))
        return FileResponse(archive, media_type="application/zip", filename="results.zip")

    @router.get(
        "/v1/jobs/{job}/results/{file:path}",
        summary="A file of a job's result",
        response_class=StreamingResponse,
        responses=_FILE,
    )
    async def result(request: Request, job: str, file: str) -> StreamingResponse:
        owner = owner_of(request)
        found = await ask(lambda: store.job(owner, job))
        if file not in found.results:
            known = ", ".join(found.results) or "none yet"
            raise UnknownJob(f"the job has no file '{printable(file)}'", remedy=f"It has: {known}")
        size = await ask(lambda: store.storage.size(job, file))
        return StreamingResponse(
            store.storage.pieces(job, file),
            media_type=_MEDIA.get(Path(file).suffix, "application/octet-stream"),
            headers={
                "content-length": str(size),
                "content-disposition": f'attachment; filename="{Path(file).name}"',
            },
        )

    @router.delete(
        "/v1/jobs/{job}",
        summary="Cancel a job that is not over; forget one that is",
        status_code=status.HTTP_200_OK,
        response_model=Job,
        responses={204: {"description": "Forgotten."}, 404: PROBLEM},
    )
    async def delete(request: Request, job: str) -> Response:
        owner = owner_of(request)
        found = await ask(lambda: store.job(owner, job))
        if found.state.final:
            await ask(lambda: store.forget(owner, job))
            return Response(status_code=status.HTTP_204_NO_CONTENT)
        cancelled = await ask(lambda: store.cancel(owner, job))
        return JSONResponse(cancelled.model_dump(mode="json"))

    return router


def _event(number: int, job: Job) -> str:
    name = job.state.value if job.state.final else "progress"
    return f"id: {number}\nevent: {name}\ndata: {job.model_dump_json()}\n\n"
