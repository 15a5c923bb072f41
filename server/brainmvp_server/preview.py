"""A picture of a result: three planes through it, the mask over them, a legend."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from brainmvp_models.task import RegionOutputs, ScoreOutputs
from brainmvp_server.imaging.grid import Box, bounding_box
from brainmvp_server.inference.result import Result

_PANEL = 320
_MARGIN = 12
_LINE = 20
_OPACITY = 0.45
_INK, _PAPER, _FAINT, _ALERT = "#f2f2f2", "#101418", "#9aa4ad", "#ffb000"
_PLANES = (("sagittal", 0), ("coronal", 1), ("axial", 2))


def preview_png(result: Result) -> bytes:
    """The preview as a PNG.

    Shown is the study's first volume in R, A, S; the planes run through the middle of what was
    found, or of the head. Radiological convention: the patient's right is on the left.
    """
    volume = result.study.native
    turn = volume.grid.orientation
    image, mask = turn.view(volume.stored), _mask(result, turn.view)
    spacing = volume.grid.canonical().spacing
    focus = _focus(mask, image)
    low, high = np.percentile(image[_head(image).slices], (1, 99.5))
    panels = [
        _panel(_slice(image, axis, focus), _slice(mask, axis, focus), axis, spacing, result,
               (float(low), float(high)))
        for _, axis in _PLANES
    ]  # fmt: skip
    return _page(panels, result)


def _mask(result: Result, view: Any) -> NDArray[np.uint8]:
    if result.segmentation is None:
        return np.zeros(view(result.study.native.stored).shape, dtype=np.uint8)
    mask: NDArray[np.uint8] = view(result.segmentation.mask)
    return mask


def _head(image: NDArray[Any]) -> Box:
    box = bounding_box(image > image.min())
    return box or Box((0, 0, 0), (image.shape[0], image.shape[1], image.shape[2]))


def _focus(mask: NDArray[np.uint8], image: NDArray[Any]) -> tuple[int, int, int]:
    """The slice with most mask along each axis; without a mask, the middle of the head."""
    if not mask.any():
        box = _head(image)
        x, y, z = ((a + b) // 2 for a, b in zip(box.start, box.stop, strict=True))
        return x, y, z
    counts = [
        np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)
    ]
    x, y, z = (int(np.argmax(count)) for count in counts)
    return x, y, z


def _slice(volume: NDArray[Any], axis: int, focus: tuple[int, int, int]) -> NDArray[Any]:
    """One plane: rows from superior (or anterior) down, columns from right (or anterior)."""
    plane: NDArray[Any] = np.take(volume, focus[axis], axis=axis)
    return plane[::-1, ::-1].T


def _panel(
    plane: NDArray[Any],
    mask: NDArray[np.uint8],
    axis: int,
    spacing: tuple[float, float, float],
    result: Result,
    window: tuple[float, float],
) -> Image.Image:
    grey = np.clip((plane.astype(np.float32) - window[0]) / max(window[1] - window[0], 1e-9), 0, 1)
    picture = np.repeat((grey * 255)[..., np.newaxis], 3, axis=2)
    for value, colour in _colours(result).items():
        here = mask == value
        picture[here] = (1 - _OPACITY) * picture[here] + _OPACITY * np.array(_rgb(colour))
    across, down = (spacing[other] for other in range(3) if other != axis)
    width, height = plane.shape[1] * across, plane.shape[0] * down
    zoom = _PANEL / max(width, height)
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    image = Image.fromarray(picture.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    square = Image.new("RGB", (_PANEL, _PANEL), "black")
    square.paste(image, ((_PANEL - size[0]) // 2, (_PANEL - size[1]) // 2))
    return square


def _page(panels: list[Image.Image], result: Result) -> bytes:
    lines = _lines(result)
    width = 3 * _PANEL + 4 * _MARGIN
    height = _PANEL + 3 * _MARGIN + 2 * _LINE + _LINE * len(lines) + _MARGIN
    page = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(page)
    font, bold = ImageFont.load_default(14), ImageFont.load_default(17)
    title = f"{result.manifest.name} {result.manifest.version}: {result.manifest.task.title}"
    draw.text((_MARGIN, _MARGIN), title, _INK, bold)
    top = _MARGIN + _LINE + _MARGIN
    for index, (panel, (name, _)) in enumerate(zip(panels, _PLANES, strict=True)):
        left = _MARGIN + index * (_PANEL + _MARGIN)
        page.paste(panel, (left, top))
        draw.text((left + 6, top + 4), name, _INK, font)
        sides = ("A", "P") if name == "sagittal" else ("R", "L")
        draw.text((left + 6, top + _PANEL // 2), sides[0], _FAINT, font)
        draw.text((left + _PANEL - 16, top + _PANEL // 2), sides[1], _FAINT, font)
    for index, (swatch, text, ink) in enumerate(lines):
        y = top + _PANEL + _MARGIN + index * _LINE
        if swatch:
            draw.rectangle((_MARGIN, y + 3, _MARGIN + 12, y + 15), fill=swatch)
        draw.text((_MARGIN + (20 if swatch else 0), y), text, ink, font)
    out = io.BytesIO()
    page.save(out, "PNG", optimize=True)
    return out.getvalue()


def _lines(result: Result) -> list[tuple[str | None, str, str]]:
    """The legend: a swatch, a text and its colour a line."""
    lines: list[tuple[str | None, str, str]] = []
    legend = _legend_colours(result)
    for entry in result.structures:
        text = f"{entry.title or entry.name}: {entry.volume_ml:.1f} mL"
        lines.append((legend.get(entry.name, entry.colour), text, _INK))
    for score in result.scores:
        lines.append((None, f"{score.title or score.name}: {100 * score.score:.1f} %", _INK))
    shown = result.study.native.modality
    real = ", ".join(volume.modality.value for volume in result.study.volumes)
    lines.append((None, f"shown: {shown}; real: {real}", _FAINT))
    if result.filled:
        names = ", ".join(f"{f.modality} ({f.policy})" for f in result.filled)
        lines.append((None, f"not this patient's, filled in: {names}", _FAINT))
    if result.manifest.demo:
        lines.append((None, "DEMONSTRATION MODEL: no clinical meaning", _ALERT))
    else:
        lines.append((None, result.manifest.task.intended_use.split(". ")[0] + ".", _FAINT))
    return lines


def _colours(result: Result) -> dict[int, str]:
    """Colours by mask value."""
    outputs = result.manifest.task.outputs
    if isinstance(outputs, ScoreOutputs):
        return {}
    labels = outputs.labels if isinstance(outputs, RegionOutputs) else outputs.classes[1:]
    return {label.value: label.colour for label in labels}


def _legend_colours(result: Result) -> dict[str, str]:
    """Colours by structure: of a region, that of the label it paints."""
    outputs = result.manifest.task.outputs
    if not isinstance(outputs, RegionOutputs):
        return {}
    colours = _colours(result)
    return {outputs.regions[index].name: colours[value] for index, value in outputs.painting}


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
