"""Secondary captures: the mask in colour over its slices, for viewers without segmentations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw
from pydicom.dataset import Dataset

from brainmvp_models.task import ScoreOutputs
from brainmvp_server.imaging.percentile import value_percentiles
from brainmvp_server.inference.result import Result
from brainmvp_server.results.dicom.codes import labels_of
from brainmvp_server.results.dicom.provenance import (
    MANUFACTURER,
    Identity,
    equipment,
)
from brainmvp_server.results.dicom.reference import axes_of, images_of, reference, source_of

_NUMBER = 2
_OPACITY = 0.45
_SMALLEST = 256
_INK = "#ffffff"
_BELOW, _ABOVE = 1.0, 99.5


@dataclass(frozen=True, eq=False)
class Overlay:
    """One RGB image a slice that holds a finding; without one, the middle slice, which says so.

    Attributes:
        slices: which slices are shown, in order.
    """

    slices: tuple[int, ...]
    _result: Result
    _palette: NDArray[np.float32]
    _window: tuple[float, float]

    @classmethod
    def of(cls, result: Result) -> Overlay:
        """The overlay of a result.

        Raises:
            ValueError: the model classifies.
        """
        outputs = result.outputs
        if isinstance(outputs, ScoreOutputs):
            raise ValueError("a classifier has no mask")
        slices = np.flatnonzero(result.mask.any(axis=(0, 1)))
        if not slices.size:
            slices = np.array([result.mask.shape[2] // 2])
        palette = np.zeros((256, 3), dtype=np.float32)
        for label in labels_of(outputs):
            palette[label.value] = ImageColor.getrgb(label.colour)[:3]
        native = result.study.native
        low, high = value_percentiles(native, native.stored, (_BELOW, _ABOVE))
        return cls(tuple(slices.tolist()), result, palette, (float(low), float(high)))

    def capture(self, number: int) -> Dataset:
        """The ``number``-th image, from 1.

        Raises:
            ValueError, UnwritableObject: see :func:`source_of`.
        """
        k, result, (low, high) = self.slices[number - 1], self._result, self._window
        mask = result.mask[:, :, k].T
        native = result.study.native
        grey = (native.values(native.stored[:, :, k].T) - low) / (high - low or 1)
        picture = _blended(np.clip(grey, 0, 1) * 255, mask, self._palette)
        return _capture(result, k, _captioned(picture, result, k, bool(mask.any())), number)


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
    if result.not_determinable:
        names = ", ".join(one.output for one in result.not_determinable)
        draw.text((4, 32), f"not determinable: {names}", fill=_INK)
    if result.manifest.demo:
        draw.text((4, image.height - 16), "demonstration, no clinical meaning", fill=_INK)
    return np.asarray(image)


def _capture(result: Result, k: int, picture: NDArray[np.uint8], number: int) -> Dataset:
    source = source_of(result)
    row, column = axes_of(result.study.native.grid)
    image = images_of(source)[0]
    identity = Identity.of(result, "overlay", _NUMBER, number)
    made: Dataset = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=image,
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        manufacturer=MANUFACTURER,
        **identity.arguments,
    )
    made.copy_patient_and_study_information(image)
    # highdicom knows directions of one letter only; those of PS3.3, C.7.6.1.1.1, have up to three.
    made.PatientOrientation = [_towards(row), _towards(column)]
    made.SeriesDescription = f"{result.manifest.name} overlay"[:64]
    made.ManufacturerModelName = equipment(result)["manufacturer_model_name"]
    made.BodyPartExamined = "BRAIN"
    made.BurnedInAnnotation = "NO"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = "Segmentation shown over the source image"
    made.SourceImageSequence = [reference(source.frames[k])]
    return made


def _towards(cosines: NDArray[np.float64]) -> str:
    """The direction of an axis as letters, the largest part first: for example ``LP``."""
    letters = [("L", "R"), ("P", "A"), ("H", "F")]
    order = sorted(range(3), key=lambda axis: -abs(cosines[axis]))
    return "".join(
        letters[axis][0 if cosines[axis] > 0 else 1] for axis in order if abs(cosines[axis]) > 1e-3
    )
