"""``GET /metrics``, and the numbers that are read when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from brainmvp_server.api.lifecycle import Lifecycle
from brainmvp_server.observability import metrics as family
from brainmvp_server.observability.metrics import Family, Metrics, Reading


def readings(lifecycle: Lifecycle) -> Mapping[Family, Reading]:
    """What a service knows of itself and its jobs."""
    service, backend = lifecycle.service, lifecycle.backend
    worker, admission = service.worker, service.admission
    networks, repository = worker.networks, service.repository
    known: dict[Family, Reading] = {
        family.WAITING: lambda: worker.waiting,
        family.ADMITTED: lambda: admission.requests,
        family.STUDY_BYTES: lambda: admission.memory,
        family.STUDY_BUDGET: lambda: admission.budget,
        family.NETWORK_BYTES: lambda: networks.bytes,
        family.NETWORK_LOADS: lambda: networks.loads,
        family.NETWORK_UNLOADS: lambda: networks.unloads,
        family.ENGINES_HUNG: lambda: networks.left.count,
        family.MODELS: lambda: len(repository.catalogue.bundles),
        family.MODELS_REFUSED: lambda: len(repository.refused),
        family.READY: lambda: service.ready,
    }
    if backend is not None:
        store = backend.store
        known[family.JOBS] = lambda: dict(
            zip(family.JOB_STATES, (store.waiting(), store.running()), strict=True)
        )
        known[family.JOBS_OLDEST] = store.oldest_s
        if (runner := backend.runner) is not None:
            known[family.JOBS_GIVEN_BACK] = lambda: runner.given_back
    return known


def build_metrics_router(metrics: Metrics) -> APIRouter:
    """The one route of the metrics."""
    router = APIRouter()

    @router.get(
        "/metrics",
        tags=["operation"],
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def read() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router
