"""A comparison as files: ``comparison.json``, ``comparison.png``, ``comparison.html``.

Of two studies that came as DICOM also ``comparison.dcm``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from brainmvp_server.comparison.compare import Comparison
from brainmvp_server.comparison.picture import picture_png
from brainmvp_server.comparison.report import comparison_html
from brainmvp_server.comparison.summary import ComparisonSummary
from brainmvp_server.results.dicom.objects import MissingObject, attempt

SUMMARY, PICTURE, REPORT = "comparison.json", "comparison.png", "comparison.html"
OBJECT = "comparison.dcm"


def comparison_json(made: Comparison) -> str:
    """The summary as indented JSON."""
    return ComparisonSummary.of(made).model_dump_json(indent=2) + "\n"


def files_of(made: Comparison) -> Iterator[tuple[str, bytes]]:
    """Every file of a comparison, one at a time: its name and its bytes.

    A DICOM object that cannot be written is not among them; summary and report say so, and why.
    """
    if all(visit.shown.source is not None for visit in (made.before, made.after)):
        from brainmvp_server.comparison.structured_report import comparison_report

        found = attempt(OBJECT, lambda: comparison_report(made))
        if isinstance(found, MissingObject):
            note = f"{OBJECT} is missing: {found.error.problem}. {found.error.remedy}"
            made = replace(made, warnings=(*made.warnings, note))
        else:
            yield found.name, found.content
    picture = picture_png(made)
    yield SUMMARY, comparison_json(made).encode()
    yield PICTURE, picture
    yield REPORT, comparison_html(ComparisonSummary.of(made), picture).encode()


def write_files(made: Comparison, folder: Path) -> None:
    """Write every file of a comparison into an existing folder."""
    for name, content in files_of(made):
        (folder / name).write_bytes(content)


def write_zip(made: Comparison, path: Path) -> None:
    """Write every file of a comparison into one zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files_of(made):
            archive.writestr(zipfile.ZipInfo(name), content)
