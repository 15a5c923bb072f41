"""What lies in a folder of a study, and what of it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainmvp_clients.errors import LocalFileError
from brainmvp_clients.score import folders
from brainmvp_clients.score.folders import FolderSource, is_dicom, study_files_in
from brainmvp_clients.score.shard import Shard
from dicom_studies import write_study


@pytest.mark.parametrize("form", ["whole", "without preamble", "without file meta information"])
def test_every_slice_of_a_series_is_sent_whatever_its_file_begins_with(
    tmp_path: Path, form: str
) -> None:
    study = write_study(tmp_path / "study", "siemens", ("t1",))
    for path in study.files[::2]:
        whole = path.read_bytes()
        meta = 144 + int.from_bytes(whole[140:144], "little")
        start = {"whole": 0, "without preamble": 132, "without file meta information": meta}[form]
        path.write_bytes(whole[start:])
    assert set(study_files_in(tmp_path / "study").files) == set(study.files)


@pytest.mark.parametrize("content", [b"", b"\x08", b"GIF89a", b"\x08\x00\x99\x00" * 40, b"{}" * 99])
def test_what_is_no_dicom_is_not_sent_as_such(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert not is_dicom(tmp_path / "file")


@pytest.mark.parametrize("name", ["t1.nii.gz", "IM0001"])
def test_the_folder_of_one_study_is_refused_with_what_to_give_instead(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LocalFileError, match="holds images itself") as caught:
        list(FolderSource(tmp_path).studies())
    assert "--only" in caught.value.remedy and "predict" in caught.value.remedy


def test_a_folder_of_studies_may_hold_other_files(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    for name in ("study/t1.nii.gz", "t1.nii.gz"):
        (tmp_path / name).write_bytes(b"voxels")
    assert [study.name for study in FolderSource(tmp_path).studies()] == ["study"]


def test_a_shard_looks_into_no_folder_but_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        (tmp_path / f"study-{number}").mkdir()
        (tmp_path / f"study-{number}" / "t1.nii").write_bytes(b"voxels")
    looked: list[str] = []
    below = folders.files_below

    def seen(folder: Path) -> list[Path]:
        looked.append(folder.name)
        return below(folder)

    monkeypatch.setattr(folders, "files_below", seen)
    shard = Shard(1, 3)
    found = [study.name for study in FolderSource(tmp_path, takes=shard.takes).studies()]
    assert found == looked == [f"study-{n}" for n in range(9) if shard.takes(f"study-{n}")]
    assert 0 < len(found) < 9
