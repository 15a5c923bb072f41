"""``POST /v1/models/{name}/predict``, with real bytes over a real socket."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from isal import igzip

from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.results.summary import Summary
from drawn_head import draw_head

from .conftest import Service

ZEROS = {"fill": "zeros"}


def mask_of(content: bytes) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_bytes(content).dataobj)


@pytest.fixture(scope="module")
def expected(model_folder: Path, scan: Path) -> np.ndarray:
    predictor = Predictor.load(model_folder / "tiny")
    return predictor.predict({"t1": scan}, fill="zeros").mask


def test_json_is_the_default_answer_and_validates(service: Service, scan: Path) -> None:
    answer = service.predict(params=ZEROS, files={"t1": (scan.name, scan.read_bytes())})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    summary = Summary.model_validate_json(answer.content)
    assert [entry.modality.value for entry in summary.real] == ["t1"]
    assert [entry.modality.value for entry in summary.filled] == ["t1c", "t2", "flair"]
    assert [entry.name for entry in summary.structures] == ["TC", "WT", "ET"]
    assert {"read", "preprocess", "fill", "infer", "restore"} <= set(summary.seconds)


@pytest.mark.parametrize("accept", ["application/x-nifti", "application/gzip"])
def test_masks_over_http_equal_the_library(
    service: Service, scan: Path, expected: np.ndarray, accept: str
) -> None:
    answer = service.predict(
        params=ZEROS, files={"t1": (scan.name, scan.read_bytes())}, headers={"accept": accept}
    )
    assert answer.headers["content-type"] == accept
    content = answer.content
    if accept == "application/gzip":
        content = igzip.decompress(content)
    np.testing.assert_array_equal(mask_of(content), expected)
    image = nib.Nifti1Image.from_bytes(content)
    np.testing.assert_allclose(image.affine, nib.load(scan).affine)


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_the_form_that_is_asked_for_places_the_result_and_the_mask_keeps_both(
    service: Service, scan: Path, form: str
) -> None:
    image = nib.load(scan)
    moved = image.affine + np.eye(4, k=3) * 17
    both = nib.Nifti1Image(np.asarray(image.dataobj), None)
    both.set_sform(image.affine, 4)
    both.set_qform(moved, 1)
    answer = service.predict(
        params={**ZEROS, "form": form},
        files={"t1": ("t1.nii", both.to_bytes())},
        headers={"accept": "application/zip"},
    )
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        summary = Summary.model_validate_json(archive.read("summary.json"))
        mask = nib.Nifti1Image.from_bytes(igzip.decompress(archive.read("mask.nii.gz")))
    other = "qform" if form == "sform" else "sform"
    assert any(f"the {form} is used (form={other}" in note for note in summary.warnings)
    np.testing.assert_array_equal(mask.get_sform(), both.get_sform())
    np.testing.assert_array_equal(mask.get_qform(), both.get_qform())
    assert (int(mask.header["sform_code"]), int(mask.header["qform_code"])) == (4, 1)
    found = next(entry for entry in summary.structures if entry.centroid_mm)
    (voxels,) = np.nonzero(np.isin(np.asarray(mask.dataobj).ravel(), found.labels))
    index = np.mean(np.unravel_index(voxels, mask.shape), axis=1)
    placed = nib.affines.apply_affine(both.get_sform() if form == "sform" else moved, index)
    # Random weights find regions that do not nest: the mask holds them but for a few voxels.
    np.testing.assert_allclose(placed, found.centroid_mm, atol=5)


def test_the_zip_holds_all_files_and_probabilities_on_request(
    service: Service, scan: Path, expected: np.ndarray
) -> None:
    answer = service.predict(
        params={**ZEROS, "probabilities": True},
        files={"t1": (scan.name, scan.read_bytes())},
        headers={"accept": "application/zip"},
    )
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        maps = [f"probabilities/{name}.nii.gz" for name in ("TC", "WT", "ET", "uncertainty")]
        fixed = ["mask.nii.gz", "summary.json", "preview.png", "report.html"]
        assert archive.namelist() == [*fixed, *maps]
        whole = mask_of(igzip.decompress(archive.read(maps[1])))
        assert archive.read("preview.png").startswith(b"\x89PNG")
        json.loads(archive.read("summary.json"))
    assert whole.dtype == np.float32
    assert whole.min() >= 0 and whole.max() <= 1


def test_a_preview_can_be_asked_for_alone(service: Service, scan: Path) -> None:
    answer = service.predict(
        params=ZEROS, files={"t1": (scan.name, scan.read_bytes())}, headers={"accept": "image/png"}
    )
    assert answer.content.startswith(b"\x89PNG")


def test_a_classifier_answers_scores_that_sum_to_one(service: Service, scan: Path) -> None:
    answer = service.predict("grade", params=ZEROS, files={"t1": (scan.name, scan.read_bytes())})
    scores = answer.json()["scores"]
    assert [score["name"] for score in scores] == ["LGG", "HGG"]
    assert sum(score["score"] for score in scores) == pytest.approx(1)
    refused = service.predict(
        "grade",
        params=ZEROS,
        files={"t1": (scan.name, scan.read_bytes())},
        headers={"accept": "application/gzip"},
    )
    assert refused.status_code == 406


def test_the_first_part_decides_the_native_grid(service: Service, scan: Path) -> None:
    turned = nib.load(scan).as_reoriented(np.array([[1, -1], [0, 1], [2, 1]]))
    body = turned.to_bytes()
    answer = service.predict(
        params=ZEROS,
        files=[("t2", body), ("t1", (scan.name, scan.read_bytes()))],
        headers={"accept": "application/x-nifti"},
    )
    image = nib.Nifti1Image.from_bytes(answer.content)
    np.testing.assert_allclose(image.affine, turned.affine, atol=1e-4)


def test_no_file_name_or_identifier_reaches_an_answer_or_a_log(
    service: Service, scan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "Doe" in scan.name
    texts = [
        service.predict(params=ZEROS, files={"t1": (scan.name, scan.read_bytes())}).text,
        service.predict(files={"t1": (scan.name, b"not a scan")}).text,
        service.predict(params=ZEROS, files={"t9": (scan.name, scan.read_bytes())}).text,
    ]
    assert all("Doe" not in text and "1970" not in text for text in texts)
    assert "Doe" not in caplog.text


def test_a_brain_mask_that_is_none_is_refused_by_the_name_of_its_part(
    service: Service, tmp_path: Path
) -> None:
    series = draw_head(tmp_path).series.read_bytes()
    answer = service.predict(params=ZEROS, files={"t1": series, "brain": series})
    assert (answer.status_code, answer.json()["part"]) == (422, "brain")
    assert "it is no mask" in answer.json()["detail"]
    alone = service.predict(params=ZEROS, files={"brain": series})
    assert alone.status_code == 400 and "no series" in alone.json()["detail"]


def test_a_brain_mask_is_not_identified(service: Service, scan: Path) -> None:
    files = {"files": scan.read_bytes(), "brain": scan.read_bytes()}
    answer = service.http.post("/v1/studies/identify", files=files)
    assert (answer.status_code, answer.json()["part"]) == (422, "brain")
