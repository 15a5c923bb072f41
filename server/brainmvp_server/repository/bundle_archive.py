"""Bundles as a tar: written so that the same ones are the same bytes, and read warily."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from brainmvp_models.bundle import bundle_folders
from brainmvp_models.errors import InvalidBundle

_REMEDY = "Make it with: tar -czf models.tar.gz -C models ."


def write_tar(root: Path, files: Iterable[Path], stream: IO[bytes]) -> None:
    """Write files below ``root``, and the folder of each, as a tar that depends on nothing else.

    Owner, time and permissions are always the same: root's, 1970, readable by all.

    Raises:
        OSError: a file cannot be read.
    """
    seen: set[Path] = set()
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files):
            if path.parent not in seen:
                seen.add(path.parent)
                tar.addfile(_entry(root, path.parent))
            with path.open("rb") as file:
                tar.addfile(_entry(root, path), file)


def unpack(archive: Path, folder: Path, shown: str) -> None:
    """Unpack a tar of folders and files, compressed or not, into ``folder``.

    Args:
        shown: what an error calls the archive.

    Raises:
        InvalidBundle: it is damaged, holds anything else, or leads outside ``folder``.
        OSError: it cannot be read, or written there.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                _unpack_one(tar, member, folder.resolve())
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise InvalidBundle(
            f"cannot be unpacked ({type(error).__name__})", remedy=_REMEDY, subject=shown
        ) from None


def check_bundles(folder: Path, shown: str) -> list[Path]:
    """The folders of the bundles that were unpacked.

    Raises:
        InvalidBundle: there are none.
    """
    if not (found := bundle_folders(folder)):
        raise InvalidBundle("holds no bundle", remedy=_REMEDY, subject=shown)
    return found


def _entry(root: Path, path: Path) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path.relative_to(root).as_posix())
    if path.is_dir():
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    else:
        info.size, info.mode = path.stat().st_size, 0o644
    return info


def _unpack_one(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """One file into the folder; nothing else may be there but folders.

    tarfile's own filter for this is missing in Debian 12's Python.

    Raises:
        tarfile.TarError: a link, a device, or a path that leads outside.
    """
    place = (folder / member.name).resolve()
    if not place.is_relative_to(folder) or not (member.isfile() or member.isdir()):
        raise tarfile.TarError("not a file in the folder")
    content = tar.extractfile(member)
    if content is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with content, place.open("wb") as file:
            shutil.copyfileobj(content, file)
