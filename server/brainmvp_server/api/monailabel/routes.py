"""The calls that 3D Slicer, OHIF and MITK make of a MONAI Label server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import FileResponse, Response

from brainmvp_models.bundle import Bundle
from brainmvp_server.api.access import access_of
from brainmvp_server.api.monailabel.answers import Output, answer, check_output
from brainmvp_server.api.monailabel.pacs import FetchLimits, Pacs
from brainmvp_server.api.monailabel.sessions import Sessions
from brainmvp_server.api.monailabel.study import Image, study_of
from brainmvp_server.api.monailabel.upload import PartNames, Sent, receive_sent
from brainmvp_server.api.monailabel.wire import (
    AppInfo,
    Auth,
    ImageAdded,
    InferAsked,
    SessionAnswer,
    SessionInfo,
    Token,
)
from brainmvp_server.api.openapi import PROBLEM, faults_of_upload, owner_of
from brainmvp_server.api.problems import InvalidQuery, UnknownImage
from brainmvp_server.api.request_resources import resources_of
from brainmvp_server.api.study_request import StudyRequest, StudyRequests
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.inference.result import Result
from brainmvp_server.runtime.received_study import intake_options
from brainmvp_server.runtime.service import Service

TAG = "monailabel"
_INFER = PartNames("file", ("params",), needs_file=False)
_SESSION = PartNames("files", ("params", "client_id"))
_ADDED = PartNames("file", ("params", "client_id"))
_FAULTS = faults_of_upload(404, 406, 500, 502, 504)


def build_monailabel_router(
    service: Service, requests: StudyRequests, sessions: Sessions, *, asks_for_keys: bool
) -> APIRouter:
    """Everything that a viewer asks for."""
    router = APIRouter(tags=[TAG])
    router.include_router(_about(service, asks=asks_for_keys))
    router.include_router(_images(requests, sessions))
    router.include_router(_infer(service, requests, sessions))
    return router


def _about(service: Service, *, asks: bool) -> APIRouter:
    """What there is, and who may use it."""
    router = APIRouter()

    @router.get("/info/", summary="The models, as MONAI Label names them")
    def info() -> AppInfo:
        catalogue = service.repository.catalogue
        return AppInfo.of({name: catalogue.bundle(name, None) for name in catalogue.bundles})

    @router.get("/auth/", summary="Are keys asked for?")
    def auth() -> Auth:
        return Auth(enabled=asks)

    @router.post("/auth/token", summary="A key, given as the password, as a token")
    def token(
        password: Annotated[str, Form()] = "",
        username: Annotated[str, Form()] = "",
        grant_type: Annotated[str, Form()] = "password",
    ) -> Token:
        """Nothing is looked up: whether the key is valid is seen when it is used."""
        del username, grant_type
        return Token(access_token=password if asks else None, token_type="Bearer" if asks else None)

    @router.get("/auth/token/valid", summary="Is the token valid?")
    def valid() -> Auth:
        return Auth(enabled=asks)

    return router


def _images(requests: StudyRequests, sessions: Sessions) -> APIRouter:
    """What a viewer sends, to be worked on for a while."""
    router = APIRouter()

    async def added(request: Request, names: PartNames, name: str | None) -> str:
        incoming = await requests.admit(request, study=False)
        sent = await receive_sent(incoming, names)
        return sessions.add(owner_of(request), sent.files, name)

    def told(session: str) -> SessionAnswer:
        info = SessionInfo(name=session, expiry=round(sessions.keep_s))
        return SessionAnswer(session_id=session, session_info=info)

    @router.put("/session/", summary="Keep images for a while", responses=_FAULTS)
    async def create(
        request: Request,
        uncompress: Annotated[bool, Query(description="Zips are always unpacked.")] = False,
        expiry: Annotated[int, Query(description="The setting says how long.")] = 0,
    ) -> SessionAnswer:
        del uncompress, expiry
        return told(await added(request, _SESSION, None))

    @router.get("/session/{session}", summary="Is a session there?", responses={404: PROBLEM})
    def look(
        request: Request,
        session: str,
        update_ts: Annotated[bool, Query(description="Looking is using.")] = False,
    ) -> SessionInfo:
        del update_ts
        with sessions.files(owner_of(request), session):
            return told(session).session_info

    @router.delete("/session/{session}", summary="Remove a session", responses={404: PROBLEM})
    def remove(request: Request, session: str) -> SessionInfo:
        sessions.remove(owner_of(request), session)
        return told(session).session_info

    @router.put("/datastore/", summary="Keep an image under its name", responses=_FAULTS)
    async def keep(
        request: Request, image: Annotated[str, Query(min_length=1, max_length=256)]
    ) -> ImageAdded:
        return ImageAdded(image=await added(request, _ADDED, image))

    @router.get("/datastore/image", summary="An image that was sent", responses={404: PROBLEM})
    def give_back(request: Request, image: str) -> FileResponse:
        files = resources_of(request).enter_context(sessions.files(owner_of(request), image))
        return FileResponse(files[0].path, media_type="application/octet-stream")

    return router


def _infer(service: Service, requests: StudyRequests, sessions: Sessions) -> APIRouter:
    """A model's answer to an image."""
    router = APIRouter()
    limits = service.settings.limits
    pacs = Pacs.of(service.settings.viewers, FetchLimits(limits.upload_bytes, limits.upload_files))

    @router.post(
        "/infer/{name}", summary="Segment what a viewer shows", responses=_FAULTS,
        response_class=Response,
    )  # fmt: skip
    async def infer(
        request: Request,
        name: str,
        image: str = "",
        session_id: str = "",
        output: Output = Output.ALL,
    ) -> Response:
        with service.repository.acquire(name, None) as bundle:
            access_of(request.scope).about(bundle)
            check_output(output, bundle.task)
            incoming = await requests.admit(request)
            sent = await receive_sent(incoming, _INFER)
            asked = InferAsked.of(sent.texts.get("params", ""))
            wanted = _Wanted(owner_of(request), session_id, image)

            def work() -> Response:
                with wanted.found(sent, sessions, pacs, incoming) as shown:
                    done = _predicted(service, bundle, shown, asked, incoming)
                    with done as result:
                        return answer(result, asked, output, incoming.folder)

            return await incoming.work(work)

    return router


