"""Folders and files that nobody but their owner may open: what they hold is a patient's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from brainmvp_clients.result_files import writing


def make_private(folder: Path) -> None:
    """Make a folder that nobody but its owner may enter; one that is there stays as it is.

    Raises:
        Unwritable: it cannot be made.
    """
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def touch_private(path: Path) -> Path:
    """Make a file that nobody but its owner may open, if it is not there; the path again.

    Raises:
        OSError: it cannot be made.
    """
    path.touch(mode=0o600)
    return path


@contextmanager
def replacing_private(path: Path) -> Iterator[TextIO]:
    """A text file that nobody but its owner may open, in its place when the block ends well.

    Raises:
        OSError: it cannot be written.
    """
    staging = touch_private(path.with_suffix(".partial"))
    with staging.open("w", encoding="utf-8", newline="") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
