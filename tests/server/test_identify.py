"""``brainmvp identify``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brainmvp_clients.cli import run
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
