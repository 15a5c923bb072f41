"""Receive multipart parts: they stream to disk as they arrive.

Nothing is held in memory but the piece on its way, and nothing is written that is known to be
unwanted: an unknown or repeated part, or a body over the limit, ends the upload where it is seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Generic, TypeVar

import anyio
from anyio import CapacityLimiter
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from brainmvp_server.api.problems import (
    MalformedUpload,
    UnsupportedContentType,
    UploadTooLarge,
    UploadTooSlow,
)

T = TypeVar("T")

SEND = (
    "Send multipart/form-data with one file a modality (-F t1=@t1.nii.gz), or files to be "
    "identified (-F files=@study.zip)"
)
_MAX_PART_HEADERS = 8192
_MAX_TEXT = 65536


@dataclass(frozen=True)
class UploadLimits:
    """How large a request may be."""

    bytes: int
    parts: int
    files: int
    seconds: float


class Shelf(Generic[T]):
    """Where the parts of one kind of request belong.

    Args:
        folder: for their files.
        named: whether the parts have names; those of ``multipart/related`` have none.
    """

    send = SEND
    """The remedy where a body is no such request."""

    def __init__(self, folder: Path, limits: UploadLimits, *, named: bool) -> None:
        self.folder, self.limits, self.named = folder, limits, named

    def check_room(self) -> None:
        """Return if one more part may come.

        Raises:
            UploadTooLarge: there are enough.
        """
        raise NotImplementedError

    def check_files(self, count: int) -> None:
        """Return if a request that holds so many files may hold one more.

        Raises:
            UploadTooLarge: it may not.
        """
        if count >= self.limits.files:
            raise UploadTooLarge(
                f"the request has more than {self.limits.files} files",
                remedy="Send the series needed and nothing else",
            )

    def place(self, name: str, filename: str) -> Path:
        """The new file that a part of this name is written to.

        Raises:
            BrainMVPError: no such part is wanted.
        """
        raise NotImplementedError

    def is_text(self, name: str) -> bool:
        """Whether a part of this name is a short text, and no file."""
        return False

    def take_text(self, name: str, text: str) -> None:
        """Keep what a text says."""
        raise NotImplementedError

    def finished(self) -> T:
        """What came, once the body has ended well.

        Raises:
            MalformedUpload: something is missing.
        """
        raise NotImplementedError


async def receive(
    request: Request,
    shelf: Callable[[bool], Shelf[T]],
    limits: UploadLimits,
    disk: CapacityLimiter,
    arrived: Callable[[int], None],
) -> T:
    """Write a request's parts to their places, in the order they come, in threads of ``disk``.

    Args:
        shelf: makes the places, given whether the parts are named.
        arrived: told the bytes of each piece; may refuse it.

    Raises:
        UnsupportedContentType: the body is not multipart/form-data, or related DICOM.
        UploadTooLarge: the body, or the number of parts, is over the limit.
        MalformedUpload: the body ends early, is not well formed or holds no file.
        UploadTooSlow: the body is not there in time.
        BrainMVPError: see :meth:`Shelf.place`, or as ``arrived`` says.
    """
    try:
        with anyio.fail_after(limits.seconds):
            _check_encoding(request)
            boundary, named = _boundary(request)
            _check_length(request, limits.bytes)
            with _Receiver(shelf(named), boundary) as receiver:
                received = 0
                async for piece in _pieces(request):
                    received += len(piece)
                    arrived(len(piece))
                    if received > limits.bytes:
                        raise _too_large(limits.bytes)
                    await anyio.to_thread.run_sync(receiver.feed, piece, limiter=disk)
                return receiver.finish()
    except TimeoutError:
        raise UploadTooSlow(
            f"the upload was not over after {limits.seconds:g} s",
            remedy="Compress the volumes (.nii.gz), or ask for a higher limit",
        ) from None


@dataclass
class _Receiver(Generic[T]):
    """The parser's callbacks, and the file that the current part goes to."""

    shelf: Shelf[T]
    boundary: bytes
    _text: str | None = None
    _written: bytearray = field(default_factory=bytearray)
    _file: IO[bytes] | None = None
    _name: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _complete: bool = False

    def __enter__(self) -> _Receiver[T]:
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
            raise MalformedUpload(
                "the multipart body is not well formed", remedy=self.shelf.send
            ) from None

    def finish(self) -> T:
        """What came, once the body has ended."""
        if not self._complete:
            raise MalformedUpload("the body ends before its last part does", remedy=self.shelf.send)
        return self.shelf.finished()

    def _part_begin(self) -> None:
        self._disposition = b""
        self._name.clear()
        self._value.clear()
        self.shelf.check_room()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._check_headers()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self._name) + len(self._value) > _MAX_PART_HEADERS:
            raise MalformedUpload("a part's headers are too long", remedy=self.shelf.send)

    def _header_end(self) -> None:
        if bytes(self._name).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if self.shelf.is_text(name):
            self._text = name
            self._written.clear()
            return
        given = options.get(b"filename", b"").decode("utf-8", "replace")
        self._file = self.shelf.place(name, given).open("xb")

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
            self.shelf.take_text(self._text, self._written.decode("utf-8", "replace"))
            self._text = None
            return
        assert self._file is not None
        self._file.close()
        self._file = None

    def _end(self) -> None:
        self._complete = True


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
        raise UnsupportedContentType("the body is not multipart/form-data", remedy=SEND)
    boundary = options[b"boundary"]
    if not 0 < len(boundary) <= 70:  # RFC 2046, section 5.1.1
        raise MalformedUpload("the multipart boundary has no valid length", remedy=SEND)
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
