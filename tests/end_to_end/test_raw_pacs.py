"""A raw clinical study in a real Orthanc: found, prepared, scored, stored back on its T1c, once."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path

import nibabel as nib
import pytest
from pydicom import dcmread

from brainmvp_clients.pacs.credentials import PASSWORD as PASSWORD_NAME
from brainmvp_clients.pacs.credentials import USER as USER_NAME
from dicom_studies import Study
from dicom_studies.raw import write_raw_study
from orthanc import PASSWORD, USER, Orthanc, orthanc
from serving import Server, started
from stored_segmentation import check_lies_on, check_voxels

BUNDLES = Path(__file__).parents[2] / "examples" / "bundles"
SERIES = ("t1", "t1c", "t2", "flair")
SECRETS = {USER_NAME: USER, PASSWORD_NAME: PASSWORD}
WAIT_S = 300


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


def _command(pacs: Orthanc, server: Server, out: Path, *sink: str) -> list[str]:
    # Attempts enough to outlast a server that starts again on a busy machine.
    return [
        sys.executable, "-m", "brainmvp_clients.cli", "score", "demo-glioma", "--out", str(out),
        "--server", server.url, "--json", "--resume", "--attempts", "20",
        "--dicomweb", pacs.dicomweb, *sink,
    ]  # fmt: skip


@contextmanager
def _begun(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A run under way; it is killed where the block ends before it."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **SECRETS},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _report(process: subprocess.Popen[str]) -> dict[str, int]:
    """How a run ended."""
    out, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, said + out
    report: dict[str, int] = json.loads(out)
    return report


def _run(command: list[str]) -> dict[str, int]:
    with _begun(command) as process:
        return _report(process)


def _segmentations(pacs: Orthanc) -> list[bytes]:
    return [pacs.file(entry["ID"]) for entry in pacs.instances("SEG")]


def _check_half_way(pacs: Orthanc, out: Path) -> None:
    """The study is at work by the ledger, not done, and nothing of it came back."""
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT state FROM study").fetchall() == [("working",)]
    assert _segmentations(pacs) == []


def test_a_raw_study_is_prepared_and_stored_on_its_t1c_once_also_after_kills(
    pacs: Orthanc, raw: Study, tmp_path: Path
) -> None:
    alone, out = tmp_path / "alone", tmp_path / "out"
    # One that is killed leaves what it worked in, for the next one to remove.
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with started(BUNDLES, tmp_path / "first", "--scratch", scratch) as server:
        sending = _command(pacs, server, out, "--send-dicomweb", pacs.dicomweb)
        with _begun(sending) as process:
            server.until_at_work()
            process.kill()
            process.wait()
            _check_half_way(pacs, out)
        server.until_at_work(False)
        with _begun(sending) as process:
            server.until_at_work()
            server.process.kill()
            server.process.wait()
            _check_half_way(pacs, out)
            again = ("--scratch", scratch, "--port", server.port)
            with started(BUNDLES, tmp_path / "second", *again):
                assert _report(process)["done"] == 1
                (content,) = _segmentations(pacs)
                assert _run(sending)["skipped"] == 1
                assert _segmentations(pacs) == [content]
                assert _run(_command(pacs, server, alone))["done"] == 1
    masks = [folder / "studies" / raw.uid / "mask.nii.gz" for folder in (alone, out)]
    assert masks[0].read_bytes() == masks[1].read_bytes()
    check_voxels(content, nib.load(masks[1]))
    made = dcmread(BytesIO(content))
    t1c = [dcmread(path, stop_before_pixels=True) for path in raw.series["t1c"].files]
    check_lies_on(made, t1c)
    assert made.FrameOfReferenceUID == t1c[0].FrameOfReferenceUID
    referenced = {item.ReferencedSOPInstanceUID for item in made.SourceImageSequence}
    assert referenced and referenced <= {image.SOPInstanceUID for image in t1c}
