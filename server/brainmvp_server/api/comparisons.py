"""``POST /v1/compare``: two times of one patient."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import FileResponse, Response

from brainmvp_models.errors import InvalidInput
from brainmvp_server.api.access import access_of
from brainmvp_server.api.answers import Form, preferred
from brainmvp_server.api.openapi import FILE, faults_of_upload
from brainmvp_server.api.parameters import IntakeAsked
from brainmvp_server.api.parts import Shelf, UploadLimits
from brainmvp_server.api.problems import MalformedUpload
from brainmvp_server.api.study_request import StudyRequests
from brainmvp_server.comparison.compare import TIMES, Comparison
from brainmvp_server.comparison.files import PICTURE, comparison_json, write_zip
from brainmvp_server.comparison.given import GivenFiles, GivenTime
from brainmvp_server.comparison.picture import picture_png
from brainmvp_server.comparison.report import comparison_html
from brainmvp_server.comparison.summary import ComparisonSummary
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.results.report import report_policy
from brainmvp_server.runtime.service import Service

_FORMS = (Form.JSON, Form.ZIP, Form.PNG, Form.HTML)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PARTS = tuple(f"{prefix}{time}" for prefix in ("", "mask_", "study_") for time in TIMES)
_SEND = (
    "Send multipart/form-data with the parts before and after, each a zip of a study or of a "
    "result, or files; of studies also mask_before and mask_after, or name a model"
)
UPLOAD: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": list(TIMES),
                "additionalProperties": False,
                "properties": {
                    "before": {"type": "array", "items": FILE, "description": "The earlier time: "
                    "a study or a result, as one zip, or its files"},
                    "after": {"type": "array", "items": FILE, "description": "The later time"},
                    "mask_before": {**FILE, "description": "A mask of before made elsewhere: "
                    "NIfTI of whole numbers, on the grid of one of its series"},
                    "mask_after": {**FILE, "description": "A mask of after made elsewhere"},
                    "study_before": {"type": "array", "items": FILE, "description": "What the "
                    "result before was made of, where it does not hold that itself"},
                    "study_after": {"type": "array", "items": FILE, "description": "The same of "
                    "the result after"},
                },
            }
        }
    },
}  # fmt: skip


class _TwoTimes(Shelf[tuple[GivenTime, GivenTime]]):
    """The parts of a comparison."""

    send = _SEND

    def __init__(self, folder: Path, limits: UploadLimits, *, named: bool) -> None:
        super().__init__(folder, limits, named=named)
        self._files: dict[str, list[Unpacked]] = {}
        self._count = 0

    def check_room(self) -> None:
        self.check_files(self._count)

    def place(self, name: str, filename: str) -> Path:
        if not self.named or name not in _PARTS:
            raise MalformedUpload(
                "a part is none of a comparison", remedy=f"Call it one of: {', '.join(_PARTS)}"
            )
        held = self._files.setdefault(name, [])
        if held and name.startswith("mask_"):
            raise MalformedUpload(f"the part '{name}' came twice", remedy="Send each mask once")
        path = self.folder / f"{name}-{len(held):06d}"
        held.append(Unpacked(path, filename))
        self._count += 1
        return path

    def finished(self) -> tuple[GivenTime, GivenTime]:
        before, after = (self._time(time) for time in TIMES)
        if (before.mask is None) is not (after.mask is None):
            raise MalformedUpload(
                "there is one mask, and not the other",
                remedy="Send both masks; where nothing was there, one that is 0 everywhere",
            )
        return before, after

    def _time(self, name: str) -> GivenTime:
        main = self._given(name)
        if main is None:
            raise MalformedUpload(f"the part '{name}' is missing", remedy=_SEND)
        return GivenTime(main, self._given(f"mask_{name}"), self._given(f"study_{name}"))

    def _given(self, name: str) -> GivenFiles | None:
        files = self._files.get(name)
        return None if files is None else GivenFiles(tuple(files), name)


def build_compare_router(service: Service, requests: StudyRequests) -> APIRouter:
    """The route that compares two studies of a patient."""
    router = APIRouter()

    @router.post(
        "/v1/compare",
        tags=["studies"],
        summary="Tell what is new, gone, grown or shrunk between two studies of a patient",
        response_model=ComparisonSummary,
        responses={
            200: {"content": {form.value: _BINARY for form in _FORMS if form is not Form.JSON}},
            **faults_of_upload(404, 406, 500, 504),
        },
        openapi_extra={"requestBody": UPLOAD},
    )
    async def compare(
        request: Request,
        intake: IntakeAsked,
        model: Annotated[
            str | None, Query(description="Draws the masks of two studies that have none.")
        ] = None,
        version: Annotated[str | None, Query(description="Of the model, not the latest.")] = None,
        accept: Annotated[str | None, Header()] = None,
    ) -> Response:
        options, form = intake.options(service.settings.dicom), preferred(accept, _FORMS)
        with ExitStack() as held:
            bundle = None
            if model is not None:
                bundle = held.enter_context(service.repository.acquire(model, version))
                access_of(request.scope).about(bundle)
            incoming = await requests.admit(request)
            times = await incoming.parts(
                lambda named: _TwoTimes(incoming.folder, requests.limits, named=named)
            )
            if bundle is not None and times[0].mask is not None:
                raise InvalidInput(
                    "the model would draw masks that were sent",
                    remedy="Leave out the parameter model, or the masks",
                )

            def work() -> Response:
                with (
                    service.admission.place(incoming.cancel),
                    service.compare(
                        times, incoming.folder, bundle, options, incoming.cancel
                    ) as made,
                ):
                    return _answer(made, form, incoming.folder)

            return await incoming.work(work)

    return router


def _answer(made: Comparison, form: Form, folder: Path) -> Response:
    if form is Form.JSON:
        return Response(comparison_json(made), media_type=form.value)
    path, headers, name = folder / "answer", {}, None
    if form is Form.ZIP:
        name = "comparison.zip"
        write_zip(made, path)
    elif form is Form.PNG:
        name = PICTURE
        path.write_bytes(picture_png(made))
    else:
        html = comparison_html(ComparisonSummary.of(made), picture_png(made))
        path.write_text(html, "utf-8")
        headers["content-security-policy"] = report_policy()
    return FileResponse(path, media_type=form.value, filename=name, headers=headers)
