"""The calls of the service."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from brainmvp_models.task import FillPolicy
from brainmvp_server.api.access import access_of
from brainmvp_server.api.answers import Form, answer, negotiate
from brainmvp_server.api.openapi import PROBLEM, UPLOAD
from brainmvp_server.api.problems import NotLive, NotReady
from brainmvp_server.api.studies import (
    Assign,
    BValue,
    Objects,
    Placing,
    ReceivedStudy,
    Resample,
    intake_options,
    received,
)
from brainmvp_server.api.study_request import StudyRequests
from brainmvp_server.inference.fill import check_modalities
from brainmvp_server.inference.footprint import footprint
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.results.summary import Model, Models, Summary
from brainmvp_server.runtime.service import Service

_BINARY = {"schema": {"type": "string", "format": "binary"}}


def build_health_router(service: Service) -> APIRouter:
    """The probes. They wait for no thread: nothing that a request does can starve them."""
    router = APIRouter()

    @router.get(
        "/health/live", tags=["health"], summary="Is the process alive?", responses={503: PROBLEM}
    )
    async def live() -> dict[str, str]:
        check_live()
        return {"status": "live"}

    @router.get("/health/ready", tags=["health"], summary="Can it serve?", responses={503: PROBLEM})
    async def ready() -> dict[str, str]:
        check_live()
        if service.draining:
            raise NotReady("the service is closing", remedy="Ask another replica")
        if not service.repository.catalogue.bundles:
            raise NotReady("no model is served", remedy="Put a bundle into the model folder")
        if not service.repository.warm:
            raise NotReady("networks are being loaded", remedy="Ask again in some seconds")
        return {"status": "ready"}

    def check_live() -> None:
        if service.stuck:
            raise NotLive("its engines hang", remedy="Start it again; look at the machine")

    return router


def build_router(service: Service, requests: StudyRequests) -> APIRouter:
    """Models, and predictions that their client waits for."""
    router = APIRouter()
    settings, repository = service.settings, service.repository

    @router.get(
        "/v1/models", tags=["models"], summary="The models served, each in its latest version"
    )
    def models() -> Models:
        return repository.models()

    @router.get(
        "/v1/models/{name}",
        tags=["models"],
        summary="One model, with its card",
        responses={404: PROBLEM, 422: PROBLEM},
    )
    def model(name: str, version: str | None = None) -> Model:
        return repository.model(name, version, card=True)

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
        form: Placing = "sform",
        assign: Assign = None,
        b_value: BValue = None,
        accept: Annotated[str | None, Header()] = None,
    ) -> Response:
        options = intake_options(settings, assign or (), b_value)
        with repository.acquire(name, version) as bundle:
            access, task = access_of(request.scope), bundle.task
            access.about(bundle)
            negotiate(accept, task, probabilities=probabilities)
            incoming = await requests.admit(request)
            upload = await incoming.upload()
            if not upload.files:
                check_modalities(tuple(upload.parts), task, fill or task.filling.policy)

            def work() -> Response:
                with service.admission.place(incoming.cancel):
                    study = received(upload, incoming, options, task, settings)
                    return repository.serve(bundle, lambda predictor: predicted(predictor, study))

            def predicted(predictor: Predictor, study: ReceivedStudy) -> Response:
                """Everything that depends on the bundle, for the one that does the work."""
                task = predictor.bundle.task
                access.about(predictor.bundle)
                wanted = negotiate(accept, task, probabilities=probabilities)
                sources = study.sources(task)
                check_modalities(tuple(sources), task, fill or task.filling.policy)
                findings = study.findings(sources, task)
                need = footprint(
                    sources,
                    task,
                    settings.limits.volume,
                    form=form,
                    probabilities=probabilities,
                )
                with service.admission.memory_for(need, incoming.cancel):
                    result = predictor.predict(
                        sources,
                        fill=fill,
                        probabilities=probabilities,
                        resample=resample,
                        form=form,
                        limits=settings.limits.volume,
                        cancel=incoming.cancel,
                        notes=findings.warnings,
                    )
                    return answer(result, wanted, incoming.folder, objects, findings)

            return await incoming.work(work)

    return router
