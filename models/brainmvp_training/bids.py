"""Cases from a folder in the Brain Imaging Data Structure (bids-specification.readthedocs.io).

Read are ``sub-*/[ses-*/]`` with ``anat``, ``dwi`` and ``perf`` or files beside them; masks
``*_dseg``, ``*_msk`` or ``*_mask`` (but a brain's) beside the images or under ``derivatives``; the
class from ``participants.tsv``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from brainmvp_models.errors import InvalidDatalist
from brainmvp_models.modality import Modality, printable
from brainmvp_models.names import name_evidence
from brainmvp_training.case import Case, is_nifti, stem_of

_SUFFIXES = {
    "t1w": Modality.T1,
    "t2w": Modality.T2,
    "flair": Modality.FLAIR,
    "pdw": Modality.PD,
    "pd": Modality.PD,
    "angio": Modality.MRA,
    "dwi": Modality.DWI,
    "adc": Modality.ADC,
}
_MASKS = ("dseg", "msk", "mask")
_LABELS = "labels"


@dataclass(frozen=True)
class _File:
    """A file's name as BIDS composes it: ``sub-01_ce-gadolinium_T1w.nii.gz``."""

    path: Path
    entities: Mapping[str, str]
    suffix: str

    @classmethod
    def of(cls, path: Path) -> _File:
        *pairs, suffix = stem_of(path).split("_")
        entities = dict(pair.split("-", 1) for pair in pairs if "-" in pair)
        return cls(path, entities, suffix.lower())

    @property
    def modality(self) -> Modality | None:
        """What the image shows; None for anything we do not take."""
        if self.entities.get("part", "mag") not in ("mag", "") or "desc" in self.entities:
            return None
        found = _SUFFIXES.get(self.suffix)
        said = name_evidence(self.path.name).modality
        if found is Modality.T1 and "ce" in self.entities:
            return Modality.T1C if said in (Modality.T1, Modality.T1C) else None
        # The suffix names the contrast, the rest of the name the agent, or something that is none.
        return Modality(said) if found is not None and said is not None else None

    @property
    def is_mask(self) -> bool:
        """Whether it delineates something other than the brain."""
        about = {self.entities.get("label", ""), self.entities.get("desc", "")}
        return self.suffix in _MASKS and "brain" not in {word.lower() for word in about}

    @property
    def run(self) -> int:
        number = re.sub(r"\D", "", self.entities.get("run", "0"))
        return int(number or 0)


def read_bids(folder: Path, section: str, *, target_column: str = "target") -> tuple[Case, ...]:
    """The cases of a BIDS folder, one a session, in the order of their names.

    Args:
        section: ``all``, or a value of the column ``split`` of ``participants.tsv``.

    Raises:
        InvalidDatalist: no subjects, no such section, or two files for one modality.
    """
    subjects = sorted(path for path in folder.glob("sub-*") if path.is_dir())
    if not subjects:
        raise InvalidDatalist(
            "holds no sub-* folder",
            remedy="Give a BIDS folder, or a datalist in JSON",
            subject=str(folder),
        )
    people = _participants(folder)
    if section != "all":
        subjects = [s for s in subjects if _split(people.get(s.name, {}), folder) == section]
    cases = []
    for subject in subjects:
        target = people.get(subject.name, {}).get(target_column)
        sessions = sorted(path for path in subject.glob("ses-*") if path.is_dir())
        for place in sessions or [subject]:
            case = _case(folder, place, None if target in (None, "", "n/a") else target)
            if case is not None:
                cases.append(case)
    return tuple(cases)


def _case(root: Path, place: Path, target: str | None) -> Case | None:
    """The case of one subject or session folder; None if it holds no image we take."""
    images: dict[Modality, _File] = {}
    files = [_File.of(path) for path in _niftis(place)]
    for file in files:
        modality = None if file.is_mask else file.modality
        if modality is None:
            continue
        other = images.get(modality)
        images[modality] = file if other is None else _first_run(other, file, modality)
    if not images:
        return None
    parts = place.relative_to(root).parts
    label = _mask(root, parts, files)
    return Case("_".join(parts), {m: file.path for m, file in images.items()}, label, target)


def _first_run(one: _File, other: _File, modality: Modality) -> _File:
    """The earlier of two runs; two acquisitions are refused, for which is meant is not known."""

    def kind(file: _File) -> dict[str, str]:
        return {key: value for key, value in file.entities.items() if key != "run"}

    if kind(one) != kind(other) or one.run == other.run:
        raise InvalidDatalist(
            f"{one.path.name} and {other.path.name} are both {modality}",
            remedy="Keep one of them in the folder, or write a datalist that names it",
            subject=one.path.parent.name,
        )
    return min(one, other, key=lambda file: file.run)


def _mask(root: Path, parts: tuple[str, ...], beside: Iterable[_File]) -> Path | None:
    """The session's mask: from ``derivatives/labels``, else beside it, else other derivatives."""
    derived = root / "derivatives"
    places = [derived.joinpath(*parts), *sorted(derived.glob("/".join(("*", *parts))))]
    ours = [file for place in places for file in map(_File.of, _niftis(place)) if file.is_mask]
    labels = [f for f in ours if _LABELS in f.path.relative_to(root).parts[:2]]
    for found in (labels, [f for f in beside if f.is_mask], ours):
        if len(found) > 1:
            raise InvalidDatalist(
                f"has {len(found)} masks: {', '.join(f.path.name for f in found[:3])}",
                remedy=f"Put the one you mean into derivatives/{_LABELS}, or write a datalist",
                subject="_".join(parts),
            )
        if found:
            return found[0].path
    return None


def _niftis(place: Path) -> list[Path]:
    """NIfTI files in a subject's or session's folder and its data type folders."""
    folders = [place, *(place / kind for kind in ("anat", "dwi", "perf"))]
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if is_nifti(path) and path.is_file()
    ]


def _participants(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of ``participants.tsv`` by participant; none if there is no such file."""
    path = folder / "participants.tsv"
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error):
        rows = []
    people = {row.get("participant_id") or "": row for row in rows}
    if not people or "" in people:
        raise InvalidDatalist(
            "has no readable column participant_id",
            remedy="Write it as BIDS says: tab-separated, the first column participant_id",
            subject=path.name,
        )
    return people


def _split(row: Mapping[str, str], folder: Path) -> str:
    if "split" not in row:
        raise InvalidDatalist(
            "gives no sections: participants.tsv has no column 'split' for every subject",
            remedy="Choose the section 'all', or add the column",
            subject=printable(folder.name),
        )
    return row["split"] or ""
