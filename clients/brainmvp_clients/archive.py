"""The zip of all results, unpacked with suspicion."""

from __future__ import annotations

import re
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Protocol, TypeVar

from brainmvp_clients.answers import Summary, parse
from brainmvp_clients.comparisons import Comparison
from brainmvp_clients.errors import UnexpectedAnswer
from brainmvp_clients.result_files import (
    CHANNELS,
    COMPARISON,
    COMPARISON_FILES,
    DICOM_OBJECT,
    MASK,
    MAX_BYTES,
    PREPARATION,
    PREVIEW,
    PROBABILITIES,
    REPORT,
    RESULT_FILES,
    SUMMARY,
    writing,
)

Read = TypeVar("Read", covariant=True)

MAX_MEMBERS = 256
_MEGABYTE = 1 << 20
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
)
_SMALL = {SUMMARY: 16 * _MEGABYTE} | dict.fromkeys((PREVIEW, PREPARATION, REPORT), 64 * _MEGABYTE)
_OTHERS = (
    re.compile(rf"({PROBABILITIES}|{CHANNELS})/[A-Za-z0-9][A-Za-z0-9._-]{{0,62}}\.nii\.gz"),
    DICOM_OBJECT,
)


class Unpack(Protocol[Read]):
    """Unpacks one kind of answer into an empty folder and reads its summary."""

    def __call__(self, archive: IO[bytes], folder: Path, *, server: str) -> Read:
        """The summary; what it raises is said by :func:`unpack`."""


def unpack(archive: IO[bytes], folder: Path, *, server: str) -> Summary:
    """Unpack all results into ``folder``, which is empty, and read their summary.

    Raises:
        UnexpectedAnswer: the archive is damaged, lacks a result, or holds anything but results.
        LocalFileError: the disk refuses a file.
    """
    _unpack(archive, folder, server=server)
    return read_summary(folder, server=server)


def unpack_comparison(archive: IO[bytes], folder: Path, *, server: str) -> Comparison:
    """Unpack a comparison into ``folder``, which is empty, and read its summary.

    Raises:
        UnexpectedAnswer, LocalFileError: as for :func:`unpack`.
    """
    _unpack(archive, folder, server=server)
    path = folder / COMPARISON
    if not path.is_file():
        raise _unexpected(f"a comparison without {COMPARISON}", server)
    return parse(Comparison, path.read_bytes(), subject=server)


def _unpack(archive: IO[bytes], folder: Path, *, server: str) -> None:
    archive.seek(0)
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = zipped.infolist()
            fault = _fault(members)
            if fault:
                raise _unexpected(fault, server)
            for member in members:
                _extract(zipped, member, folder)
    except _DAMAGED:
        raise _unexpected("a zip that is damaged or cut short", server) from None


def read_summary(folder: Path, *, server: str) -> Summary:
    """The summary among the results in ``folder``, once they are seen to be complete.

    Raises:
        UnexpectedAnswer: the summary is missing or invalid, or a segmentation has no mask.
    """
    path = folder / SUMMARY
    if not path.is_file():
        raise _unexpected(f"results without {SUMMARY}", server)
    summary = parse(Summary, path.read_bytes(), subject=server)
    if summary.kind == "segmentation" and not (folder / MASK).is_file():
        raise _unexpected(f"results without {MASK}", server)
    return summary


def _fault(members: list[zipfile.ZipInfo]) -> str | None:
    if len(members) > MAX_MEMBERS:
        return f"a zip of {len(members)} files"
    if len({member.filename.lower() for member in members}) != len(members):
        return "a zip that names a file twice"
    for member in members:
        if not _is_plain(member):
            return f"a zip with a file that is no result ({member.orig_filename[:60]!r})"
    if sum(member.file_size for member in members) > MAX_BYTES:
        return f"results of more than {MAX_BYTES >> 30} GiB"
    return None


def _is_plain(member: zipfile.ZipInfo) -> bool:
    """An expected name that means the same everywhere, a regular file, and a sane size."""
    name = member.filename
    kind = stat.S_IFMT(member.external_attr >> 16)
    return (
        name == member.orig_filename
        and (name in RESULT_FILES | COMPARISON_FILES or any(p.fullmatch(name) for p in _OTHERS))
        and kind in (0, stat.S_IFREG)
        and not member.flag_bits & 0x1
        and member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        and member.file_size <= _SMALL.get(name, MAX_BYTES)
    )


def _extract(zipped: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    target = folder / member.filename
    with writing(target):
        target.parent.mkdir(exist_ok=True)
        with zipped.open(member) as source, target.open("xb") as sink:
            shutil.copyfileobj(source, sink, _MEGABYTE)


def _unexpected(what: str, server: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"sent {what}",
        remedy="Try again; if it lasts, check that it is a BrainMVP server",
        subject=server,
    )
