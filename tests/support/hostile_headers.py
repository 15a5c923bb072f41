"""Headers that hold far more than their bytes look like; what is made of each is a whole file."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

MANY = 1_000_000
ENDLESS = 0xFFFFFFFF


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    start = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"SQ", b"UC", b"UN", b"OB", b"UT"):
        return start + struct.pack("<HI", 0, size) + value
    return start + struct.pack("<H", size) + value


def full_header(file: bytes) -> bytes:
    """A DICOM file, with 50,000 private elements before its patient's name."""
    private = b"".join(
        element(0x00091000 | n & 0xFFF | (n >> 12) << 17, b"LO", b"ab") for n in range(50_000)
    )
    place = file.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    return file[:place] + private + file[place:]


def untyped(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def item(inside: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(inside) if length is None else length) + inside


def file_of(path: Path, body: bytes, syntax: str = "1.2.840.10008.1.2.1") -> Path:
    uid = element(0x00020010, b"UI", syntax.encode().ljust(len(syntax) + len(syntax) % 2, b"\0"))
    path.write_bytes(bytes(128) + b"DICM" + uid + body)
    return path


IMAGE = element(0x00280010, b"US", b"\1\0") + element(0x00280011, b"US", b"\1\0")
TINY = element(0x00080100, b"SH", b"ab")
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
HOSTILE: dict[str, Callable[[], bytes]] = {
    "a million elements": lambda: b"".join(
        element((0x0009 + 2 * (n >> 15)) << 16 | 0x1000 | n & 0x7FFF, b"LO", b"ab")
        for n in range(MANY)
    ),
    "a million items": lambda: element(0x00081140, b"SQ", item(TINY) * MANY),
    "items without an end": lambda: element(
        0x00081140, b"SQ", item(TINY) * MANY + SEQUENCE_END, ENDLESS
    ),
    "empty items": lambda: element(0x00081140, b"SQ", item() * MANY),
    "items under an unknown type": lambda: element(0x00081140, b"UN", item() * MANY),
    "items of a private sequence": lambda: element(0x00091010, b"SQ", item() * MANY),
    "a deep nest": lambda: element(0x00081140, b"SQ", item(b"", ENDLESS), ENDLESS) * 1000,
    "50 MB of backslashes": lambda: element(0x00080008, b"UC", b"\\" * 50_000_000),
    "a text of 2 MB": lambda: element(0x00080008, b"UT", b"a" * 2_000_000),
}
