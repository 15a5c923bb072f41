"""A study as a ``multipart/form-data`` body that is read from disk while it is sent.

One encoder for both clients. A part is named by its modality, and so is the file name sent with it:
the user's own file names can hold patient data and never leave the machine.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from anyio import to_thread

from brainmvp_clients.errors import LocalFileError

StudyPath = str | os.PathLike[str]
ModalityFiles = Mapping[str, StudyPath]
"""Modality name to NIfTI file; or ``files`` to one zip, NIfTI or DICOM file to be identified."""

BRAIN = "brain"
"""The name of the part that is a brain mask."""

OnUpload = Callable[[int, int], None]
"""Called with the bytes sent and the bytes to send."""

CHUNK = 1 << 18
_KINDS = (
    (0, b"\x1f\x8b", ".nii.gz", "application/gzip"),
    (0, b"PK\x03\x04", ".zip", "application/zip"),
    (128, b"DICM", ".dcm", "application/dicom"),
)
"""What a file is by what stands where in it; anything else is sent as an uncompressed NIfTI."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


@dataclass(frozen=True)
class Part:
    """One modality's open file and the lines that announce it."""

    modality: str
    file: IO[bytes]
    size: int
    header: bytes
    boundary: str


@dataclass(frozen=True)
class Upload:
    """The body of one request. Iterate it once, with ``for`` or ``async for``."""

    boundary: str
    parts: tuple[Part, ...]
    on_upload: OnUpload | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that describe the body."""
        return {
            "Content-Type": f"multipart/form-data; boundary={self.boundary}",
            "Content-Length": str(self.length),
        }

    @property
    def length(self) -> int:
        """The body's length in bytes."""
        parts = sum(len(part.header) + part.size + len(b"\r\n") for part in self.parts)
        return parts + len(self._end)

    @property
    def _end(self) -> bytes:
        return f"--{self.boundary}--\r\n".encode()

    def __iter__(self) -> Iterator[bytes]:
        done = 0
        for step in self._steps():
            chunk = step if isinstance(step, bytes) else _read(*step)
            yield chunk
            done = self._report(done + len(chunk))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body for an event loop: files are read in a worker thread."""
        done = 0
        for step in self._steps():
            chunk = step if isinstance(step, bytes) else await to_thread.run_sync(_read, *step)
            yield chunk
            done = self._report(done + len(chunk))

    def _steps(self) -> Iterator[bytes | tuple[Part, int]]:
        """Literal bytes, or how many bytes of which part come next."""
        for part in self.parts:
            yield part.header
            for start in range(0, part.size, CHUNK):
                yield part, min(CHUNK, part.size - start)
            yield b"\r\n"
        yield self._end

    def _report(self, done: int) -> int:
        if self.on_upload is not None:
            self.on_upload(done, self.length)
        return done


@contextmanager
def open_upload(
    study: ModalityFiles, on_upload: OnUpload | None = None, brain: StudyPath | None = None
) -> Iterator[Upload]:
    """The study's files, open for the time of one request.

    Args:
        brain: a brain mask that goes with them.

    Raises:
        ValueError: the study is empty, or a key is no modality's name.
        LocalFileError: a file is missing, empty or unreadable.
    """
    if not study:
        raise ValueError("the study is empty: give at least one modality, as {'t1': 't1.nii.gz'}")
    mask = {} if brain is None else {BRAIN: brain}
    with _opened([(name, name, path) for name, path in {**study, **mask}.items()]) as parts:
        yield Upload(parts[0].boundary, parts, on_upload)


@dataclass(frozen=True)
class Times:
    """Two studies of a patient, or two results, as :meth:`Client.compare` takes them.

    Attributes:
        before, after: modality name to file, or ``files`` to one zip of a study or of a result.
        masks: of two studies, made elsewhere; the earlier first.
        studies: what two results were made of, each as ``before`` is given.
    """

    before: ModalityFiles
    after: ModalityFiles
    masks: tuple[StudyPath, StudyPath] | None = None
    studies: tuple[ModalityFiles, ModalityFiles] | None = None


@contextmanager
def open_times(times: Times, on_upload: OnUpload | None = None) -> Iterator[Upload]:
    """The files of a comparison, open for the time of one request.

    Raises:
        ValueError: a study is empty, or a key is no modality's name.
        LocalFileError: a file is missing, empty or unreadable.
    """
    named = [("before", times.before), ("after", times.after)]
    if times.studies is not None:
        named += zip(("study_before", "study_after"), times.studies, strict=True)
    if not all(study for _, study in named):
        raise ValueError("a study is empty: give at least one modality, as {'t1': 't1.nii.gz'}")
    files = [(part, name, path) for part, study in named for name, path in study.items()]
    if times.masks is not None:
        files += [
            (part, part, path)
            for part, path in zip(("mask_before", "mask_after"), times.masks, strict=True)
        ]
    with _opened(files) as parts:
        yield Upload(parts[0].boundary, parts, on_upload)


@contextmanager
def _opened(files: Sequence[tuple[str, str, StudyPath]]) -> Iterator[tuple[Part, ...]]:
    """Open parts: of each its name, what its file is called instead of its own name, its path.

    Raises:
        ValueError: a name is no modality's.
        LocalFileError: a file is missing, empty or unreadable.
    """
    boundary = secrets.token_hex(16)
    with ExitStack() as stack:
        parts = []
        for part, name, path in files:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a modality's name")
            file = stack.enter_context(open_volume(Path(path), name))
            parts.append(_part(part, name, file, Path(path), boundary))
        yield tuple(parts)


def open_volume(path: Path, modality: str) -> IO[bytes]:
    """A modality's file, open for reading.

    Raises:
        LocalFileError: it is missing, no regular file or unreadable.
    """
    subject = f"{modality} ({path})"
    try:
        if path.exists() and not path.is_file():
            raise LocalFileError(
                "is not a file", remedy="Give one NIfTI file, .nii or .nii.gz", subject=subject
            )
        return path.open("rb")
    except FileNotFoundError:
        raise LocalFileError(
            "there is no such file", remedy="Check the path", subject=subject
        ) from None
    except (OSError, ValueError) as error:
        raise _unreadable(error, subject) from None


def _part(part: str, name: str, file: IO[bytes], path: Path, boundary: str) -> Part:
    subject = f"{name} ({path})"
    try:
        size = os.fstat(file.fileno()).st_size
        start = file.read(132)
        file.seek(0)
    except OSError as error:
        raise _unreadable(error, subject) from None
    if size == 0:
        raise LocalFileError("is empty", remedy="Check how it was copied", subject=subject)
    ending, media = next(
        ((e, m) for offset, magic, e, m in _KINDS if start[offset:].startswith(magic)),
        (".nii", "application/x-nifti"),
    )
    header = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{part}"; filename="{name}{ending}"\r\n'
        f"Content-Type: {media}\r\n\r\n"
    )
    return Part(name, file, size, header.encode(), boundary)


def _read(part: Part, count: int) -> bytes:
    try:
        chunk = part.file.read(count)
    except OSError as error:
        raise _unreadable(error, part.modality) from None
    if len(chunk) != count:
        raise LocalFileError(
            "became shorter while it was sent",
            remedy="Wait until it is written completely, then try again",
            subject=part.modality,
        )
    return chunk


def _unreadable(error: Exception, subject: str) -> LocalFileError:
    reason = getattr(error, "strerror", None) or type(error).__name__
    return LocalFileError(
        f"cannot be read ({reason})",
        remedy="Check the path and its permissions",
        subject=subject,
    )
