"""Results on this disk: a folder a study, in place whole and on the platter before it counts."""

from __future__ import annotations

import shutil
from pathlib import Path

from brainmvp_clients.result_files import staged_folder, sync, writing
from brainmvp_clients.score.private_files import make_private
from brainmvp_clients.score.study_files import Study


class FolderSink:
    """``root``/NAME holds the mask, the summary and whatever else the server gave."""

    dicom = False

    def __init__(self, root: Path) -> None:
        self._root = root
        self.label = "folder"

    def deliver(self, study: Study, result: Path) -> None:
        """Copy the result into its place, over an earlier one."""
        make_private(self._root)
        target = self._root / study.path
        with staged_folder(target, overwrite=True) as folder, writing(target):
            shutil.copytree(result, folder, dirs_exist_ok=True)
            _keep(folder)
        with writing(target):
            sync(target.parent)

    def close(self) -> None:
        """Nothing is held."""


def _keep(folder: Path) -> None:
    """Close a folder and all in it to others, and have it on the platter."""
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o700 if path.is_dir() else 0o600)
        sync(path)
