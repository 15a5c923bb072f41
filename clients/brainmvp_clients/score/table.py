"""The tables of results: ``results.jsonl``, a line a study as it ends, and CSV files of it.

``results.csv`` has a line a study, ``measurements.csv`` one a structure and one a part of it.

A kill can leave a last line cut short, or one that the same study's next result replaces: reading
drops the first and lets the later line win.
"""

from __future__ import annotations

import csv
import os
import threading
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from brainmvp_clients.answers import Summary
from brainmvp_clients.result_files import writing
from brainmvp_clients.score.ledger import StudyState
from brainmvp_clients.score.measurements import Measured, measured_in, write_measurements
from brainmvp_clients.score.private_files import touch_private

JSONL, CSV, MEASUREMENTS = "results.jsonl", "results.csv", "measurements.csv"


class Row(BaseModel):
    """One study's line. ``token`` is what logs call it; volumes are in millilitres."""

    model_config = ConfigDict(frozen=True)

    study: str
    token: str
    state: StudyState
    model: str
    version: str
    real: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    volumes_ml: dict[str, float] = {}
    scores: dict[str, float] = {}
    warnings: tuple[str, ...] = ()
    reason: str = ""
    seconds: float = 0.0
    measured: tuple[Measured, ...] = ()

    def line(self) -> str:
        """As JSON; without measurements where there are none, as earlier versions wrote it."""
        return self.model_dump_json(exclude=None if self.measured else {"measured"}) + "\n"

    @classmethod
    def of(cls, study: str, token: str, summary: Summary, seconds: float) -> Row:
        """The line of a result."""
        return cls(
            study=study,
            token=token,
            state=StudyState.DONE,
            model=summary.model,
            version=summary.version,
            real=tuple(entry.modality for entry in summary.real),
            filled=tuple(entry.modality for entry in summary.filled),
            volumes_ml={entry.name: entry.volume_ml for entry in summary.structures},
            scores={entry.name: entry.score for entry in summary.scores},
            warnings=summary.warnings,
            seconds=round(seconds, 3),
            measured=measured_in(summary),
        )


class Table:
    """The results of one output folder."""

    def __init__(self, folder: Path) -> None:
        self._path, self._csv = folder / JSONL, folder / CSV
        self._measurements = folder / MEASUREMENTS
        self._lock = threading.Lock()
        with writing(self._path):
            self._replace(self.rows())
            self._file = touch_private(self._path).open("a", encoding="utf-8")

    def add(self, row: Row) -> None:
        """Append a line; when this returns it is on disk."""
        with self._lock, writing(self._path):
            self._file.write(row.line())
            self._file.flush()
            os.fsync(self._file.fileno())

    def rows(self) -> dict[str, Row]:
        """The latest line of every study, by its name."""
        rows: dict[str, Row] = {}
        if self._path.exists():
            with self._path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    try:
                        row = Row.model_validate_json(line)
                    except ValidationError:
                        continue
                    rows[row.study] = row
        return rows

    def close(self) -> None:
        """Write one line a study, by name, and the same as CSV."""
        with self._lock, writing(self._path):
            self._file.close()
            rows = self.rows()
            self._replace(rows)
            self._write_csv(rows)
            if any(row.measured for row in rows.values()):
                self._write_measurements(rows)

    def _replace(self, rows: dict[str, Row]) -> None:
        staging = self._path.with_suffix(".partial")
        with touch_private(staging).open("w", encoding="utf-8") as file:
            file.writelines(rows[name].line() for name in sorted(rows))
            file.flush()
            os.fsync(file.fileno())
        staging.replace(self._path)

    def _write_csv(self, rows: dict[str, Row]) -> None:
        volumes = sorted({name for row in rows.values() for name in row.volumes_ml})
        scores = sorted({name for row in rows.values() for name in row.scores})
        staging = self._csv.with_suffix(".partial")
        with touch_private(staging).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                (
                    *("study", "token", "state", "model", "version", "real", "filled"),
                    *(f"{name}_ml" for name in volumes),
                    *(f"{name}_score" for name in scores),
                    *("warnings", "reason", "seconds"),
                )
            )
            writer.writerows(_cells(rows[name], volumes, scores) for name in sorted(rows))
        staging.replace(self._csv)

    def _write_measurements(self, rows: dict[str, Row]) -> None:
        staging = self._measurements.with_suffix(".partial")
        ordered = (rows[name] for name in sorted(rows))
        studies = (((_text(row.study), row.token), row.measured) for row in ordered)
        with touch_private(staging).open("w", encoding="utf-8", newline="") as file:
            write_measurements(file, studies)
        staging.replace(self._measurements)


def _cells(row: Row, volumes: list[str], scores: list[str]) -> list[object]:
    return [
        _text(row.study),
        row.token,
        row.state.value,
        row.model,
        row.version,
        " ".join(row.real),
        " ".join(row.filled),
        *(row.volumes_ml.get(name, "") for name in volumes),
        *(row.scores.get(name, "") for name in scores),
        _text("; ".join(row.warnings)),
        _text(row.reason),
        row.seconds,
    ]


def _text(value: str) -> str:
    """A cell that a spreadsheet does not take for a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value
