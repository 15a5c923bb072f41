"""The tables that people and programs read, made from lines that are already in order."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from brainmvp_clients.score.measurements import write_measurements
from brainmvp_clients.score.private_files import replacing_private
from brainmvp_clients.score.row import Row
from brainmvp_clients.score.row_index import Columns, RowIndex

JSONL, CSV, MEASUREMENTS = "results.jsonl", "results.csv", "measurements.csv"

WriteTables = Callable[[RowIndex, Path], None]
"""Writes the tables of a folder in one format."""


def write_lines(index: RowIndex, path: Path) -> None:
    """One line a study, durably, in the place of what was there.

    Raises:
        OSError: it cannot be written.
    """
    with replacing_private(path) as file:
        file.writelines(line.decode() for line in index.lines())


def write_csv(index: RowIndex, folder: Path) -> None:
    """The tables of a folder: a line a study, and where there are measurements a line each.

    Raises:
        OSError: they cannot be written.
    """
    columns = index.columns()
    with replacing_private(folder / CSV) as file:
        writer = csv.writer(file)
        writer.writerow(
            (
                *("study", "token", "state", "model", "version", "real", "filled"),
                *(f"{name}_ml" for name in columns.volumes),
                *(f"{name}_score" for name in columns.scores),
                *columns.later,
                *("warnings", "reason", "seconds"),
            )
        )
        writer.writerows(_cells(row, columns) for row in index.rows())
    if columns.measured:
        with replacing_private(folder / MEASUREMENTS) as file:
            studies = (((as_text(r.study), r.token), r.measured) for r in index.rows())
            write_measurements(file, studies)


def as_text(value: str) -> str:
    """A cell that a spreadsheet does not take for a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value


def _cells(row: Row, columns: Columns) -> list[object]:
    return [
        as_text(row.study),
        row.token,
        row.state.value,
        row.model,
        row.version,
        " ".join(row.real),
        " ".join(row.filled),
        *(row.volumes_ml.get(name, "") for name in columns.volumes),
        *(row.scores.get(name, "") for name in columns.scores),
        *(as_text(" ".join(getattr(row, name))) for name in columns.later),
        as_text("; ".join(row.warnings)),
        as_text(row.reason),
        row.seconds,
    ]
