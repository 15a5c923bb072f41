"""The calls of the service."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from brainmvp_models.errors import ServiceClosing
from brainmvp_models.task import FillPolicy
from brainmvp_server.api.access import access_of
from brainmvp_server.api.answers import Form, answer, negotiate
from brainmvp_server.api.attended import attended
from brainmvp_server.api.described import PROBLEM, UPLOAD, owner_of
from brainmvp_server.api.problems import NotReady
from brainmvp_server.api.studies import (
    Assign,
    BValue,
    Objects,
    Resample,
    sources_of,
    upload_limits,
    wishes_of,
)
from brainmvp_server.api.uploads import receive_study
from brainmvp_server.inference.fill import check_modalities
from brainmvp_server.inference.footprint import footprint
from brainmvp_server.service import Service
from brainmvp_server.summary import Model, Models, Summary

_BINARY = {"schema": {"type": "string", "format": "binary"}}


def build_health_router(service: Service) -> APIRouter:
    """The probes. They wait for no thread: nothing that a request does can starve them."""
    router = APIRouter()

    @router.get("/health/live", tags=["health"], summary="Is the process alive?")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @router.get("/health/ready", tags=["health"], summary="Can it serve?", responses={503: PROBLEM})
    async def ready() -> dict[str, str]:
        if service.draining:
            raise NotReady("the service is closing", remedy="Ask another replica")
        if not service.shelf.catalogue.bundles:
            raise NotReady("no model is served", remedy="Put a bundle into the model folder")
        if not service.shelf.warm:
            raise NotReady("networks are being loaded", remedy="Ask again in some seconds")
        return {"status": "ready"}

    return router


def build_router(service: Service) -> APIRouter:
    """Models, and predictions that their client waits for."""
    router = APIRouter()
    settings, shelf = service.settings, service.shelf
    studies = CapacityLimiter(settings.worker.studies)

    @router.get(
        "/v1/models", tags=["models"], summary="The models served, each in its latest version"
    )
    def models() -> Models:
        return shelf.models()

    @router.get(
        "/v1/models/{name}",
        tags=["models"],
        summary="One model, with its card",
        responses={404: PROBLEM, 422: PROBLEM},
    )
    def model(name: str, version: str | None = None) -> Model:
        return shelf.model(name, version, card=True)

    @router.post(
        "/v1/models/{name}/predict",
        tags=["models"],
        summary="Segment or classify one study",
        response_model=Summary,
        responses={
            200: {"content": {form.value: _BINARY for form in Form if form is not Form.JSON}},
            **dict.fromkeys((400, 404, 406, 408, 413, 415, 422, 429, 500, 503, 504), PROBLEM),
        },
        openapi_extra={"requestBody": UPLOAD},
    )
    async def predict(
        request: Request,
        name: str,
        objects: Objects,
        version: str | None = None,
        fill: Annotated[
            FillPolicy | None, Query(description="How missing modalities are filled.")
        ] = None,
        probabilities: Annotated[
            bool, Query(description="Add each output's probability map; only in a zip.")
        ] = False,
        resample: Resample = False,
        assign: Assign = None,
        b_value: BValue = None,
        accept: Annotated[str | None, Header()] = None,
    ) -> Response:
        wishes = wishes_of(settings, assign or (), b_value)
        bundle = shelf.bundle(name, version)
        task = bundle.task
        access_of(request.scope).about(bundle)
        form = negotiate(accept, task, probabilities=probabilities)
        if service.draining:
            raise ServiceClosing("the service is closing", remedy="Send the study again")
        with service.admission.request(owner_of(request)), service.study() as stop:
            scratch = Path(tempfile.mkdtemp(prefix="brainmvp-", dir=settings.service.scratch))

            def clean_up() -> None:
                shutil.rmtree(scratch, ignore_errors=True)

            def work() -> Response:
                sources, findings = sources_of(upload, scratch, task, wishes, settings)
                check_modalities(tuple(sources), task, fill or task.filling.policy)
                need = footprint(sources, task, settings.limits.volume, probabilities=probabilities)
                with service.admission.memory_for(need, stop):
                    result = shelf.serve(
                        name,
                        version,
                        lambda predictor: predictor.predict(
                            sources,
                            fill=fill,
                            probabilities=probabilities,
                            resample=resample,
                            limits=settings.limits.volume,
                            stop=stop,
                        ),
                    )
                    return answer(result, form, scratch, clean_up, objects, findings)

            try:
                upload = await receive_study(request, scratch, upload_limits(settings))
                if not upload.files:
                    check_modalities(tuple(upload.parts), task, fill or task.filling.policy)
                return await attended(request, stop, work, studies)
            except BaseException:
                clean_up()
                raise

    return router
