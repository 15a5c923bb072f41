"""Results on this disk: a folder a study, in place whole and on the platter before it counts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from brainmvp_clients.score.study import Study
from brainmvp_clients.storage import staged_folder, writing


class FolderSink:
    """``root``/NAME holds the mask, the summary and whatever else the server gave."""

    dicom = False

    def __init__(self, root: Path) -> None:
        self._root = root
        self.label = "folder"

    def deliver(self, study: Study, result: Path) -> None:
        """Copy the result into its place, over an earlier one."""
        target = self._root / study.path
        with staged_folder(target, overwrite=True) as folder, writing(target):
            shutil.copytree(result, folder, dirs_exist_ok=True)
            _sync(folder)
        with writing(target):
            _sync_one(target.parent)

    def close(self) -> None:
        """Nothing is held."""


def _sync(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _sync_one(path)


def _sync_one(path: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
