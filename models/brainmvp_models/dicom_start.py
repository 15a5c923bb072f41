"""How a DICOM file begins: with the preamble that the standard asks for, or without.

Some exports and archives write a data set bare. The clients carry a copy of this file, for they
import no models; a test holds the two together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

PREAMBLE_BYTES = 132
"""128 bytes of anything, then ``DICM`` (PS3.10, 7.1)."""

_FIRST_GROUPS = (0x0002, 0x0008)
"""File meta information, or where that is missing too, identification."""
_LAST_ELEMENT = 0x1000
_TYPES = {b"UL", b"OB", b"UI", b"CS", b"DA", b"TM", b"DT", b"SH", b"LO", b"SQ"}
_LONGEST_FIRST = 64
"""Bytes of the first value, where no type is given."""


def has_preamble(start: bytes) -> bool:
    """Whether a file's first ``PREAMBLE_BYTES`` are a preamble."""
    return start[PREAMBLE_BYTES - 4 : PREAMBLE_BYTES] == b"DICM"


def starts_a_data_set(start: bytes) -> bool:
    """Whether bytes without a preamble are the first element of a data set (PS3.5, 7.1)."""
    if len(start) < PREAMBLE_BYTES:
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


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do, with a preamble or without.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(PREAMBLE_BYTES)
    return has_preamble(start) or starts_a_data_set(start)
