"""``brainmvp identify``."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_clients.cli import run
from brainmvp_clients.cli.identify import packed
from dicom_studies import PLANTED, write_study


def test_a_folder_is_identified_without_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path / "study", "ge", ("t1", "t2", "swi"), part=True)
    assert run(["identify", str(tmp_path / "study"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["modality"] for one in found["volumes"]] == ["t1", "t2", None]
    assert run(["identify", str(tmp_path / "study"), "--assign", "3:t1c"]) == 0
    shown = capsys.readouterr().out
    assert "t1c" in shown and not any(word in shown for word in PLANTED)


@pytest.mark.parametrize("what", ["none", "empty", "letters"])
def test_what_is_no_study_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("Dear colleague")
    assert run(["identify", str(tmp_path / what)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_files_have_the_numbers_that_they_have_where_images_alone_are_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody asks a server what is what, and assigns here, or the other way round."""
    study, sent = tmp_path / "study", tmp_path / "sent"
    study.mkdir()
    for name in ("a_letter.txt", "b_t1.nii", ".hidden_t1.nii", "c_notes.md", "d_unknown.nii"):
        content = nib.Nifti1Image(np.arange(8.0).reshape(2, 2, 2), np.eye(4)).to_bytes()
        (study / name).write_bytes(content if name.endswith(".nii") else b"Dear colleague")
    (study / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    sent.mkdir()
    archive = packed(study, sent)

    def labels(place: Path) -> list[str]:
        assert run(["identify", str(place), "--json"]) == 0
        return [one["label"] for one in json.loads(capsys.readouterr().out)["volumes"]]

    assert labels(study) == labels(archive) == ["file 1", "file 2"]
