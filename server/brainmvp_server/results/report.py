"""A result on one page of paper: HTML that needs nothing else, printed on A4.

It says nothing of the patient: who a result belongs to is known by whoever asked for it.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from functools import cache
from html import escape
from importlib import resources

import numpy as np

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import bounding_box
from brainmvp_server.inference.result import Result
from brainmvp_server.results.planes import PLANES, Planes, structure_colours
from brainmvp_server.results.summary import ExpectedQuality, StructureFound, Summary

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


def report_html(result: Result, planes: Planes | None = None) -> str:
    """The report: key slices with contours, what was found, from what, by what, and its limits.

    Args:
        planes: those of the result, where they are known already.
    """
    summary, task = Summary.of(result), result.manifest.task
    titles = {s.name: s.title or s.name for s in summary.structures} | {"all": "whole study"}
    body = [
        _head(summary, task.title),
        _slices(result, planes or Planes.of(result)),
        '<div class="columns"><section>',
        _findings(summary, structure_colours(task.outputs)),
        _expected(summary.expected_quality, titles),
        "</section><section>",
        _channels(summary),
        _warnings(summary.warnings),
        "</section></div>",
        _provenance(summary),
        f"<footer><strong>Limits of use.</strong> {escape(summary.intended_use)}</footer>",
    ]
    title = f"{summary.model} {summary.version}: {task.title}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{report_policy()}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_style()}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def report_policy() -> str:
    """The Content-Security-Policy that the report needs: its own style, its own pictures."""
    return f"default-src 'none'; img-src data:; style-src {style_source()}"


@cache
def style_source() -> str:
    """The report's style sheet as a source expression of a Content-Security-Policy."""
    digest = hashlib.sha256(_style().encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _style() -> str:
    return resources.files(__package__).joinpath("report.css").read_text("utf-8")


def _head(summary: Summary, title: str) -> str:
    now = datetime.now(timezone.utc)
    alert = (
        '<p class="alert">Demonstration model: this result has no clinical meaning.</p>'
        if summary.demo
        else ""
    )
    return (
        f"<header><div><h1>{escape(title)}</h1>"
        f'<div class="faint">{escape(summary.model)}, version {escape(summary.version)}</div></div>'
        f'<div class="faint right">BrainMVP Server<br>{now:%d %B %Y, %H:%M} UTC</div></header>'
        + alert
    )


def _slices(result: Result, planes: Planes) -> str:
    """Three planes through the most of what was found, and three more axial ones."""
    shown = [(name, axis, planes.focus[axis]) for name, axis in PLANES]
    shown += [("axial", 2, index) for index in _spread(planes)]
    grid = result.study.native.grid.canonical()
    figures = []
    for name, axis, index in shown:
        out = io.BytesIO()
        panel = planes.panel(axis, index, _PANEL, "outlined")
        panel.save(out, "JPEG", quality=_QUALITY, subsampling=0)
        data = base64.b64encode(out.getvalue()).decode()
        place = grid.affine[axis, 3] + index * grid.affine[axis, axis]
        figures.append(
            f'<figure><img src="data:image/jpeg;base64,{data}" alt="{name} slice">'
            f"<figcaption>{name}, {_place(axis, float(place))}</figcaption>"
            f'<span class="side">{"A" if axis == 0 else "R"}</span></figure>'
        )
    return f'<div class="slices">{"".join(figures)}</div>'


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


def _findings(summary: Summary, colours: dict[str, str]) -> str:
    if summary.kind == "classification":
        rows = [
            (_capital(score.title or score.name), _bar(score.score), f"{100 * score.score:.1f} %")
            for score in summary.scores
        ]
        return "<h2>Class scores</h2>" + _table(("class", "", "probability"), rows, numbers=1)
    found_rows = [
        (
            _swatch(colours.get(found.name, found.colour)) + _capital(found.title or found.name),
            f"{found.volume_ml:.2f}",
            str(found.components),
            _extent(found),
        )
        for found in summary.structures
    ]
    return "<h2>Volumes</h2>" + _table(
        ("structure", "mL", "parts", "extent, mm"), found_rows, numbers=3
    )


def _extent(found: StructureFound) -> str:
    if found.bounding_box_mm is None:
        return "not found"
    sides = (abs(b - a) for a, b in zip(*found.bounding_box_mm, strict=True))
    return " × ".join(f"{side:.0f}" for side in sides)


def _expected(expected: Sequence[ExpectedQuality], titles: dict[str, str]) -> str:
    if not expected:
        return (
            "<h2>Quality to expect</h2><p>Not known: it was not measured for these modalities.</p>"
        )
    measured = {(quality.output, quality.metric): _figure(quality) for quality in expected}
    metrics = list(dict.fromkeys(quality.metric for quality in expected))
    outputs = dict.fromkeys(quality.output for quality in expected)
    rows = [
        (
            _capital(titles.get(output, output)),
            *(measured.get((output, metric), "") for metric in metrics),
        )
        for output in outputs
    ]
    head = ("mean", *(escape(_METRICS.get(metric, metric)) for metric in metrics))
    studies = max(quality.studies for quality in expected)
    return (
        "<h2>Quality to expect</h2>"
        + _table(head, rows, numbers=len(metrics))
        + f'<p class="faint">Measured on {studies} studies with these modalities; '
        "below each mean its 95 % interval.</p>"
    )


def _figure(quality: ExpectedQuality) -> str:
    """A mean, and its interval below."""
    if quality.low is None or quality.high is None:
        return f"{quality.value:.3g}"
    return f"{quality.value:.3g}<small>{_short(quality.low)} to {_short(quality.high)}</small>"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"


def _channels(summary: Summary) -> str:
    rows = [
        (
            _name(real.modality),
            "this patient",
            f"{_times(real.shape)}; {_spacing(real.spacing_mm)}&nbsp;mm",
        )
        for real in summary.real
    ]
    rows += [
        (
            _name(filled.modality),
            '<span class="template">template, not this patient</span>'
            if filled.template
            else '<span class="template">empty, not this patient</span>',
            filled.policy,
        )
        for filled in summary.filled
    ]
    head = ("modality", "from", "voxels, or fill policy")
    return "<h2>What the model was given</h2>" + _table(head, rows, numbers=0)


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    lines = [_capital(text) for text in warnings[:_MOST_WARNINGS]]
    if len(warnings) > _MOST_WARNINGS:
        lines.append(f"and {len(warnings) - _MOST_WARNINGS} more, in the summary")
    return "<h2>Warnings</h2><ul>" + "".join(f"<li>{line}.</li>" for line in lines) + "</ul>"


def _provenance(summary: Summary) -> str:
    engine = summary.engine
    lines = [
        ("bundle", f"<code>{escape(summary.bundle)}</code>"),
        ("engine", escape(f"{engine.name} on {engine.device}, {engine.precision}")),
    ]
    lines += [
        (_name(real.modality), f"<code>{escape(real.digest)}</code>") for real in summary.real
    ]
    items = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in lines)
    return f"<h2>Where it comes from</h2><dl>{items}</dl>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int) -> str:
    """A table whose last ``numbers`` columns are numbers; cells are HTML."""
    first = len(head) - numbers

    def row(cells: Sequence[str], tag: str) -> str:
        parts = (
            f"<{tag} class=number>{cell}</{tag}>" if place >= first else f"<{tag}>{cell}</{tag}>"
            for place, cell in enumerate(cells)
        )
        return f"<tr>{''.join(parts)}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<table><thead>{row(head, 'th')}</thead><tbody>{body}</tbody></table>"


def _name(modality: Modality) -> str:
    return "T1c" if modality is Modality.T1C else modality.value.upper()


def _times(numbers: Sequence[float]) -> str:
    return " × ".join(f"{number:g}" for number in numbers)


def _spacing(sides: Sequence[float]) -> str:
    """One number where all sides are equal."""
    return _times(sides if len(set(sides)) > 1 else sides[:1])


def _capital(text: str) -> str:
    return escape(text[:1].upper() + text[1:])


def _swatch(colour: str) -> str:
    return (
        '<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">'
        f'<rect width="10" height="10" rx="2" fill="{escape(colour)}"/></svg>'
    )


def _bar(share: float) -> str:
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="100" height="10" fill="#e3e8ed"/>'
        f'<rect width="{100 * share:.1f}" height="10" fill="#1f5f99"/></svg>'
    )
