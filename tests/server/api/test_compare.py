"""``POST /v1/compare``: what breaks here compares other studies, or tells a file's name."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_clients import Client, Times
from brainmvp_clients.errors import Refused
from brainmvp_server.comparison.summary import ComparisonSummary

from .conftest import Service

WHOLE = Path(__file__).parents[3] / "examples" / "glioma_study"
CALL = "/v1/compare"
Sent = list[tuple[str, tuple[str, bytes]]]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series of a piece of a real brain, and two masks on their grid."""
    folder = tmp_path_factory.mktemp("compare")
    for name in ("t1", "t2"):
        scan = nib.load(WHOLE / f"{name}.nii.gz").slicer[80:144, 80:144, 50:114]
        nib.save(scan, folder / f"{name}.nii.gz")
    mask = np.zeros(scan.shape, np.uint8)
    for name, at in (("one", 10), ("two", 40)):
        mask[at : at + 10, 30:40, 30:40] = 1
        nib.save(nib.Nifti1Image(mask, scan.affine), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def drawn(series: Path) -> Sent:
    """A study twice, with a lesion more at the later time."""
    study = [
        (time, (f"{name}.nii.gz", (series / f"{name}.nii.gz").read_bytes()))
        for time in ("before", "after")
        for name in ("t1", "t2")
    ]
    masks = [("mask_before", "one"), ("mask_after", "two")]
    return study + [
        (part, ("secret.nii.gz", (series / f"{name}.nii.gz").read_bytes())) for part, name in masks
    ]


def test_two_studies_with_masks_are_compared(service: Service, drawn: Sent) -> None:
    answer = service.http.post(CALL, files=drawn)
    assert answer.status_code == 200, answer.text
    told = ComparisonSummary.model_validate(answer.json())
    (structure,) = told.structures
    assert structure.volume_ml.before == pytest.approx(1.0, abs=0.01)
    assert {status.value: n for status, n in structure.counts.items()} == {"new": 1, "stable": 1}
    assert not any(service.scratch.glob("brainmvp-*/*/*"))


@pytest.mark.parametrize(
    ("accept", "start"),
    [("image/png", b"\x89PNG"), ("text/html", b"<!doctype"), ("application/zip", b"PK")],
)
def test_a_comparison_is_answered_as_it_is_asked_for(
    service: Service, drawn: Sent, accept: str, start: bytes
) -> None:
    answer = service.http.post(CALL, files=drawn, headers={"Accept": accept})
    assert answer.headers["content-type"].startswith(accept)
    assert answer.content.startswith(start)
    if accept == "text/html":
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    if accept == "application/zip":
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            names = sorted(archive.namelist())
        assert names == ["comparison.html", "comparison.json", "comparison.png"]


def test_a_model_draws_the_masks_of_two_studies(service: Service, series: Path) -> None:
    scans = [(series / f"{name}.nii.gz").read_bytes() for name in ("t1", "t2")]
    names = (("t1", scans[0]), ("t1c", scans[0]), ("t2", scans[1]), ("flair", scans[1]))
    files = [(time, (f"{n}.nii.gz", b)) for time in ("before", "after") for n, b in names]
    answer = service.http.post(CALL, params={"model": "tiny"}, files=files)
    assert answer.status_code == 200, answer.text
    told = ComparisonSummary.model_validate(answer.json())
    assert told.before.model == told.after.model == "tiny" and told.structures
    assert all(one.volume_ml.difference == 0 for one in told.structures)


@pytest.mark.parametrize(
    ("left_out", "added", "params", "status", "told"),
    [
        ("after", (), {}, 400, "the part 'after' is missing"),
        ("mask_after", (), {}, 400, "there is one mask, and not the other"),
        ("", ("mask_after",), {}, 400, "the part 'mask_after' came twice"),
        ("", ("t1",), {}, 400, "a part is none of a comparison"),
        ("", ("study_after",), {}, 422, "it is no result"),
        ("mask", (), {}, 422, "it is a study without a mask"),
        ("", (), {"model": "tiny"}, 422, "the model would draw masks that were sent"),
        ("", (), {"model": "nobody"}, 404, "nobody"),
        ("mask", (), {"model": "grade"}, 422, "classifies"),
    ],
)
def test_what_cannot_be_compared_is_refused_without_the_files_names(
    service: Service,
    drawn: Sent,
    left_out: str,
    added: tuple[str, ...],
    params: dict[str, str],
    status: int,
    told: str,
) -> None:
    files = [one for one in drawn if not left_out or not one[0].startswith(left_out)]
    files += [(name, drawn[-1][1]) for name in added]
    answer = service.http.post(CALL, params=params, files=files)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert told in answer.json()["detail"] and "secret" not in answer.text


def test_a_damaged_series_is_named_by_its_time(service: Service, drawn: Sent) -> None:
    files = [one for one in drawn if one[0] != "after"]
    files.append(("after", ("t1.nii.gz", drawn[0][1][1][:-200])))
    answer = service.http.post(CALL, files=files)
    assert answer.status_code == 422
    assert "after: t1: " in answer.json()["detail"]


def test_an_answer_of_no_known_kind_is_refused_before_the_upload(service: Service) -> None:
    answer = service.http.post(CALL, headers={"Accept": "application/dicom"})
    assert answer.status_code == 406 and "image/png" in answer.json()["remedy"]


def test_the_client_compares_and_writes_what_the_service_answers(
    service: Service, series: Path, tmp_path: Path
) -> None:
    study = {name: series / f"{name}.nii.gz" for name in ("t1", "t2")}
    times = Times(study, study, masks=(series / "one.nii.gz", series / "two.nii.gz"))
    with Client(str(service.http.base_url)) as client:
        told = client.compare(times)
        written = client.compare(times, into=tmp_path / "out")
        with pytest.raises(Refused, match="without a mask"):
            client.compare(Times(study, study))
    assert told == written
    assert told.structures[0].counts == {"new": 1, "stable": 1}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "comparison.html",
        "comparison.json",
        "comparison.png",
    ]
