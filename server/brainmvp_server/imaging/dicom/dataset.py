"""A file to a data set, without trust.

Files come with the 128 bytes of preamble that the standard asks for, or without, as some exports
and archives write them. A deflated file could unpack to anything: it is inflated up to a bound.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path

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

from brainmvp_models.dicom_start import PREAMBLE_BYTES, has_preamble, starts_a_data_set
from brainmvp_server.imaging.dicom.extent import check_content

_META_LENGTH_ELEMENT = 12
_MOST_INFLATED = 512 << 20
_MOST_RATIO = 250
"""Bytes that a deflated byte may unpack to, as in zips; deflate could reach 1032."""


class UnreadableFile(Exception):
    """Why a file's data set cannot be read, and where in the code, if that is known.

    It says nothing of what the file holds.
    """


def open_dataset(path: Path, *, stop_before_pixels: bool = False) -> Dataset:
    """A file's data set; its transfer syntax is always known.

    Raises:
        UnreadableFile: it is no DICOM, or deflated and unpacks to too much.
        TooMuch: it is deflated and holds too much.
    """
    with path.open("rb") as file:
        whole = has_preamble(file.read(PREAMBLE_BYTES))
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
    if not starts_a_data_set(content[:PREAMBLE_BYTES]):
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
        file.seek(PREAMBLE_BYTES + _META_LENGTH_ELEMENT + int(length))
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
