"""Planes through a result: the scan in grey, the mask over it, painted or outlined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainmvp_models.task import Outputs, RegionOutputs, ScoreOutputs
from brainmvp_server.imaging.grid import Box, Shape, bounding_box
from brainmvp_server.imaging.percentile import value_percentiles
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.result import Result

PLANES = (("sagittal", 0), ("coronal", 1), ("axial", 2))
"""Each plane and the axis of R, A, S that it is perpendicular to."""

_OPACITY = 0.45
_LINE = 1.6
"""Width of an outline, in pixels."""


@dataclass(frozen=True, eq=False)
class Planes:
    """A result's first volume and its mask, turned to R, A, S.

    Radiological convention: the patient's right is on the left of a plane.

    Attributes:
        volume: the first one.
        image: (X, Y, Z) its stored voxels.
        mask: (X, Y, Z) label values; zero everywhere for a classification.
        spacing: millimetres along R, A, S.
        window: the values that are drawn black and white.
        colours: by mask value.
        head: around all that is brighter than the darkest value.
        focus: the voxel that the planes run through: where most was found, or mid-head.
    """

    volume: Volume
    image: NDArray[Any]
    mask: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    window: tuple[float, float]
    colours: dict[int, str]
    head: Box
    focus: Shape

    @classmethod
    def of(cls, result: Result) -> Planes:
        """Planes of a result."""
        volume = result.study.native
        turn = volume.grid.orientation
        image: NDArray[Any] = turn.view(volume.stored)
        if result.segmentation is None:
            mask = np.zeros(image.shape, dtype=np.uint8)
        else:
            mask = turn.view(result.segmentation.mask)
        head = _head(volume, image)
        low, high = value_percentiles(volume, image[head.slices], (1, 99.5))
        return cls(
            volume=volume,
            image=image,
            mask=mask,
            spacing=volume.grid.canonical().spacing,
            window=(low, high),
            colours=label_colours(result.outputs),
            head=head,
            focus=_focus(mask, head),
        )

    def panel(
        self,
        axis: int,
        index: int,
        size: int,
        style: Literal["painted", "outlined"] = "painted",
    ) -> Image.Image:
        """The plane at voxel ``index`` of an axis, in the middle of a black square of ``size``."""
        grey = self.volume.values(_slice(self.image, axis, index))
        low, high = self.window
        grey = np.clip((grey - low) / (high - low or 1), 0, 1) * 255
        mask = _slice(self.mask, axis, index)
        picture = np.repeat(grey[..., np.newaxis], 3, axis=2)
        if style == "painted":
            for value, colour in self.colours.items():
                here = mask == value
                picture[here] = (1 - _OPACITY) * picture[here] + _OPACITY * np.array(_rgb(colour))
        across, down = (self.spacing[other] for other in range(3) if other != axis)
        width, height = grey.shape[1] * across, grey.shape[0] * down
        zoom = size / max(width, height)
        shape = max(1, round(width * zoom)), max(1, round(height * zoom))
        image = Image.fromarray(picture.astype(np.uint8)).resize(shape, Image.Resampling.BILINEAR)
        if style == "outlined":
            image = self._outlined(image, mask)
        square = Image.new("RGB", (size, size), "black")
        square.paste(image, ((size - shape[0]) // 2, (size - shape[1]) // 2))
        return square

    def _outlined(self, image: Image.Image, mask: NDArray[np.uint8]) -> Image.Image:
        """The border of each label, inside the label, drawn at the picture's own resolution."""
        picture = np.asarray(image).copy()
        for value, colour in self.colours.items():
            if not (mask == value).any():
                continue
            part = Image.fromarray((mask == value).astype(np.uint8) * 255)
            inside = np.asarray(part.resize(image.size, Image.Resampling.BILINEAR)) > 127
            picture[inside & ~_eroded(inside, _LINE)] = _rgb(colour)
        return Image.fromarray(picture)


def label_colours(outputs: Outputs) -> dict[int, str]:
    """Colours by mask value."""
    if isinstance(outputs, ScoreOutputs):
        return {}
    labels = outputs.labels if isinstance(outputs, RegionOutputs) else outputs.classes[1:]
    return {label.value: label.colour for label in labels}


def structure_colours(outputs: Outputs) -> dict[str, str]:
    """Colours by structure: of a region, that of the label it paints."""
    colours = label_colours(outputs)
    if isinstance(outputs, RegionOutputs):
        return {outputs.regions[index].name: colours[value] for index, value in outputs.painting}
    return {} if isinstance(outputs, ScoreOutputs) else {c.name: c.colour for c in outputs.classes}


def _head(volume: Volume, image: NDArray[Any]) -> Box:
    darkest = image.min() if volume.slope > 0 else image.max()
    box = bounding_box(image != darkest)
    return box or Box((0, 0, 0), (image.shape[0], image.shape[1], image.shape[2]))


def _focus(mask: NDArray[np.uint8], head: Box) -> Shape:
    """The slice with most mask along each axis; without a mask, the middle of the head."""
    found = bounding_box(mask > 0)
    if found is None:
        x, y, z = ((a + b) // 2 for a, b in zip(head.start, head.stop, strict=True))
        return x, y, z
    inside = mask[found.slices] > 0
    counts = [
        np.count_nonzero(inside, axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)
    ]
    x, y, z = (
        first + int(np.argmax(count)) for first, count in zip(found.start, counts, strict=True)
    )
    return x, y, z


def _slice(volume: NDArray[Any], axis: int, index: int) -> NDArray[Any]:
    """One plane: rows from superior (or anterior) down, columns from right (or anterior)."""
    # An index reads the plane alone; np.take would copy the whole turned volume first.
    plane: NDArray[Any] = np.moveaxis(volume, axis, 0)[index]
    return plane[::-1, ::-1].T


def _eroded(inside: NDArray[np.bool_], width: float) -> NDArray[np.bool_]:
    """What is further than ``width`` pixels from the border."""
    reach = int(np.ceil(width))
    steps = range(-reach, reach + 1)
    kept, framed = inside.copy(), np.pad(inside, reach)
    rows, columns = inside.shape
    for down in steps:
        for right in steps:
            if 0 < down * down + right * right <= width * width:
                kept &= framed[reach + down :, reach + right :][:rows, :columns]
    return kept


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
