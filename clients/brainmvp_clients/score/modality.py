"""Which modality a NIfTI file holds, by its name: the conventions of public data sets.

Only whole tokens count (``sub_t1ce.nii.gz``, ``BraTS-PED-00001-000-t1n.nii.gz``), and the last one
wins, so that a study called ``T2`` does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from brainmvp_clients.score.study import UnusableStudy

TOKENS: dict[str, frozenset[str]] = {
    "flair": frozenset({"flair", "t2f", "t2flair"}),
    "t1": frozenset({"t1", "t1w", "t1n", "mprage"}),
    "t1c": frozenset({"t1c", "t1ce", "t1gd", "t1ct", "t1post", "t1km", "ct1"}),
    "t2": frozenset({"t2", "t2w"}),
    "mra": frozenset({"mra", "tof", "angio"}),
    "pd": frozenset({"pd", "pdw"}),
    "dwi": frozenset({"dwi", "trace"}),
    "adc": frozenset({"adc"}),
    "t1ir": frozenset({"t1ir", "irt1"}),
}
_BY_TOKEN = {token: modality for modality, tokens in TOKENS.items() for token in tokens}


def modality_of(path: Path) -> str | None:
    """The modality that a file's name tells, or none."""
    stem = path.name.lower().removesuffix(".gz").removesuffix(".nii")
    found = [_BY_TOKEN[token] for token in re.split(r"[^a-z0-9]+", stem) if token in _BY_TOKEN]
    return found[-1] if found else None


def is_nifti(path: Path) -> bool:
    """Whether the file's name is that of a NIfTI volume."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


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
