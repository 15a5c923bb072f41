"""A result as MONAI Label's clients read it: a mask file, what it holds, or both in one body."""

from __future__ import annotations

import json
import secrets
from enum import Enum
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from fastapi.responses import FileResponse, JSONResponse, Response
from numpy.typing import NDArray

from brainmvp_models.task import Task
from brainmvp_server.api.monailabel.wire import InferAsked, labels_of
from brainmvp_server.api.problems import NotAcceptable
from brainmvp_server.imaging.grid import Affine
from brainmvp_server.imaging.nifti import compress, encode_nifti
from brainmvp_server.inference.result import Result
from brainmvp_server.results.dicom.object_options import ObjectOptions
from brainmvp_server.results.dicom.objects import (
    SEGMENTATION,
    MissingObject,
    has_objects,
    object_files,
)
from brainmvp_server.results.summary import Summary

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_OCTETS = "application/octet-stream"


class Output(str, Enum):
    """What of a result is wanted."""

    ALL = "all"
    IMAGE = "image"
    JSON = "json"
    DICOM_SEG = "dicom_seg"


def check_output(output: Output, task: Task) -> None:
    """Refuse what a model cannot give, before it runs.

    Raises:
        NotAcceptable: the mask of a classifier.
    """
    if task.kind == "classification" and output in (Output.IMAGE, Output.DICOM_SEG):
        raise NotAcceptable("the model classifies, it has no mask", remedy="Ask for output=json")


def answer(result: Result, asked: InferAsked, output: Output, folder: Path) -> Response:
    """The response; a mask lies in a file of ``folder``.

    Raises:
        NotAcceptable: DICOM objects of a study that is no DICOM.
        UnwritableObject: the segmentation cannot be written.
    """
    if output is Output.DICOM_SEG:
        return _segmentation(result, folder)
    params = _params(result)
    if output is Output.JSON or result.segmentation is None:
        return JSONResponse(params)
    name, content = f"label{asked.extension}", _encoded(result, asked, folder)
    path = folder / "answer"
    if output is Output.IMAGE:
        path.write_bytes(content)
        return FileResponse(path, media_type=_OCTETS, filename=name)
    boundary = f"brainmvp-{secrets.token_hex(16)}"
    with path.open("wb") as body:
        body.write(_head(boundary, "params", "application/json"))
        body.write(json.dumps(params).encode() + b"\r\n")
        body.write(_head(boundary, f'image"; filename="{name}', _OCTETS))
        body.write(content + f"\r\n--{boundary}--\r\n".encode())
    return FileResponse(path, media_type=f"multipart/form-data; boundary={boundary}")


def _head(boundary: str, name: str, kind: str) -> bytes:
    lines = (
        f"--{boundary}",
        f'Content-Disposition: form-data; name="{name}"',
        f"Content-Type: {kind}",
        "",
        "",
    )
    return "\r\n".join(lines).encode()


def _params(result: Result) -> dict[str, Any]:
    """What OHIF and Slicer look for, and beside it our own summary."""
    labels = labels_of(result.outputs)
    said: dict[str, Any] = {"label_names": labels}
    if result.segmentation is not None:
        mask = result.mask
        said["centroids"] = {
            name: [value, *centre]
            for name, value in labels.items()
            if value and (centre := _centre(mask, value)) is not None
        }
    said["brainmvp"] = Summary.of(result).model_dump(mode="json")
    return said


def _centre(mask: NDArray[np.uint8], value: int) -> tuple[int, int, int] | None:
    """The voxel (i, j, k) in the middle of a value's voxels; None where there is none."""
    places = np.nonzero(mask == value)
    if not len(places[0]):
        return None
    i, j, k = (round(float(axis.mean())) for axis in places)
    return i, j, k


def _encoded(result: Result, asked: InferAsked, folder: Path) -> bytes:
    native = result.study.native
    mask = result.mask.astype(asked.dtype)
    if asked.extension == ".nrrd":
        return _nrrd(mask, native.grid.affine, folder / "label.nrrd", compressed=asked.compress)
    plain = encode_nifti(mask, native.header)
    return compress(plain) if asked.extension == ".nii.gz" else plain


def _nrrd(mask: NDArray[Any], affine: Affine, path: Path, *, compressed: bool) -> bytes:
    """NRRD with its voxels' place in L-P-S mm, as ITK writes it (teem.sourceforge.net/nrrd)."""
    place = _LPS @ affine
    header = {
        "space": "left-posterior-superior",
        "space directions": place[:3, :3].T,
        "space origin": place[:3, 3],
        "kinds": ["domain"] * 3,
        "encoding": "gzip" if compressed else "raw",
    }
    nrrd.write(str(path), mask, header, index_order="F")
    return path.read_bytes()


def _segmentation(result: Result, folder: Path) -> Response:
    if not has_objects(result):
        raise NotAcceptable(
            "the study did not come as DICOM: a segmentation could not refer to it",
            remedy="Open a series of the PACS, or ask for output=image",
        )
    for made in object_files(result, ObjectOptions()):
        if isinstance(made, MissingObject):
            raise made.error
        if made.name == SEGMENTATION:
            path = folder / "answer"
            path.write_bytes(made.content)
            return FileResponse(path, media_type="application/dicom", filename="label.dcm")
    raise NotAcceptable("the result has no segmentation", remedy="Ask for output=json")
