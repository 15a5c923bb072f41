"""What a file of a heap is, by how it begins; compressed ones are looked into."""

from __future__ import annotations

import zlib
from pathlib import Path

from brainmvp_models.dicom_start import has_preamble
from brainmvp_server.imaging.formats import STARTS
from brainmvp_server.imaging.formats.front import TAR_BYTES, is_tar_start

_LOOK = 4096
"""Bytes of a compressed file that unpack to more than is looked at."""
_GZIP = b"\x1f\x8b"
_NIFTI_STARTS = (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c", b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")


def is_volume(path: Path) -> bool:
    """Whether it begins as a volume in one file does; whatever gzip packed may be one."""
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] == _GZIP or start in _NIFTI_STARTS or start in STARTS


def nifti_ending(path: Path) -> str | None:
    """What a NIfTI file's name ends in, by its content; None for what is no NIfTI file."""
    if _start(path)[:4] not in _NIFTI_STARTS:
        return None
    return ".nii.gz" if _is_packed(path) else ".nii"


def is_packed_dicom(path: Path) -> bool:
    """Whether it is a DICOM file with a preamble, compressed by gzip."""
    return _is_packed(path) and has_preamble(_start(path))


def is_tar(path: Path) -> bool:
    """Whether it is a tar archive, also one that gzip packed."""
    return is_tar_start(_start(path))


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def _start(path: Path) -> bytes:
    """The first bytes, unpacked; none where that cannot be done."""
    with path.open("rb") as file:
        start = file.read(_LOOK)
    if start[:2] != _GZIP:
        return start
    try:
        return zlib.decompressobj(wbits=31).decompress(start, TAR_BYTES)
    except zlib.error:
        return b""
