"""Unpack a zip that somebody sent, without trusting a byte of it.

Entries are written under numbers of our own, so that a name in the archive never becomes a path;
the name is kept beside it, for telling modalities apart, and may hold a patient's: it is not to be
logged. Sizes that the archive claims are checked before anything is written, and counted again
while it is.
"""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from brainmvp_models.errors import ArchiveTooLarge, InvalidArchive

_PIECE = 1 << 20
_DIRECTORY_BYTES_AN_ENTRY = 512
_MOST_DEPTH = 4
"""Zips in zips in zips in a zip."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Besides its own error, zipfile lets these through where an archive is damaged.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    IndexError,
    OverflowError,
    RuntimeError,
)
_AGAIN = "Send an ordinary zip of the study's files"


@dataclass(frozen=True)
class ArchiveLimits:
    """How much one archive may hold.

    Attributes:
        entries: most files in it.
        bytes: most bytes they may unpack to, together.
        ratio: most bytes that a byte of the archive may unpack to; deflate could reach 1032.
    """

    entries: int = 20_000
    bytes: int = 8 << 30
    ratio: int = 250


@dataclass(frozen=True)
class Unpacked:
    """A file that came in an archive.

    Attributes:
        path: where it lies now.
        name: its last name in the archive; it may name a patient.
    """

    path: Path
    name: str = field(repr=False)


def files_below(path: Path) -> tuple[Unpacked, ...]:
    """A file itself, or a folder's files but hidden ones and indexes: as a client sends them."""
    if path.is_file():
        return (Unpacked(path, path.name),)
    return tuple(
        Unpacked(one, one.name)
        for one in sorted(path.rglob("*"))
        if one.is_file()
        and one.name.upper() != "DICOMDIR"
        and not any(step.startswith(".") for step in one.relative_to(path).parts)
    )


def is_zip(path: Path) -> bool:
    """Does the file begin as a zip does?"""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def unpack(
    path: Path,
    folder: Path,
    limits: ArchiveLimits = ArchiveLimits(),
    *,
    subject: str = "",
    check: Callable[[], None] | None = None,
) -> tuple[Unpacked, ...]:
    """Write an archive's files into ``folder``, which exists, in the archive's order.

    Folders, and what macOS adds for itself, are left out. Zips inside are unpacked, too, in their
    place; all together keep to the limits of one.

    Args:
        subject: what errors call the archive, such as the name of its part.
        check: called before each file; raises where nobody waits any more.

    Raises:
        InvalidArchive: no zip, damaged, encrypted, packed by a method other than deflate, without
            a file, with an entry that is a link, a device or points outside, or with zips inside
            zips deeper than anybody packs them.
        ArchiveTooLarge: it holds more than the limits allow.

    Whatever is raised, nothing is left in ``folder``.
    """
    budget = _Budget(min(limits.bytes, limits.ratio * path.stat().st_size), limits.entries, subject)
    unpacking = _Unpacking(folder, limits, budget, check or _goes_on)
    try:
        unpacking.add(path, depth=1)
    except BaseException:
        for number in range(unpacking.written):
            unpacking.place(number).unlink(missing_ok=True)
        raise
    return tuple(unpacking.done)


def _goes_on() -> None:
    """Somebody waits."""


@dataclass
class _Unpacking:
    """One archive, and those inside it, on their way into a folder."""

    folder: Path
    limits: ArchiveLimits
    budget: _Budget
    check: Callable[[], None]
    done: list[Unpacked] = field(default_factory=list)
    written: int = 0

    def place(self, number: int) -> Path:
        return self.folder / f"{number:06d}"

    def add(self, path: Path, depth: int) -> None:
        subject = self.budget.subject
        with _opened(path, self.limits, subject) as archive:
            entries = _wanted(archive, self.budget, outermost=depth == 1)
            self.budget.check(sum(entry.file_size for entry in entries))
            for entry in entries:
                self.check()
                target = self.place(self.written)
                self.written += 1
                _extract(archive, entry, target, self.budget)
                if not is_zip(target):
                    self.done.append(Unpacked(target, PurePosixPath(entry.filename).name))
                    continue
                if depth == _MOST_DEPTH:
                    raise InvalidArchive(
                        f"it holds zips inside zips, more than {_MOST_DEPTH} deep",
                        remedy=_AGAIN,
                        subject=subject,
                    )
                self.add(target, depth + 1)
                target.unlink()


@dataclass
class _Budget:
    """How many bytes may still be written, and how many entries."""

    left: int
    entries: int
    subject: str

    def check(self, wanted: int) -> None:
        if wanted > self.left:
            raise ArchiveTooLarge(
                "the archive unpacks to more than is allowed",
                remedy="Send the series needed and nothing else",
                subject=self.subject,
            )

    def take(self, count: int) -> None:
        self.check(count)
        self.left -= count


class _Bounded(io.FileIO):
    """A file that refuses to be read in one go: zipfile reads the whole directory at once."""

    bound: int = _PIECE

    def read(self, size: int | None = -1, /) -> bytes:
        most = self.bound + 1
        piece = super().read(most if size is None or size < 0 else min(size, most))
        if len(piece) > self.bound:
            raise zipfile.BadZipFile("more at once than is allowed")
        return piece

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == 0 and offset < 0:
            raise zipfile.BadZipFile("an offset before the beginning")
        return super().seek(offset, whence)


@contextmanager
def _opened(path: Path, limits: ArchiveLimits, subject: str) -> Iterator[zipfile.ZipFile]:
    try:
        with _Bounded(path) as file:
            file.bound = max(_PIECE, limits.entries * _DIRECTORY_BYTES_AN_ENTRY)
            with zipfile.ZipFile(file) as archive:
                yield archive
    except _DAMAGED:
        raise InvalidArchive(
            "the file is no zip, or is damaged", remedy=_AGAIN, subject=subject
        ) from None


def _wanted(archive: zipfile.ZipFile, budget: _Budget, *, outermost: bool) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > budget.entries:
        raise ArchiveTooLarge(
            f"the archive holds {len(entries)} entries, more than {budget.entries}",
            remedy="Send the series needed and nothing else",
            subject=budget.subject,
        )
    budget.entries -= len(entries)
    for entry in entries:
        fault = _fault(entry)
        if fault:
            raise InvalidArchive(f"an entry {fault}", remedy=_AGAIN, subject=budget.subject)
    wanted = [entry for entry in entries if not entry.is_dir() and not _is_litter(entry)]
    if outermost and not wanted:
        raise InvalidArchive("the archive holds no file", remedy=_AGAIN, subject=budget.subject)
    return wanted


def _fault(entry: zipfile.ZipInfo) -> str | None:
    name = entry.orig_filename.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":" or "\0" in name:
        return "points outside the archive"
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, no file"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.compress_type not in _METHODS:
        return "is packed by a method other than deflate"
    return None


def _is_litter(entry: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(entry.filename).parts
    return "__MACOSX" in parts or parts[-1] == ".DS_Store"


def _extract(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, budget: _Budget
) -> None:
    with archive.open(entry) as source, target.open("xb") as sink:
        while piece := source.read(_PIECE):
            budget.take(len(piece))
            sink.write(piece)
