"""One contract over every sink: a result is there whole, a repeat replaces it, failure is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import SecondaryCaptureImageStorage

from brainmvp_clients.errors import ClientError
from brainmvp_clients.pacs.access import open_sinks
from brainmvp_clients.pacs.deidentify import Pseudonymizer, pseudonymize
from brainmvp_clients.pacs.pseudonyms import Pseudonyms
from brainmvp_clients.score.folder_sink import FolderSink
from brainmvp_clients.score.protocols import Sink
from brainmvp_clients.score.study_files import Study, StudyFiles
from dicom_studies import PLANTED
from dicom_studies import Study as Written

UID = "1.2.826.0.1.3680043.8.498.1.{}"
KINDS = ("folder", "stow", "c-store", "restoring stow")
PSEUDONYMS = Pseudonyms(b"0123456789abcdef")


@dataclass(frozen=True)
class Case:
    """A sink, a result for it, and how to see what is there."""

    sink: Sink
    broken: Sink
    study: Study
    result: Path
    there: Callable[[], list[bytes]]


def _capture(of: Written, number: int) -> Dataset:
    """An object of the study, with a UID of its own."""
    dataset = dcmread(of.files[0])
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = UID.format(number)
    dataset.SeriesInstanceUID = UID.format(number * 1000)
    dataset.Modality = "OT"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _stored(pacs: Any, number: int) -> list[bytes]:
    found = pacs.orthanc.ask("POST", "/tools/lookup", content=UID.format(number)).json()
    return [pacs.orthanc.file(entry["ID"]) for entry in found if entry["Type"] == "Instance"]


@pytest.fixture(params=KINDS)
def case(
    request: pytest.FixtureRequest, pacs: Any, dicom_files: tuple[Written, ...], tmp_path: Path
) -> Iterator[Case]:
    number = 1 + KINDS.index(request.param)
    written = dicom_files[0]
    study, result = Study(written.uid, written.uid), tmp_path / "result"
    result.mkdir()
    (result / "summary.json").write_text("{}")
    dataset = _capture(written, number)

    def there() -> list[bytes]:
        return _stored(pacs, number)

    nowhere = replace(pacs.orthanc, http=1, dicom=1)
    web: dict[str, list[str]] = {"dicomweb": [pacs.orthanc.dicomweb], "dimse": []}
    no_web: dict[str, list[str]] = {"dicomweb": [nowhere.dicomweb], "dimse": []}
    if request.param == "folder":
        sink: Sink = FolderSink(tmp_path / "out")
        (tmp_path / "file").touch()
        broken: Sink = FolderSink(tmp_path / "file")

        def there() -> list[bytes]:
            return [path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")]

    elif request.param == "c-store":
        (sink,) = open_sinks(pacs.access, dicomweb=[], dimse=[pacs.orthanc.peer])
        (broken,) = open_sinks(pacs.access, dicomweb=[], dimse=[nowhere.peer])
    else:
        (sink,) = open_sinks(pacs.access, **web)
        (broken,) = open_sinks(pacs.access, **no_web)
    if request.param.startswith("restoring"):
        pseudonymizer = Pseudonymizer(PSEUDONYMS)
        into = tmp_path / "hidden"
        into.mkdir()
        pseudonymizer.pseudonymize(study, StudyFiles(files=written.files[:2], dicom=True), into)
        sink, broken = pseudonymizer.sink(sink), pseudonymizer.sink(broken)
        pseudonymize(dataset, PSEUDONYMS, {})
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID.format(number)
    dataset.save_as(result / "capture.dcm", enforce_file_format=True)
    yield Case(sink, broken, study, result, there)
    sink.close()
    broken.close()


def test_a_result_is_there_afterwards_under_its_patient_and_a_repeat_does_not_double_it(
    case: Case, dicom_files: tuple[Written, ...]
) -> None:
    for _ in range(2):
        case.sink.deliver(case.study, case.result)
        (stored,) = case.there()
        dataset, original = dcmread(BytesIO(stored)), dcmread(dicom_files[0].files[0])
        assert dataset.PixelData == original.PixelData
        for word in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "PatientSex"):
            assert dataset[word].value == original[word].value, word
        assert "PatientIdentityRemoved" not in dataset


def test_a_result_that_cannot_be_delivered_is_an_error_that_names_nobody(case: Case) -> None:
    with pytest.raises(ClientError) as caught:
        case.broken.deliver(case.study, case.result)
    told = caught.value.problem + caught.value.remedy
    assert not any(word in told for word in (*PLANTED, case.study.key))


def test_a_pacs_but_no_folder_refuses_a_result_without_objects(case: Case) -> None:
    (case.result / "capture.dcm").unlink()
    if not case.sink.dicom:
        case.sink.deliver(case.study, case.result)
        return
    with pytest.raises(ClientError, match="no DICOM object"):
        case.sink.deliver(case.study, case.result)
