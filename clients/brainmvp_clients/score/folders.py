"""Studies as folders: one folder a study, holding volumes or DICOM files."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from brainmvp_clients.errors import LocalFileError
from brainmvp_clients.score import dicom_start
from brainmvp_clients.score.shard import Takes, every_study
from brainmvp_clients.score.study_files import Study, StudyFiles, UnusableStudy
from brainmvp_clients.score.volume_files import brain_among, by_modality, is_volume


class FolderSource:
    """Every folder directly inside ``root`` is one study; what lies beneath belongs to it.

    Args:
        brain: the pattern that the name of each study's brain mask fits; None where it has none.
    """

    dicom = False

    def __init__(
        self,
        root: Path,
        only: str = "*",
        takes: Takes = every_study,
        brain: str | None = None,
    ) -> None:
        self._root, self._only = existing(root), only
        self._takes, self._brain = takes, brain

    def studies(self) -> Iterator[Study]:
        """The folders by name; those without a file are passed over.

        Raises:
            LocalFileError: there is none, for the folder is that of one study.
        """
        _check_no_study_itself(self._root)
        for name in sorted(self._names()):
            folder = self._root / name
            files = files_below(folder)
            if files:
                yield Study(fingerprint(name, files), name)

    def fetch(self, study: Study, into: Path) -> StudyFiles:
        """The files where they lie."""
        return study_files_in(self._root / study.name, self._brain)

    def close(self) -> None:
        """Nothing is held."""

    def _names(self) -> Iterator[str]:
        """The folders that are wanted: a shard holds its own names and no others."""
        with os.scandir(self._root) as entries:
            for entry in entries:
                wanted = fnmatch.fnmatchcase(entry.name, self._only) and self._takes(entry.name)
                if wanted and not entry.name.startswith(".") and entry.is_dir():
                    yield entry.name


def _check_no_study_itself(root: Path) -> None:
    """Refuse a folder whose images lie in it, and not in a folder a study.

    Raises:
        LocalFileError: it is one.
    """
    with os.scandir(root) as entries:
        visible = (entry for entry in entries if not entry.name.startswith("."))
        files = (Path(entry.path) for entry in visible if entry.is_file())
        images = any(is_volume(path) or is_dicom(path) for path in files)
    if images and not any(
        path.is_dir() and not path.name.startswith(".") and files_below(path)
        for path in root.iterdir()
    ):
        raise LocalFileError(
            "holds images itself, and no folder with a study",
            remedy="Give the folder that holds it, with --only NAME for this study alone; or use "
            "'brainmvp predict' for one study",
            subject=str(root),
        )


def study_files_in(folder: Path, brain: str | None = None) -> StudyFiles:
    """What a folder holds: volumes (NIfTI, MGH, NRRD) by their names, else DICOM files.

    Args:
        brain: the pattern of the name of a brain mask, which may lie beside either.

    Raises:
        UnusableStudy: neither, both, or volumes whose names tell no modality; no such mask, or
            several.
    """
    files = files_below(folder)
    if brain is None:
        return study_files_of(files)
    mask = brain_among(files, brain)
    return replace(study_files_of(path for path in files if path != mask), brain=mask)


def study_files_of(paths: Iterable[Path]) -> StudyFiles:
    """A study's volumes by their names, else its DICOM files; see :func:`study_files_in`.

    Raises:
        UnusableStudy: neither, both, or volumes whose names tell no modality.
    """
    files = list(paths)
    volumes = [path for path in files if is_volume(path)]
    dicom = tuple(path for path in files if is_dicom(path))
    if volumes and dicom:
        raise UnusableStudy(
            "volumes in files and DICOM files lie together", remedy="Keep one of the two"
        )
    if volumes:
        named = by_modality(volumes)
        if not named:
            raise UnusableStudy(
                "no file's name tells its modality",
                remedy="Name them such as t1.nii.gz, flair.nii.gz, or write a worklist",
            )
        return StudyFiles(volumes=named)
    return StudyFiles(files=dicom, dicom=True)


def files_below(folder: Path) -> list[Path]:
    """Every regular file beneath a folder that is not hidden, in order.

    Raises:
        LocalFileError: the folder cannot be read.
    """
    try:
        found = sorted(folder.rglob("*"))
        return [
            path
            for path in found
            if path.is_file()
            and not any(step.startswith(".") for step in path.relative_to(folder).parts)
        ]
    except OSError as error:
        raise LocalFileError(
            f"cannot be read ({error.strerror or type(error).__name__})",
            remedy="Check the path and its permissions",
            subject=str(folder),
        ) from None


def is_dicom(path: Path) -> bool:
    """Whether it is a DICOM file (PS3.10, section 7.1), be it one that some exports write without
    its preamble; an index (DICOMDIR) is none."""
    if path.name.upper() == "DICOMDIR":
        return False
    try:
        return dicom_start.is_dicom(path)
    except OSError:
        return False


def fingerprint(name: str, files: list[Path]) -> str:
    """A key that changes with the files' names, sizes and times, without reading them."""
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return f"{name}\0{digest.hexdigest()}"


def existing(root: Path) -> Path:
    """The folder.

    Raises:
        LocalFileError: there is none.
    """
    if not root.is_dir():
        raise LocalFileError("is no folder", remedy="Check the path", subject=str(root))
    return root
