"""Compressed frames, decoded by imagecodecs: libjpeg-turbo, CharLS, OpenJPEG and PackBits.

Its decoders free the interpreter's lock while they work, so that a large frame, or a damaged one,
stops nobody else. pydicom's own plugins hold it for seconds; GDCM ends the whole process at some
damaged streams. A frame's own header is read first: a few bytes can claim an image of any size.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

_JPEG_SOF = {0xFFC0 + n for n in range(16)} - {0xFFC4, 0xFFC8, 0xFFCC} | {0xFFF7}
_SOC_SIZ, _SIZ_BYTES = b"\xff\x4f\xff\x51", 43
_END = b"\xff\xd9"
_MOST_PADDING = 16
_RLE_HEADER = 64


class DamagedFrame(Exception):
    """A stream that is not what its syntax or its data set says."""


@dataclass(frozen=True)
class StreamHeader:
    """What a compressed stream says of itself.

    Attributes:
        size: rows, columns.
        samples: values a pixel.
        bits: of a value.
    """

    size: tuple[int, int]
    samples: int
    bits: int


def stream_header(data: bytes) -> StreamHeader | None:
    """The header of a JPEG 2000 (ITU-T T.800, A.5.1) or JPEG frame; None where there is none."""
    if data[:4] == _SOC_SIZ and len(data) >= _SIZ_BYTES:
        right, bottom, left, top = struct.unpack(">4I", data[8:24])
        (samples,) = struct.unpack(">H", data[40:42])
        return StreamHeader((bottom - top, right - left), samples, (data[42] & 0x7F) + 1)
    place = 2
    while place + 10 <= len(data):
        marker, length = struct.unpack(">HH", data[place : place + 4])
        if marker in _JPEG_SOF:
            bits, rows, columns, samples = struct.unpack(">BHHB", data[place + 4 : place + 10])
            return StreamHeader((rows, columns), samples, bits)
        if marker < 0xFF00 or length < 2:
            return None
        place += 2 + length
    return None


def decode_frame(data: bytes, dataset: Dataset, syntax: str) -> NDArray[Any]:
    """One frame's stored values (row, column), in the type that the data set says.

    Args:
        syntax: one of :data:`SYNTAXES`.

    Raises:
        DamagedFrame: the stream has another size than the data set, or is cut off.
        Exception: the stream is damaged; what kind is the decoder's affair.
    """
    if syntax == RLELossless:
        return _run_lengths(data, dataset)
    header = stream_header(data)
    size = int(dataset.Rows), int(dataset.Columns)
    bits = int(dataset.BitsAllocated)
    if header is None or header.size != size or header.samples != 1 or header.bits > bits:
        raise DamagedFrame("its compressed pixels claim another size than its header")
    return _signed(_DECODERS[syntax](data), header, dataset)


def _signed(found: NDArray[Any], header: StreamHeader, dataset: Dataset) -> NDArray[Any]:
    """Values with the sign that the data set says.

    A JPEG knows no signs, and some JPEG 2000 streams have the wrong one: then a value is its
    lowest bits, those above are not part of it (PS3.5, 8.1.1).
    """
    size = int(dataset.BitsAllocated) // 8
    kind = "i" if dataset.PixelRepresentation else "u"
    if found.dtype.kind == kind:
        return found.astype(f"{kind}{size}", copy=False)
    spare = 8 * size - min(header.bits, int(dataset.BitsStored))
    return (found.astype(f"u{size}") << spare).view(f"{kind}{size}") >> spare


def _run_lengths(data: bytes, dataset: Dataset) -> NDArray[Any]:
    """RLE (PS3.5, G.4 and G.5): one segment for each byte of a value, the highest first."""
    from imagecodecs import packbits_decode

    size = int(dataset.BitsAllocated) // 8
    shape = int(dataset.Rows), int(dataset.Columns)
    count, *offsets = struct.unpack("<16I", data[:_RLE_HEADER])
    if count != size:
        raise DamagedFrame("its compressed pixels claim another size than its header")
    ends = [*offsets[1:size], len(data)]
    values = np.empty((*shape, size), np.uint8)
    room = values[..., 0].size + _MOST_PADDING
    for place, (start, end) in enumerate(zip(offsets, ends, strict=False)):
        segment = np.frombuffer(packbits_decode(data[start:end], out=room), np.uint8)
        values[..., size - 1 - place] = segment[: values[..., 0].size].reshape(shape)
    return values.view(f"<{'i' if dataset.PixelRepresentation else 'u'}{size}")[..., 0]


def _ended(data: bytes) -> bytes:
    """A JPEG or JPEG-LS stream that ends; some writers put a byte of anything behind its end.

    A stream that is cut off would else read as an image whose lower part is made up.

    Raises:
        DamagedFrame: it is cut off.
    """
    if _END not in data[-_MOST_PADDING:]:
        raise DamagedFrame("its compressed pixels are cut off")
    return data


def _jpeg(data: bytes) -> NDArray[Any]:
    from imagecodecs import jpeg8_decode

    found: NDArray[Any] = jpeg8_decode(_ended(data))
    return found


def _jpeg_ls(data: bytes) -> NDArray[Any]:
    """CharLS searches for seconds where a stream does not end with its marker: it gets one more."""
    from imagecodecs import jpegls_decode

    found: NDArray[Any] = jpegls_decode(_ended(data) + _END)
    return found


def _jpeg_2000(data: bytes) -> NDArray[Any]:
    from imagecodecs import jpeg2k_decode

    found: NDArray[Any] = jpeg2k_decode(data, numthreads=1)
    return found


_DECODERS: dict[str, Callable[[bytes], NDArray[Any]]] = {
    JPEGBaseline8Bit: _jpeg,
    JPEGExtended12Bit: _jpeg,
    JPEGLossless: _jpeg,
    JPEGLosslessSV1: _jpeg,
    JPEGLSLossless: _jpeg_ls,
    JPEGLSNearLossless: _jpeg_ls,
    JPEG2000Lossless: _jpeg_2000,
    JPEG2000: _jpeg_2000,
    HTJ2KLossless: _jpeg_2000,
    HTJ2KLosslessRPCL: _jpeg_2000,
    HTJ2K: _jpeg_2000,
}
SYNTAXES = frozenset({*_DECODERS, RLELossless})
"""The transfer syntaxes that are read here."""
