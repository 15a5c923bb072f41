"""The table of one output folder: ``results.jsonl``, a line a study as it ends, and tables of it.

``results.csv`` has a line a study, ``measurements.csv`` one a structure and one a part of it.

A kill can leave a last line cut short, or one that the same study's next result replaces: reading
drops the first and lets the later line win.
"""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainmvp_clients.result_files import writing
from brainmvp_clients.score.private_files import touch_private
from brainmvp_clients.score.row import Row
from brainmvp_clients.score.row_index import RowIndex
from brainmvp_clients.score.table_files import JSONL, WriteTables, write_csv, write_lines


class Table:
    """The results of one output folder; ``formats`` are those that its tables are written in.

    Attributes:
        lines: how many studies have a line, known when it is closed.
    """

    lines: int | None = None

    def __init__(self, folder: Path, formats: tuple[WriteTables, ...] = (write_csv,)) -> None:
        self._formats = formats
        self._folder, self._path = folder, folder / JSONL
        self._lock = threading.Lock()
        with writing(self._path):
            touch_private(self._path)
            with self._index() as index:
                write_lines(index, self._path)
                # Eight bytes a study: a table may be of a million.
                self._tokens = array("q", sorted(map(hash, index.tokens())))
            self._file = self._path.open("ab")

    def has(self, token: str) -> bool:
        """Whether the study of that token has a line."""
        with self._lock:
            place = bisect_left(self._tokens, hash(token))
            return self._tokens[place : place + 1] == array("q", (hash(token),))

    def add(self, row: Row) -> None:
        """Append a line; when this returns it is on disk."""
        with self._lock, writing(self._path):
            self._file.write(row.line().encode())
            self._file.flush()
            os.fsync(self._file.fileno())
            insort(self._tokens, hash(row.token))

    def close(self) -> None:
        """Write one line a study, by name, and the tables of them."""
        with self._lock, writing(self._path):
            self._file.close()
            with self._index() as index:
                for write in self._formats:
                    write(index, self._folder)
                write_lines(index, self._path)
                (self.lines,) = index.counts()

    @contextmanager
    def _index(self) -> Iterator[RowIndex]:
        index = RowIndex()
        try:
            index.add(self._path)
            yield index
        finally:
            index.close()
