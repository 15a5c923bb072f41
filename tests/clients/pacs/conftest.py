"""A real PACS with studies in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from brainmvp_clients.pacs.access import PacsAccess
from brainmvp_clients.pacs.credentials import Credentials
from dicom_studies import Study, write_study
from orthanc import PASSWORD, USER, Orthanc, modality, orthanc
from ports import free_port

TITLE = "BRAINMVP"


@dataclass(frozen=True)
class Pacs:
    """An Orthanc, what was put into it, and the port where it looks for us."""

    orthanc: Orthanc
    studies: tuple[Study, ...]
    scp_port: int
    access: PacsAccess


@pytest.fixture(scope="session")
def dicom_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, ...]:
    """Three studies in three vendors' styles, one of them enhanced."""
    root = tmp_path_factory.mktemp("studies")
    return (
        write_study(root / "a", "siemens", ("t1", "flair"), seed="a"),
        write_study(root / "b", "ge", ("t1", "localizer"), seed="b"),
        write_study(root / "c", "philips", ("t1", "flair"), seed="c", enhanced=True),
    )


@pytest.fixture(scope="session")
def pacs(
    program: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
    dicom_files: tuple[Study, ...],
) -> Iterator[Pacs]:
    """Lives as long as the tests; they add results and leave the images alone."""
    port = free_port()
    folder = tmp_path_factory.mktemp("orthanc")
    with orthanc(program, folder, DicomModalities=modality(TITLE, port)) as running:
        for study in dicom_files:
            running.add(study.files)
        access = PacsAccess(TITLE, credentials=Credentials(user=USER, password=PASSWORD))
        yield Pacs(running, dicom_files, port, access)
