"""The tables as Parquet, for what reads a million lines at once; needs the ``parquet`` extra.

The columns are those of the CSV files, with types: lists are lists, and what is not there is null.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from brainmvp_clients.score.measurements import HEADS
from brainmvp_clients.score.private_files import touch_private
from brainmvp_clients.score.row import Row
from brainmvp_clients.score.row_index import Columns, RowIndex

RESULTS, MEASUREMENTS = "results.parquet", "measurements.parquet"
_GROUP = 10_000
"""Lines in memory at a time."""
_TEXTS = frozenset({"structure", "plane", "side"})
_COUNTS = frozenset({"part", "voxels"})


def write_parquet(index: RowIndex, folder: Path) -> None:
    """The tables of a folder, beside the CSV files.

    Raises:
        OSError: they cannot be written.
    """
    columns = index.columns()
    _write(folder / RESULTS, _results(columns), (_line(row, columns) for row in index.rows()))
    if columns.measured:
        _write(folder / MEASUREMENTS, _measurements(), _measured(index))


def _results(columns: Columns) -> Any:
    texts = pa.list_(pa.string())
    return pa.schema(
        [
            *((name, pa.string()) for name in ("study", "token", "state", "model", "version")),
            *((name, texts) for name in ("real", "filled")),
            *((f"{name}_ml", pa.float64()) for name in columns.volumes),
            *((f"{name}_score", pa.float64()) for name in columns.scores),
            *((name, texts) for name in columns.later),
            ("warnings", texts),
            ("reason", pa.string()),
            ("seconds", pa.float64()),
        ]
    )


def _measurements() -> Any:
    kinds = {name: pa.string() for name in _TEXTS} | {name: pa.int64() for name in _COUNTS}
    heads = [(name, kinds.get(name, pa.float64())) for name in HEADS]
    return pa.schema([("study", pa.string()), ("token", pa.string()), *heads])


def _line(row: Row, columns: Columns) -> dict[str, object]:
    return {
        **row.model_dump(exclude={"volumes_ml", "scores", "measured"}, mode="json"),
        **{f"{name}_ml": row.volumes_ml.get(name) for name in columns.volumes},
        **{f"{name}_score": row.scores.get(name) for name in columns.scores},
    }


def _measured(index: RowIndex) -> Iterator[dict[str, object]]:
    for row in index.rows():
        for one in row.measured:
            yield {"study": row.study, "token": row.token, **one.model_dump()}


def _write(path: Path, schema: Any, lines: Iterator[dict[str, object]]) -> None:
    """A private file that takes its place when it is whole."""
    staging = touch_private(path.with_suffix(".partial"))
    with pq.ParquetWriter(staging, schema, compression="zstd") as writer:
        while group := list(islice(lines, _GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))
    staging.replace(path)
