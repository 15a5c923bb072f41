"""``GET /metrics``, and the numbers that are read when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from brainmvp_server.lifetime import Life
from brainmvp_server.observability import metrics as family
from brainmvp_server.observability.metrics import Family, Metrics, Reading


def readings(life: Life) -> Mapping[Family, Reading]:
    """What a service knows of itself and its jobs."""
    service, desk = life.service, life.desk
    worker, admission = service.worker, service.admission
    networks, shelf = worker.networks, service.shelf
    known: dict[Family, Reading] = {
        family.WAITING: lambda: worker.waiting,
        family.ADMITTED: lambda: admission.requests,
        family.STUDY_BYTES: lambda: admission.memory,
        family.STUDY_BUDGET: lambda: admission.budget,
        family.NETWORK_BYTES: lambda: networks.bytes,
        family.NETWORK_LOADS: lambda: networks.loads,
        family.NETWORK_UNLOADS: lambda: networks.unloads,
        family.ENGINES_HUNG: lambda: networks.left.count,
        family.MODELS: lambda: len(shelf.catalogue.bundles),
        family.MODELS_REFUSED: lambda: len(shelf.refused),
        family.READY: lambda: bool(shelf.catalogue.bundles) and shelf.warm and not service.draining,
    }
    if desk is not None:
        board = desk.board
        known[family.JOBS] = lambda: {"waiting": board.waiting(), "running": board.running()}
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
