"""Cases from a datalist: the JSON form of the published lists and of MONAI, or a BIDS folder.

::

    {"training":   [{"image": ["A/A_t1.nii.gz", "A/A_t1ce.nii.gz", …], "label": "A/A_seg.nii.gz"},
                    {"image": {"t1": "B/t1.nii.gz", "flair": null}, "label": "B/seg.nii.gz"}],
     "validation": [{"name": "C", "t1": "C/t1.nii.gz", "target": "HGG"}],
     "populations": {"validation": {"kind": "patient", …}}}

A list of images is read in the order of the task's channels, or, without a task, by the modality
that ends each file's name. An image that is null or empty is a missing modality. A label that is a
number or no NIfTI file is a class. Populations say of whom a section's studies are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainmvp_models.errors import InvalidDatalist, UnknownModality
from brainmvp_models.modality import Modality, parse_modality, printable
from brainmvp_models.population import Population, parse_population
from brainmvp_training.bids import read_bids
from brainmvp_training.case import Case, is_nifti, modality_in_name

__all__ = [
    "ALL_SECTIONS",
    "POPULATIONS",
    "Case",
    "population_of",
    "read_datalist",
    "sections_of",
    "split_fold",
]

ALL_SECTIONS = "all"
"""The section that stands for every one."""

POPULATIONS = "populations"
"""The key of a list beside its sections."""

_NOT_IMAGES = ("label", "target", "class", "mask", "seg")


def read_datalist(
    path: Path,
    section: str = "training",
    *,
    channels: Sequence[Modality] | None = None,
    root: Path | None = None,
    target_column: str = "target",
) -> tuple[Case, ...]:
    """The cases of one section of a datalist file, or of a BIDS folder.

    The files themselves are not looked at: see :func:`~.dry_run.check_cases`.

    Args:
        section: ``training``, ``validation``, ``test``, … or ``all``. In a BIDS folder it is the
            value of the column ``split`` of ``participants.tsv``.
        channels: the task's modalities, for lists of images without their modalities' names.
        root: the folder that relative paths start from; by default that of the JSON file.
        target_column: the column of ``participants.tsv`` that holds the class.

    Raises:
        InvalidDatalist: naming the file, the entry, what is wrong with it and the remedy.
    """
    if path.is_dir():
        cases = read_bids(path, section, target_column=target_column)
    else:
        origin = _Origin(path, root or path.parent, tuple(channels or ()))
        sections = _sections(path)
        wanted = list(sections) if section == ALL_SECTIONS else [section]
        if section != ALL_SECTIONS and section not in sections:
            raise InvalidDatalist(
                f"has no section '{printable(section)}'",
                remedy=f"Choose one of: {', '.join(sections) or 'none, the file is empty'}",
                subject=path.name,
            )
        cases = tuple(
            _Entry(
                origin, name, index, {"image": entry} if isinstance(entry, str) else entry
            ).case()
            for name in wanted
            for index, entry in enumerate(sections[name])
        )
    if not cases:
        raise InvalidDatalist(
            f"section '{printable(section)}' holds no case",
            remedy="Choose another section, or add cases",
            subject=path.name,
        )
    return _distinct(cases)


def sections_of(path: Path) -> tuple[str, ...]:
    """The sections of a datalist file, in its order.

    Raises:
        InvalidDatalist: it cannot be read, or is no datalist.
    """
    return tuple(_sections(path))


def population_of(path: Path, section: str) -> Population | None:
    """Of whom a section's studies are, where the list says so; of ``all`` if it is one for all.

    Raises:
        InvalidDatalist: the list cannot be read.
        InvalidPopulation: what it says is not valid.
    """
    if path.is_dir():
        return None
    content = _content(path)
    said = content.get(POPULATIONS, {}) if isinstance(content, dict) else {}
    known = said if isinstance(said, dict) else {section: said}
    names = list(_sections(path)) if section == ALL_SECTIONS else [section]
    found = {
        parse_population(known[name], subject=f"{path.name}, {POPULATIONS}.{printable(name)}")
        if name in known
        else None
        for name in names
    }
    return found.pop() if len(found) == 1 else None


def split_fold(
    cases: Sequence[Case], fold: int, source: str
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """The cases of all other folds, and those of ``fold``.

    Raises:
        InvalidDatalist: a case of the list ``source`` has no fold, or one of the two parts no case.
    """
    numberless = [case.name for case in cases if case.fold is None]
    if numberless:
        others = f", nor have {len(numberless) - 1} others" if len(numberless) > 1 else ""
        raise InvalidDatalist(
            f"'{printable(numberless[0])}' has no fold{others}",
            remedy='Give every entry a "fold", or leave --fold out',
            subject=source,
        )
    judged = tuple(case for case in cases if case.fold == fold)
    rest = tuple(case for case in cases if case.fold != fold)
    if not (judged and rest):
        folds = sorted({case.fold for case in cases if case.fold is not None})
        raise InvalidDatalist(
            f"fold {fold} would leave {'no case to train on' if judged else 'none to validate on'}",
            remedy=f"Choose one of several; the list has {', '.join(map(str, folds))}",
            subject=source,
        )
    return rest, judged


@dataclass(frozen=True)
class _Origin:
    """Where entries come from."""

    file: Path
    root: Path
    channels: tuple[Modality, ...]


@dataclass(frozen=True)
class _Entry:
    """One entry of a section, on its way to a case."""

    origin: _Origin
    section: str
    index: int
    fields: Any

    def case(self) -> Case:
        if not isinstance(self.fields, dict):
            raise self.fault("is no JSON object", 'Write it as {"image": […], "label": …}')
        images = self.images()
        label, target = self.truth()
        name = self.fields.get("name") or self.fields.get("id") or self.name_of(images)
        fold = self.fields.get("fold")
        if fold is not None and (isinstance(fold, bool) or not isinstance(fold, int)):
            raise self.fault("has a fold that is no whole number", "Number the folds 0, 1, 2, …")
        return Case(str(name), images, label, target, fold)

    def images(self) -> dict[Modality, Path]:
        given = self.fields.get("image")
        if given is None:
            given = self.named_keys()
        if isinstance(given, str):
            given = [given]
        if isinstance(given, dict):
            pairs = [(self.modality(name), file) for name, file in given.items()]
        elif isinstance(given, list):
            pairs = self.paired(given)
        else:
            raise self.fault(
                "has an image that is neither a list nor an object",
                'Write it as ["t1.nii.gz", …] or {"t1": "t1.nii.gz", …}',
            )
        images: dict[Modality, Path] = {}
        for modality, file in pairs:
            if file in (None, ""):
                continue
            if modality in images:
                raise self.fault(f"names {modality} twice", "Name each modality once")
            images[modality] = self.path(file)
        if not images:
            raise self.fault("names no image", "Name at least one modality's file")
        return images

    def named_keys(self) -> dict[str, Any]:
        """Modalities that are keys of the entry itself."""
        named: dict[str, Any] = {}
        for key, value in self.fields.items():
            if key in _NOT_IMAGES:
                continue
            try:
                parse_modality(key)
            except UnknownModality:
                if isinstance(value, str) and is_nifti(value):
                    self.modality(key)
                continue
            named[key] = value
        return named

    def paired(self, files: list[Any]) -> list[tuple[Modality, Any]]:
        """A list's files with their modalities: by the task's channels, else by their names."""
        named = [modality_in_name(file) if isinstance(file, str) else None for file in files]
        channels = self.origin.channels
        if len(files) != len(channels):
            return [
                (self.needed(found, file), file)
                for found, file in zip(named, files, strict=True)
                if file not in (None, "")
            ]
        for channel, found, file in zip(channels, named, files, strict=True):
            if found is not None and found[0] != channel:
                raise self.fault(
                    f"gives '{printable(Path(file).name)}', by its name {found[0]}, where the "
                    f"task's channel is {channel}",
                    f"Order the images as {', '.join(channels)}, or write "
                    '{"t1": "…"} with the modalities\' names',
                )
        return list(zip(channels, files, strict=True))

    def needed(self, found: tuple[Modality, str] | None, file: Any) -> Modality:
        if found is None:
            raise self.fault(
                f"gives '{printable(str(file))}', whose name ends with no modality",
                'Write {"t1": "…"} with the modalities\' names'
                + (
                    f", or all {len(self.origin.channels)} images of the task in their order"
                    if self.origin.channels
                    else ""
                ),
            )
        return found[0]

    def modality(self, name: str) -> Modality:
        try:
            return parse_modality(name)
        except UnknownModality as error:
            raise self.fault(error.problem, error.remedy) from None

    def truth(self) -> tuple[Path | None, str | None]:
        """The mask and the class."""
        target = self.fields.get("target", self.fields.get("class"))
        label = self.fields.get("label", self.fields.get("mask", self.fields.get("seg")))
        if isinstance(label, list) and len(label) == 1:
            (label,) = label
        if isinstance(label, str) and is_nifti(label):
            return self.path(label), self.scalar(target, "target")
        return None, self.scalar(label if target is None else target, "label")

    def scalar(self, value: Any, what: str) -> str | None:
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise self.fault(
                f"has a {what} that is neither a NIfTI file, a class's name nor its number",
                "Give one of these",
            )
        return str(value)

    def path(self, file: Any) -> Path:
        if not isinstance(file, str):
            raise self.fault("names a file that is no text", "Give paths as text")
        return self.origin.root / file

    def name_of(self, images: Mapping[Modality, Path]) -> str:
        """What the images' names share, or their folder's name."""
        file = next(iter(images.values()))
        found = modality_in_name(file)
        return (found[1] if found else "") or file.parent.name or f"case {self.index + 1}"

    def fault(self, problem: str, remedy: str) -> InvalidDatalist:
        return InvalidDatalist(
            f"entry {self.index + 1} of '{self.section}' {problem}",
            remedy=remedy,
            subject=self.origin.file.name,
        )


def _sections(path: Path) -> dict[str, list[Any]]:
    """The file's sections in its order; other keys, such as MONAI's description, are left out."""
    content = _content(path)
    if isinstance(content, list):
        return {"training": content}
    if not isinstance(content, dict):
        raise InvalidDatalist(
            "holds no sections", remedy='Write {"training": [ … ]}', subject=path.name
        )
    return {name: entries for name, entries in content.items() if _is_section(entries)}


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidDatalist(
            f"cannot be read ({error.strerror or type(error).__name__})",
            remedy="Give a datalist in JSON, or a BIDS folder",
            subject=str(path),
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        where = f" near line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidDatalist(
            f"is not valid JSON{where}", remedy="Correct the syntax", subject=path.name
        ) from None


def _is_section(entries: Any) -> bool:
    return isinstance(entries, list) and not any(isinstance(e, (int, float)) for e in entries)


def _distinct(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    """The cases with names of their own: a name's second case gets `` (2)``."""
    seen: dict[str, int] = {}
    named = []
    for case in cases:
        seen[case.name] = seen.get(case.name, 0) + 1
        count = seen[case.name]
        named.append(case if count == 1 else replace(case, name=f"{case.name} ({count})"))
    return tuple(named)
