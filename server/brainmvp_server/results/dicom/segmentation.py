"""A mask as a DICOM Segmentation: one segment a label, on the source series' own frames."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from PIL import ImageColor
from pydicom.dataset import Dataset

from brainmvp_models.task import Label, ScoreOutputs, SegmentationOutputs
from brainmvp_server.inference.result import Result
from brainmvp_server.results.dicom.codes import FAMILY, category_of, code_of, labels_of
from brainmvp_server.results.dicom.object_options import Encoding, Frames
from brainmvp_server.results.dicom.provenance import Identity, equipment
from brainmvp_server.results.dicom.reference import refer, slices_of, source_of

_NUMBER = 0


def segmentation(
    result: Result, encoding: Encoding = "binary", frames: Frames = "sparse"
) -> Dataset:
    """The result's mask as a Segmentation object.

    Segments are numbered from 1 in the order of the mask's values; each segment's description names
    its value. ``sparse`` leaves out frames without the segment; an empty mask has all its frames,
    and says so. What is not determinable has no segment.

    Raises:
        ValueError: the model classifies, or the study did not come as DICOM.
        UnwritableObject: see :func:`source_of`.
    """
    outputs = result.outputs
    if isinstance(outputs, ScoreOutputs):
        raise ValueError("a classifier has no mask")
    labels = labels_of(outputs)
    empty = not result.mask.any()
    kind = encoding.upper()
    identity = Identity.of(result, "segmentation", _NUMBER)
    source = source_of(result)
    made: Dataset = hd.seg.Segmentation(
        source_images=slices_of(source, result.study.native.grid),
        pixel_array=_numbered(result, labels),
        segmentation_type=kind,
        segment_descriptions=[
            _segment(result, label, number, outputs) for number, label in enumerate(labels, start=1)
        ],
        omit_empty_frames=frames == "sparse" and not empty,
        content_label="SEGMENTATION",
        content_description=_described(result, empty=empty),
        series_description=f"{result.manifest.name} segmentation"[:64],
        **identity.arguments,
        **equipment(result),
    )
    refer(made, source)
    return made


def _described(result: Result, *, empty: bool) -> str:
    """At most 64 characters, as DICOM has them."""
    if not empty:
        return result.manifest.name[:64]
    open_questions = ", ".join(one.output for one in result.not_determinable)
    also = f"; not determinable: {open_questions}" if open_questions and result.left_out else ""
    return f"No finding: the mask is empty{also}"[:64]


def _numbered(result: Result, labels: tuple[Label, ...]) -> NDArray[np.uint8]:
    """Segment numbers (slice, row, column)."""
    numbers = np.zeros(256, dtype=np.uint8)
    for number, label in enumerate(labels, start=1):
        numbers[label.value] = number
    return np.ascontiguousarray(numbers[result.mask].T)


def _segment(
    result: Result, label: Label, number: int, outputs: SegmentationOutputs
) -> hd.seg.SegmentDescription:
    manifest = result.manifest
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label.name[:64],
        segmented_property_category=category_of(outputs),
        segmented_property_type=code_of(label.name, label.title, label.code),
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=manifest.name, version=manifest.version, family=FAMILY
        ),
        display_color=CIELabColor.from_rgb(*ImageColor.getrgb(label.colour)[:3]),
    )
    described.SegmentDescription = f"{label.title or label.name}; mask value {label.value}"[:1024]
    return described
