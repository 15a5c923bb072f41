"""Which results a bucket holds, for who puts the parts of a run together."""

from __future__ import annotations

import sqlite3
from pathlib import PurePosixPath
from typing import Any

from brainmvp_clients.errors import ClientError
from brainmvp_clients.result_files import SUMMARY
from brainmvp_clients.score.bucket_sink import file_system, why


class BucketResults:
    """The places below ``URL/studies`` that hold a whole result, which is where its summary is.

    They are listed once, a folder of the first level at a time, into an index on disk: there may
    be a million.

    Raises:
        ClientError: it is no such address, or cannot be listed.
    """

    def __init__(self, url: str) -> None:
        fs, root = file_system(url)
        # A nameless database is a temporary file that is gone when it is closed.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("CREATE TABLE place (path TEXT PRIMARY KEY) WITHOUT ROWID")
        try:
            self._list(fs, root)
        except Exception as error:  # whatever the file system's library raises
            self.close()
            raise ClientError(
                f"cannot be listed ({why(error)})",
                remedy="Check the address, and credentials that may list it",
                subject="--bucket",
            ) from error

    def has(self, place: PurePosixPath) -> bool:
        """Whether the result at a place below ``studies`` is whole."""
        query = "SELECT 1 FROM place WHERE path=?"
        return self._db.execute(query, (str(place),)).fetchone() is not None

    def close(self) -> None:
        """Forget the list."""
        self._db.close()

    def _list(self, fs: Any, root: str) -> None:
        end = f"/{SUMMARY}"
        fs.invalidate_cache()
        for folder in fs.ls(root, detail=False):
            found = (path for path in fs.find(folder) if path.endswith(end))
            places = ((path[len(root) + 1 : -len(end)],) for path in found)
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR IGNORE INTO place VALUES (?)", places)
            self._db.execute("COMMIT")
            fs.invalidate_cache()
