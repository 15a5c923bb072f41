"""A result as files: ``mask.nii.gz``, ``summary.json``, ``preview.png``, ``report.html``.

Of a study that was prepared also ``preparation.png``: the brain's outline over every series.
Where they were asked for, also ``probabilities/`` and ``channels/`` with one file each, all on the
result's grid; of a study that was prepared the latter holds ``brain.nii.gz`` too.

Of a study that came as DICOM also ``segmentation.dcm``, ``report.dcm`` and what else was asked for.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from brainmvp_server.imaging.nifti import compress, encode_nifti
from brainmvp_server.inference.checked_study import BRAIN
from brainmvp_server.inference.result import Result
from brainmvp_server.results.common_space import brain_on_result, series_on_result
from brainmvp_server.results.dicom.object_options import ObjectOptions
from brainmvp_server.results.dicom.objects import MissingObject, has_objects, notes_of, object_files
from brainmvp_server.results.findings import Findings
from brainmvp_server.results.planes import Planes
from brainmvp_server.results.preview import preview_png
from brainmvp_server.results.report import report_html
from brainmvp_server.results.summary import Summary

MASK, SUMMARY, PREVIEW = "mask.nii.gz", "summary.json", "preview.png"
REPORT, PREPARATION = "report.html", "preparation.png"
UNCERTAINTY = "uncertainty"
"""Of the map among the probabilities that says how open the answer is."""


def mask_nifti(result: Result) -> bytes:
    """The mask as an uncompressed ``.nii`` on the first volume's grid, with its geometry."""
    native = result.study.native
    return encode_nifti(result.mask, native.header)


def summary_json(
    result: Result, findings: Findings | None = None, missing: Sequence[MissingObject] = ()
) -> str:
    """The summary as indented JSON."""
    return Summary.of(result, findings, missing).model_dump_json(indent=2) + "\n"


def files_of(
    result: Result,
    objects: ObjectOptions = ObjectOptions(),
    findings: Findings | None = None,
) -> Iterator[tuple[str, bytes]]:
    """Every file of a result, one at a time: its name and its bytes.

    A DICOM object that cannot be written is not among them; summary and report say so, and why.
    """
    if result.segmentation is not None:
        yield MASK, compress(mask_nifti(result))
    missing: list[MissingObject] = []
    if has_objects(result):
        for made in object_files(result, objects):
            if isinstance(made, MissingObject):
                missing.append(made)
            else:
                yield made.name, made.content
        result = replace(result, warnings=(*result.warnings, *notes_of(result, missing)))
    yield SUMMARY, summary_json(result, findings, missing).encode()
    planes = Planes.of(result)  # once: of a large study it is most of the work
    yield PREVIEW, preview_png(result, planes)
    yield REPORT, report_html(result, planes).encode()
    if result.preparation is not None:
        yield PREPARATION, result.preparation.picture()
    yield from _probability_maps(result)
    yield from _channels(result)


def write_files(
    result: Result,
    folder: Path,
    objects: ObjectOptions = ObjectOptions(),
    findings: Findings | None = None,
) -> None:
    """Write every file of a result into an existing folder."""
    for name, content in files_of(result, objects, findings):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def write_zip(
    result: Result,
    path: Path,
    objects: ObjectOptions = ObjectOptions(),
    findings: Findings | None = None,
) -> None:
    """Write every file of a result into one zip; what is compressed already is only stored."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files_of(result, objects, findings):
            archive.writestr(zipfile.ZipInfo(name), content)


def _probability_maps(result: Result) -> Iterator[tuple[str, bytes]]:
    native = result.study.native
    maps = dict(result.probabilities)
    uncertainty = result.uncertainty
    if uncertainty is not None:
        maps[UNCERTAINTY] = uncertainty
    for name, probability in maps.items():
        yield (
            f"probabilities/{name}.nii.gz",
            compress(encode_nifti(probability, native.header)),
        )


def _channels(result: Result) -> Iterator[tuple[str, bytes]]:
    """The series, the templates that stood in, and the brain of a raw study."""
    if result.templates is None:
        return
    native = result.study.native
    for volume in series_on_result(result):
        plain = volume.slope == 1.0 and volume.intercept == 0.0
        voxels = volume.stored if plain else volume.values(volume.stored)
        yield _channel(volume.modality.value, encode_nifti(voxels, volume.header))
    for modality, template in result.templates.items():
        yield _channel(modality.value, encode_nifti(template, native.header))
    brain = brain_on_result(result)
    if brain is not None:
        yield _channel(BRAIN, encode_nifti(brain, native.header))


def _channel(name: str, content: bytes) -> tuple[str, bytes]:
    return f"channels/{name}.nii.gz", compress(content)
