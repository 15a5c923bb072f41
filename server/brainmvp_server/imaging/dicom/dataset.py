"""A file to a data set, without trust.

Files come with the 128 bytes of preamble that the standard asks for, or without, as some exports
and archives write them. A deflated file could unpack to anything: it is inflated up to a bound.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Literal

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from brainmvp_server.imaging.dicom.extent import check_content

_PREAMBLE = 132
_META_LENGTH_ELEMENT = 12
_MOST_INFLATED = 512 << 20
_MOST_RATIO = 250
"""Bytes that a deflated byte may unpack to, as in zips; deflate could reach 1032."""
_FIRST_GROUPS = (0x0002, 0x0008)
"""File meta information, or where that is missing too, identification."""
_LAST_ELEMENT = 0x1000
_TYPES = {b"UL", b"OB", b"UI", b"CS", b"DA", b"TM", b"DT", b"SH", b"LO", b"SQ"}
_LONGEST_FIRST = 64
"""Bytes of the first value, where no type is given."""


class UnreadableFile(Exception):
    """Why a file's data set cannot be read, and where in the code, if that is known.

    It says nothing of what the file holds.
    """


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do, with a preamble or without."""
    with path.open("rb") as file:
        start = file.read(_PREAMBLE)
    return start[128:] == b"DICM" or _starts_a_data_set(start)


def _starts_a_data_set(start: bytes) -> bool:
    """Whether bytes without a preamble are the first element of a data set (PS3.5, 7.1)."""
    if len(start) < _PREAMBLE:
        return False
    order: Literal["little", "big"]
    for order in ("little", "big"):
        group, element = (int.from_bytes(start[at : at + 2], order) for at in (0, 2))
        if group not in _FIRST_GROUPS or element > _LAST_ELEMENT:
            continue
        if start[4:6] in _TYPES:
            return True
        length = int.from_bytes(start[4:8], "little")
        return order == "little" and group == _FIRST_GROUPS[1] and length <= _LONGEST_FIRST
    return False


def open_dataset(path: Path, *, stop_before_pixels: bool = False) -> Dataset:
    """A file's data set; its transfer syntax is always known.

    Raises:
        UnreadableFile: it is no DICOM, or deflated and unpacks to too much.
        TooMuch: it is deflated and holds too much.
    """
    with path.open("rb") as file:
        whole = file.read(_PREAMBLE)[128:] == b"DICM"
    if not whole:
        return _without_preamble(path, stop_before_pixels)
    try:
        meta = read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            return _inflated(path, meta, stop_before_pixels)
        dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    except InvalidDicomError:
        raise UnreadableFile("it is no DICOM") from None
    return _with_syntax(dataset)


def _without_preamble(path: Path, stop_before_pixels: bool) -> Dataset:
    content = path.read_bytes()
    if not _starts_a_data_set(content[:_PREAMBLE]):
        raise UnreadableFile("it is no DICOM")
    # pydicom would inflate it to whatever it unpacks to.
    if DeflatedExplicitVRLittleEndian.encode() in content:
        raise UnreadableFile("it is deflated, and has no preamble")
    return _with_syntax(
        pydicom.dcmread(io.BytesIO(content), force=True, stop_before_pixels=stop_before_pixels)
    )


def _inflated(path: Path, meta: FileMetaDataset, stop_before_pixels: bool) -> Dataset:
    length = meta.get("FileMetaInformationGroupLength")
    if length is None:
        raise UnreadableFile("it is deflated, and does not say from where (0002,0000)")
    with path.open("rb") as file:
        file.seek(_PREAMBLE + _META_LENGTH_ELEMENT + int(length))
        packed = file.read()
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(packed, min(_MOST_INFLATED, _MOST_RATIO * len(packed)) + 1)
    except zlib.error:
        raise UnreadableFile("it is deflated, and damaged") from None
    if not unpacker.eof:
        raise UnreadableFile("it is deflated, and ends early or unpacks to more than is allowed")
    check_content(content)
    dataset = pydicom.dcmread(
        io.BytesIO(content), force=True, stop_before_pixels=stop_before_pixels
    )
    dataset.file_meta = meta
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _with_syntax(dataset: pydicom.FileDataset) -> Dataset:
    """A data set with its transfer syntax, which without file meta information is how it reads."""
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        plain = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else plain
    return dataset
