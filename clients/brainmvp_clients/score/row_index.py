"""Where the lines of tables are, by study: an index on disk, for a table may be of any length."""

from __future__ import annotations

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from brainmvp_clients.score.ledger import StudyState
from brainmvp_clients.score.row import Row

_TABLE = """
CREATE TABLE line (
    study TEXT, file INTEGER, token TEXT, start INTEGER, state TEXT, columns TEXT,
    PRIMARY KEY (study, file)
) WITHOUT ROWID
"""
_OPEN = 200
"""Files that are kept open at a time."""


@dataclass(frozen=True)
class Columns:
    """What any row has: structures and scores, in order, measurements, and what was left open."""

    volumes: tuple[str, ...]
    scores: tuple[str, ...]
    measured: bool
    not_determinable: bool = False

    @property
    def later(self) -> tuple[str, ...]:
        """Columns that tables of earlier versions lack, and those without any such row."""
        return ("not_determinable",) if self.not_determinable else ()


class RowIndex:
    """The latest line of every study in each of some files of lines.

    A line that is no row is passed over: a kill can leave the last one cut short.
    """

    def __init__(self) -> None:
        # A nameless database is a temporary file that is gone when it is closed.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute(_TABLE)
        self._paths: list[Path] = []
        self._files: OrderedDict[int, BinaryIO] = OrderedDict()

    def add(self, path: Path) -> None:
        """Read a file of lines.

        Raises:
            OSError: it cannot be read.
        """
        number = len(self._paths)
        self._paths.append(path)
        self._db.execute("BEGIN")
        with path.open("rb") as lines:
            start = 0
            for line in lines:
                row = _row(line)
                if row is not None:
                    self._db.execute(
                        "INSERT OR REPLACE INTO line VALUES (?, ?, ?, ?, ?, ?)",
                        (row.study, number, row.token, start, row.state.value, _columns(row)),
                    )
                start += len(line)
        self._db.execute("COMMIT")

    def columns(self) -> Columns:
        """What a table of all the rows needs."""
        volumes: set[str] = set()
        scores: set[str] = set()
        measured = left_open = False
        for (text,) in self._db.execute("SELECT DISTINCT columns FROM line"):
            of_volumes, of_scores, has, leaves = json.loads(text)
            volumes.update(of_volumes)
            scores.update(of_scores)
            measured, left_open = measured or has, left_open or leaves
        return Columns(tuple(sorted(volumes)), tuple(sorted(scores)), measured, left_open)

    def lines(self) -> Iterator[bytes]:
        """One line a study, by the study's name; of several files, the last that has a result."""
        for number, start in self._best():
            yield self._line(number, start)

    def rows(self) -> Iterator[Row]:
        """The same as rows."""
        for row, _ in self.located():
            yield row

    def located(self) -> Iterator[tuple[Row, Path]]:
        """The same as rows, each with the file that it is from."""
        for number, start in self._best():
            yield Row.model_validate_json(self._line(number, start)), self._paths[number]

    def doubled(self) -> Iterator[tuple[str, tuple[Path, ...]]]:
        """Every study with a line in several files, and those files."""
        query = """SELECT study, file FROM line WHERE study IN
            (SELECT study FROM line GROUP BY study HAVING COUNT(*) > 1) ORDER BY study, file"""
        for study, entries in groupby(self._db.execute(query), key=lambda entry: str(entry[0])):
            yield study, tuple(self._paths[entry[1]] for entry in entries)

    def tokens(self) -> Iterator[str]:
        """What the studies are called in logs and in the ledger, in no order."""
        for (token,) in self._db.execute("SELECT token FROM line"):
            yield token

    def counts(self) -> list[int]:
        """How many studies have a line in each file, in the order in which they were read."""
        query = "SELECT file, COUNT(*) FROM line GROUP BY file"
        found: dict[int, int] = dict(self._db.execute(query).fetchall())
        return [found.get(number, 0) for number in range(len(self._paths))]

    def has(self, study: str) -> bool:
        """Whether the study has a line."""
        query = "SELECT 1 FROM line WHERE study=? LIMIT 1"
        return self._db.execute(query, (study,)).fetchone() is not None

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._db.close()

    def _best(self) -> Iterator[tuple[int, int]]:
        query = "SELECT study, file, start, state FROM line ORDER BY study, file"
        for _, entries in groupby(self._db.execute(query), key=lambda entry: entry[0]):
            *_, best = sorted(entries, key=lambda entry: entry[3] == StudyState.DONE.value)
            yield best[1], best[2]

    def _line(self, number: int, start: int) -> bytes:
        file = self._files.pop(number, None) or self._paths[number].open("rb")
        self._files[number] = file
        if len(self._files) > _OPEN:
            self._files.popitem(last=False)[1].close()
        file.seek(start)
        return file.readline().rstrip(b"\n") + b"\n"


def _row(line: bytes) -> Row | None:
    try:
        return Row.model_validate_json(line)
    except ValidationError:
        return None


def _columns(row: Row) -> str:
    has = [bool(row.measured), bool(row.not_determinable)]
    return json.dumps([sorted(row.volumes_ml), sorted(row.scores), *has])
