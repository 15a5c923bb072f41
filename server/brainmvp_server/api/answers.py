"""Which form an answer takes, by ``Accept``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fastapi.responses import FileResponse, Response

from brainmvp_models.task import Task
from brainmvp_server.api.problems import NotAcceptable
from brainmvp_server.imaging.nifti import compress
from brainmvp_server.inference.result import Result
from brainmvp_server.results.dicom.object_options import ObjectOptions
from brainmvp_server.results.dicom.objects import MissingObject, has_objects, object_files
from brainmvp_server.results.files import MASK, PREVIEW, mask_nifti, summary_json, write_zip
from brainmvp_server.results.findings import Findings
from brainmvp_server.results.preview import preview_png
from brainmvp_server.results.report import report_html, report_policy


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
_NAMES = {
    Form.NIFTI: MASK.removesuffix(".gz"),
    Form.GZIP: MASK,
    Form.ZIP: "result.zip",
    Form.PNG: PREVIEW,
}
_BOUNDARY = "brainmvp-dicom-objects"
_CRLF = b"\r\n"


def negotiate(accept: str | None, task: Task, *, probabilities: bool) -> Form:
    """The form that an ``Accept`` header asks for (RFC 9110, section 12.5.1).

    Raises:
        NotAcceptable: it asks for none of ours, for the mask of a classifier, or for probability
            maps in a form that cannot hold them.
    """
    form = preferred(accept, tuple(Form))
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
    folder: Path,
    objects: ObjectOptions = ObjectOptions(),
    findings: Findings | None = None,
) -> Response:
    """The response; all but the summary lies in a file of ``folder``, and takes no memory.

    Raises:
        NotAcceptable, UnwritableObject: see :func:`_write_related`.
    """
    if form is Form.JSON:
        return Response(summary_json(result, findings), media_type=form.value)
    path = folder / "answer"
    kind: str = form.value
    headers = {}
    if form is Form.ZIP:
        write_zip(result, path, objects, findings)
    elif form is Form.DICOM:
        _write_related(result, objects, path)
        kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
    elif form is Form.HTML:
        path.write_text(report_html(result), "utf-8")
        headers["content-security-policy"] = report_policy()
    else:
        path.write_bytes(_encoded(result, form))
    return FileResponse(path, media_type=kind, filename=_NAMES.get(form), headers=headers)


def _write_related(result: Result, objects: ObjectOptions, path: Path) -> None:
    """The objects as DICOMweb sends them (PS3.18, section 8.6.1.2); all of them, or none.

    Raises:
        NotAcceptable: the study did not come as DICOM.
        UnwritableObject: one of them cannot be written; this form has no place to say so.
    """
    if not has_objects(result):
        raise NotAcceptable(
            "the study did not come as DICOM: objects could not refer to it",
            remedy="Send the study as DICOM, or accept application/x-nifti",
        )
    head = b"Content-Type: application/dicom" + _CRLF + _CRLF
    delimiter = b"--" + _BOUNDARY.encode()
    with path.open("wb") as body:
        for made in object_files(result, objects):
            if isinstance(made, MissingObject):
                raise made.error
            body.write(delimiter + _CRLF + head + made.content + _CRLF)
        body.write(delimiter + b"--" + _CRLF)


def _encoded(result: Result, form: Form) -> bytes:
    if form is Form.PNG:
        return preview_png(result)
    mask = mask_nifti(result)
    return compress(mask) if form is Form.GZIP else mask


@dataclass(frozen=True)
class _Range:
    """One media range of an ``Accept`` header."""

    media: str
    quality: float

    def covers(self, form: Form) -> int:
        """How closely it names a form: 3 by its type, 2 by ``image/*``, 1 by ``*/*``, else 0."""
        if self.media == form.value or _ALIASES.get(self.media) is form:
            return 3
        if self.media == f"{form.value.split('/')[0]}/*":
            return 2
        return int(self.media == "*/*")


def preferred(accept: str | None, forms: Sequence[Form]) -> Form:
    """The best of some forms by quality, then by order in the header; the first is the default.

    A form's quality is that of the range that names it most closely (RFC 9110, section 12.5.1): it
    may be refused beside a range that takes anything.

    Raises:
        NotAcceptable: it asks for none of them.
    """
    if not accept or not accept.strip():
        return forms[0]
    ranges = list(map(_range, accept.split(",")))
    best: tuple[float, int] = (0.0, 0)
    chosen = None
    for form in forms:
        place = max(range(len(ranges)), key=lambda n: (ranges[n].covers(form), -n))
        rank = (ranges[place].quality, -place)
        if ranges[place].covers(form) and rank[0] > 0 and (chosen is None or rank > best):
            best, chosen = rank, form
    if chosen is None:
        raise NotAcceptable(
            "no answer of the asked-for type can be given",
            remedy=f"Accept one of: {', '.join(form.value for form in forms)}",
        )
    return chosen


def _range(text: str) -> _Range:
    media, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return _Range(media, quality)
