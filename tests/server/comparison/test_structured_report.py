"""A comparison as a DICOM object: wrong here is refused by a PACS, or filed with another study."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from brainmvp_models.modality import Modality
from brainmvp_server.comparison.compare import Comparison
from brainmvp_server.comparison.files import files_of
from brainmvp_server.comparison.visit import Visit
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.grid import carried
from brainmvp_server.imaging.intake import take_in
from brainmvp_server.imaging.study import read_volumes
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.results.dicom import codes
from dicom_studies import Study, write_study

from .conftest import balls, compared

LPS = np.array((-1.0, -1.0, 1.0))


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Study, Volume], ...]:
    found = []
    for seed in ("before", "after"):
        folder = tmp_path_factory.mktemp(seed)
        study = write_study(folder / "files", "ge", ("t1",), seed=seed, part=True)
        unpacked = folder / "unpacked"
        unpacked.mkdir()
        intake = take_in([Unpacked(path, "") for path in study.files], unpacked)
        (volume,) = read_volumes(intake.sources())
        found.append((study, volume))
    return tuple(found)


@pytest.fixture(scope="module")
def made(studies: tuple[tuple[Study, Volume], ...]) -> Comparison:
    """A lesion that grew, and one that is new."""
    (_, one), (_, two) = studies
    middle = carried((np.array(one.grid.shape) - 1) / 2, one.grid.affine)
    old, fresh = tuple(middle), tuple(middle + np.array([25.0, 0, 0]))
    masks = balls(one.grid, (old, 6.0)), balls(two.grid, (old, 10.0), (fresh, 6.0))
    visits = [
        Visit((volume,), Modality.T1, mask, volume.grid)
        for volume, mask in zip((one, two), masks, strict=True)
    ]
    return compared(*visits)


@pytest.fixture(scope="module")
def written(made: Comparison) -> dict[str, bytes]:
    return dict(files_of(made))


@pytest.fixture
def report(written: dict[str, bytes]) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(written["comparison.dcm"]))


def test_the_report_lies_in_the_later_study_and_refers_to_both(
    report: pydicom.Dataset, studies: tuple[tuple[Study, Volume], ...]
) -> None:
    (before, _), (after, _) = studies
    assert report.StudyInstanceUID == after.uid
    assert report.PatientID == after.patient
    (own,) = report.CurrentRequestedProcedureEvidenceSequence
    (other,) = report.PertinentOtherEvidenceSequence
    assert (own.StudyInstanceUID, other.StudyInstanceUID) == (after.uid, before.uid)
    for item, study in ((own, after), (other, before)):
        named = {
            one.ReferencedSOPInstanceUID
            for series in item.ReferencedSeriesSequence
            for one in series.ReferencedSOPSequence
        }
        assert named == {pydicom.dcmread(path).SOPInstanceUID for path in study.files}


def test_the_numbers_read_back_are_those_of_the_summary(
    written: dict[str, bytes], made: Comparison
) -> None:
    told = json.loads(written["comparison.json"])["structures"][0]
    report = hd.sr.srread(io.BytesIO(written["comparison.dcm"]))
    groups = report.content.get_image_measurement_groups()
    assert len(groups) == 1 + 3 + 2  # the structure, the old one's three, the new one's two

    def value(group: object, name: hd.sr.CodedConcept) -> float | None:
        found = group.get_measurements(name=name)  # type: ignore[attr-defined]
        return float(found[0].value) if found else None

    changes = [value(group, codes.VOLUME_CHANGE) for group in groups]
    expected = [told["volume_ml"]["difference"]]
    for lesion in told["lesions"]:
        seen = [part for time in ("before", "after") for part in lesion[time]]
        expected += [*(None for _ in seen), lesion["volume_ml"]["difference"]]
    assert changes == pytest.approx(expected)
    volumes = [value(group, codes.VOLUME) for group in groups]
    assert [v for v in volumes if v is not None] == pytest.approx(
        [
            part["volume_ml"]
            for lesion in told["lesions"]
            for time in ("before", "after")
            for part in lesion[time]
        ]
    )


def test_a_lesion_is_tracked_through_both_times_in_each_studys_world(
    written: dict[str, bytes], made: Comparison, studies: tuple[tuple[Study, Volume], ...]
) -> None:
    report = hd.sr.srread(io.BytesIO(written["comparison.dcm"]))
    groups = report.content.get_image_measurement_groups()
    tracked = [group.tracking_uid for group in groups]
    assert sorted(map(tracked.count, set(tracked))) == [1, 2, 3]
    (lesion,) = (one for one in made.structures[0].lesions if one.before)
    points = {}
    for group in groups:
        for item in group[0].ContentSequence:
            if item.get("GraphicType") == "POINT" and group.tracking_uid == max(
                set(tracked), key=tracked.count
            ):
                points[item.ReferencedFrameOfReferenceUID] = np.array(item.GraphicData) * LPS
    (before, _), (after, _) = studies
    np.testing.assert_allclose(points[before.frame], lesion.centroid_before_mm, atol=1e-3)
    np.testing.assert_allclose(points[after.frame], lesion.centroid_mm, atol=1e-3)


def test_the_object_breaks_no_rule_of_the_standard(
    written: dict[str, bytes], tmp_path: Path, program: Callable[[str], Path]
) -> None:
    path = tmp_path / "comparison.dcm"
    path.write_bytes(written["comparison.dcm"])
    said = subprocess.run([program("dciodvfy"), path], capture_output=True, text=True, check=False)
    assert [x for x in said.stderr.splitlines() if x.startswith("Error")] == []
    read = subprocess.run([program("dsr2xml"), path], capture_output=True, check=False)
    assert read.returncode == 0 and not read.stderr


def test_a_repeat_has_the_same_uids(made: Comparison, report: pydicom.Dataset) -> None:
    again = pydicom.dcmread(io.BytesIO(dict(files_of(made))["comparison.dcm"]))
    assert again.SOPInstanceUID == report.SOPInstanceUID
    assert again.SeriesInstanceUID == report.SeriesInstanceUID


def test_studies_of_two_patients_are_told_without_their_names(made: Comparison) -> None:
    assert "the two studies name different patients" in made.warnings
    assert "PLANTED" not in " ".join(made.warnings)
