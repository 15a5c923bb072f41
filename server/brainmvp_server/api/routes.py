"""The calls of the service."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from brainmvp_models.bundle import Bundle
from brainmvp_server.api.access import access_of
from brainmvp_server.api.answers import Form, answer, negotiate
from brainmvp_server.api.openapi import PROBLEM, UPLOAD, faults_of_upload
from brainmvp_server.api.parameters import IntakeAsked, ObjectsAsked, OptionsAsked
from brainmvp_server.api.problems import NotLive, NotReady
from brainmvp_server.api.studies import received
from brainmvp_server.api.study_request import StudyRequests
from brainmvp_server.inference.fill import check_modalities
from brainmvp_server.repository.model_repository import ModelRepository
from brainmvp_server.results.served_model import Model, Models
from brainmvp_server.results.summary import Summary
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


def build_model_router(repository: ModelRepository) -> APIRouter:
    """What is served."""
    router = APIRouter()

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

    return router


def build_predict_router(service: Service, requests: StudyRequests) -> APIRouter:
    """Predictions that their client waits for."""
    router = APIRouter()

    @router.post(
        "/v1/models/{name}/predict",
        tags=["models"],
        summary="Segment or classify one study",
        response_model=Summary,
        responses={
            200: {"content": {form.value: _BINARY for form in Form if form is not Form.JSON}},
            **faults_of_upload(404, 406, 500, 504),
        },
        openapi_extra={"requestBody": UPLOAD},
    )
    async def predict(
        request: Request,
        name: str,
        shared: OptionsAsked,
        intake: IntakeAsked,
        objects: ObjectsAsked,
        version: str | None = None,
        probabilities: Annotated[
            bool, Query(description="Add each output's probability map; only in a zip.")
        ] = False,
        accept: Annotated[str | None, Header()] = None,
    ) -> Response:
        told_apart = intake.options(service.settings.dicom)
        options = replace(shared, probabilities=probabilities)

        def begin(bundle: Bundle) -> Form:
            """What depends on the bundle; another may have to do the work."""
            access_of(request.scope).about(bundle)
            return negotiate(accept, bundle.task, probabilities=probabilities)

        with service.repository.acquire(name, version) as bundle:
            form, task = begin(bundle), bundle.task
            incoming = await requests.admit(request)
            upload = await incoming.upload()
            if not upload.files:  # before it waits for a place
                check_modalities(tuple(upload.parts), task, options.policy(task))

            def work() -> Response:
                with service.admission.place(incoming.cancel):
                    study = received(upload, incoming, told_apart, task, service.settings)
                    cancel = incoming.cancel
                    with service.predict(bundle, study, options, cancel, begin=begin) as done:
                        return answer(done.result, form, incoming.folder, objects, done.findings)

            return await incoming.work(work)

    return router
