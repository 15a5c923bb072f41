"""The report: one page that says what was found, from what, by what, and nothing of the patient."""

from __future__ import annotations

import base64
import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_server.imaging.grid import Box
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.result import Result
from brainmvp_server.inference.result_space import PreparationReport, SeriesMoved
from brainmvp_server.results.files import files_of
from brainmvp_server.results.planes import PLANES, Planes
from brainmvp_server.results.preview import preview_png
from brainmvp_server.results.report import report_html, style_source


@pytest.fixture(scope="module")
def result(
    tiny_bundle: Bundle, colin27: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Result]:
    path = tmp_path_factory.mktemp("report") / "Doe^Jane.nii.gz"
    image = nib.load(colin27).slicer[60:120, 80:140, 60:110]
    image.header["descrip"] = b"Doe^Jane 19700101"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)
    predictor = Predictor.load(tiny_bundle.root)
    yield predictor.predict({"t1": path}, fill="zeros", templates=True)
    predictor.close()


def test_the_report_says_what_was_found_what_was_real_and_by_which_bundle(result: Result) -> None:
    html = report_html(result)
    for structure in result.structures:
        assert structure.title.lower() in html.lower()
        assert f"{structure.volume_ml:.2f}" in html
        size = structure.size
        assert size is not None and f"{size.diameter_mm:.1f} × {size.across_mm:.1f}" in html
        assert f"{size.diameter_3d_mm:.1f}" in html
    assert html.count(", part ") == min(3, sum(len(one.parts) - 1 for one in result.structures))
    assert result.bundle_digest in html and result.study.native.digest in html
    assert html.count("empty, not this patient") == 3
    assert result.manifest.task.intended_use.split(".")[0] in html
    assert html.count("<figure>") == 6


def test_the_report_says_how_a_raw_study_was_prepared(result: Result) -> None:
    assert "prepared" not in report_html(result)
    done = PreparationReport(
        reference=Modality.T1C,
        space=Space.SRI24,
        turned_degrees=5.31,
        atlas_covered=0.983,
        moved=(SeriesMoved(Modality.FLAIR, 12.34, 1.0512, 1.1299, "headers"),),
        brain_ml=1402.2,
        brain_series=(Modality.T1C, Modality.FLAIR),
        brain_agreement=0.9712,
        picture=lambda: b"a picture",
    )
    html = report_html(replace(result, preparation=done))
    for figure in ("12.3", "1.051", "1.130", "1402 mL", "0.971", "5.3°", "98.3 %"):
        assert figure in html, figure
    assert base64.b64encode(b"a picture").decode() in html
    nowhere = replace(done, moved=(), brain_ml=None, brain_agreement=None, turned_degrees=None)
    html = report_html(replace(result, preparation=nowhere))
    assert "prepared" in html and "Brain" not in html.partition("</style>")[2].split("prepared")[1]


def test_the_report_needs_nothing_else_and_names_nobody(result: Result) -> None:
    html = report_html(result)
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", html)
    assert "http" not in html.replace("http-equiv", "")
    assert "<script" not in html and " style=" not in html
    assert style_source() in html, "its own policy refuses its style"
    words = re.sub(r"data:[^\"]+", "", html)
    assert "Doe" not in words and "1970" not in words


def test_its_slices_show_the_contours_of_what_was_found(result: Result) -> None:
    from brainmvp_server.results.planes import Planes

    planes = Planes.of(result)
    assert planes.mask.any()
    axis, index = 2, planes.focus[2]
    picture = np.asarray(planes.panel(axis, index, 200, "outlined"), dtype=int)
    painted = np.asarray(planes.panel(axis, index, 200), dtype=int)
    colour = np.ptp(picture, axis=2) > 60
    assert 0 < np.count_nonzero(colour) < np.count_nonzero(np.ptp(painted, axis=2) > 30)


@pytest.mark.parametrize(("slope", "intercept"), [(-1, 255), (-2, 510), (2, -100), (1, 1e9)])
def test_pictures_show_the_values_that_a_scan_means_whatever_it_stores(
    result: Result, slope: float, intercept: float
) -> None:
    native = result.study.native
    even = (native.stored // 2 * 2).astype(np.int32)
    shown = []
    for volume in (
        replace(native, stored=even),
        replace(native, stored=(even // slope).astype(np.int32), slope=slope, intercept=intercept),
    ):
        one = replace(result, study=Study((volume,)))
        pictures = re.findall(r"data:image/jpeg[^\"]+", report_html(one))
        shown.append((preview_png(one), pictures))
    assert shown[0] == shown[1]


def test_a_results_planes_are_found_once_for_all_its_pictures(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    of = Planes.of
    monkeypatch.setattr(Planes, "of", lambda one: found.append(one) or of(one))
    files = dict(files_of(result))
    assert len(found) == 1
    assert files["preview.png"] == preview_png(result)


def test_a_plane_of_a_large_scan_costs_a_plane_not_the_scan(result: Result) -> None:
    planes = Planes.of(result)
    large = np.zeros((200, 200, 200), dtype=np.uint8, order="F")[::-1].transpose(1, 0, 2)
    planes = replace(planes, image=large, mask=large, head=Box((0, 0, 0), large.shape))
    for _, axis in PLANES:
        tracemalloc.start()
        planes.panel(axis, 100, 100, "outlined")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < large.size / 2
