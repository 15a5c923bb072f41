"""Results on this disk: a folder a study, in place whole and on the platter before it counts.

They are a patient's: folders and files are open to nobody but their owner.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from brainmvp_clients.score.study import Study
from brainmvp_clients.storage import staged_folder, sync, writing


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


def _keep(folder: Path) -> None:
    """Close a folder and all in it to others, and have it on the platter."""
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o700 if path.is_dir() else 0o600)
        sync(path)
