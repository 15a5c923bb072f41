"""How much a header may hold: counted as pydicom reads it, and refused before it stops anybody."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom import data as examples
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from brainmvp_server.imaging.dicom.extent import MOST_WEIGHT, TooMuch, check_extent
from brainmvp_server.imaging.dicom.files import scan
from dicom_frames import longest_hold_s

FOLDER = Path(examples.__file__).parent / "test_files"
MANY = 1_000_000
ENDLESS = 0xFFFFFFFF


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    start = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"SQ", b"UC", b"UN", b"OB", b"UT"):
        return start + struct.pack("<HI", 0, size) + value
    return start + struct.pack("<H", size) + value


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


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_header_that_holds_too_much_is_unreadable_and_stops_nobody(
    tmp_path: Path, kind: str
) -> None:
    path = file_of(tmp_path / "x.dcm", HOSTILE[kind]() + IMAGE)
    found = []
    assert longest_hold_s(lambda: found.append(scan([path]))) < 0.2
    assert (found[0].unreadable, found[0].instances) == (1, ())


def test_untyped_elements_are_counted_as_well(tmp_path: Path) -> None:
    body = b"".join(untyped(0x00080005 + n % 9, b"ab") for n in range(MANY))
    with pytest.raises(TooMuch):
        check_extent(file_of(tmp_path / "x.dcm", body, "1.2.840.10008.1.2"))


def test_elements_of_the_file_s_own_group_are_counted_as_well(tmp_path: Path) -> None:
    body = element(0x00020013, b"SH", b"ab") * MANY
    with pytest.raises(TooMuch):
        check_extent(file_of(tmp_path / "x.dcm", body))


def test_bytes_may_be_of_any_length(tmp_path: Path) -> None:
    body = element(0x7FE00010, b"OB", bytes(3_000_000))
    assert check_extent(file_of(tmp_path / "x.dcm", body)) == 2


def weight(dataset: Dataset) -> int:
    inside = sum(4 + weight(one) for e in dataset if e.VR == "SQ" for one in e.value)
    return len(dataset) + inside


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "UN_sequence.dcm",
        "dicomdirtests/DICOMDIR-bigEnd",
        "dicomdirtests/DICOMDIR-implicit",
        "reportsi.dcm",
        "nested_priv_SQ.dcm",
        "rtplan.dcm",
    ],
)
def test_real_files_weigh_what_pydicom_finds_in_them(name: str) -> None:
    dataset = pydicom.dcmread(FOLDER / name)
    assert check_extent(FOLDER / name) == pytest.approx(
        weight(dataset) + len(dataset.file_meta), abs=1
    )


def test_no_real_file_is_near_the_limit(real_data: Callable[[str], Path]) -> None:
    for path in real_data("dicom").rglob("*.dcm"):
        meta = pydicom.filereader.read_file_meta_info(path)
        if meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
            assert check_extent(path) < MOST_WEIGHT / 10
