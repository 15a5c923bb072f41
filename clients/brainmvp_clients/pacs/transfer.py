"""Checks on what comes from a PACS and goes back to it: whole series in, confirmed objects out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread

from brainmvp_clients.errors import ClientError
from brainmvp_clients.score.retry import Unavailable
from brainmvp_clients.score.study_files import StudyFiles, UnusableStudy

MR = "MR"
_CHECKS = (0.0, 0.2, 1.0, 3.0, 10.0)
"""Seconds before each look: an archive may index what it stored a little later."""


class PacsRefused(ClientError):
    """The PACS understood and said no."""


@dataclass(frozen=True)
class Instance:
    """One object of a result."""

    path: Path
    study: str
    series: str
    instance: str
    sop_class: str
    transfer_syntax: str


def instances_of(result: Path) -> tuple[Instance, ...]:
    """The DICOM objects of a result's folder, by name.

    Raises:
        UnusableStudy: there is none.
    """
    found = tuple(_instance(path) for path in sorted(result.glob("*.dcm")))
    if not found:
        raise UnusableStudy(
            "the result holds no DICOM object",
            remedy="Score DICOM studies with a model that segments or measures",
        )
    return found


def confirm(instances: tuple[Instance, ...], there: Callable[[Instance], bool]) -> None:
    """Ask the archive for every object, until it has them all.

    Raises:
        Unavailable: it does not have them; it can have dropped them without a word.
    """
    missing = list(instances)
    for wait in _CHECKS:
        time.sleep(wait)
        missing = [instance for instance in missing if not there(instance)]
        if not missing:
            return
    raise Unavailable(
        f"the PACS does not show {len(missing)} of {len(instances)} objects that were sent",
        remedy="Look at the log of the PACS",
    )


def check_whole(got: int, series: Dataset) -> None:
    """Compare what came with what the PACS says the series has.

    Raises:
        Unavailable: instances are missing: the series may still be on its way into the PACS.
    """
    told = series.get("NumberOfSeriesRelatedInstances")
    if told not in (None, "") and got < int(told):
        raise Unavailable(
            f"{got} of a series' {told} instances came", remedy="Look at the log of the PACS"
        )


def fetched_files(into: Path) -> StudyFiles:
    """The files that came.

    Raises:
        UnusableStudy: none did.
    """
    files = tuple(sorted(path for path in into.rglob("*.dcm")))
    if not files:
        raise UnusableStudy(
            "the PACS has no MR series of the study", remedy="Narrow the query, or check the UID"
        )
    return StudyFiles(files=files, dicom=True)


def _instance(path: Path) -> Instance:
    dataset = dcmread(path, stop_before_pixels=True)
    return Instance(
        path,
        dataset.StudyInstanceUID,
        dataset.SeriesInstanceUID,
        dataset.SOPInstanceUID,
        dataset.SOPClassUID,
        dataset.file_meta.TransferSyntaxUID,
    )
