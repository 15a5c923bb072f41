"""Folders that change whole, and stay changed when the power goes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk: a file is there to stay only once its name is.

    Systems other than POSIX open no folders; nothing is done there.
    """
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_folder(new: Path, target: Path, aside: Path) -> None:
    """Move the folder ``new`` to ``target``; what was there goes once the new one is there.

    Args:
        aside: a free name on the same disk, where the old folder waits; it must not lie in what is
            removed however this ends, since the old folder stays there where it cannot be put back.

    Raises:
        OSError: the folder cannot be moved; ``target`` is as it was.
    """
    if not target.exists():
        new.rename(target)
        sync_folder(target.parent)
        return
    target.rename(aside)
    try:
        new.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(aside, ignore_errors=True)
