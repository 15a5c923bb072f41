"""NIfTI files of a heap: what their names say is used, and why one is nobody's is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.intake import Intake, IntakeOptions, take_in
from brainmvp_server.results.findings import Findings


def taken(folder: Path, *names: str, **options: object) -> Intake:
    files = []
    for name in names:
        path = folder / str(len(files))
        path.write_bytes(np.int32(348).tobytes() + bytes(400))
        files.append(Unpacked(path, name))
    return take_in(files, folder, IntakeOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("T1_Gd.nii.gz", "t1c"),
        ("T1-post.nii.gz", "t1c"),
        ("sub-01_ce-gadolinium_T1w.nii.gz", "t1c"),
        ("t1_reg_to_flair.nii.gz", None),
        ("sub-01_T2w_space-T1w.nii.gz", None),
        ("t1_seg.nii.gz", None),
    ],
)
def test_a_file_is_what_its_whole_name_says_or_nobodys_with_the_reason_and_the_remedy(
    tmp_path: Path, name: str, modality: str | None
) -> None:
    intake = taken(tmp_path, name)
    assert [m.value for m in intake.sources()] == ([modality] if modality else [])
    volume = Findings.of_all(intake).volumes[0]
    assert (volume.modality, volume.used) == (modality and Modality(modality), bool(modality))
    if modality is None:
        assert "its name says" in volume.reason and "assign=file 1:MODALITY" in volume.reason


def test_a_file_whose_name_is_nobodys_is_what_the_user_says(tmp_path: Path) -> None:
    intake = taken(tmp_path, "t1_reg_to_flair.nii", assigned={"file 1": Modality.T1})
    assert list(intake.sources()) == [Modality.T1]
