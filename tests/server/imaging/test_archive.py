"""Zips as they come, and zips made to do harm."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainmvp_models.errors import ArchiveTooLarge, InvalidArchive
from brainmvp_server.imaging.archive import ArchiveLimits, is_zip, unpack

FILES = {"study/t1/1.dcm": b"one" * 1000, "study/t1/2.dcm": b"two", "Doe^Jane.nii": b"three"}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def entry(name: str, mode: int = 0o644, content: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return buffer.getvalue()


class Place:
    """A folder to unpack into, and a way to send bytes there."""

    def __init__(self, root: Path) -> None:
        self.path, self.folder = root / "study.zip", root / "out"
        self.folder.mkdir()

    def unpack(self, data: bytes, **limits: int) -> dict[str, bytes]:
        self.path.write_bytes(data)
        done = unpack(self.path, self.folder, ArchiveLimits(**limits), subject="files")
        return {file.name: file.path.read_bytes() for file in done}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_files_come_out_whole_in_order_under_numbers_of_our_own(place: Place) -> None:
    data = zipped({"study/": b"", **FILES, "__MACOSX/study/._1.dcm": b"litter"})
    assert place.unpack(data) == {Path(name).name: body for name, body in FILES.items()}
    names = sorted(path.name for path in place.folder.iterdir())
    assert names == ["000000", "000001", "000002"]
    assert is_zip(place.path)


HOSTILE = {
    "climbs out": (entry("../../evil"), "points outside"),
    "climbs out backwards": (entry("a\\..\\..\\evil"), "points outside"),
    "absolute": (entry("/etc/passwd"), "points outside"),
    "drive": (entry("C:evil"), "points outside"),
    "link": (entry("a", stat.S_IFLNK | 0o777, b"/etc/passwd"), "link"),
    "device": (entry("a", stat.S_IFCHR | 0o666), "link or a device"),
    "pipe": (entry("a", stat.S_IFIFO | 0o666), "link or a device"),
    "bzip2": (zipped(FILES, zipfile.ZIP_BZIP2), "other than deflate"),
    "lzma": (zipped(FILES, zipfile.ZIP_LZMA), "other than deflate"),
    "empty": (zipped({}), "no file"),
    "folders alone": (zipped({"a/": b""}), "no file"),
    "no zip": (b"PK\x03\x04 but nothing else", "no zip"),
    "cut": (zipped(FILES)[:-30], "no zip"),
    "damaged": (zipped(FILES).replace(b"one", b"eno", 1), "no zip"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_damaged_archive_is_refused_and_leaves_nothing(
    place: Place, name: str
) -> None:
    data, reason = HOSTILE[name]
    if name == "damaged":
        data = zipped(FILES, zipfile.ZIP_STORED).replace(b"two", b"owt", 1)
    with pytest.raises(InvalidArchive, match=reason) as caught:
        place.unpack(data)
    assert caught.value.subject == "files"
    assert list(place.folder.iterdir()) == []


def test_an_encrypted_archive_is_refused(place: Place) -> None:
    data = bytearray(zipped({"a": b"x" * 100}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    with pytest.raises(InvalidArchive, match="encrypted"):
        place.unpack(bytes(data))


def test_a_bomb_is_refused_before_anything_is_written(place: Place) -> None:
    bomb = zipped({"zeros": bytes(64 << 20)})
    assert len(bomb) < 100_000
    with pytest.raises(ArchiveTooLarge, match="more than is allowed"):
        place.unpack(bomb)
    with pytest.raises(ArchiveTooLarge):
        place.unpack(zipped({"a": b"0123456789"}, zipfile.ZIP_STORED), bytes=9)


def test_a_bomb_that_lies_about_its_size_is_stopped_on_the_way(place: Place) -> None:
    data = bytearray(zipped({"zeros": bytes(64 << 20)}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place_of = data.index(signature) + offset
        data[place_of : place_of + 4] = struct.pack("<I", 1000)
    with pytest.raises((ArchiveTooLarge, InvalidArchive)):
        place.unpack(bytes(data))
    assert list(place.folder.iterdir()) == []


def test_entries_that_share_one_body_are_a_bomb_too(place: Place) -> None:
    """All directory entries point at one packed body, as in D. Fifield's 'better zip bomb'."""
    body = zipped({"a": bytes(100_000)})
    start = body.index(b"PK\x01\x02")
    end = body.index(b"PK\x05\x06")
    record, count = body[start:end], 500
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(record) * count, start, 0)
    with pytest.raises(ArchiveTooLarge):
        place.unpack(body[:start] + record * count + tail)


def test_too_many_entries_are_refused_before_the_directory_is_held_in_memory(
    place: Place,
) -> None:
    data = zipped({str(number): b"" for number in range(30)})
    with pytest.raises(ArchiveTooLarge, match="30 entries, more than 29"):
        place.unpack(data, entries=29)
    many = zipped({f"{number:0200d}": b"" for number in range(8000)})
    with pytest.raises(InvalidArchive):
        place.unpack(many, entries=10)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=8)), max_size=6)
)
def test_no_damage_gets_anything_but_a_refusal(
    edits: list[tuple[int, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(zipped(FILES))
    for where, what in edits:
        where %= len(data)
        data[where : where + len(what)] = what
    place = Place(tmp_path_factory.mktemp("zip"))
    try:
        place.unpack(bytes(data))
    except (InvalidArchive, ArchiveTooLarge):
        assert list(place.folder.iterdir()) == []