@dataclass(frozen=True)
class _Wanted:
    """What a viewer names: what comes with the request, else a session, else an image."""

    owner: str
    session: str
    image: str

    @contextmanager
    def found(
        self, sent: Sent, sessions: Sessions, pacs: Pacs | None, incoming: StudyRequest
    ) -> Iterator[Image]:
        """Its files, which stay until the block ends.

        Raises:
            InvalidQuery: nothing is named.
            UnknownImage: there is none of that name.
            PacsUnavailable: see :meth:`Pacs.study_of`.
        """
        if sent.files:
            yield Image(self.image, sent.files)
        elif self.session or sessions.has(self.owner, self.image):
            with sessions.files(self.owner, self.session or self.image) as files:
                yield Image(self.image, files)
        elif not self.image:
            raise InvalidQuery(
                "no image is named", remedy="Give image or session_id, or send a file"
            )
        elif pacs is None:
            raise UnknownImage(
                "the image has not been sent, and the service has no PACS to fetch it from",
                remedy="Send the image first, or name a PACS with the setting pacs_url",
            )
        else:
            files = pacs.study_of(self.image, incoming.folder, incoming.cancel.check)
            yield Image(self.image, files, series=True)


@contextmanager
def _predicted(
    service: Service, bundle: Bundle, shown: Image, asked: InferAsked, incoming: StudyRequest
) -> Iterator[Result]:
    """The result, on the grid of the series that is shown; its memory is counted until the end."""
    settings, cancel = service.settings, incoming.cancel
    with service.admission.place(cancel):
        found = intake_options(settings.dicom)
        study, space = study_of(shown, asked, bundle.task, incoming.folder, found, settings, cancel)
        options = PredictOptions(fill=asked.fill, space=space)
        about = access_of(incoming.request.scope).about
        with service.predict(bundle, study, options, cancel, begin=about) as done:
            yield done.result
