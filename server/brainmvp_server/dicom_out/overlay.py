"""Secondary captures: the mask in colour over its slices, for viewers without segmentations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw
from pydicom.dataset import Dataset

from brainmvp_models.task import ScoreOutputs
from brainmvp_server.dicom_out.codes import labels_of
from brainmvp_server.dicom_out.identity import (
    MANUFACTURER,
    Identity,
    equipment,
    headers_of,
    source_of,
)
from brainmvp_server.imaging.percentile import value_percentiles
from brainmvp_server.inference.result import Result

_NUMBER = 2
_OPACITY = 0.45
_SMALLEST = 256
_INK = "#ffffff"
_BELOW, _ABOVE = 1.0, 99.5


def overlay(result: Result) -> Iterator[Dataset]:
    """One RGB image a slice that holds a finding; without one, the middle slice, which says so.

    Raises:
        ValueError: the model classifies, or the study did not come as DICOM.
    """
    outputs = result.manifest.task.outputs
    if isinstance(outputs, ScoreOutputs):
        raise ValueError("a classifier has no mask")
    mask = result.mask
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    found = slices.size > 0
    if not found:
        slices = np.array([mask.shape[2] // 2])
    headers = headers_of(source_of(result))
    palette = np.zeros((256, 3), dtype=np.float32)
    for label in labels_of(outputs):
        palette[label.value] = ImageColor.getrgb(label.colour)[:3]
    native = result.study.native
    low, high = value_percentiles(native, native.stored, (_BELOW, _ABOVE))
    for number, k in enumerate(slices.tolist(), start=1):
        values = native.values(native.stored[:, :, k].T)
        grey = np.clip((values - low) / (high - low or 1), 0, 1) * 255
        picture = _captioned(_blended(grey, mask[:, :, k].T, palette), result, k, found)
        header = headers[k] if len(headers) == mask.shape[2] else headers[0]
        yield _capture(result, header, picture, number)


def _blended(
    grey: NDArray[Any], mask: NDArray[np.uint8], palette: NDArray[np.float32]
) -> NDArray[np.uint8]:
    colour = np.repeat(grey[..., None], 3, axis=2)
    inside = (mask > 0)[..., None]
    mixed = colour * (1 - _OPACITY * inside) + palette[mask] * (_OPACITY * inside)
    return np.asarray(mixed, dtype=np.uint8)


def _captioned(
    picture: NDArray[np.uint8], result: Result, k: int, found: bool
) -> NDArray[np.uint8]:
    """Enlarged to a readable size, with the model and the slice, and nothing about the patient."""
    image = Image.fromarray(picture)
    factor = max(1, -(-_SMALLEST // min(image.size)))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    words = f"{result.manifest.name} {result.manifest.version}  slice {k + 1}"
    draw.text((4, 4), words, fill=_INK)
    if not found:
        draw.text((4, 18), "no finding", fill=_INK)
    if result.manifest.demo:
        draw.text((4, image.height - 16), "demonstration, no clinical meaning", fill=_INK)
    return np.asarray(image)


def _capture(result: Result, header: Dataset, picture: NDArray[np.uint8], number: int) -> Dataset:
    cosines = [float(v) for v in _orientation(header)]
    identity = Identity.of(result, "overlay", _NUMBER, number)
    made: Dataset = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=header,
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=(_towards(cosines[:3]), _towards(cosines[3:])),
        manufacturer=MANUFACTURER,
        **identity.arguments,
    )
    made.SeriesDescription = f"{result.manifest.name} overlay"[:64]
    made.ManufacturerModelName = equipment(result)["manufacturer_model_name"]
    made.BodyPartExamined = "BRAIN"
    made.BurnedInAnnotation = "NO"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = "Segmentation shown over the source image"
    made.SourceImageSequence = [_reference(header)]
    return made


def _reference(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item


def _orientation(header: Dataset) -> Any:
    if "ImageOrientationPatient" in header:
        return header.ImageOrientationPatient
    shared = header.SharedFunctionalGroupsSequence[0]
    group = shared if "PlaneOrientationSequence" in shared else None
    group = group or header.PerFrameFunctionalGroupsSequence[0]
    return group.PlaneOrientationSequence[0].ImageOrientationPatient


def _towards(cosines: list[float]) -> str:
    """The direction of an axis as letters, the largest part first: for example ``LP``."""
    letters = [("L", "R"), ("P", "A"), ("H", "F")]
    order = sorted(range(3), key=lambda axis: -abs(cosines[axis]))
    return "".join(
        letters[axis][0 if cosines[axis] > 0 else 1] for axis in order if abs(cosines[axis]) > 1e-3
    )
