"""A BIDS data set: a session is a study, its volumes are told by their suffixes.

Suffixes as in BIDS 1.10, "Magnetic Resonance Imaging". Of several runs the first is taken; volumes
of parts other than magnitude, and diffusion series (four dimensions), are passed over.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from pathlib import Path

from brainmvp_clients.errors import LocalFileError
from brainmvp_clients.score.folders import existing, fingerprint
from brainmvp_clients.score.names import name_evidence
from brainmvp_clients.score.shard import Takes, every_study
from brainmvp_clients.score.study_files import Study, StudyFiles

SUFFIXES = {
    "T1w": "t1",
    "T2w": "t2",
    "FLAIR": "flair",
    "PDw": "pd",
    "angio": "mra",
    "IRT1": "t1ir",
    "ADC": "adc",
    "trace": "dwi",
}
FOLDERS = ("anat", "dwi")
_UNUSED_PARTS = frozenset({"phase", "real", "imag"})


class BidsSource:
    """The sessions, or subjects without sessions, of a BIDS data set."""

    dicom = False

    def __init__(self, root: Path, only: str = "*", takes: Takes = every_study) -> None:
        self._root, self._only, self._takes = existing(root), only, takes
        if not any(root.glob("sub-*")):
            raise LocalFileError(
                "holds no folder sub-*",
                remedy="Give the root of a BIDS data set",
                subject=str(root),
            )

    def studies(self) -> Iterator[Study]:
        """Sessions in order; those without a usable volume are passed over."""
        for subject in sorted(self._root.glob("sub-*")):
            sessions = sorted(subject.glob("ses-*")) or [subject]
            for folder in sessions:
                name = folder.relative_to(self._root).as_posix()
                if not (fnmatch.fnmatchcase(name, self._only) and self._takes(name)):
                    continue
                if volumes := volumes_of(folder):
                    yield Study(fingerprint(name, list(volumes.values())), name)

    def fetch(self, study: Study, into: Path) -> StudyFiles:
        """The volumes where they lie."""
        return StudyFiles(volumes=volumes_of(self._root / study.name))

    def close(self) -> None:
        """Nothing is held."""


def volumes_of(folder: Path) -> dict[str, Path]:
    """One file a modality among a session's images."""
    volumes: dict[str, Path] = {}
    for part in FOLDERS:
        for path in sorted((folder / part).glob("*.nii*")):
            modality = modality_of(path)
            if modality is not None:
                volumes.setdefault(modality, path)
    return volumes


def modality_of(path: Path) -> str | None:
    """The modality by suffix and entities, or none."""
    *entities, suffix = path.name.removesuffix(".gz").removesuffix(".nii").split("_")
    values = dict(entity.partition("-")[::2] for entity in entities)
    modality = SUFFIXES.get(suffix)
    if modality is None or values.get("part") in _UNUSED_PARTS:
        return None
    said = name_evidence(path.name).modality
    if modality == "t1" and "ce" in values:
        return "t1c" if said in ("t1", "t1c") else None
    return said
