"""A real Orthanc, a real server: studies are found, fetched, scored, stored back, once."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
from pydicom import dcmread

from brainmvp_clients.pacs.credentials import PASSWORD as PASSWORD_NAME
from brainmvp_clients.pacs.credentials import USER as USER_NAME
from dicom_studies import PLANTED, Study, write_study
from orthanc import PASSWORD, USER, Orthanc, orthanc
from stored_segmentation import check_voxels

KEY = "a key that nobody guesses"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, ...]:
    """Both brains, three vendors, classic and enhanced; as much of a head as one window holds."""
    root = tmp_path_factory.mktemp("studies")
    both = ("t1", "flair")
    return (
        write_study(root / "a", "siemens", both, seed="a", part=True),
        write_study(root / "b", "ge", both, seed="b", part=True, source="mni152"),
        write_study(root / "c", "philips", both, seed="c", part=True, enhanced=True),
    )


@pytest.fixture
def pacs(
    program: Callable[[str], Path], written: tuple[Study, ...], tmp_path: Path
) -> Iterator[Orthanc]:
    with orthanc(program, tmp_path / "orthanc", OverwriteInstances=True,
                 DicomAlwaysAllowFind=True) as running:  # fmt: skip
        for study in written:
            running.add(study.files)
        yield running


def _score(
    pacs: Orthanc, server: str, out: Path, *arguments: object, to: str = "stow"
) -> list[str]:
    sink = ("--send-dicomweb", pacs.dicomweb) if to == "stow" else ("--send-dimse", pacs.peer)
    command = [
        sys.executable, "-m", "brainmvp_clients.cli", "score", "tiny", "--out", out,
        "--server", server, "--json", "--resume", "--fill", "zeros", "--prepare", "none",
        *sink, *arguments,
    ]  # fmt: skip
    return list(map(str, command))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    secrets = {USER_NAME: USER, PASSWORD_NAME: PASSWORD, "BRAINMVP_PSEUDONYM_KEY": KEY}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, **secrets}
    )


def _objects(pacs: Orthanc) -> dict[str, list[bytes]]:
    """What is in the PACS beside the images, by modality."""
    found: dict[str, list[bytes]] = {}
    for modality in ("SEG", "SR", "OT"):
        found[modality] = [pacs.file(entry["ID"]) for entry in pacs.instances(modality)]
    return found


def _uids(pacs: Orthanc) -> list[str]:
    return sorted(
        dcmread(BytesIO(content), stop_before_pixels=True).SOPInstanceUID
        for contents in _objects(pacs).values()
        for content in contents
    )


@pytest.mark.parametrize(
    ("source", "to"), [("dicomweb", "stow"), ("dimse", "dimse")], ids=["dicomweb", "dimse"]
)
def test_studies_are_scored_and_stored_back_and_a_second_run_does_nothing(
    pacs: Orthanc, written: tuple[Study, ...], tiny_server: str, tmp_path: Path,
    source: str, to: str,
) -> None:  # fmt: skip
    place = pacs.dicomweb if source == "dicomweb" else pacs.peer
    command = _score(pacs, tiny_server, tmp_path / "out", f"--{source}", place, to=to)
    done = _run(command)
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)["done"] == 3
    objects = _objects(pacs)
    assert len(objects["SEG"]) == 3 and len(objects["SR"]) == 3
    for content in objects["SEG"]:
        dataset = dcmread(BytesIO(content))
        (study,) = (s for s in written if s.uid == dataset.StudyInstanceUID)
        assert dataset.PatientID == study.patient
        mask = nib.load(tmp_path / "out" / "studies" / study.uid / "mask.nii.gz")
        check_voxels(content, mask)
    before = _uids(pacs)
    again = _run(command)
    assert again.returncode == 0 and json.loads(again.stdout)["skipped"] == 3
    assert _uids(pacs) == before


def test_a_label_map_and_overlays_are_stored_when_they_are_asked_for(
    pacs: Orthanc, tiny_server: str, tmp_path: Path
) -> None:
    asked = ("--seg", "labelmap", "--overlay", "--limit", 1)
    done = _run(_score(pacs, tiny_server, tmp_path / "out", *asked, "--dicomweb", pacs.dicomweb))
    assert done.returncode == 0, done.stderr
    objects = _objects(pacs)
    (content,) = objects["SEG"]
    assert dcmread(BytesIO(content)).SegmentationType == "LABELMAP"
    assert objects["OT"]


def test_dry_run_says_which_series_would_be_which_modality(
    pacs: Orthanc, written: tuple[Study, ...], tiny_server: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = _run(_score(pacs, tiny_server, out, "--dry-run", "--dicomweb", pacs.dicomweb))
    assert done.returncode == 0, done.stderr
    plans = [json.loads(line) for line in done.stdout.splitlines()]
    assert {plan["study"] for plan in plans} == {study.uid for study in written}
    for plan in plans:
        assert {use["modality"] for use in plan["uses"]} == {"t1", "flair"}
        assert set(plan["filled"]) == {"t1c", "t2"}
    assert not out.exists() and not any(_objects(pacs).values())


def test_a_deidentified_run_shows_the_server_nobody_and_returns_results_to_the_patient(
    pacs: Orthanc, written: tuple[Study, ...], tiny_server: str, tmp_path: Path,
    program: Callable[[str], Path],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    wanted = ("--deidentify", "--overlay", "--dicomweb", pacs.dicomweb)
    done = _run(_score(pacs, tiny_server, out, *wanted))
    assert done.returncode == 0, done.stderr
    objects = _objects(pacs)
    contents = objects["SEG"]
    assert len(contents) == len(objects["SR"]) == 3 and objects["OT"]
    for content in (*contents, *objects["SR"], objects["OT"][0]):
        (tmp_path / "restored.dcm").write_bytes(content)
        check = [program("dciodvfy"), tmp_path / "restored.dcm"]
        said = subprocess.run(check, capture_output=True, text=True, check=False).stderr
        assert [line for line in said.splitlines() if line.startswith("Error")] == []
    for content in contents:
        dataset = dcmread(BytesIO(content))
        (study,) = (s for s in written if s.uid == dataset.StudyInstanceUID)
        original = dcmread(study.series["t1"].files[0])
        for word in ("PatientID", "PatientName", "PatientBirthDate", "StudyDate"):
            assert dataset[word].value == original[word].value
        references = {item.SeriesInstanceUID for item in dataset.ReferencedSeriesSequence}
        assert references <= {series.uid for series in study.series.values()}
    # On disk, too, everything is under the pseudonyms that the server knew.
    names = [*PLANTED, *(study.uid for study in written)]
    for path in (path for path in out.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not any(name.encode() in content for name in names), path.name
        assert not any(name in str(path) for name in names)


@pytest.mark.parametrize("series", ["siemens-xa30-enhanced-t1", "ge-jitter-t1"])
def test_a_real_scanners_series_comes_back_as_a_mask_on_its_own_grid(
    pacs: Orthanc, real_data: Callable[[str], Path], tiny_server: str, tmp_path: Path, series: str
) -> None:
    files = sorted((real_data("dicom") / series).glob("*.dcm"))
    uid = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    pacs.clear()
    pacs.add(files)
    out = tmp_path / "out"
    done = _run(_score(pacs, tiny_server, out, "--dicomweb", pacs.dicomweb))
    assert done.returncode == 0, done.stderr + done.stdout
    (content,) = _objects(pacs)["SEG"]
    check_voxels(content, nib.load(out / "studies" / uid / "mask.nii.gz"))
    made = dcmread(BytesIO(content))
    assert made.StudyInstanceUID == uid
    originals = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in files}
    assert {item.ReferencedSOPInstanceUID for item in made.SourceImageSequence} == originals


def test_nothing_is_sent_of_a_result_whose_objects_cannot_be_written(
    pacs: Orthanc, written: tuple[Study, ...], tiny_server: str, tmp_path: Path
) -> None:
    """A report without its segmentation would look whole in the PACS."""
    pacs.clear()
    for path in written[0].series["t1"].files:
        dataset = dcmread(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the length that is the point here
            dataset.PatientID = "9" * 65
            dataset.save_as(tmp_path / "image.dcm")
        pacs.add([tmp_path / "image.dcm"])
    out = tmp_path / "out"
    done = _run(_score(pacs, tiny_server, out, "--dicomweb", pacs.dicomweb))
    assert done.returncode == 1 and json.loads(done.stdout)["refused"] == 1
    assert "PatientID (0010,0020)" in done.stderr and "99999" not in done.stderr
    assert not any(_objects(pacs).values())
    assert (out / "studies" / written[0].uid / "mask.nii.gz").is_file()


@pytest.mark.parametrize(
    "trial", [0, *(pytest.param(trial, marks=pytest.mark.slow) for trial in range(1, 20))]
)
def test_a_run_killed_at_a_random_point_and_resumed_doubles_and_loses_nothing(
    pacs: Orthanc, tiny_server: str, tmp_path: Path, trial: int
) -> None:
    out = tmp_path / "out"
    command = _score(pacs, tiny_server, out, "--dicomweb", pacs.dicomweb)
    secrets = {USER_NAME: USER, PASSWORD_NAME: PASSWORD}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **secrets})
        # Past the start of Python, up to the run's end.
        while process.poll() is None and not (out / ".work").exists():
            time.sleep(0.01)
        time.sleep(random.uniform(0.0, 6.0))
        process.kill()
        process.wait()
    done = _run(command)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failed"] == 0
    objects = _objects(pacs)
    assert len(objects["SEG"]) == len(objects["SR"]) == 3
    lines = (out / "results.jsonl").read_text().splitlines()
    assert len({json.loads(line)["study"] for line in lines}) == len(lines) == 3
    assert len(list((out / "studies").iterdir())) == 3


def test_no_log_ledger_or_error_names_a_patient(
    pacs: Orthanc, written: tuple[Study, ...], tiny_server: str, tmp_path: Path
) -> None:
    # One study cannot be scored, and one destination takes nothing.
    pacs.remove(written[0].uid)
    broken = write_study(tmp_path / "broken", "siemens", ("localizer",), seed="broken")
    pacs.add(broken.files)
    out = tmp_path / "out"
    nowhere = "http://127.0.0.1:9/dicom-web"
    done = _run(
        _score(pacs, tiny_server, out, "--attempts", 1, "--send-dicomweb", nowhere,
               "--dicomweb", pacs.dicomweb)
    )  # fmt: skip
    assert done.returncode == 1
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["refused"] == 1 and report["failed"] == 2
    with sqlite3.connect(out / "ledger.sqlite") as db:
        ledger = "\n".join(db.iterdump())
    db.close()
    names = [*PLANTED, broken.uid, *(study.uid for study in written)]
    for text in (ledger, done.stdout, done.stderr):
        assert not any(name in text for name in names)
    assert len(done.stderr.splitlines()) >= 3
