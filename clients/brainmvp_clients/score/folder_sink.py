"""Results on this disk: a folder a study, in place whole and on the platter before it counts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from brainmvp_clients.result_files import staged_folder, sync, writing
from brainmvp_clients.score.private_files import make_private
from brainmvp_clients.score.study_files import Study


class FolderSink:
    """``root``/NAME holds the mask, the summary and whatever else the server gave.

    ``place`` says otherwise where below ``root`` a study's result lies; ``staging`` is a folder on
    the same disk where results wait until they are whole, in the place of the result's own.
    """

    dicom = False

    def __init__(
        self,
        root: Path,
        place: Callable[[str], PurePosixPath] = PurePosixPath,
        staging: Path | None = None,
    ) -> None:
        self._root, self._place, self._staging = root, place, staging
        self.label = "folder"

    def deliver(self, study: Study, result: Path) -> None:
        """Copy the result into its place, over an earlier one."""
        target = self._root / self._place(study.name)
        above = [folder for folder in target.parents if folder.is_relative_to(self._root)]
        for folder in reversed(above):
            make_private(folder)
        staged = staged_folder(target, overwrite=True, staging_in=self._staging)
        with staged as folder, writing(target):
            shutil.copytree(result, folder, dirs_exist_ok=True)
            _keep(folder)
        with writing(target):
            for folder in above:
                sync(folder)

    def close(self) -> None:
        """Nothing is held."""


def _keep(folder: Path) -> None:
    """Close a folder and all in it to others, and have it on the platter."""
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o700 if path.is_dir() else 0o600)
        sync(path)
