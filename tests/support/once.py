"""What takes long to make is made once a run, whichever of its workers needs it first."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Once:
    """Makes folders that all workers of a run share, so that no test may change them.

    Attributes:
        folder: this worker's own folder; beside it lies what is shared.
    """

    folder: Path

    def __call__(self, name: str, make: Callable[[Path], object]) -> Path:
        """The folder ``name``, which ``make`` has filled; other workers wait for it."""
        alone = "PYTEST_XDIST_WORKER" not in os.environ
        shared = self.folder if alone else self.folder.parent
        made = shared / f"once-{name}"
        with (shared / f"once-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                part = Path(tempfile.mkdtemp(prefix="part-", dir=shared))
                make(part)
                part.rename(made)
        return made
