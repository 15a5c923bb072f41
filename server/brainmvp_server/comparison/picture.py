"""Both times side by side, and what one has that the other has not."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from brainmvp_server.comparison.change import Status
from brainmvp_server.comparison.compare import Comparison
from brainmvp_server.comparison.planes import Panel, Row, rows_of

COLOURS = {
    Status.NEW: "#ff4d4d",
    Status.GROWN: "#ff9f1a",
    Status.GONE: "#4da3ff",
    Status.SHRUNK: "#3ddc97",
    Status.STABLE: "#d9d9d9",
    Status.UNDECIDED: "#d28cff",
}
_MARGIN, _LINE = 12, 20
_INK, _PAPER, _FAINT = "#f2f2f2", "#101418", "#9aa4ad"
_STRONGEST = 0.5
"""Of the brain's range: a difference as large as this is drawn in full colour."""
_MORE, _LESS = np.array([255, 70, 60]), np.array([70, 150, 255])


def picture_png(made: Comparison) -> bytes:
    """A row a place, the earlier time on the left, in the middle the later one.

    On the right, where both are of one contrast, what became brighter is red and what became
    darker is blue, after each was scaled to its brain. Radiological convention: the patient's
    right is on the left.
    """
    rows, differ = list(rows_of(made)), made.alignment.one_contrast
    panels = [_panels(row, differ=differ) for row in rows]
    width, height = panels[0][0].size
    columns = len(panels[0])
    page = Image.new(
        "RGB",
        (
            columns * (width + _MARGIN) + _MARGIN,
            3 * _LINE + 2 * _MARGIN + len(panels) * (height + _MARGIN),
        ),
        _PAPER,
    )
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    heads = ("before", "after", "difference: red brighter, blue darker")
    for column in range(columns):
        draw.text((_left(column, width), _MARGIN), heads[column], _INK, ImageFont.load_default(17))
    for line, (row, shown) in enumerate(zip(rows, panels, strict=True)):
        top = _MARGIN + _LINE + _MARGIN + line * (height + _MARGIN)
        for column, panel in enumerate(shown):
            page.paste(panel, (_left(column, width), top))
            draw.text((_left(column, width) + 4, top + height // 2), "R", _FAINT, font)
        place = f"{'SI'[row.height_mm < 0]} {abs(row.height_mm):.0f} mm"
        draw.text((_left(0, width) + 4, top + 2), place, _FAINT, font)
    _legend(draw, page.height - 2 * _LINE, made)
    out = io.BytesIO()
    page.save(out, "PNG", optimize=True)
    return out.getvalue()


def _left(column: int, width: int) -> int:
    return _MARGIN + column * (width + _MARGIN)


def _panels(row: Row, *, differ: bool) -> list[Image.Image]:
    panels = [_outlined(row.before), _outlined(row.after)]
    return [*panels, _difference(row)] if differ else panels


def _outlined(panel: Panel) -> Image.Image:
    picture = np.repeat((panel.image * 255).astype(np.uint8)[..., None], 3, axis=2)
    for one in panel.outlines:
        picture[_border(one.inside)] = _rgb(COLOURS[one.status])
    image = Image.fromarray(picture)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for one in panel.outlines:
        rows, columns = np.nonzero(one.inside)
        draw.text((columns.max() + 3, rows.min() - 6), one.name, COLOURS[one.status], font)
    return image


def _border(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels just outside, so that what is small is not hidden by its own outline."""
    framed = np.pad(inside, 1)
    wide = framed.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            wide |= np.roll(framed, step, axis)
    grown: NDArray[np.bool_] = wide[1:-1, 1:-1] & ~inside
    return grown


def _difference(row: Row) -> Image.Image:
    change = row.after.image - row.before.image
    strength = np.clip(np.abs(change) / _STRONGEST, 0, 1)[..., None]
    grey = np.repeat(0.35 * 255 * row.after.image[..., None], 3, axis=2)
    colour = np.where(change[..., None] > 0, _MORE, _LESS)
    return Image.fromarray(((1 - strength) * grey + strength * colour).astype(np.uint8))


def _legend(draw: ImageDraw.ImageDraw, top: int, made: Comparison) -> None:
    font, left = ImageFont.load_default(14), _MARGIN
    seen = {lesion.status for structure in made.structures for lesion in structure.lesions}
    for status, colour in COLOURS.items():
        if status in seen:
            draw.rectangle((left, top + 3, left + 12, top + 15), outline=colour, width=3)
            draw.text((left + 18, top), status.value, _INK, font)
            left += 30 + int(draw.textlength(status.value, font))
    pair = [series.value for series in made.alignment.series]
    text = f"aligned by {' and '.join(dict.fromkeys(pair))}, rigidly"
    draw.text((_MARGIN, top + _LINE), text, _FAINT, font)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
