"""The studies that other tests are made of are themselves good DICOM."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_studies import CONTRASTS, VENDORS, write_study


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_a_made_study_breaks_no_rule_of_the_standard(
    tmp_path: Path, program: Callable[[str], Path], vendor: str, enhanced: bool
) -> None:
    study = write_study(tmp_path, vendor, CONTRASTS, enhanced=enhanced)
    for series in study.series.values():
        check = [program("dciodvfy"), series.files[0]]
        said = subprocess.run(check, capture_output=True, text=True, check=False)
        faults = [line for line in said.stderr.splitlines() if line.startswith("Error")]
        assert faults == [], series.contrast


def test_equal_arguments_give_equal_objects_and_another_seed_another_patient(
    tmp_path: Path,
) -> None:
    one, same, other = (
        write_study(tmp_path / name, contrasts=("t2",), seed=seed)
        for name, seed in (("a", "1"), ("b", "1"), ("c", "2"))
    )
    assert one.uid == same.uid and one.uid != other.uid and one.patient != other.patient
    for a, b in zip(one.files, same.files, strict=True):
        assert a.read_bytes() == b.read_bytes()
