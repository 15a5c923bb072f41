"""A picture of a result: three planes through it, the mask over them, a legend."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from brainmvp_server.inference.result import Result
from brainmvp_server.results.planes import PLANES, Planes, structure_colours

_PANEL = 320
_MARGIN = 12
_LINE = 20
_INK, _PAPER, _FAINT, _ALERT = "#f2f2f2", "#101418", "#9aa4ad", "#ffb000"


def preview_png(result: Result, planes: Planes | None = None) -> bytes:
    """The preview as a PNG.

    Shown is the study's first volume; the planes run through the middle of what was found, or of
    the head.

    Args:
        planes: those of the result, where they are known already.
    """
    planes = planes or Planes.of(result)
    panels = [planes.panel(axis, planes.focus[axis], _PANEL) for _, axis in PLANES]
    return _page(panels, result)


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
    for index, (panel, (name, _)) in enumerate(zip(panels, PLANES, strict=True)):
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
    legend = structure_colours(result.outputs)
    for entry in result.structures:
        text = f"{entry.title or entry.name}: {entry.volume_ml:.1f} mL"
        lines.append((legend.get(entry.name, entry.colour), text, _INK))
    for score in result.scores:
        lines.append((None, f"{score.title or score.name}: {100 * score.score:.1f} %", _INK))
    for one in result.not_determinable:
        more = f" without {', '.join(one.missing)}" if one.missing else ""
        lines.append((None, f"{one.title}: not determinable{more}", _ALERT))
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
