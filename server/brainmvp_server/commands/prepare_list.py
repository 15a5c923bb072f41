"""A list of training cases, each prepared as the service prepares studies."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainmvp_models.errors import BrainMVPError, InvalidDatalist, StorageFailed
from brainmvp_models.modality import Modality
from brainmvp_models.population import Population
from brainmvp_server.commands.prepared_files import ReadyStudy, WrittenStudy, written_whole
from brainmvp_server.commands.preparer import Preparer
from brainmvp_server.imaging.file_starts import nifti_ending
from brainmvp_server.imaging.nifti import compress, encode_nifti
from brainmvp_server.imaging.nifti_mask import read_labels
from brainmvp_server.imaging.study import Study
from brainmvp_server.preparation.labels import LABEL, labels_brought
from brainmvp_server.results.wire import Wire
from brainmvp_training.datalist import (
    POPULATIONS,
    Case,
    population_of,
    read_datalist,
    sections_of,
)

DATALIST = "datalist.json"
_AND_BY_US = "; then by brainmvp prepare"
_LONGEST = 500
"""Characters that a population may say of its preparation."""


class FailedCase(Wire):
    """A case that is not in the new list, and why."""

    section: str
    name: str
    problem: str


class ListReport(Wire):
    """What was made of a list."""

    datalist: str | None
    prepared: int
    as_they_came: int
    failed: tuple[FailedCase, ...]


@dataclass(frozen=True)
class CaseList:
    """All cases of a list, and of whom each section's are where it says so."""

    cases: tuple[ListedCase, ...]
    populations: Mapping[str, Population]


@dataclass(frozen=True)
class ListedCase:
    """A case, its section, and the folder it goes to, under the list's."""

    section: str
    case: Case
    folder: str


def read_case_list(path: Path, channels: Sequence[Modality] | None) -> CaseList:
    """The cases of every section of a list in JSON.

    Args:
        channels: the task's, for lists of images without their modalities' names.

    Raises:
        InvalidDatalist: it is no such list.
        InvalidPopulation: what it says of whom its studies are is not valid.
    """
    if path.is_dir():
        raise InvalidDatalist(
            "is a folder", remedy="Give a list of cases in JSON", subject=str(path)
        )
    found, taken = [], set[str]()
    populations = {}
    for section in sections_of(path):
        population = population_of(path, section)
        if population is not None:
            populations[section] = population
        for case in read_datalist(path, section, channels=channels):
            plain = folder = f"{_plain(section)}/{_plain(case.name)}"
            number = 1
            while folder in taken:
                number += 1
                folder = f"{plain}-{number}"
            taken.add(folder)
            found.append(ListedCase(section, case, folder))
    return CaseList(tuple(found), populations)


def prepare_list(
    given: CaseList, out: Path, preparer: Preparer, tell: Callable[[str], None]
) -> ListReport:
    """Prepare every case into a folder of its own under ``out``, and list those that could be.

    The new list says of whom its studies are as the given one did, and that they were prepared.

    Args:
        tell: told each case's name and what became of it.

    Raises:
        StorageFailed: ``out`` cannot be written.
    """
    sections: dict[str, list[dict[str, Any]]] = {}
    failed: list[FailedCase] = []
    prepared: dict[str, int] = {}
    for one in given.cases:
        try:
            written, entry = _case(one, out, preparer)
        except (BrainMVPError, OSError) as error:
            if isinstance(error, StorageFailed):
                raise
            problem = str(error) if isinstance(error, BrainMVPError) else _unreadable(error)
            failed.append(FailedCase(section=one.section, name=one.case.name, problem=problem))
            continue
        prepared[one.section] = prepared.get(one.section, 0) + written.prepared
        sections.setdefault(one.section, []).append(entry)
        tell(f"{one.case.name}: {'prepared' if written.prepared else 'as it came'}")
    listed = sum(map(len, sections.values()))
    if listed:
        whom = {
            name: _prepared(population, by_us=prepared[name] > 0).model_dump()
            for name, population in given.populations.items()
            if name in sections
        }
        _write_list(out, json.dumps(sections | ({POPULATIONS: whom} if whom else {}), indent=2))
    return ListReport(
        datalist=str(out / DATALIST) if listed else None,
        prepared=(made := sum(prepared.values())),
        as_they_came=listed - made,
        failed=tuple(failed),
    )


def _prepared(population: Population, *, by_us: bool) -> Population:
    """The population of the studies as they are now."""
    if not by_us:
        return population
    before = population.preparation[: _LONGEST - len(_AND_BY_US)]
    return population.model_copy(update={"preparation": before + _AND_BY_US})


def _case(one: ListedCase, out: Path, preparer: Preparer) -> tuple[WrittenStudy, dict[str, Any]]:
    case, place = one.case, out / one.folder
    ready = preparer.ready(case.images)
    label = None if case.label is None else _label(case.label, ready)
    entry: dict[str, Any] = {"name": case.name}
    with written_whole(place) as folder:
        written = ready.write(folder, place)
        entry["image"] = {str(m): f"{one.folder}/{file}" for m, file in written.series.items()}
        if label is not None:
            (folder / label.name).write_bytes(label.content)
            entry["label"] = f"{one.folder}/{label.name}"
    return written, entry | dict(_kept(case))


def _kept(case: Case) -> Iterator[tuple[str, Any]]:
    if case.target is not None:
        yield "target", case.target
    if case.fold is not None:
        yield "fold", case.fold


@dataclass(frozen=True)
class _File:
    name: str
    content: bytes


def _label(path: Path, ready: ReadyStudy) -> _File:
    """The mask on the grid of the series; the very file where these are as they came."""
    if isinstance(ready.made, Study):
        return _File(f"{LABEL}{nifti_ending(path) or '.nii'}", path.read_bytes())
    labels, grid = read_labels(path, LABEL)
    brought = labels_brought(labels, grid, ready.made)
    header = ready.made.study.native.header
    return _File(f"{LABEL}.nii.gz", compress(encode_nifti(brought, header)))


def _write_list(out: Path, text: str) -> None:
    part = out / f".{DATALIST}"
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, out / DATALIST)
    except OSError as error:
        raise StorageFailed(
            f"cannot be written: {error.strerror or type(error).__name__}",
            remedy="Make room, then prepare the list again",
            subject=str(out / DATALIST),
        ) from None


def _plain(name: str) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "case"


def _unreadable(error: OSError) -> str:
    return f"a file cannot be read: {error.strerror or type(error).__name__}"
