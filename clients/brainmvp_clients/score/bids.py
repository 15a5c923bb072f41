"""A BIDS data set: a session is a study, its volumes are told by their suffixes.

Suffixes as in BIDS 1.10, "Magnetic Resonance Imaging". Of several runs the first is taken; volumes
of parts other than magnitude, and diffusion series (four dimensions), are passed over.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path

from brainmvp_clients.errors import LocalFileError
from brainmvp_clients.score.folders import existing, files_below, fingerprint
from brainmvp_clients.score.names import name_evidence
from brainmvp_clients.score.shard import Takes, every_study
from brainmvp_clients.score.study_files import Study, StudyFiles
from brainmvp_clients.score.volume_files import brain_among, masks_among

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
    """The sessions, or subjects without sessions, of a BIDS data set.

    Args:
        brain: the pattern that the name of each session's brain mask fits, which lies beneath its
            folder or beneath the folder of the same name in a data set of ``derivatives``; None
            where it has none.
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
        if not any(root.glob("sub-*")):
            raise LocalFileError(
                "holds no folder sub-*",
                remedy="Give the root of a BIDS data set",
                subject=str(root),
            )

    def studies(self) -> Iterator[Study]:
        """Sessions in order; those without a usable volume are passed over."""
        with os.scandir(self._root) as entries:
            subjects = sorted(entry.name for entry in entries if entry.name.startswith("sub-"))
        for subject in (self._root / name for name in subjects):
            sessions = sorted(subject.glob("ses-*")) or [subject]
            for folder in sessions:
                name = folder.relative_to(self._root).as_posix()
                if not (fnmatch.fnmatchcase(name, self._only) and self._takes(name)):
                    continue
                if volumes := volumes_of(folder):
                    files = [*volumes.values(), *self._masks(name)]
                    yield Study(fingerprint(name, files), name)

    def fetch(self, study: Study, into: Path) -> StudyFiles:
        """The volumes where they lie."""
        brain = None
        if self._brain is not None:
            brain = brain_among(self._masks(study.name), self._brain)
        return StudyFiles(volumes=volumes_of(self._root / study.name), brain=brain)

    def close(self) -> None:
        """Nothing is held."""

    def _masks(self, session: str) -> list[Path]:
        """The files that are named as a session's brain mask is."""
        if self._brain is None:
            return []
        derived = sorted((self._root / "derivatives").glob(f"*/{session}"))
        folders = [self._root / session, *(folder for folder in derived if folder.is_dir())]
        return masks_among(
            (file for folder in folders for file in files_below(folder)), self._brain
        )


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
