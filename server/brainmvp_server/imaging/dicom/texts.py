"""Text attributes as the standard wants them, or not at all.

Files hold values in a character set that they do not name, dates that are none, and texts longer
than an attribute may be. A value is taken where it can be read without a guess and obeys the rules
of its kind (PS3.5, section 6.2); else it is refused with a reason that does not quote it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from pydicom.charset import decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from brainmvp_server.imaging.dicom.header import as_number

_TEXT = (
    "AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UN",
    "UT", "", None,
)  # fmt: skip
"""What a text may be stored as; without a VR in implicit files."""
_DEFAULT = ("", "ISO_IR 6", "ISO 2022 IR 6")
_ALONE = ("ISO_IR 192", "GBK", "GB18030")
_MOST_BYTES = 10_240


class InvalidText(Exception):
    """Why a value cannot be used."""


def tag_of(keyword: str) -> str:
    """An attribute's name and tag, as messages show it: ``PatientID (0010,0020)``."""
    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def values_of(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of a text attribute; empty where it is absent or empty.

    Raises:
        InvalidText: it cannot be read, or breaks the rules of its value representation.
    """
    text = _decoded(dataset, keyword)
    rule = _RULES[dictionary_VR(keyword)]
    values = [part.strip(" \0") for part in text.split("\\")]
    if any(unicodedata.category(letter) == "Cc" for part in values for letter in part):
        raise InvalidText("it holds control characters")
    return tuple(rule(part) for part in values if part)


def _decoded(dataset: Dataset, keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    element: Any = dataset.get_item(tag) if tag is not None and tag in dataset else None
    if element is None or element.value is None:
        return ""
    if element.VR not in _TEXT:
        raise InvalidText(f"it is stored as {element.VR}")
    if isinstance(element, RawDataElement):
        return _characters(element.value, dataset, keyword)
    value = element.value
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)


def _characters(value: bytes, dataset: Dataset, keyword: str) -> str:
    """Bytes decoded in the character set that the file names; in UTF-8 where it names none."""
    if len(value) > _MOST_BYTES:
        raise InvalidText("it is too long")
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    if keyword == "SpecificCharacterSet":
        raise InvalidText("its characters cannot be read")
    encodings = _encodings(dataset)
    delimiters = PN_DELIMS if dictionary_VR(keyword) == "PN" else TEXT_VR_DELIMS
    text = "\ufffd" if encodings is None else decode_bytes(value, encodings, delimiters)
    if "\ufffd" in text and (encodings is None or encodings[0] == "ascii"):
        text = value.decode("utf-8", errors="replace")
    if "\ufffd" in text:
        raise InvalidText("its characters cannot be read")
    return text


def _encodings(dataset: Dataset) -> list[str] | None:
    """Python's names of the character sets a file names; None where one of them is unknown."""
    try:
        names = _decoded(dataset, "SpecificCharacterSet").split("\\")
    except InvalidText:
        return None
    known = [_character_set(name) for name in names]
    if any(name not in python_encoding for name in known):
        return None
    first = "ascii" if known[0] in _DEFAULT else python_encoding[known[0]]
    if known[0] in _ALONE:
        return [first]
    return [first, *(python_encoding[name] for name in known[1:] if name not in _ALONE)]


def _character_set(name: str) -> str:
    """A defined term, where a file has it with another separator: ``ISO IR 192``."""
    found = re.fullmatch(r"ISO[ _-]*(2022)?[ _-]*IR[ _-]*(\d+)", name.strip().upper())
    if found is None:
        return name.strip()
    return f"ISO 2022 IR {found[2]}" if found[1] else f"ISO_IR {found[2]}"


def _at_most(longest: int) -> Callable[[str], str]:
    def rule(value: str) -> str:
        if len(value) > longest:
            raise InvalidText(f"it is longer than {longest} characters")
        return value

    return rule


def _matching(pattern: str, what: str) -> Callable[[str], str]:
    expression = re.compile(pattern)

    def rule(value: str) -> str:
        if not expression.fullmatch(value):
            raise InvalidText(f"it is no {what}")
        return value

    return rule


def _name(value: str) -> str:
    groups = value.split("=")
    if len(groups) > 3 or any(len(g) > 64 or g.count("^") > 4 for g in groups):
        raise InvalidText("it is no person's name")
    return value


def _date(value: str) -> str:
    """``YYYYMMDD``; the older ``YYYY.MM.DD`` is rewritten."""
    found = re.fullmatch(r"(\d{4})(\d\d)(\d\d)|(\d{4})\.(\d\d)\.(\d\d)", value, re.ASCII)
    try:
        year, month, day = (int(part) for part in found.groups() if part) if found else (0, 0, 0)
        date(year, month, day)
    except ValueError:
        raise InvalidText("it is no date") from None
    return f"{year:04}{month:02}{day:02}"


def _time(value: str) -> str:
    """``HHMMSS.FFFFFF``, cut after any part; the older ``HH:MM:SS`` is rewritten."""
    pattern = r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(\.\d{1,6})?)?)?"
    found = re.fullmatch(pattern, value, re.ASCII)
    if found is None:
        raise InvalidText("it is no time of day")
    return "".join(part for part in found.groups() if part)


def _number(value: str) -> str:
    if len(value) > 16 or as_number(value) is None or not re.fullmatch(r"[0-9eE+.\-]+", value):
        raise InvalidText("it is no number")
    return value


_RULES: Mapping[str, Callable[[str], str]] = {
    "AS": _matching(r"[0-9]{3}[DWMY]", "age"),
    "CS": _matching(r"[A-Z0-9_ ]{1,16}", "code"),
    "DA": _date,
    "DS": _number,
    "LO": _at_most(64),
    "PN": _name,
    "SH": _at_most(16),
    "TM": _time,
    # Roots as ISO/IEC 9834-1 has them: 0 and 1 have 40 arcs each.
    "UI": _matching(r"(?=.{1,64}\Z)(([01]\.[1-3]?[0-9]|2\.[0-9]+)(\.[0-9]+)*)", "valid UID"),
}
