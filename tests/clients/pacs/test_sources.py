"""One contract over every source: what it lists, what it brings, how it fails."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from brainmvp_clients.errors import ClientError
from brainmvp_clients.pacs.access import open_source
from brainmvp_clients.pacs.deidentify import Pseudonymizer
from brainmvp_clients.pacs.dimse import Caller, Dimse, DimseSource, Peer
from brainmvp_clients.pacs.pseudonyms import Pseudonyms
from brainmvp_clients.pacs.query import Query
from brainmvp_clients.pacs.transfer import PacsRefused
from brainmvp_clients.score.bids import BidsSource
from brainmvp_clients.score.folders import FolderSource
from brainmvp_clients.score.protocols import Source
from brainmvp_clients.score.study_files import Study, StudyFiles
from brainmvp_clients.score.worklist import WorklistSource
from dicom_studies import PLANTED
from dicom_studies import Study as Written

Contents = frozenset[Any]


@dataclass(frozen=True)
class Case:
    """A source and what each of its studies holds."""

    source: Source
    expected: frozenset[Contents]


def _pixels(path: Path) -> str:
    return hashlib.sha256(dcmread(path).PixelData).hexdigest()


def _contents(study_files: StudyFiles) -> Contents:
    """What a study holds, whoever brought it: pixels, or modality and voxels."""
    if study_files.dicom:
        return frozenset(map(_pixels, study_files.files))
    return frozenset(
        (name, nib.load(path).get_fdata().tobytes()) for name, path in study_files.volumes.items()
    )


def _volumes(study: Written) -> dict[str, Any]:
    return {name: s.image for name, s in study.series.items() if name in ("t1", "flair")}


def _nifti(study: Written) -> Contents:
    return frozenset((name, image.get_fdata().tobytes()) for name, image in _volumes(study).items())


def _dicom(study: Written) -> Contents:
    return frozenset(map(_pixels, study.files))


def _nifti_folder(files: tuple[Written, ...], root: Path, _: Any) -> Source:
    for study in files:
        (root / study.patient).mkdir(parents=True)
        for name, image in _volumes(study).items():
            nib.save(image, root / study.patient / f"x_{name}.nii.gz")
    return FolderSource(root)


def _dicom_folder(files: tuple[Written, ...], root: Path, _: Any) -> Source:
    for study in files:
        shutil.copytree(study.folder, root / study.patient)
    return FolderSource(root)


def _bids(files: tuple[Written, ...], root: Path, _: Any) -> Source:
    suffix = {"t1": "T1w", "flair": "FLAIR"}
    for number, study in enumerate(files):
        folder = root / f"sub-{number}" / "anat"
        folder.mkdir(parents=True)
        for name, image in _volumes(study).items():
            nib.save(image, folder / f"sub-{number}_{suffix[name]}.nii.gz")
    return BidsSource(root)


def _worklist(files: tuple[Written, ...], root: Path, _: Any) -> Source:
    _nifti_folder(files, root / "data", _)
    with (root / "list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["study", "t1", "flair"])
        writer.writeheader()
        for study in files:
            paths = {name: f"data/{study.patient}/x_{name}.nii.gz" for name in _volumes(study)}
            writer.writerow({"study": f"group/{study.patient}", **paths})
    return WorklistSource(root / "list.csv")


def _jsonl(files: tuple[Written, ...], root: Path, _: Any) -> Source:
    _dicom_folder(files, root / "data", _)
    lines = [json.dumps({"study": s.patient, "folder": f"data/{s.patient}"}) for s in files]
    (root / "list.jsonl").write_text("\n".join(lines))
    return WorklistSource(root / "list.jsonl")


def _pacs(files: Any, root: Path, pacs: Any, **how: Any) -> Source:
    options = {"dicomweb": None, "dimse": None, "retrieve": "get", "port": pacs.scp_port, **how}
    return open_source(pacs.access, Query(), **options)


def _dicomweb(files: Any, root: Path, pacs: Any) -> Source:
    return _pacs(files, root, pacs, dicomweb=pacs.orthanc.dicomweb)


def _get(files: Any, root: Path, pacs: Any) -> Source:
    return _pacs(files, root, pacs, dimse=pacs.orthanc.peer)


def _move(files: Any, root: Path, pacs: Any) -> Source:
    return _pacs(files, root, pacs, dimse=pacs.orthanc.peer, retrieve="move")


def _hidden(files: Any, root: Path, pacs: Any) -> Source:
    pseudonymizer = Pseudonymizer(Pseudonyms(b"0123456789abcdef"))
    return pseudonymizer.source(_dicomweb(files, root, pacs))


def _hidden_nifti(files: Any, root: Path, pacs: Any) -> Source:
    pseudonymizer = Pseudonymizer(Pseudonyms(b"0123456789abcdef"))
    return pseudonymizer.source(_nifti_folder(files, root, pacs))


Make = Callable[[tuple[Written, ...], Path, Any], Source]
KINDS: dict[str, tuple[Make, Callable[[Written], Contents]]] = {
    "nifti folder": (_nifti_folder, _nifti),
    "dicom folder": (_dicom_folder, _dicom),
    "bids": (_bids, _nifti),
    "csv": (_worklist, _nifti),
    "jsonl": (_jsonl, _dicom),
    "dicomweb": (_dicomweb, _dicom),
    "c-get": (_get, _dicom),
    "c-move": (_move, _dicom),
    "de-identified dicomweb": (_hidden, _dicom),
    "de-identified nifti": (_hidden_nifti, _nifti),
}


@pytest.fixture(params=KINDS)
def case(
    request: pytest.FixtureRequest, dicom_files: tuple[Written, ...], pacs: Any, tmp_path: Path
) -> Iterator[Case]:
    make, contents = KINDS[request.param]
    source = make(dicom_files, tmp_path / "source", pacs)
    yield Case(source, frozenset(map(contents, dicom_files)))
    source.close()


def _fetch(case: Case, study: Study, tmp_path: Path) -> Contents:
    into = tmp_path / "into" / hashlib.sha256(study.key.encode()).hexdigest()
    into.mkdir(parents=True)
    return _contents(case.source.fetch(study, into))


def test_lists_the_same_studies_in_the_same_order_each_under_a_key_of_its_own(case: Case) -> None:
    first, second = list(case.source.studies()), list(case.source.studies())
    assert first == second
    assert len(first) == len({study.key for study in first}) == len({s.name for s in first}) == 3


def test_brings_every_image_of_every_study_when_asked_by_several_threads(
    case: Case, tmp_path: Path
) -> None:
    studies = list(case.source.studies())
    with ThreadPoolExecutor(3) as pool:
        got = frozenset(pool.map(lambda study: _fetch(case, study, tmp_path), studies))
    assert got == case.expected


def test_a_study_that_is_gone_is_an_error_that_names_nobody(
    case: Case, dicom_files: tuple[Written, ...], pacs: Any, tmp_path: Path
) -> None:
    studies = list(case.source.studies())
    shutil.rmtree(tmp_path / "source", ignore_errors=True)
    gone = [study for study in dicom_files if study.uid == studies[0].key]
    try:
        for study in gone:
            pacs.orthanc.remove(study.uid)
        with pytest.raises(ClientError) as caught:
            _fetch(case, studies[0], tmp_path)
    finally:
        for study in gone:
            pacs.orthanc.add(study.files)
    told = caught.value.problem + caught.value.remedy
    assert not any(word in told for word in (*PLANTED, dicom_files[0].uid))


@pytest.mark.parametrize("way", ["dicomweb", "dimse"])
@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(since=date(2024, 3, 5), until=date(2024, 3, 5)), 3),
        (Query(since=date(2024, 3, 6)), 0),
        (Query(until=date(2024, 3, 4)), 0),
        (Query(match={"PatientID": "*-b"}), 1),
        (Query(match={"PatientID": "*-b", "StudyDescription": "*knee*"}), 0),
        (Query(limit=2), 2),
    ],
)
def test_a_query_finds_what_it_asks_for_and_nothing_else(
    pacs: Any, way: str, query: Query, found: int
) -> None:
    address = pacs.orthanc.dicomweb if way == "dicomweb" else pacs.orthanc.peer
    how: Any = {"dicomweb": None, "dimse": None, way: address}
    source = open_source(pacs.access, query, retrieve="get", port=0, **how)
    assert len(list(source.studies())) == found
    source.close()


@pytest.mark.parametrize(
    ("web", "path", "words"),
    [("http", "/nothing", "the address"), ("https", "/dicom-web", "http:// or https://")],
)
def test_a_wrong_address_is_told_from_a_pacs_that_is_down(
    pacs: Any, web: str, path: str, words: str
) -> None:
    url = f"{web}://127.0.0.1:{pacs.orthanc.http}{path}"
    source = open_source(pacs.access, Query(), dicomweb=url, dimse=None, retrieve="get", port=0)
    with pytest.raises(PacsRefused) as caught:
        list(source.studies())
    source.close()
    assert words in caught.value.remedy


def test_a_pacs_that_does_not_know_us_is_told_from_one_that_is_down(pacs: Any) -> None:
    stranger = Dimse(Peer.parse(pacs.orthanc.peer), Caller("STRANGER"))
    with pytest.raises(ClientError) as caught:
        list(DimseSource(stranger, Query()).studies())
    assert "--aet" in caught.value.remedy


def test_a_pacs_that_grants_nothing_is_not_asked_again() -> None:
    entity = AE("PACS")
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    peer = Peer("PACS", "127.0.0.1", int(server.server_address[1]))
    try:
        with pytest.raises(PacsRefused, match="grants us nothing"):
            list(DimseSource(Dimse(peer, Caller()), Query()).studies())
    finally:
        server.shutdown()
