"""Which files are volumes, and which modality each holds, by its name; see :mod:`names`."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import Path

from brainmvp_clients.score.names import name_evidence
from brainmvp_clients.score.study_files import UnusableStudy

_ENDINGS = (".nii", ".nii.gz", ".mgz", ".mgh", ".nrrd")


def modality_of(path: Path) -> str | None:
    """The modality that a file's name tells, or none."""
    return name_evidence(path.name).modality


def is_volume(path: Path) -> bool:
    """Whether the file's name is that of a volume in one file, of a format that is read."""
    return path.name.lower().endswith(_ENDINGS)


def by_modality(paths: Iterable[Path]) -> dict[str, Path]:
    """One file a modality; files that name none are left out.

    Raises:
        UnusableStudy: two files name the same modality.
    """
    volumes: dict[str, Path] = {}
    for path in paths:
        modality = modality_of(path)
        if modality is None:
            continue
        if modality in volumes:
            raise UnusableStudy(
                f"two files are named as {modality}",
                remedy="Keep one, or name the files in a worklist",
            )
        volumes[modality] = path
    return volumes


def masks_among(paths: Iterable[Path], pattern: str) -> list[Path]:
    """The files whose names fit the pattern of a brain mask's."""
    return [path for path in paths if fnmatch.fnmatchcase(path.name, pattern)]


def brain_among(paths: Iterable[Path], pattern: str) -> Path:
    """The one file that is a study's brain mask.

    Raises:
        UnusableStudy: no file is, or several are.
    """
    found = masks_among(paths, pattern)
    if len(found) != 1:
        raise UnusableStudy(
            f"{len(found) or 'no'} files are named as its brain mask is to be",
            remedy="Give --brain a pattern that one file of each study fits, or write a worklist "
            "with a column 'brain'",
        )
    return found[0]
