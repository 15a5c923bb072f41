"""Receive a study: multipart parts stream to disk as they arrive.

A part is named by its modality, or ``files`` for whatever is to be identified; the parts of
``multipart/related`` (DICOMweb's way to send objects) have no names and are all of the latter kind.
Nothing is held in memory but the piece on its way, and nothing is written that is known to be
unwanted: an unknown or repeated part, or a body over the limit, ends the upload where it is seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import anyio
from anyio import CapacityLimiter
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from brainmvp_models.errors import DuplicateModality, UnknownModality
from brainmvp_models.modality import Modality, parse_modality
from brainmvp_models.nearest import nearest
from brainmvp_server.api.problems import (
    InvalidQuery,
    MalformedUpload,
    UnsupportedContentType,
    UploadTooLarge,
    UploadTooSlow,
)
from brainmvp_server.api.query import declared
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.inference.checked_study import BRAIN

_SEND = (
    "Send multipart/form-data with one file a modality (-F t1=@t1.nii.gz), or files to be "
    "identified (-F files=@study.zip)"
)
FILES = "files"
"""The name of parts that are to be identified."""
_LIKE_FILES = (
    "file", "study", "scan", "scans", "image", "images", "dicom", "nifti", "zip", "upload",
)  # fmt: skip
"""What people call the parts that are to be called ``files``."""
_MAX_PART_HEADERS = 8192
_MAX_TEXT = 65536


@dataclass(frozen=True)
class PartNames:
    """What a call's parts are called, where they are not a study's.

    Attributes:
        files: parts that are to be identified.
        texts: parts that are short texts.
        studyless: whether the body may hold no file.
    """

    files: frozenset[str]
    texts: frozenset[str]
    studyless: bool = False


@dataclass(frozen=True)
class Upload:
    """A study as it came.

    Attributes:
        parts: the files that were named by their modality, in the order they came.
        brain: the part of that name, a brain mask.
        files: those to be identified, each with the name its sender gave it, for telling modalities
            apart; it may name a patient and is not to be logged.
        texts: the parts that are texts, where the call has such.
    """

    parts: dict[Modality, Path]
    files: tuple[Unpacked, ...] = ()
    brain: Path | None = None
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class UploadLimits:
    """How large a request may be."""

    bytes: int
    parts: int
    files: int
    seconds: float


async def receive_study(
    request: Request,
    folder: Path,
    limits: UploadLimits,
    disk: CapacityLimiter,
    names: PartNames | None = None,
) -> Upload:
    """Write the request's parts into ``folder``, in the order they come, in threads of ``disk``.

    Args:
        names: what the parts are called; None for a study's, by modality or ``files``.

    Raises:
        UnsupportedContentType: the body is not multipart/form-data, or related DICOM.
        UploadTooLarge: the body, or the number of parts, is over the limit.
        MalformedUpload: the body ends early, is not well formed or holds no file.
        UploadTooSlow: the body is not there in time.
        UnknownModality, DuplicateModality: a part's name is none, or came before.
        InvalidQuery: a part is a parameter.
    """
    try:
        with anyio.fail_after(limits.seconds):
            return await _received(request, folder, limits, disk, names)
    except TimeoutError:
        raise UploadTooSlow(
            f"the upload was not over after {limits.seconds:g} s",
            remedy="Compress the volumes (.nii.gz), or ask for a higher limit",
        ) from None


async def _received(
    request: Request,
    folder: Path,
    limits: UploadLimits,
    disk: CapacityLimiter,
    names: PartNames | None,
) -> Upload:
    _check_encoding(request)
    boundary, named = _boundary(request)
    _check_length(request, limits.bytes)
    parameters = tuple(declared(request) or ())
    with _Receiver(folder, boundary, limits, named, parameters, names) as receiver:
        received = 0
        async for piece in _pieces(request):
            received += len(piece)
            if received > limits.bytes:
                raise _too_large(limits.bytes)
            await anyio.to_thread.run_sync(receiver.feed, piece, limiter=disk)
        return receiver.finish()


@dataclass
class _Receiver:
    """The parser's callbacks, and the file that the current part goes to."""

    folder: Path
    boundary: bytes
    limits: UploadLimits
    named: bool
    parameters: tuple[str, ...] = ()
    names: PartNames | None = None
    parts: dict[Modality, Path] = field(default_factory=dict)
    files: list[Unpacked] = field(default_factory=list)
    brain: Path | None = None
    texts: dict[str, str] = field(default_factory=dict)
    _text: str | None = None
    _written: bytearray = field(default_factory=bytearray)
    _file: IO[bytes] | None = None
    _name: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _complete: bool = False

    def __enter__(self) -> _Receiver:
        self._parser = MultipartParser(
            self.boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def feed(self, piece: bytes) -> None:
        """Parse the next piece of the body."""
        try:
            self._parser.write(piece)
        except FormParserError:
            raise MalformedUpload("the multipart body is not well formed", remedy=_SEND) from None

    def finish(self) -> Upload:
        """What came, once the body has ended."""
        if not self._complete:
            raise MalformedUpload("the body ends before its last part does", remedy=_SEND)
        if self.names is not None and self.names.studyless:
            return Upload(self.parts, tuple(self.files), self.brain, self.texts)
        if not self.parts and not self.files:
            what = "file" if self.brain is None else "series beside the brain mask"
            raise MalformedUpload(f"the request holds no {what}", remedy=_SEND)
        return Upload(self.parts, tuple(self.files), self.brain, self.texts)

    def _part_begin(self) -> None:
        self._disposition = b""
        self._name.clear()
        self._value.clear()
        if len(self.parts) >= self.limits.parts:
            raise UploadTooLarge(
                f"the request has more than {self.limits.parts} parts",
                remedy="Send one file a modality",
            )
        if len(self.files) >= self.limits.files:
            raise UploadTooLarge(
                f"the request has more than {self.limits.files} files",
                remedy="Send the series needed and nothing else",
            )

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._check_headers()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self._name) + len(self._value) > _MAX_PART_HEADERS:
            raise MalformedUpload("a part's headers are too long", remedy=_SEND)

    def _header_end(self) -> None:
        if bytes(self._name).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if self.names is not None and name in self.names.texts:
            self._text = name
            self._written.clear()
            return
        if self._is_to_be_identified(name):
            path = self.folder / f"{FILES}-{len(self.files):06d}"
            given = options.get(b"filename", b"").decode("utf-8", "replace")
            self.files.append(Unpacked(path, given))
            self._file = path.open("xb")
            return
        if name == BRAIN:
            if self.brain is not None:
                raise MalformedUpload(
                    "the part 'brain' came twice", remedy="Send one mask of the brain"
                )
            self.brain = self.folder / BRAIN
            self._file = self.brain.open("xb")
            return
        modality = part_modality(name, self.parameters)
        if modality in self.parts:
            raise DuplicateModality(
                "the modality was sent twice",
                remedy="Send each modality once",
                subject=modality.value,
            )
        self.parts[modality] = self.folder / modality.value
        self._file = self.parts[modality].open("xb")

    def _is_to_be_identified(self, name: str) -> bool:
        if self.names is None:
            return name == FILES or not self.named
        if name in self.names.files:
            return True
        known = ", ".join(sorted(self.names.files | self.names.texts))
        raise MalformedUpload(
            "the request has a part that this call does not take", remedy=f"It takes: {known}"
        )

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._text is not None:
            self._written += data[start:end]
            if len(self._written) > _MAX_TEXT:
                raise UploadTooLarge(
                    f"the part {self._text} is longer than {_MAX_TEXT} bytes",
                    remedy="Send files as files",
                )
            return
        assert self._file is not None
        self._file.write(memoryview(data)[start:end])

    def _part_end(self) -> None:
        if self._text is not None:
            self.texts[self._text] = self._written.decode("utf-8", "replace")
            self._text = None
            return
        assert self._file is not None
        self._file.close()
        self._file = None

    def _end(self) -> None:
        self._complete = True


