"""A worklist: one study a line of a CSV or JSONL file.

Columns: ``study``, the name; then either a path for each modality (``t1``, ``flair``, …) or
``folder``, a folder of NIfTI or DICOM files; and ``brain``, a brain mask, if there is one. Relative
paths start at the worklist. With a PACS as source the column is ``study_instance_uid`` alone.
"""

from __future__ import annotations

import csv
import fnmatch
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from brainmvp_clients.errors import LocalFileError
from brainmvp_clients.score.folders import files_below, fingerprint, study_files_of
from brainmvp_clients.score.names import MODALITIES
from brainmvp_clients.score.shard import Takes, every_study
from brainmvp_clients.score.study_files import Study, StudyFiles, UnusableStudy
from brainmvp_clients.upload import BRAIN

UID = "study_instance_uid"
_OTHER = frozenset({"study", "folder", BRAIN, UID})


@dataclass(frozen=True)
class Line:
    """One study of the list: where its files are."""

    study: str
    folder: Path | None
    volumes: dict[str, Path]
    brain: Path | None = None


class WorklistSource:
    """The studies of a worklist, in its order.

    Every line is checked; those of other shards are not kept.
    """

    dicom = False

    def __init__(self, path: Path, only: str = "*", takes: Takes = every_study) -> None:
        self._path = path
        self._lines: dict[str, Line] = {}
        for number, row in read_rows(path):
            line = self._line(number, row)
            if line.study in self._lines:
                raise _invalid(path, number, "names a study that came before")
            if fnmatch.fnmatchcase(line.study, only) and takes(line.study):
                self._lines[line.study] = line

    def studies(self) -> Iterator[Study]:
        """In the order of the list."""
        for line in self._lines.values():
            files = files_below(line.folder) if line.folder else list(line.volumes.values())
            files += [line.brain] if line.brain else []
            present = [path for path in files if path.is_file()]
            yield Study(fingerprint(line.study, present), line.study)

    def fetch(self, study: Study, into: Path) -> StudyFiles:
        """The files where they lie."""
        line = self._lines[study.name]
        named = line.volumes | ({BRAIN: line.brain} if line.brain else {})
        for modality, path in named.items():
            if not path.is_file():
                raise UnusableStudy(
                    f"the file of {modality} is not there", remedy="Check the worklist's paths"
                )
        if line.folder:
            beside = (path for path in files_below(line.folder) if path != line.brain)
            return replace(study_files_of(beside), brain=line.brain)
        return StudyFiles(volumes=line.volumes, brain=line.brain)

    def close(self) -> None:
        """Nothing is held."""

    def _line(self, number: int, row: dict[str, str]) -> Line:
        base = self._path.parent
        unknown = row.keys() - _OTHER - set(MODALITIES)
        if unknown:
            raise _invalid(self._path, number, f"has an unknown column '{min(unknown)[:40]}'")
        if not row.get("study"):
            raise _invalid(self._path, number, "has no 'study'")
        volumes = {name: base / row[name] for name in MODALITIES if row.get(name)}
        folder = base / row["folder"] if row.get("folder") else None
        if bool(volumes) == bool(folder):
            raise _invalid(self._path, number, "needs paths of modalities or a 'folder'")
        brain = base / row[BRAIN] if row.get(BRAIN) else None
        return Line(row["study"], folder, volumes, brain)


def read_uids(path: Path, takes: Takes = every_study) -> tuple[str, ...]:
    """The Study Instance UIDs of a worklist, for a PACS; only those of this shard.

    Raises:
        LocalFileError: the list cannot be read, or a line has none.
    """
    uids: dict[str, None] = {}
    for number, row in read_rows(path):
        uid = row.get(UID, "")
        if not uid or uid.strip("0123456789.") or len(uid) > 64:
            raise _invalid(path, number, f"has no valid '{UID}'")
        if takes(uid):
            uids[uid] = None
    return tuple(uids)


def read_names(path: Path) -> Iterator[str]:
    """The names of a worklist's studies: on disk, or of a PACS.

    Raises:
        LocalFileError: the list cannot be read, or a line names none.
    """
    for number, row in read_rows(path):
        name = row.get("study") or row.get(UID)
        if not name:
            raise _invalid(path, number, f"has no 'study' and no '{UID}'")
        yield name


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a CSV or JSONL file with their numbers, from 1; values are text.

    Raises:
        LocalFileError: it cannot be read, or a line is none of that format.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            yield from _rows(path, lines)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        wrong = "no CSV" if isinstance(error, csv.Error) else "no UTF-8 text"
        reason = getattr(error, "strerror", None) or wrong
        raise LocalFileError(
            f"cannot be read ({reason})", remedy="Check the path", subject=str(path)
        ) from None


def _rows(path: Path, lines: TextIO) -> Iterator[tuple[int, dict[str, str]]]:
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        for number, row in enumerate(csv.DictReader(lines), start=2):
            if None in row:
                raise _invalid(path, number, "has more values than columns")
            yield number, {key.strip(): (value or "").strip() for key, value in row.items()}
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except json.JSONDecodeError:
            item = None
        if not isinstance(item, dict) or not all(isinstance(v, str) for v in item.values()):
            raise _invalid(path, number, "is no JSON object of texts")
        yield number, item


def _invalid(path: Path, number: int, problem: str) -> LocalFileError:
    return LocalFileError(
        f"line {number} {problem}", remedy="See docs/scoring.md, 'Worklists'", subject=str(path)
    )
