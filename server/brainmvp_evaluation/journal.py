"""The journal of an evaluation: a line a measurement, so that a kill loses at most one."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from brainmvp_evaluation.schema import Row, Subject
from brainmvp_models.errors import InvalidDatalist


class Journal:
    """``rows.jsonl``: the subject in the first line, then rows, each on disk when it is written."""

    def __init__(self, path: Path, subject: Subject) -> None:
        """Open the journal of a subject, or begin it.

        Raises:
            InvalidDatalist: the file is the journal of another subject, or none.
        """
        self.path = path
        self.rows: list[Row] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes() if path.is_file() else b""
            whole = content[: content.rfind(b"\n") + 1]  # a line that was cut is measured again
            lines = whole.splitlines()
            if lines:
                self._read(lines, subject)
            self._file = path.open("ab")
        except OSError as error:
            raise InvalidDatalist(
                f"cannot be written ({error.strerror or type(error).__name__})",
                remedy="Choose another --out",
                subject=str(path.parent),
            ) from None
        self._file.truncate(len(whole))
        if not lines:
            self._write(subject.model_dump_json())

    def append(self, row: Row) -> None:
        """Add a row; it has reached the disk when this returns."""
        self._write(row.model_dump_json())
        self.rows.append(row)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, lines: list[bytes], subject: Subject) -> None:
        try:
            found, self.rows = parsed(lines)
        except ValidationError:
            raise self._foreign("is no journal of an evaluation") from None
        if found != subject:
            names = [n for n in Subject.model_fields if getattr(found, n) != getattr(subject, n)]
            raise self._foreign(f"is of another evaluation (other {', '.join(names)})")

    def _foreign(self, problem: str) -> InvalidDatalist:
        return InvalidDatalist(
            problem,
            remedy="Choose another --out, or pass --overwrite",
            subject=str(self.path),
        )

    def _write(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def parsed(lines: list[bytes]) -> tuple[Subject, list[Row]]:
    """The whole lines of a journal.

    Raises:
        ValidationError: they are of none.
    """
    subject = Subject.model_validate_json(lines[0])
    return subject, [Row.model_validate_json(line) for line in lines[1:]]
