"""The listener's folder after whatever a kill, a lost disk or a curious hand left in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from brainmvp_clients.pacs.spool import Spool
from brainmvp_clients.pacs.storage_scp import write_durably
from brainmvp_clients.score.ledger import StudyState
from dicom_studies import Study as Written


def folder_of(root: Path, study: Written) -> Path:
    return root / hashlib.sha256(study.uid.encode()).hexdigest()[:32]


def spooled(root: Path, study: Written) -> Path:
    """A study as the listener keeps it."""
    folder = folder_of(root, study)
    folder.mkdir(parents=True)
    for number, path in enumerate(study.files):
        shutil.copyfile(path, folder / f"{number:04d}.dcm")
    (folder / "study.json").write_text(json.dumps(study.uid))
    return folder


def words(content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "study.json").write_bytes(content) and None


def without_images_that_know(folder: Path) -> None:
    (folder / "study.json").unlink()
    for path in folder.glob("*.dcm"):
        path.write_bytes(b"no image")


def in_place_of_it(entry: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        shutil.rmtree(folder)
        entry(folder)

    return make


# What happened to one folder, and whether its study is still offered; the other one always is.
DAMAGES: dict[str, tuple[Callable[[Path], None], bool]] = {
    "as it was": (lambda folder: None, True),
    "no word whose": (lambda folder: (folder / "study.json").unlink(), True),
    "an empty word": (words(b""), True),
    "half a word": (words(b'"1.2.'), True),
    "bytes": (words(b"\xff\x00\xff"), True),
    "another kind of word": (words(b"[1, 2]"), True),
    "another study's word": (words(b'"1.2.3"'), True),
    "images that do not know": (without_images_that_know, False),
    "a file": (in_place_of_it(lambda path: path.write_bytes(b"?")), False),
    "an empty folder": (in_place_of_it(Path.mkdir), False),
    "a link to nowhere": (in_place_of_it(lambda path: path.symlink_to("nowhere")), False),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_stops_neither_the_listener_nor_the_other_studies(
    damage: str, dicom_files: tuple[Written, ...], tmp_path: Path
) -> None:
    damaged, whole = dicom_files[:2]
    apply, offered = DAMAGES[damage]
    apply(spooled(tmp_path, damaged))
    spooled(tmp_path, whole)
    seen = passes(tmp_path)
    assert seen == ({damaged.uid, whole.uid} if offered else {whole.uid})


def passes(root: Path) -> set[str]:
    """What a new listener offers while it looks at every folder twice."""
    stop, seen = threading.Event(), list[str]()
    spool = Spool(root, stop, quiet=0.0, again=0.0)
    for study in spool.studies():
        seen.append(study.name)
        if seen.count(study.name) == 2:
            stop.set()
    return set(seen)


def test_what_the_images_say_is_written_down_again(
    dicom_files: tuple[Written, ...], tmp_path: Path
) -> None:
    folder = spooled(tmp_path, dicom_files[0])
    (folder / "study.json").unlink()
    assert passes(tmp_path) == {dicom_files[0].uid}
    assert json.loads((folder / "study.json").read_text()) == dicom_files[0].uid


def test_a_folder_that_was_half_removed_is_no_new_study(
    dicom_files: tuple[Written, ...], tmp_path: Path
) -> None:
    """A kill while an old study was removed: its rest would be scored as a study of its own."""
    whole, gone = dicom_files[:2]
    spooled(tmp_path, whole)
    folder = spooled(tmp_path, gone)
    old = folder.rename(folder.with_suffix(".old"))
    assert passes(tmp_path) == {whole.uid}
    assert not old.exists()


def test_an_old_study_goes_whole_and_only_once_it_has_ended(
    dicom_files: tuple[Written, ...], tmp_path: Path
) -> None:
    old, new = dicom_files[:2]
    folder = spooled(tmp_path, old)
    spooled(tmp_path, new)
    stop = threading.Event()
    spool = Spool(tmp_path, stop, quiet=0.0, again=0.0, keep=0.0)
    rounds = 0
    for study in spool.studies():
        if study.name == old.uid:
            spool.ended(study, StudyState.DONE)
        else:
            rounds += 1
        if rounds == 2:
            stop.set()
    assert [path for path in tmp_path.iterdir() if path.stem == folder.name] == []


def test_an_image_is_on_disk_with_the_folder_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_durably(tmp_path / "image.dcm", b"bytes")
    assert synced[0].endswith(".partial") and synced[1] == tmp_path.name
    assert (tmp_path / "image.dcm").read_bytes() == b"bytes"


def test_nobody_but_the_owner_may_look_at_what_was_received(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", threading.Event())
    folder = spool._folder("1.2.3")
    spool._begin(folder, "1.2.3")
    write_durably(folder / "image.dcm", b"bytes")
    paths = [tmp_path / "spool", *(tmp_path / "spool").rglob("*")]
    assert len(paths) == 4
    for path in paths:
        assert path.stat().st_mode & 0o077 == 0, path
