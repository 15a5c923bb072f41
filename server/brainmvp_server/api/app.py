"""The application: settings in, ASGI app out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from fastapi import Depends, FastAPI

from brainmvp_models import __version__
from brainmvp_server.api import problems, security
from brainmvp_server.api.access import AccessLog
from brainmvp_server.api.comparisons import build_compare_router
from brainmvp_server.api.head_method import HeadLikeGet
from brainmvp_server.api.lifecycle import Lifecycle
from brainmvp_server.api.metrics import build_metrics_router, readings
from brainmvp_server.api.monailabel.sessions import Sessions
from brainmvp_server.api.no_jobs import build_no_jobs_router
from brainmvp_server.api.openapi import PROBLEM
from brainmvp_server.api.page import build_page_router
from brainmvp_server.api.query import only_declared
from brainmvp_server.api.quotas import QuotaHeaders, Quotas
from brainmvp_server.api.request_resources import ReleaseWhenSent
from brainmvp_server.api.root_path import RootPath
from brainmvp_server.api.routes import (
    build_health_router,
    build_model_router,
    build_predict_router,
)
from brainmvp_server.api.studies import build_study_router
from brainmvp_server.api.study_request import StudyRequests
from brainmvp_server.observability.metrics import Metrics
from brainmvp_server.runtime.quotas import MemoryLedger
from brainmvp_server.runtime.service import Service
from brainmvp_server.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """Build the service over the bundles in ``settings.service.models``.

    Raises:
        InvalidSettings: what the settings name cannot be used.
        InvalidBundle: there is no such folder. Broken bundles in it are refused by name and listed
            by ``GET /v1/models``; the others are served.
    """
    metrics = Metrics()
    service = Service(settings, metrics)
    lifecycle = Lifecycle(service)
    viewers = settings.viewers
    sessions = Sessions(service.scratch, viewers.monailabel_session_s, viewers.monailabel_sessions)
    metrics.read_from(readings(lifecycle))
    authenticator = security.Authenticator.of(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await anyio.to_thread.run_sync(lifecycle.begin)
        yield
        await anyio.to_thread.run_sync(lifecycle.end)
        await anyio.to_thread.run_sync(sessions.close)

    app = FastAPI(
        title="BrainMVP Server",
        version=__version__,
        summary="Brain-MRI segmentation and classification from any subset of modalities.",
        lifespan=lifespan,
        docs_url=None,  # ours is at the same place, and needs no other address
        redoc_url=None,
        dependencies=[Depends(only_declared)],
        responses={422: PROBLEM},
    )
    app.state.lifecycle = lifecycle
    app.include_router(build_health_router(service))
    app.include_router(build_metrics_router(metrics))
    if settings.jobs.role != "worker":
        _take_studies(app, lifecycle, service, metrics, sessions, asks_for_keys=authenticator.asks)
    # The last one added is the first to see a request.
    app.add_middleware(ReleaseWhenSent)
    app.add_middleware(QuotaHeaders)
    app.add_middleware(HeadLikeGet)
    security.install(app, settings, authenticator)
    problems.install(app)
    app.add_middleware(AccessLog, metrics=metrics)
    app.add_middleware(RootPath, root_path=settings.service.root_path)
    return app


def _take_studies(
    app: FastAPI,
    lifecycle: Lifecycle,
    service: Service,
    metrics: Metrics,
    sessions: Sessions,
    *,
    asks_for_keys: bool,
) -> None:
    """The page and every call that takes a study or tells of a model."""
    settings, backend = service.settings, lifecycle.backend
    ledger = MemoryLedger() if backend is None else backend.usage
    requests = StudyRequests(service, Quotas(settings.limits, ledger, metrics))
    app.include_router(build_page_router())
    app.include_router(build_model_router(service.repository))
    app.include_router(build_predict_router(service, requests))
    app.include_router(build_study_router(service, requests))
    app.include_router(build_compare_router(service, requests))
    if backend is not None:
        from brainmvp_server.api.jobs import build_job_router

        app.include_router(build_job_router(service, requests, backend.store))
    else:
        app.include_router(build_no_jobs_router())
    if settings.viewers.monailabel:
        from brainmvp_server.api.monailabel.routes import build_monailabel_router

        app.include_router(
            build_monailabel_router(service, requests, sessions, asks_for_keys=asks_for_keys)
        )
