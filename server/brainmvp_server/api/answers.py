"""Which form an answer takes, by ``Accept``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from brainmvp_models.task import Task
from brainmvp_server.answer import MASK, PREVIEW, mask_nifti, summary_json, write_zip
from brainmvp_server.api.problems import NotAcceptable
from brainmvp_server.dicom_out.objects import ObjectOptions, has_objects, object_files
from brainmvp_server.findings import Findings
from brainmvp_server.imaging.nifti import compress
from brainmvp_server.inference.result import Result
from brainmvp_server.preview import preview_png
from brainmvp_server.report import report_html, report_policy


class Form(str, Enum):
    """The media types a result can be answered in, the default first."""

    JSON = "application/json"
    NIFTI = "application/x-nifti"
    GZIP = "application/gzip"
    ZIP = "application/zip"
    PNG = "image/png"
    DICOM = "application/dicom"
    HTML = "text/html"


_ALIASES = {"multipart/related": Form.DICOM}
_BOUNDARY = "brainmvp-dicom-objects"
_CRLF = b"\r\n"


def negotiate(accept: str | None, task: Task, *, probabilities: bool) -> Form:
    """The form that an ``Accept`` header asks for (RFC 9110, section 12.5.1).

    Raises:
        NotAcceptable: it asks for none of ours, for the mask of a classifier, or for probability
            maps in a form that cannot hold them.
    """
    form = _preferred(accept)
    if form is None:
        raise NotAcceptable(
            "no answer of the asked-for type can be given",
            remedy=f"Accept one of: {', '.join(f.value for f in Form)}",
        )
    if form in (Form.NIFTI, Form.GZIP) and task.kind == "classification":
        raise NotAcceptable(
            "the model classifies, it has no mask", remedy="Accept application/json"
        )
    if probabilities and form is not Form.ZIP:
        raise NotAcceptable(
            "probability maps are given only in a zip", remedy="Accept application/zip"
        )
    return form


def answer(
    result: Result,
    form: Form,
    scratch: Path,
    clean_up: Callable[[], None],
    objects: ObjectOptions = ObjectOptions(),
    findings: Findings | None = None,
) -> Response:
    """The response; ``clean_up`` is called when it has been sent, or here where nothing is left.

    Raises:
        NotAcceptable: DICOM objects of a study that did not come as DICOM.
    """
    if form is Form.ZIP:
        path = scratch / "result.zip"
        write_zip(result, path, objects, findings)
        return FileResponse(
            path,
            media_type=form.value,
            filename="result.zip",
            background=BackgroundTask(clean_up),
        )
    if form is Form.DICOM:
        response = _related(result, objects)
        clean_up()
        return response
    named = _encode(result, form, findings)
    clean_up()
    headers = {"content-disposition": f'attachment; filename="{named.name}"'} if named.name else {}
    if form is Form.HTML:
        headers["content-security-policy"] = report_policy()
    return Response(named.content, media_type=form.value, headers=headers)


def _related(result: Result, objects: ObjectOptions) -> Response:
    """The objects as DICOMweb sends them (PS3.18, section 8.6.1.2)."""
    if not has_objects(result):
        raise NotAcceptable(
            "the study did not come as DICOM: objects could not refer to it",
            remedy="Send the study as DICOM, or accept application/x-nifti",
        )
    head = b"Content-Type: application/dicom" + _CRLF + _CRLF
    delimiter = b"--" + _BOUNDARY.encode()
    body = b"".join(
        delimiter + _CRLF + head + content + _CRLF for _, content in object_files(result, objects)
    )
    kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
    return Response(body + delimiter + b"--" + _CRLF, media_type=kind)


@dataclass(frozen=True)
class _Named:
    content: bytes | str
    name: str = ""


def _encode(result: Result, form: Form, findings: Findings | None) -> _Named:
    if form is Form.NIFTI:
        return _Named(mask_nifti(result), MASK.removesuffix(".gz"))
    if form is Form.GZIP:
        return _Named(compress(mask_nifti(result)), MASK)
    if form is Form.PNG:
        return _Named(preview_png(result), PREVIEW)
    if form is Form.HTML:
        return _Named(report_html(result))
    return _Named(summary_json(result, findings))


def _preferred(accept: str | None) -> Form | None:
    """The best of ours by quality, then by order in the header."""
    if not accept or not accept.strip():
        return Form.JSON
    ranges = sorted(map(_range, accept.split(",")), key=lambda item: -item[1])
    for media, quality in ranges:
        if quality <= 0:
            continue
        if media in _ALIASES:
            return _ALIASES[media]
        for form in Form:
            major = form.value.split("/")[0]
            if media in (form.value, "*/*", f"{major}/*"):
                return form
    return None


def _range(text: str) -> tuple[str, float]:
    media, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return media, quality
