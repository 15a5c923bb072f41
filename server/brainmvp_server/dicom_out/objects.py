"""Which DICOM objects a result has, as named files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from brainmvp_server.inference.result import Result

Encoding = Literal["binary", "labelmap"]
Frames = Literal["sparse", "all"]
SEGMENTATION, REPORT = "segmentation.dcm", "report.dcm"


@dataclass(frozen=True)
class ObjectOptions:
    """What a destination wants.

    Attributes:
        encoding: of the segmentation: ``binary``, or ``labelmap`` where the archive knows it.
        frames: ``sparse``, or ``all`` for viewers that misplace sparse ones.
        overlay: secondary captures too, for viewers that know no segmentations.
    """

    encoding: Encoding = "binary"
    frames: Frames = "sparse"
    overlay: bool = False


def has_objects(result: Result) -> bool:
    """Whether the study came as DICOM, so that objects can refer to it."""
    return result.study.native.source is not None


def object_files(
    result: Result, options: ObjectOptions = ObjectOptions()
) -> Iterator[tuple[str, bytes]]:
    """The objects as Part 10 files, by name; the segmentation first.

    Raises:
        ValueError: the study did not come as DICOM.
    """
    from brainmvp_server.dicom_out.overlay import overlay
    from brainmvp_server.dicom_out.report import measurement_report
    from brainmvp_server.dicom_out.segmentation import segmentation

    mask = None
    if result.segmentation is not None:
        mask = segmentation(result, options.encoding, options.frames)
        yield SEGMENTATION, _file(mask)
    yield REPORT, _file(measurement_report(result, mask))
    if options.overlay and mask is not None:
        for number, capture in enumerate(overlay(result), start=1):
            yield f"overlay-{number:04d}.dcm", _file(capture)


def _file(dataset: Any) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
