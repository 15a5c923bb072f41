"""Fetching what a job made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, StreamingResponse

from brainmvp_models.errors import UnknownJob
from brainmvp_models.modality import printable
from brainmvp_server.api.jobs.asking import AskedStore
from brainmvp_server.api.openapi import PROBLEM
from brainmvp_server.api.study_request import StudyRequests

_MEDIA = {
    ".json": "application/json",
    ".png": "image/png",
    ".gz": "application/gzip",
    ".dcm": "application/dicom",
    ".html": "text/html",
}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": dict.fromkeys(_MEDIA.values(), _BYTES)},
    404: PROBLEM,
}


def build_result_router(requests: StudyRequests, asked: AskedStore) -> APIRouter:
    """The files of jobs that are done."""
    router = APIRouter()
    storage = asked.store.storage

    @router.get(
        "/v1/jobs/{job}/results",
        summary="All files of a job's result, in a zip",
        response_class=FileResponse,
        responses={200: {"content": {"application/zip": _BYTES}}, 404: PROBLEM},
    )
    async def results(request: Request, job: str) -> FileResponse:
        found = await asked.job(request, job)
        if not found.results:
            raise UnknownJob("the job has no results", remedy="Wait until its state is done")
        archive = await requests.folder(request) / "results.zip"
        await asked.run(lambda: storage.pack(job, found.results, archive))
        return FileResponse(archive, media_type="application/zip", filename="results.zip")

    @router.get(
        "/v1/jobs/{job}/results/{file:path}",
        summary="A file of a job's result",
        response_class=StreamingResponse,
        responses=_FILE,
    )
    async def result(request: Request, job: str, file: str) -> StreamingResponse:
        found = await asked.job(request, job)
        if file not in found.results:
            known = ", ".join(found.results) or "none yet"
            raise UnknownJob(f"the job has no file '{printable(file)}'", remedy=f"It has: {known}")
        size = await asked.run(lambda: storage.size(job, file))
        return StreamingResponse(
            storage.pieces(job, file),
            media_type=_MEDIA.get(Path(file).suffix, "application/octet-stream"),
            headers={
                "content-length": str(size),
                "content-disposition": f'attachment; filename="{Path(file).name}"',
            },
        )

    return router
