"""A case: the files of one study with its truth, as a datalist or a BIDS folder names them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from brainmvp_models.errors import UnknownModality
from brainmvp_models.modality import Modality, parse_modality
from brainmvp_models.names import name_evidence


@dataclass(frozen=True)
class Case:
    """One study's files. A modality that is not in ``images`` is missing.

    Attributes:
        name: unique in its list.
        images: a NIfTI file a modality.
        label: the mask, on the grid of the images; None if there is none.
        target: a class's name, or its index in the task; None if there is none.
        fold: the number that a cross-validation list gives the case.
    """

    name: str
    images: Mapping[Modality, Path]
    label: Path | None = None
    target: str | None = None
    fold: int | None = None

    def limited_to(self, modalities: Collection[Modality]) -> Case:
        """The case as if it had no other modality: others would widen its foreground."""
        images = {m: file for m, file in self.images.items() if m in modalities}
        return replace(self, images=images)


def is_nifti(path: str | Path) -> bool:
    """Whether the name is a NIfTI file's."""
    return str(path).lower().endswith((".nii", ".nii.gz"))


def stem_of(path: str | Path) -> str:
    """The file's name without its folders and ``.nii`` or ``.nii.gz``."""
    return re.sub(r"\.nii(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)


def modality_in_name(path: str | Path) -> tuple[Modality, str] | None:
    """The modality at the end of a file's name and what stands before it; None if there is none.

    ``BraTS_01_t1ce.nii.gz`` is (t1c, ``BraTS_01``), ``T2_FLAIR.nii`` is (flair, an empty string).
    A name that says two things as a whole, such as ``t1_to_flair``, says none.
    """
    parts = re.split(r"[-_. ]", stem_of(path))
    whole = name_evidence(str(path)).modality
    for count in (4, 3, 2, 1):
        if len(parts) < count:
            continue
        try:
            parse_modality("_".join(parts[-count:]))
        except UnknownModality:
            continue
        if whole is None:
            return None
        tail = sum(len(part) for part in parts[-count:]) + count - 1
        return Modality(whole), stem_of(path)[:-tail].rstrip("-_. ")
    return None
