"""How much a DICOM file's header holds, counted before an object is made of every element.

A header of a million tiny elements, or one value of a hundred megabytes of backslashes, is not
large as a file. Made into objects it takes minutes, gigabytes, and the interpreter's lock for a
second at a time, while nobody else is answered. So a file is walked first (PS3.5, 7), element by
element, without keeping any.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydicom.datadict import dictionary_VR
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

MOST_WEIGHT = 600_000
"""Elements, and four for each item of a sequence, in a file: what holds the lock for 0.2 s. Of a
series no two headers are held together. Real ones weigh 100 to 500, those of enhanced MR 100 a
frame."""
MOST_VALUE_BYTES = 1 << 20
"""Of a value that is text or numbers; pixels and other bytes may be of any length."""
MOST_DEPTH = 32

_PREAMBLE = 132
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_TRANSFER_SYNTAX, _BIG_ENDIAN = 0x00020010, ExplicitVRBigEndian.encode()
_DEFLATED = DeflatedExplicitVRLittleEndian.encode()
_BYTES = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN"))
_LONG = _BYTES | {b"SQ", b"UC", b"UR", b"UT", b"SV", b"UV"}
_ITEM_WEIGHT = 4


class TooMuch(Exception):
    """More in a header than is read; the text says of what."""


@dataclass
class _Level:
    """A data set, or a sequence, that is being walked.

    Attributes:
        end: where it ends at the latest.
        explicit: whether its elements say their types; None until the first one is seen.
        items: whether it is a sequence: its parts are items, no elements.
        fragments: whether its items are bytes, no data sets.
    """

    end: int
    explicit: bool | None = None
    items: bool = False
    fragments: bool = False


def check_extent(path: Path) -> int:
    """Walk a file; what it weighs. Of a deflated one only its own group is walked.

    A file that cannot be walked to its end is none of our business: whoever reads it will say so.

    Raises:
        TooMuch: more elements and items, a longer value or a deeper nest than is read.
    """
    with path.open("rb") as file:
        if path.stat().st_size <= _PREAMBLE:
            return 0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Walk(data, _PREAMBLE if data[128:_PREAMBLE] == b"DICM" else 0).weight()


def check_content(content: bytes) -> int:
    """The same for a data set in memory, of explicit type and little endian.

    Raises:
        TooMuch: see :func:`check_extent`.
    """
    return _Walk(content, 0).weight()


class _Walk:
    """One walk through a file's bytes."""

    def __init__(self, data: mmap.mmap | bytes, start: int) -> None:
        self._data = data
        self._order = "<"  # of a file's own group, always
        self._order_behind = "<"
        self._deflated = False
        self._place = start
        self._levels = [_Level(len(data))]

    def weight(self) -> int:
        weight = 0
        try:
            while self._levels:
                level = self._levels[-1]
                if self._place + 8 > level.end:
                    self._place = max(self._place, level.end)
                    self._levels.pop()
                    continue
                if self._deflated and self._data[self._place : self._place + 2] != b"\2\0":
                    break
                weight += self._item(level) if level.items else self._element(level)
                if weight > MOST_WEIGHT:
                    raise TooMuch("elements")
        except struct.error:
            pass
        return weight

    def _item(self, level: _Level) -> int:
        """Step into an item, or out of its sequence."""
        tag, length = self._tag(), self._unpack("L", 4)
        self._place += 8
        if tag != _ITEM:
            self._levels.pop()
            return 0
        if level.fragments:
            self._place += 0 if length == _UNDEFINED else length
            return 0
        self._enter(_Level(self._end(length)))
        return _ITEM_WEIGHT

    def _element(self, level: _Level) -> int:
        """Step over an element, or into its sequence."""
        tag = self._tag()
        if tag in (_ITEM_END, _SEQUENCE_END):
            self._place += 8
            self._levels.pop()
            return 0
        kind, length = self._head(level, tag)
        if tag == _TRANSFER_SYNTAX:
            value = self._data[self._place : self._place + min(length, 64)]
            self._order_behind = ">" if value.rstrip(b"\0 ") == _BIG_ENDIAN else "<"
            self._deflated = value.rstrip(b"\0 ") == _DEFLATED
        sequence = kind == b"SQ" or (length == _UNDEFINED and kind == b"UN")
        if sequence or length == _UNDEFINED:
            self._enter(_Level(self._end(length), items=True, fragments=not sequence))
        elif kind not in _BYTES and length > MOST_VALUE_BYTES:
            raise TooMuch("bytes of one value")
        else:
            self._place += length
        return 1

    def _head(self, level: _Level, tag: int) -> tuple[bytes, int]:
        """An element's type and length; its value begins where we are then.

        Elements that say no type have the dictionary's. So have those of type UN: they are read
        like that.
        """
        data, place = self._data, self._place
        kind = data[place + 4 : place + 6]
        typed = kind.isalpha() and kind.isupper()
        explicit = typed if level.explicit is None else level.explicit
        if tag >> 16 != 2:
            level.explicit = explicit
        if typed and explicit:
            if kind in _LONG:
                self._place += 12
                length = self._unpack("L", -4)
            else:
                self._place += 8
                length = self._unpack("H", -2)
            return (_known(tag) if kind == b"UN" else kind), length
        self._place += 8
        return _known(tag), self._unpack("L", -4)

    def _enter(self, level: _Level) -> None:
        if len(self._levels) > 2 * MOST_DEPTH:
            raise TooMuch("nested sequences")
        self._levels.append(level)

    def _end(self, length: int) -> int:
        outer = self._levels[-1].end
        return outer if length == _UNDEFINED else min(outer, self._place + length)

    def _tag(self) -> int:
        if (
            self._order != self._order_behind
            and self._data[self._place : self._place + 2] != b"\2\0"
        ):
            self._order = self._order_behind
        group, element = struct.unpack_from(f"{self._order}HH", self._data, self._place)
        return int(group << 16 | element)

    def _unpack(self, kind: str, at: int) -> int:
        (value,) = struct.unpack_from(f"{self._order}{kind}", self._data, self._place + at)
        return int(value)


@lru_cache(maxsize=8192)
def _known(tag: int) -> bytes:
    try:
        return dictionary_VR(tag)[:2].encode()
    except KeyError:
        return b"UN"
