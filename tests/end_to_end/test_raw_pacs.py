"""A raw clinical study in a real Orthanc: found, prepared, scored, stored back on its T1c, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from brainmvp_clients.pacs.credentials import PASSWORD as PASSWORD_NAME
from brainmvp_clients.pacs.credentials import USER as USER_NAME
from dicom_studies import Study
from dicom_studies.raw import write_raw_study
from orthanc import PASSWORD, USER, Orthanc, orthanc
from serving import serving

ROOT = Path(__file__).parents[2]
SERIES = ("t1", "t1c", "t2", "flair")
SECRETS = {USER_NAME: USER, PASSWORD_NAME: PASSWORD}


@pytest.fixture(scope="module")
def raw(real_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A patient's four series: whole heads, four grids, four frames of reference."""
    source = real_data("clinical") / "fg6692" / "raw"
    return write_raw_study(tmp_path_factory.mktemp("raw"), source, SERIES)


@pytest.fixture(scope="module")
def pacs(
    program: Callable[[str], Path], raw: Study, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    with orthanc(program, folder, OverwriteInstances=True) as running:
        running.add(raw.files)
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(ROOT / "examples" / "bundles", tmp_path_factory.mktemp("server")) as url:
        yield url


def _command(pacs: Orthanc, server: str, out: Path, *sink: str) -> list[str]:
    return [
        sys.executable, "-m", "brainmvp_clients.cli", "score", "demo-glioma", "--out", str(out),
        "--server", server, "--json", "--resume", "--dicomweb", pacs.dicomweb, *sink,
    ]  # fmt: skip


def _run(command: list[str]) -> dict[str, int]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, **SECRETS}
    )
    assert done.returncode == 0, done.stderr + done.stdout
    report: dict[str, int] = json.loads(done.stdout)
    return report


def _kill_at_work(command: list[str], out: Path) -> None:
    """Kill a run once the server has its study."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **SECRETS}
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and not list((out / ".work").glob("*/*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1)  # the study is fetched, or on its way to the server
    process.kill()
    process.wait()


def _segmentations(pacs: Orthanc) -> list[Dataset]:
    return [dcmread(BytesIO(pacs.file(entry["ID"]))) for entry in pacs.instances("SEG")]


def test_a_raw_study_is_prepared_and_stored_on_its_t1c_once_also_after_a_kill(
    pacs: Orthanc, raw: Study, server: str, tmp_path: Path
) -> None:
    alone, out = tmp_path / "alone", tmp_path / "out"
    assert _run(_command(pacs, server, alone))["done"] == 1
    sending = _command(pacs, server, out, "--send-dicomweb", pacs.dicomweb)
    _kill_at_work(sending, out)
    report = _run(sending)
    assert report["done"] + report["skipped"] == 1
    masks = [(o / "studies" / raw.uid / "mask.nii.gz").read_bytes() for o in (alone, out)]
    assert masks[0] == masks[1]
    (made,) = _segmentations(pacs)
    t1c = [dcmread(path, stop_before_pixels=True) for path in raw.series["t1c"].files]
    assert made.FrameOfReferenceUID == t1c[0].FrameOfReferenceUID
    referenced = {item.ReferencedSOPInstanceUID for item in made.SourceImageSequence}
    assert referenced and referenced <= {image.SOPInstanceUID for image in t1c}
    assert made.pixel_array.any()
    assert _run(sending)["skipped"] == 1
    assert [again.SOPInstanceUID for again in _segmentations(pacs)] == [made.SOPInstanceUID]
