"""What lies in a folder of a study, and what of it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainmvp_clients.score.folders import is_dicom, study_files_in
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
