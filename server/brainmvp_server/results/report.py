"""A result on one page of paper: HTML that needs nothing else, printed on A4.

It says nothing of the patient: who a result belongs to is known by whoever asked for it. What is
said is gathered here; ``report.html.j2`` says how, and escapes it.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import numpy as np

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import bounding_box
from brainmvp_server.inference.result import Result
from brainmvp_server.results.planes import PLANES, Planes, structure_colours
from brainmvp_server.results.structures import PartFound, SizeFound, StructureFound
from brainmvp_server.results.summary import ExpectedQuality, Summary

_PANEL = 420
_QUALITY = 88
_METRICS = {
    "dice": "Dice",
    "hd95_mm": "HD95, mm",
    "volume_error_ml": "error, mL",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
}
_MOST_WARNINGS = 6
_MOST_PARTS = 3
"""More rows would not leave the sheet its place for the rest."""


@dataclass(frozen=True)
class _Slice:
    """A plane of the report; ``jpeg`` in base64, ``side`` what its left edge is."""

    name: str
    place: str
    side: str
    jpeg: str


@dataclass(frozen=True)
class _Interval:
    """A mean as text, and below it its 95 % interval, where there is one."""

    mean: str
    interval: str


@dataclass(frozen=True)
class _QualityRow:
    """What was measured of one output, a value a metric."""

    title: str
    values: tuple[_Interval | None, ...]


@dataclass(frozen=True)
class _Quality:
    """The quality to expect: a row an output, a column a metric; and of whose studies."""

    metrics: tuple[str, ...]
    rows: tuple[_QualityRow, ...]
    measured_on: str
    population: str


@dataclass(frozen=True)
class _MeasuredRow:
    """A structure, or one of its parts, which has no colour and no parts of its own."""

    name: str
    found: StructureFound | PartFound
    colour: str = ""
    parts: str = ""


def report_html(result: Result, planes: Planes | None = None) -> str:
    """The report: key slices with contours, what was found, from what, by what, and its limits.

    Args:
        planes: those of the result, where they are known already.
    """
    summary, task = Summary.of(result), result.manifest.task
    titles = {s.name: s.title or s.name for s in summary.structures}
    titles |= {one.output: one.title for one in summary.not_determinable} | {"all": "whole study"}
    said = {one.sentence for one in result.not_determinable}
    warnings = [warning for warning in summary.warnings if warning not in said]
    measured = _measured(summary.structures, structure_colours(result.outputs))
    return _template().render(
        summary=summary,
        title=task.title,
        now=datetime.now(timezone.utc),
        policy=report_policy(),
        style=report_style(),
        slices=_slices(result, planes or Planes.of(result)),
        measured=measured,
        parts_left_out=sum(max(len(one.parts), 1) for one in summary.structures) - len(measured),
        outlines=base64.b64encode(result.preparation.picture()).decode()
        if result.preparation
        else "",
        quality=_quality(summary.expected_quality, titles),
        warnings=warnings[:_MOST_WARNINGS],
        left_out=max(len(warnings) - _MOST_WARNINGS, 0),
    )


def report_policy() -> str:
    """The Content-Security-Policy that the report needs: its own style, its own pictures."""
    return f"default-src 'none'; img-src data:; style-src {style_source()}"


@cache
def style_source() -> str:
    """The report's style sheet as a source expression of a Content-Security-Policy."""
    digest = hashlib.sha256(report_style().encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def report_style() -> str:
    """The style sheet of everything on paper."""
    return resources.files(__package__).joinpath("report.css").read_text("utf-8")


@cache
def _template() -> jinja2.Template:
    return report_template(
        "brainmvp_server.results",
        {"diameters": _diameters, "place": _where, "spacing": _spacing, "times": _times},
    )


def report_template(package: str, filters: Mapping[str, Callable[..., Any]]) -> jinja2.Template:
    """The template ``report.html.j2`` of a package; filters are ours and its own."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"capital": capital, "modality": modality_name, **filters}
    text = resources.files(package).joinpath("report.html.j2").read_text("utf-8")
    return environment.from_string(text)


def _slices(result: Result, planes: Planes) -> tuple[_Slice, ...]:
    """Three planes through the most of what was found, and three more axial ones."""
    shown = [(name, axis, planes.focus[axis]) for name, axis in PLANES]
    shown += [("axial", 2, index) for index in _spread(planes)]
    grid = result.study.native.grid.canonical()
    slices = []
    for name, axis, index in shown:
        out = io.BytesIO()
        panel = planes.panel(axis, index, _PANEL, "outlined")
        panel.save(out, "JPEG", quality=_QUALITY, subsampling=0)
        jpeg = base64.b64encode(out.getvalue()).decode()
        place = grid.affine[axis, 3] + index * grid.affine[axis, axis]
        slices.append(_Slice(name, _place(axis, float(place)), "A" if axis == 0 else "R", jpeg))
    return tuple(slices)


def _place(axis: int, mm: float) -> str:
    """A plane's place, such as "P 43 mm"."""
    return f"{('RL', 'AP', 'SI')[axis][mm < 0]} {abs(mm):.0f} mm"


def _spread(planes: Planes) -> tuple[int, int, int]:
    """Axial slices at a fifth, a half and four fifths of what was found, or of the head."""
    found = bounding_box(planes.mask > 0)
    if found is None:
        levels = np.arange(planes.head.start[2], planes.head.stop[2])
    else:
        inside = planes.mask[found.slices] > 0
        levels = found.start[2] + np.flatnonzero(inside.any(axis=(0, 1)))
    low, middle, high = (int(np.percentile(levels, share)) for share in (20, 50, 80))
    return low, middle, high


def _diameters(size: SizeFound | None) -> str:
    return f"{size.diameter_mm:.1f} × {size.across_mm:.1f}" if size else "not found"


def _where(found: StructureFound | PartFound) -> str:
    """Its side, and how deep below the brain's surface; empty where no brain is known."""
    if found.side is None or found.to_surface_mm is None:
        return ""
    return f"{found.side}, {found.to_surface_mm:.0f}"


def _measured(
    structures: Sequence[StructureFound], colours: dict[str, str]
) -> tuple[_MeasuredRow, ...]:
    """Each structure, with its largest part's diameters, and below it some of the next parts."""
    ranked = sorted(
        (part.number, place)
        for place, structure in enumerate(structures)
        for part in structure.parts[1:]
    )
    shown = set(ranked[:_MOST_PARTS])
    rows = []
    for place, one in enumerate(structures):
        colour = colours.get(one.name, one.colour)
        rows.append(_MeasuredRow(one.title or one.name, one, colour, str(one.components)))
        rows += [
            _MeasuredRow(f"{one.name}, part {part.number}", part)
            for part in one.parts
            if (part.number, place) in shown
        ]
    return tuple(rows)


def _quality(expected: Sequence[ExpectedQuality], titles: dict[str, str]) -> _Quality | None:
    """The table of what was measured for these modalities; None where nothing was."""
    if not expected:
        return None
    most = max(expected, key=lambda quality: quality.studies)
    measured = {(quality.output, quality.metric): _interval(quality) for quality in expected}
    metrics = tuple(dict.fromkeys(quality.metric for quality in expected))
    outputs = dict.fromkeys(quality.output for quality in expected)
    return _Quality(
        metrics=tuple(_METRICS.get(metric, metric) for metric in metrics),
        rows=tuple(
            _QualityRow(
                titles.get(output, output),
                tuple(measured.get((output, metric)) for metric in metrics),
            )
            for output in outputs
        ),
        measured_on=most.measured_on,
        population=most.population.sentence if most.population else "",
    )


def _interval(quality: ExpectedQuality) -> _Interval:
    mean = f"{quality.value:.3g}"
    if quality.low is None or quality.high is None:
        return _Interval(mean, "")
    return _Interval(mean, f"{_short(quality.low)} to {_short(quality.high)}")


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"


def modality_name(modality: Modality) -> str:
    """A modality as radiologists write it."""
    return "T1c" if modality is Modality.T1C else modality.value.upper()


def _times(numbers: Sequence[float]) -> str:
    return " × ".join(f"{number:g}" for number in numbers)


def _spacing(sides: Sequence[float]) -> str:
    """One number where all sides are equal."""
    return _times(sides if len(set(sides)) > 1 else sides[:1])


def capital(text: str) -> str:
    """The text with a capital letter first."""
    return text[:1].upper() + text[1:]