def part_modality(name: str, parameters: Collection[str]) -> Modality:
    """The modality that a part is named by.

    Raises:
        UnknownModality: it is none; the remedy is for what people write instead.
        InvalidQuery: it is one of the call's ``parameters``, which belong into the address.
    """
    if name in parameters:
        raise InvalidQuery(
            f"'{name}' came as a part of the body, and is a parameter",
            remedy=f"Write it into the address: ?{name}=VALUE",
        )
    bare = name.removesuffix("[]")
    try:
        modality = parse_modality(bare)
    except UnknownModality as error:
        if (bare != name and bare == FILES) or bare.lower() in _LIKE_FILES:
            raise _misnamed(FILES) from None
        raise UnknownModality(
            error.problem,
            remedy=f"{_meant(bare, parameters)}{error.remedy}; or call it {FILES} to have it "
            "identified",
        ) from None
    if bare != name:
        raise _misnamed(bare)
    return modality


def _meant(name: str, parameters: Collection[str]) -> str:
    """A question after the parameter or the modality that a name is like; else nothing."""
    near = nearest(name.lower(), [*parameters, *(modality.value for modality in Modality)])
    if near is None:
        return ""
    place = f", in the address: ?{near}=VALUE" if near in parameters else ""
    return f"Did you mean {near}{place}? "


def _misnamed(name: str) -> UnknownModality:
    return UnknownModality(
        "a part's name is not a modality", remedy=f"Call the part '{name}', and nothing more"
    )


def _check_encoding(request: Request) -> None:
    """Refuse a body that is compressed as a whole (RFC 9110, section 8.4)."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedContentType(
            "the body is compressed as a whole (Content-Encoding)",
            remedy="Send it without; the files in it may be compressed (.nii.gz)",
        )


def _boundary(request: Request) -> tuple[bytes, bool]:
    """The boundary, and whether the parts are named."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    related = kind == b"multipart/related" and options.get(b"type") == b"application/dicom"
    if (kind == b"multipart/form-data" or related) and b"boundary" not in options:
        raise UnsupportedContentType(
            "the content type names no boundary between the parts",
            remedy="Set no Content-Type yourself: what builds the body, such as curl -F or "
            "requests' files=, adds it with the boundary",
        )
    if kind != b"multipart/form-data" and not related:
        raise UnsupportedContentType("the body is not multipart/form-data", remedy=_SEND)
    boundary = options[b"boundary"]
    if not 0 < len(boundary) <= 70:  # RFC 2046, section 5.1.1
        raise MalformedUpload("the multipart boundary has no valid length", remedy=_SEND)
    return boundary, not related


def _check_length(request: Request, max_bytes: int) -> None:
    """Refuse an upload that says itself that it is too large, before it is read."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(
        f"the request is larger than the limit of {max_bytes / 1e6:.0f} MB",
        remedy="Compress the volumes (.nii.gz), or ask for a higher limit",
    )


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise MalformedUpload("the client left during the upload", remedy="Send it again") from None
