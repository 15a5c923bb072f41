"""Which studies are done, in a SQLite file that survives a kill at any moment.

A study is remembered by a keyed digest of what it is, for one bundle and one set of settings, so
that the file names nobody. The key is random and lives in the ledger.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import IO

from brainmvp_clients.errors import LocalFileError, OutputExists
from brainmvp_clients.score.private_files import touch_private

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS ledger (schema INTEGER NOT NULL, key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS study (
    token TEXT NOT NULL, bundle TEXT NOT NULL, settings TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (token, bundle, settings)
) WITHOUT ROWID;
"""


class StudyState(str, Enum):
    """What became of a study."""

    WORKING = "working"
    DONE = "done"
    REFUSED = "refused"
    """It cannot succeed as it is."""
    FAILED = "failed"
    """It could not be done in the attempts there were, and may succeed later."""


@dataclass(frozen=True)
class RunKey:
    """What, beside the study, makes a result the same."""

    bundle: str
    settings: str


@dataclass(frozen=True)
class LedgerEntry:
    """A study's line."""

    state: StudyState
    attempts: int
    reason: str


class Ledger:
    """The ledger of one output folder; one process at a time holds it.

    Raises:
        OutputExists: another process is at work on it.
        LocalFileError: it cannot be opened, or is no ledger of this version.
    """

    def __init__(self, path: Path, run: RunKey) -> None:
        self._run, self._path = run, path
        self._lock = threading.Lock()
        self._held = _hold(path.with_suffix(".lock"))
        try:
            with _readable(path):
                touch_private(path)  # its journal gets the same
                self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(_TABLES)
                self._key = self._read_key()
        except BaseException:
            self._held.close()
            raise

    def token(self, key: str) -> str:
        """What a study is called here and in every log: 16 hexadecimal digits."""
        return hashlib.blake2b(key.encode(), key=self._key, digest_size=8).hexdigest()

    def entry(self, token: str) -> LedgerEntry | None:
        """A study's line, if there is one."""
        row = self._execute(
            "SELECT state, attempts, reason FROM study WHERE token=? AND bundle=? AND settings=?",
            (token, self._run.bundle, self._run.settings),
        ).fetchone()
        return LedgerEntry(StudyState(row[0]), int(row[1]), str(row[2])) if row else None

    def write(self, token: str, state: StudyState, *, attempts: int = 0, reason: str = "") -> None:
        """Set a study's line; when this returns it is on disk."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._execute(
            "INSERT OR REPLACE INTO study VALUES (?, ?, ?, ?, ?, ?, ?)",
            (token, self._run.bundle, self._run.settings, state.value, attempts, reason, now),
        )

    def count(self) -> dict[StudyState, int]:
        """How many studies of this run are in which state."""
        rows = self._execute(
            "SELECT state, COUNT(*) FROM study WHERE bundle=? AND settings=? GROUP BY state",
            (self._run.bundle, self._run.settings),
        ).fetchall()
        return {StudyState(state): int(number) for state, number in rows}

    def close(self) -> None:
        """Close the file and let others have it."""
        with self._lock:
            self._db.close()
        self._held.close()

    def _execute(self, statement: str, values: tuple[str | int, ...]) -> sqlite3.Cursor:
        with self._lock, _readable(self._path):
            return self._db.execute(statement, values)

    def _read_key(self) -> bytes:
        row = self._db.execute("SELECT schema, key FROM ledger").fetchone()
        if row is None:
            row = SCHEMA, secrets.token_bytes(32)
            self._db.execute("INSERT INTO ledger VALUES (?, ?)", row)
        if row[0] != SCHEMA:
            raise LocalFileError(
                f"is a ledger of version {row[0]}, not {SCHEMA}",
                remedy="Use the release that wrote it, or another output folder",
                subject=str(self._path),
            )
        return bytes(row[1])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LocalFileError(
            f"cannot be used as a ledger ({type(error).__name__})",
            remedy="Check the disk; a damaged ledger can be moved away, the studies run again",
            subject=str(path),
        ) from None


def _hold(path: Path) -> IO[bytes]:
    """A lock that the operating system takes back when the process dies, however it dies."""
    file = touch_private(path).open("ab")
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise OutputExists(
            "another run is at work here",
            remedy="Wait until it ends, or give another output folder",
            subject=str(path.parent),
        ) from None
    return file
