"""Kill -9 at a random moment between a real Orthanc and a server: nothing is lost or doubled."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage

from brainmvp_clients.pacs.pseudonyms import Pseudonyms
from dicom_studies import PLANTED
from orthanc import PASSWORD, USER

RESULTS = Pseudonyms(b"UIDs of results follow from study")


def _result(upload: bytes, members: dict[str, bytes]) -> bytes:
    """A result with an object of the study that was sent; the same for the same study."""
    with zipfile.ZipFile(BytesIO(upload)) as zipped:
        dataset = dcmread(BytesIO(zipped.read(zipped.namelist()[0])))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.Modality = "OT"
    dataset.SeriesInstanceUID = RESULTS.uid(f"series of {dataset.StudyInstanceUID}")
    dataset.SOPInstanceUID = RESULTS.uid(f"object of {dataset.StudyInstanceUID}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    capture, archive = BytesIO(), io.BytesIO()
    dataset.save_as(capture, enforce_file_format=True)
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, content in {**members, "capture.dcm": capture.getvalue()}.items():
            zipped.writestr(name, content)
    return archive.getvalue()


@pytest.fixture
def scoring(peer: Any, reply: Any, model: Any, summary: Any, mask: bytes) -> Any:
    """The peer, answering each study with an object of that study."""
    peer.says("/v1/models/tumour", reply(body=json.dumps(model).encode()))
    members = {"mask.nii.gz": mask, "summary.json": json.dumps(summary).encode()}
    plain = peer.answer

    one_at_a_time = threading.Lock()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        with one_at_a_time:
            if handler.command == "POST":
                body = handler.rfile.read(int(handler.headers["Content-Length"]))
                content = _result(body[body.index(b"PK\x03\x04") :], members)
                path = handler.path.partition("?")[0]
                peer.says(path, reply(kind="application/zip", body=content))
                handler.rfile = io.BytesIO(body)  # the body again, for the script
            plain(handler)

    peer.answer = answer
    return peer


def _captures(pacs: Any) -> list[str]:
    """The study of every object that came back, one entry an object."""
    return sorted(
        str(dcmread(BytesIO(pacs.orthanc.file(entry["ID"]))).StudyInstanceUID)
        for entry in pacs.orthanc.instances("OT")
    )


@pytest.mark.parametrize(
    "trial", [0, *(pytest.param(trial, marks=pytest.mark.slow) for trial in range(1, 20))]
)
def test_a_run_killed_at_a_random_point_and_resumed_loses_and_doubles_nothing(
    pacs: Any, scoring: Any, tmp_path: Path, trial: int
) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "brainmvp_clients.cli", "score", "tumour", "--server", scoring.url,
        "--out", str(out), "--dicomweb", pacs.orthanc.dicomweb, "--concurrency", "1",
        "--send-dicomweb", pacs.orthanc.dicomweb, "--json", "--resume",
    ]  # fmt: skip
    secrets = {"BRAINMVP_DICOMWEB_USER": USER, "BRAINMVP_DICOMWEB_PASSWORD": PASSWORD}
    options: dict[str, Any] = {"text": True, "env": {**os.environ, **secrets}}
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, **options)
        # Past the start of Python, up to the run's end.
        while process.poll() is None and not (out / ".work").exists():
            time.sleep(0.01)
        time.sleep(random.uniform(0, 3))
        process.kill()
        process.wait()
        log.seek(0)
        said = log.read()
    done = subprocess.run(command, capture_output=True, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["done"] + report["skipped"] == 3
    everyone = sorted(study.uid for study in pacs.studies)
    assert _captures(pacs) == everyone
    rows = [json.loads(line)["study"] for line in (out / "results.jsonl").read_text().splitlines()]
    assert rows == everyone
    assert sorted(path.name for path in (out / "studies").iterdir()) == everyone
    assert not list(out.rglob(".brainmvp-*")) and not list((out / ".work").iterdir())
    ledger = (out / "ledger.sqlite").read_bytes()
    for word in (*PLANTED, *everyone):
        assert word.encode() not in ledger and word not in said + done.stdout + done.stderr
    for entry in pacs.orthanc.ask("POST", "/tools/find", json={
        "Level": "Series", "Query": {"Modality": "OT"}}).json():  # fmt: skip
        pacs.orthanc.ask("DELETE", f"/series/{entry}")
