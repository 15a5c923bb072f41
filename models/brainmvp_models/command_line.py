"""The command as it was called, for the record."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def as_called() -> str:
    """The command line without the folders of files: they may name a person or a patient."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return shlex.join(["brainmvp", *words])
