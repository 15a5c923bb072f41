"""Studies as they lie in a PACS, over a real socket."""

from __future__ import annotations

import email
import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pydicom
import pytest

from brainmvp_models.modality import Modality
from brainmvp_server.api.studies import parts_of
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.intake import chosen_for, opened, take_in
from brainmvp_server.imaging.sources import read_volume
from dicom_studies import PLANTED, Study, write_study

from .conftest import Service

FILL = {"fill": "zeros", "prepare": "none"}
NIFTI = {"accept": "application/x-nifti"}


def zipped(paths: Iterable[Path]) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, path in enumerate(paths):
            archive.write(path, f"Plantedname_Jane/{number}_{path.name}")
    return body.getvalue()


def related(paths: Iterable[Path]) -> dict[str, object]:
    """A STOW-RS body."""
    parts = b"".join(
        b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n"
        for path in paths
    )
    kind = 'multipart/related; type="application/dicom"; boundary=cut'
    return {"content": parts + b"--cut--\r\n", "headers": {"content-type": kind}}


def real(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [entry["modality"] for entry in answer.json()["real"]]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    names = ("t1", "t1c", "flair", "localizer", "swi")
    return write_study(tmp_path_factory.mktemp("study"), "siemens", names, part=True)


@pytest.fixture(scope="module")
def one_grid(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("one-grid")
    names = ("t1", "flair")
    return write_study(folder, "ge", names, same_grid=True, enhanced=True, part=True)


def test_a_zip_and_loose_parts_and_dicomwebs_body_give_the_same_answer(
    service: Service, study: Study
) -> None:
    files = [study.files[i] for i in np.random.default_rng(1).permutation(len(study.files))]
    answers = [
        service.predict(params=FILL, files={"files": ("study.zip", zipped(files))}),
        service.predict(params=FILL, files=[("files", path.read_bytes()) for path in files]),
        service.predict(params=FILL, **related(files)),
    ]
    assert [real(answer) for answer in answers] == [["t1", "t1c", "flair"]] * 3
    found = [answer.json()["structures"] for answer in answers]
    assert found[0] == found[1] == found[2]
    assert "flair: resampled onto the grid of t1" in answers[0].json()["warnings"]


def test_dicom_gives_the_mask_of_the_same_voxels_as_nifti(
    service: Service, one_grid: Study
) -> None:
    by_dicom = service.predict(params=FILL, files={"files": zipped(one_grid.files)}, headers=NIFTI)
    volumes = {
        name: nib.Nifti1Image(np.asarray(s.image.dataobj), s.image.affine).to_bytes()
        for name, s in one_grid.series.items()
    }
    by_nifti = service.predict(params=FILL, files=volumes, headers=NIFTI)
    masks = [nib.Nifti1Image.from_bytes(answer.content) for answer in (by_dicom, by_nifti)]
    np.testing.assert_allclose(masks[0].affine, masks[1].affine, atol=1e-4)
    np.testing.assert_array_equal(*(np.asarray(mask.dataobj) for mask in masks))


def test_a_part_named_by_its_modality_may_hold_one_series(service: Service, study: Study) -> None:
    part = zipped(study.series["swi"].files)
    assert real(service.predict(params=FILL, files={"t2": part})) == ["t2"]
    both = zipped([*study.series["swi"].files, *study.series["t1"].files])
    refused = service.predict(params=FILL, files={"t2": both})
    assert refused.status_code == 422 and "holds 2 volumes" in refused.json()["detail"]


def test_the_sender_may_say_what_a_series_is(service: Service, study: Study) -> None:
    body = {"files": zipped(study.files)}
    params = {**FILL, "assign": ["5:t2", "3:none"]}
    assert sorted(real(service.predict(params=params, files=body))) == ["t1", "t1c", "t2"]
    unknown = service.predict(params={**FILL, "assign": "77:t2"}, files=body)
    assert unknown.status_code == 422 and "no series is called '77'" in unknown.json()["detail"]
    assert service.predict(params={"assign": "5"}, files=body).status_code == 422
    # What is wrong with the question is wrong for every study: batch runs end on it.
    wrong = service.predict(params={"assign": "5:t9"}, files=body)
    assert wrong.json()["type"] == "urn:brainmvp:problem:invalid-query"


def test_identify_shows_everything_and_runs_nothing(service: Service, study: Study) -> None:
    answer = service.http.post("/v1/studies/identify", files={"files": zipped(study.files)})
    assert answer.status_code == 200
    volumes = answer.json()["volumes"]
    found = {one["label"]: (one["modality"], one["used"], one["confidence"]) for one in volumes}
    assert found == {
        "1": ("t1", True, "high"),
        "2": ("t1c", True, "high"),
        "3": ("flair", True, "high"),
        "4": (None, False, "none"),
        "5": (None, False, "none"),
    }
    assert volumes[3]["reason"] == "a localizer"
    assert volumes[0]["evidence"] and volumes[0]["plane"] == "sagittal"


def test_a_result_says_which_series_became_which_modality_and_why(
    service: Service, study: Study
) -> None:
    body = {"files": zipped(study.files)}
    told = service.predict(params=FILL, files=body).json()["identified"]
    assert told == service.http.post("/v1/studies/identify", files=body).json()["volumes"]
    assert [one["modality"] for one in told if one["used"]] == ["t1", "t1c", "flair"]
    assert all(one["evidence"] and one["reason"] for one in told)
    whole = service.predict(params=FILL, files=body, headers={"accept": "application/zip"})
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        assert json.loads(archive.read("summary.json"))["identified"] == told


def test_nifti_files_are_told_by_the_words_in_their_names(service: Service, scan: Path) -> None:
    body = scan.read_bytes()
    names = ("Plantedname_t1n.nii.gz", "sub-01_FLAIR.nii.gz", "notes.nii.gz")
    files = [("files", (name, body)) for name in names]
    assert real(service.predict(params=FILL, files=files)) == ["t1", "flair"]
    shown = service.http.post("/v1/studies/identify", files=files).json()["volumes"]
    assert [one["modality"] for one in shown] == ["t1", "flair", None]
    twice = service.predict(params=FILL, files=[files[0], files[0]])
    assert twice.json()["type"].endswith("duplicate-modality")


def test_a_damaged_series_that_is_needed_refuses_the_study(service: Service, study: Study) -> None:
    flair = study.series["flair"].files
    body = {"files": zipped([*study.series["t1"].files, *flair[:4], *flair[5:]])}
    refused = service.predict(params=FILL, files=body)
    assert refused.status_code == 422
    assert refused.json()["part"] == "flair" and "10.00 mm" in refused.json()["detail"]
    assert "assign=3:none" in refused.json()["remedy"]
    assert real(service.predict(params={**FILL, "assign": "3:none"}, files=body)) == ["t1"]


def test_series_of_two_frames_of_reference_are_refused_with_the_remedy(
    service: Service, study: Study, tmp_path: Path
) -> None:
    moved = []
    for path in study.series["flair"].files:
        dataset = pydicom.dcmread(path)
        dataset.FrameOfReferenceUID = "1.2.3.4"
        moved.append(tmp_path / path.name)
        dataset.save_as(moved[-1])
    body = {"files": zipped([*study.series["t1"].files, *moved])}
    refused = service.predict(params=FILL, files=body)
    assert refused.status_code == 422
    assert "frame of reference" in refused.json()["detail"]
    assert "register" in refused.json()["remedy"]


def test_nifti_on_two_grids_is_resampled_only_on_request(service: Service, scan: Path) -> None:
    image = nib.load(scan)
    coarse = nib.Nifti1Image(
        np.asarray(image.dataobj)[::2, ::2, ::2], image.affine @ np.diag((2, 2, 2, 1))
    )
    files = {"t1": scan.read_bytes(), "flair": coarse.to_bytes()}
    refused = service.predict(params=FILL, files=files)
    assert refused.status_code == 422 and "resample" in refused.json()["remedy"]
    assert real(service.predict(params={**FILL, "resample": True}, files=files)) == ["t1", "flair"]


def test_what_holds_no_study_is_refused(service: Service, study: Study, tmp_path: Path) -> None:
    other = write_study(tmp_path, contrasts=("t2",), seed="other", part=True)
    cases = {
        "nothing-identified": zipped(study.series["localizer"].files),
        "mixed-study": zipped([*study.series["t1"].files, *other.files]),
        "invalid-archive": zipped(study.files)[:5000],
    }
    for code, body in cases.items():
        answer = service.predict(params=FILL, files={"files": body})
        assert answer.status_code == 422, code
        assert answer.json()["type"].endswith(code)
    junk = service.predict(params=FILL, files=[("files", b"junk"), ("files", bytes(132) + b"DICM")])
    assert junk.json()["type"].endswith("nothing-identified")


def test_no_word_about_the_patient_leaves_the_service(
    service: Service, study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    whole, localizer = zipped(study.files), zipped(study.series["localizer"].files)
    texts = [
        service.predict(params=FILL, files={"files": ("Plantedname.zip", whole)}).text,
        service.predict(params=FILL, files={"files": ("Plantedname.zip", localizer)}).text,
        service.predict(params={"assign": "9:t1"}, files={"files": whole}).text,
        service.http.post("/v1/studies/identify", files={"files": whole}).text,
    ]
    for word in PLANTED:
        assert all(word not in text for text in texts)
        assert word not in caplog.text


def test_objects_come_as_dicomweb_sends_them_and_in_the_zip(
    service: Service, one_grid: Study, scan: Path
) -> None:
    body = {"files": zipped(one_grid.files)}
    answer = service.predict(params=FILL, files=body, headers={"accept": "application/dicom"})
    assert answer.status_code == 200
    kind = answer.headers["content-type"]
    assert kind.startswith('multipart/related; type="application/dicom"')
    message = email.message_from_bytes(
        b"Content-Type: " + kind.encode() + b"\r\n\r\n" + answer.content
    )
    objects = [
        pydicom.dcmread(io.BytesIO(part.get_payload(decode=True)))  # type: ignore[arg-type]
        for part in message.get_payload()
    ]
    assert [made.Modality for made in objects] == ["SEG", "SR"]
    assert {str(made.StudyInstanceUID) for made in objects} == {one_grid.uid}
    params = {**FILL, "seg": "labelmap", "seg_frames": "all", "overlay": True}
    whole = service.predict(params=params, files=body, headers={"accept": "application/zip"})
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        names = archive.namelist()
        made = pydicom.dcmread(io.BytesIO(archive.read("segmentation.dcm")))
    assert {"mask.nii.gz", "report.dcm", "overlay-0001.dcm"} <= set(names)
    assert made.SegmentationType == "LABELMAP"
    refused = service.predict(
        params=FILL, files={"t1": scan.read_bytes()}, headers={"accept": "application/dicom"}
    )
    assert refused.status_code == 406 and "did not come as DICOM" in refused.json()["detail"]


def test_a_jobs_parts_hold_the_series_that_were_chosen(study: Study, tmp_path: Path) -> None:
    """A job keeps one file a modality; what it opens later is what was identified at first."""
    heap = take_in([Unpacked(path, "") for path in study.files], tmp_path)
    sources = chosen_for(heap, (Modality.T1, Modality.T1C, Modality.FLAIR), {})
    kept = parts_of(sources, tmp_path)
    again = opened(kept, tmp_path)
    assert list(again) == list(sources)
    for modality, source in sources.items():
        volume, same = (read_volume(one, modality) for one in (source, again[modality]))
        assert volume.digest == same.digest
        assert volume.frame_of_reference == same.frame_of_reference == study.frame
    first = {m: path.read_bytes() for m, path in kept.items()}
    assert {m: path.read_bytes() for m, path in parts_of(sources, tmp_path).items()} == first


def test_the_sender_may_say_what_a_nifti_file_is(service: Service, scan: Path) -> None:
    files = [
        ("files", ("a_t1.nii.gz", scan.read_bytes())),
        ("files", ("b.nii.gz", scan.read_bytes())),
    ]

    def found(*assign: str) -> list[tuple[object, object, object]]:
        answer = service.http.post(
            "/v1/studies/identify", files=files, params={"assign": list(assign)}
        )
        assert answer.status_code == 200, answer.text
        return [(v["modality"], v["used"], v["confidence"]) for v in answer.json()["volumes"]]

    assert found() == [("t1", True, "medium"), (None, False, "none")]
    assert found("file 1:none", "file 2:flair") == [(None, False, "none"), ("flair", True, "high")]
    answer = service.predict(files=files, params={**FILL, "assign": "file 2:t2"})
    assert [real["modality"] for real in answer.json()["real"]] == ["t1", "t2"]
    refused = service.predict(files=files, params={**FILL, "assign": "file 3:t2"})
    assert refused.status_code == 422
