"""The calls of durable jobs: posted, looked at, and their results fetched."""

from __future__ import annotations

from fastapi import APIRouter

from brainmvp_server.api.jobs.asking import AskedStore
from brainmvp_server.api.jobs.posting import build_posting_router
from brainmvp_server.api.jobs.results import build_result_router
from brainmvp_server.api.jobs.states import build_state_router
from brainmvp_server.api.openapi import PROBLEM
from brainmvp_server.api.study_request import StudyRequests
from brainmvp_server.jobs.store import JobStore
from brainmvp_server.runtime.service import Service


def build_job_router(service: Service, requests: StudyRequests, store: JobStore) -> APIRouter:
    """The routes over one store of jobs."""
    router = APIRouter(tags=["jobs"], responses={422: PROBLEM, 503: PROBLEM})
    asked = AskedStore(store)
    router.include_router(build_posting_router(service, requests, asked))
    router.include_router(build_state_router(service, asked))
    router.include_router(build_result_router(requests, asked))
    return router
