"""A comparison on paper: HTML that needs nothing else."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from functools import cache

import jinja2
from markupsafe import Markup

from brainmvp_server.comparison.picture import COLOURS
from brainmvp_server.comparison.summary import (
    ComparisonSummary,
    FigureChange,
    StructureCompared,
    VisitCompared,
)
from brainmvp_server.results.report import report_policy, report_style, report_template

_MOST_LESIONS = 12
_BORDER = "the place of a border between voxels, for no error of its volumes was measured"


def comparison_html(made: ComparisonSummary, picture: bytes) -> str:
    """The report; it says nothing of the patient.

    Args:
        picture: see :func:`brainmvp_server.comparison.picture.picture_png`.
    """
    return _template().render(
        made=made,
        now=datetime.now(timezone.utc),
        policy=report_policy(),
        style=report_style(),
        colours=COLOURS,
        figures=_figures,
        most=_MOST_LESIONS,
        picture=base64.b64encode(picture).decode(),
    )


@cache
def _template() -> jinja2.Template:
    return report_template(
        "brainmvp_server.comparison", {"basis": _basis, "origin": _origin, "percent": _percent}
    )


def _figures(change: FigureChange, digits: int) -> Markup:
    """Four cells: before, after, the difference with its interval below it, percent."""
    low, high = (f"{end:+.{digits}f}" for end in (change.difference_low, change.difference_high))
    cell = Markup('<td class="number">{}</td>').format
    return Markup("").join(
        [
            cell(f"{change.before:.{digits}f}"),
            cell(f"{change.after:.{digits}f}"),
            cell(Markup("{}<small>{}</small>").format(
                f"{change.difference:+.{digits}f}", f"{low} to {high}")),
            cell(_percent(change.percent)),
        ]
    )  # fmt: skip


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.0f}"


def _basis(structure: StructureCompared) -> str:
    """What the intervals rest on."""
    errors = structure.error_before_ml, structure.error_after_ml
    known = [error for error in errors if error is not None]
    if not known:
        return f"It rests on {_BORDER}."
    measured = " and ".join(f"{error:.3g} mL" for error in dict.fromkeys(known))
    rest = "" if len(known) == len(errors) else f"; of the other mask on {_BORDER}"
    return f"It rests on the model's mean absolute volume error, {measured}{rest}."


def _origin(visit: VisitCompared) -> str:
    return "a mask made elsewhere" if visit.model is None else f"{visit.model} {visit.version}"
