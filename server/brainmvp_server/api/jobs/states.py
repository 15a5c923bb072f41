"""Looking at jobs, following one, and ending one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, status
from fastapi.responses import JSONResponse, Response, StreamingResponse

from brainmvp_models.errors import JobsUnavailable, UnknownJob
from brainmvp_server.api.jobs.asking import AskedStore
from brainmvp_server.api.openapi import PROBLEM, owner_of
from brainmvp_server.jobs.job import Job, Jobs
from brainmvp_server.runtime.service import Service

_LOOK_S = 0.5
_QUIET_S = 15.0
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    404: PROBLEM,
}


def build_state_router(service: Service, asked: AskedStore) -> APIRouter:
    """How jobs are."""
    router = APIRouter()
    store = asked.store

    @router.get("/v1/jobs", summary="Your jobs, the newest first")
    async def jobs(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Jobs:
        owner = owner_of(request)
        return Jobs(jobs=await asked.run(lambda: store.jobs(owner, limit)))

    @router.get("/v1/jobs/{job}", summary="One job", responses={404: PROBLEM})
    async def one(request: Request, job: str) -> Job:
        return await asked.job(request, job)

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
        first = await asked.job(request, job)
        return StreamingResponse(
            _followed(request, first, service, asked),
            media_type="text/event-stream",
            headers={"cache-control": "no-store"},
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
        found = await asked.job(request, job)
        if found.state.final:
            await asked.run(lambda: store.forget(owner, job))
            return Response(status_code=status.HTTP_204_NO_CONTENT)
        cancelled = await asked.run(lambda: store.cancel(owner, job))
        return JSONResponse(cancelled.model_dump(mode="json"))

    return router


async def _followed(
    request: Request, first: Job, service: Service, asked: AskedStore
) -> AsyncIterator[str]:
    """An event for each change of a job, and a comment where nothing changes for long."""
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
            now = await asked.job(request, first.id)
        except JobsUnavailable:
            continue
        except UnknownJob:
            return


def _event(number: int, job: Job) -> str:
    name = job.state.value if job.state.final else "progress"
    return f"id: {number}\nevent: {name}\ndata: {job.model_dump_json()}\n\n"
