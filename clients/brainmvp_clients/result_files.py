"""Results on disk: written beside their place, moved into it whole, never there in part."""

from __future__ import annotations

import gzip
import os
import re
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from brainmvp_clients.errors import OutputExists, UnexpectedAnswer, Unwritable

MASK = "mask.nii.gz"
SUMMARY = "summary.json"
PREVIEW = "preview.png"
REPORT = "report.html"
PREPARATION = "preparation.png"
CHANNELS = "channels"
PROBABILITIES = "probabilities"
RESULT_FILES = frozenset({MASK, SUMMARY, PREVIEW, REPORT, PREPARATION})
COMPARISON = "comparison.json"
COMPARISON_FILES = frozenset({COMPARISON, "comparison.png", "comparison.html"})
RESULT_NAMES = COMPARISON_FILES | RESULT_FILES | {PROBABILITIES, CHANNELS}
"""All that a folder of results or of a comparison holds, beside DICOM objects."""

DICOM_OBJECT = re.compile(r"[a-z][a-z0-9_-]{0,62}\.dcm")
"""The names of DICOM objects among results."""

MAX_BYTES = 16 << 30
"""Above this, an answer is no result of one study."""

_CHUNK = 1 << 20


@contextmanager
def staged_folder(into: Path, *, overwrite: bool, staging_in: Path | None = None) -> Iterator[Path]:
    """A new folder beside ``into`` that takes its place when the block ends well.

    However the block ends otherwise, nothing of it stays. ``overwrite`` replaces earlier results,
    and only those: a folder that holds anything else is left alone. ``staging_in`` is another
    folder on the same disk to make it in, where a kill may leave it without being looked for.

    Raises:
        OutputExists: something is in the way.
        Unwritable: the place cannot be written.
    """
    target = into.resolve()
    check_folder(target, overwrite)
    staging = (staging_in or target.parent) / f".brainmvp-{secrets.token_hex(8)}.partial"
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
    try:
        yield staging
        with writing(target):
            check_folder(target, overwrite)
            _move_folder(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def staged_file(to: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """A new file beside ``to``, open for writing, that takes its place when the block ends well.

    Raises:
        OutputExists: something is in the way.
        Unwritable: the place cannot be written.
    """
    target = to.resolve()
    _check_file(target, overwrite)
    staging = target.parent / f".brainmvp-{secrets.token_hex(8)}.partial"
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = staging.open("x+b")
    try:
        with file:
            yield file
        with writing(target):
            _check_file(target, overwrite)
            staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turns what the file system says into one line about ``target``."""
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"cannot be written ({error.strerror or type(error).__name__})",
            remedy="Check the path, its permissions and the free space",
            subject=str(target),
        ) from None


def sync(path: Path) -> None:
    """Write a file's bytes, or a folder's entries, to the disk.

    A file is there to stay only once the folder that holds its name was written, too.
    """
    # The same as sync_folder of brainmvp_models.durable: the clients import no other package.
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def scratch(folder: Path) -> IO[bytes]:
    """A nameless file on the same disk as ``folder``, gone when closed."""
    with writing(folder):
        return tempfile.TemporaryFile(dir=folder)


def append(file: IO[bytes], chunk: bytes, *, target: Path, server: str) -> None:
    """Write one more piece of an answer.

    Raises:
        UnexpectedAnswer: the answer does not end.
        Unwritable: the disk refuses it.
    """
    with writing(target):
        file.write(chunk)
    if file.tell() > MAX_BYTES:
        raise UnexpectedAnswer(
            f"sent more than {MAX_BYTES >> 30} GiB", remedy="Check the server", subject=server
        )


def check_gzip(file: IO[bytes], *, server: str) -> None:
    """Read a gzip file through.

    Raises:
        UnexpectedAnswer: it is none, or not a whole one.
    """
    file.flush()
    file.seek(0)
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as unzipped:
            total = 0
            while piece := unzipped.read(_CHUNK):
                total += len(piece)
                if total > MAX_BYTES:
                    raise EOFError
        if total == 0:
            raise EOFError
    except (OSError, EOFError, zlib.error):
        raise UnexpectedAnswer(
            "sent a mask that is damaged or cut short", remedy="Try again", subject=server
        ) from None


def check_folder(target: Path, overwrite: bool) -> None:
    """See that a folder of results may appear there.

    Raises:
        OutputExists: something is in the way.
    """
    with writing(target):
        if not os.path.lexists(target):
            return
        if not target.is_dir():
            raise OutputExists("is a file", remedy="Give a folder", subject=str(target))
        if target == Path.cwd() or os.path.ismount(target):
            raise OutputExists(
                "cannot be replaced by a folder of results",
                remedy=f"Give a new folder inside it, such as {target / 'results'}",
                subject=str(target),
            )
        names = {entry.name for entry in target.iterdir()}
    if names and not overwrite:
        raise OutputExists(
            "exists and is not empty",
            remedy="Give another folder, or ask to overwrite",
            subject=str(target),
        )
    others = sorted(n for n in names - RESULT_NAMES if not DICOM_OBJECT.fullmatch(n))
    if others:
        raise OutputExists(
            f"holds other files than results ({others[0]})",
            remedy="Give another folder",
            subject=str(target),
        )


def _move_folder(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    old = staging.with_suffix(".old")
    target.rename(old)
    try:
        staging.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _check_file(target: Path, overwrite: bool) -> None:
    with writing(target):
        if target.is_dir():
            raise OutputExists(
                "is a folder", remedy="Give a file's path, .nii.gz", subject=str(target)
            )
        if target.exists() and not overwrite:
            raise OutputExists(
                "exists", remedy="Give another path, or ask to overwrite", subject=str(target)
            )
