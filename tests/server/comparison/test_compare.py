"""Two times as a whole: what breaks here tells a patient's change wrongly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.errors import InvalidInput, RegistrationFailed
from brainmvp_models.modality import Modality
from brainmvp_server.comparison.change import Status, Thresholds
from brainmvp_server.comparison.compare import Comparison, compare
from brainmvp_server.comparison.visit import Kind, Maker, Visit
from brainmvp_server.imaging.grid import carried
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.nifti_mask import read_labels, read_mask
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.worker import Worker
from brainmvp_server.preparation.brain_network import BrainNetworks
from brainmvp_server.preparation.rigid import RigidTransform

from .conftest import balls, compared, drawn, moved

LARGE = ((30.0, 10.0, 20.0), 16.0)
SMALL = ((-30.0, -20.0, 20.0), 9.0)
RealData = Callable[[str], Path]


@pytest.fixture(scope="module")
def turned(brain: Volume) -> tuple[Volume, RigidTransform]:
    """The brain moved by 10 mm and turned by 10 degrees, and how."""
    by = RigidTransform.of_rotation(np.array([6.0, -5, 6.2]), np.array([6.0, -6, 5.3]), np.zeros(3))
    assert by.degrees == pytest.approx(10, abs=0.3)
    return moved(brain, by), by


def test_a_study_compared_with_itself_has_changed_nowhere(brain: Volume) -> None:
    visit = drawn(brain, LARGE, SMALL)
    made = compared(visit, visit)
    (structure,) = made.structures
    for change in (
        structure.volume,
        *(c for one in structure.lesions for c in (one.volume, one.product)),
    ):
        assert (change.difference, change.low, change.high, change.percent) == (0, 0, 0, 0)
        assert change.status is Status.STABLE
    assert [len(one.before) for one in structure.lesions] == [1, 1]
    assert all(one.centroid_mm == one.centroid_before_mm for one in structure.lesions)
    np.testing.assert_array_equal(made.alignment.to_before.matrix, np.eye(4))


def test_a_patient_who_lies_10_mm_and_10_degrees_off_has_the_same_volumes_within_2_percent(
    brain: Volume, turned: tuple[Volume, RigidTransform]
) -> None:
    there, by = turned
    places = [(tuple(by.apply(np.array(centre))), radius) for centre, radius in (LARGE, SMALL)]
    made = compared(drawn(brain, LARGE, SMALL), drawn(there, *places))
    points = carried(np.argwhere(brain.stored)[::500], brain.grid.affine)
    assert made.alignment.to_before.inverse.apart(by, points) < 0.6
    (structure,) = made.structures
    assert len(structure.lesions) == 2
    for lesion in structure.lesions:
        assert lesion.volume.before and lesion.volume.after
        assert abs(lesion.volume.percent or 0) <= 2
        where = made.alignment.to_before.apply(np.array(lesion.centroid_mm))
        assert np.linalg.norm(where - lesion.centroid_before_mm) < 1


def test_new_gone_and_grown_are_told_at_their_places(
    brain: Volume, turned: tuple[Volume, RigidTransform]
) -> None:
    there, by = turned
    fresh = ((0.0, 40.0, 30.0), 8.0)
    after = [(tuple(by.apply(np.array(c))), r) for c, r in ((LARGE[0], 22.0), fresh)]
    made = compared(drawn(brain, LARGE, SMALL), drawn(there, *after))
    found = {one.status: one for one in made.structures[0].lesions}
    assert set(found) == {Status.GROWN, Status.GONE, Status.NEW}
    for status, centre in ((Status.NEW, fresh[0]), (Status.GONE, SMALL[0])):
        np.testing.assert_allclose(found[status].centroid_mm, by.apply(np.array(centre)), atol=1.5)
    assert found[Status.NEW].centroid_before_mm is None
    np.testing.assert_allclose(found[Status.GONE].centroid_before_mm, SMALL[0], atol=1)
    assert found[Status.GROWN].side == "right" and found[Status.GONE].side == "left"
    assert found[Status.NEW].volume.after == pytest.approx(4 / 3 * np.pi * 8**3 / 1000, rel=0.05)


def test_another_mask_of_the_same_scan_is_not_registered_but_compared(brain: Volume) -> None:
    made = compared(drawn(brain, LARGE), drawn(brain, (LARGE[0], 20.0)))
    assert made.alignment.found is None
    assert made.structures[0].lesions[0].status is Status.GROWN


def test_each_label_is_compared_for_itself(brain: Volume) -> None:
    labels = balls(brain.grid, LARGE) * 3 + balls(brain.grid, SMALL) * 7
    one = Visit((brain,), Modality.T1, labels, brain.grid)
    made = compared(one, replace(one, labels=np.where(labels == 7, 0, labels)))
    assert {s.kind.labels: s.volume.status for s in made.structures} == {
        (3,): Status.STABLE,
        (7,): Status.GONE,
    }


def test_a_models_error_widens_the_interval_and_is_named(brain: Volume) -> None:
    kinds = (Kind("WT", "whole tumour", (1,)),)
    maker = Maker("glioma", "1", "sha256:b", False, (Modality.T1,), {"WT": 4.0})
    before, after = (
        replace(drawn(brain, (LARGE[0], radius)), kinds=kinds, maker=maker)
        for radius in (16.0, 19.0)
    )
    (structure,) = compared(before, after).structures
    assert structure.errors_ml == (4.0, 4.0)
    width = 1.96 * np.sqrt(np.pi / 2) * 4.0 * np.sqrt(2)
    assert structure.volume.high - structure.volume.difference == pytest.approx(width)
    assert structure.volume.status is Status.UNDECIDED
    unknown = replace(maker, errors_ml={})
    exact = compared(replace(before, maker=unknown), replace(after, maker=unknown))
    assert exact.structures[0].errors_ml == (None, None)
    assert exact.structures[0].volume.high < structure.volume.high


def test_what_only_one_result_has_is_named_and_nothing_in_common_is_an_error(
    brain: Volume,
) -> None:
    both, other = Kind("WT", "", (1,)), Kind("ET", "", (4,))
    one = replace(drawn(brain, LARGE), kinds=(both, other))
    made = compared(one, replace(one, kinds=(both,)))
    assert [s.kind.name for s in made.structures] == ["WT"]
    assert "only one of the two has: ET" in made.warnings
    with pytest.raises(InvalidInput, match="no structure in common"):
        compared(replace(one, kinds=(both,)), replace(one, kinds=(other,)))


def test_a_core_whose_inner_region_could_not_be_told_at_one_time_is_compared_as_a_whole(
    brain: Volume,
) -> None:
    # Once the T1c was there, and the mask tells the enhancing tumour (4) from the core (1).
    inner = balls(brain.grid, (LARGE[0], 8.0)) > 0
    whole = balls(brain.grid, LARGE)
    told = np.where(inner, 4, whole).astype(np.uint8)
    before = replace(drawn(brain, LARGE), labels=told, kinds=(Kind("TC", "", (1, 4)),))
    after = replace(drawn(brain, LARGE), labels=whole, kinds=(Kind("TC", "", (1,)),))
    for one, other in ((before, after), (after, before)):
        (structure,) = compared(one, other).structures
        assert structure.volume.difference == 0


def test_differences_beside_the_patient_are_told(brain: Volume) -> None:
    maker = Maker("glioma", "1", "sha256:b", False, (Modality.T1,), {})
    kinds = (Kind("WT", "", (1,)),)
    one = replace(drawn(brain, LARGE), kinds=kinds, maker=maker)
    other = replace(maker, bundle="sha256:c", version="2", real=(Modality.T1, Modality.T2))
    told = " ".join(compared(one, replace(one, maker=other)).warnings)
    assert "two models, glioma 1 and glioma 2" in told and "given t1 before and t1, t2" in told
    assert "the other was not" in " ".join(compared(one, drawn(brain, LARGE)).warnings)


def test_a_mirrored_head_is_refused(brain: Volume) -> None:
    mirrored = replace(brain, stored=brain.stored[::-1].copy(), digest="sha256:mirrored")
    with pytest.raises(RegistrationFailed):
        compared(drawn(brain, LARGE), drawn(mirrored, LARGE))


@contextmanager
def packaged(_: CancelToken) -> Iterator[BrainNetworks]:
    worker = Worker(NetworkCache())
    try:
        yield BrainNetworks(worker)
    finally:
        worker.close()


@pytest.fixture(scope="module")
def patient(real_data: RealData) -> Comparison:
    """Two visits of a patient; what changed is drawn at the later one, nothing at the earlier."""
    folder = real_data("longitudinal") / "ms01"
    visits = []
    for number in (1, 2):
        flair = read_nifti(folder / f"study{number}_flair.nii.gz", Modality.FLAIR)
        labels, grid = read_labels(folder / f"study{number}_changed_flair.nii.gz", "mask")
        visits.append(Visit((flair,), Modality.FLAIR, labels if number == 2 else 0 * labels, grid))
    return compare(visits[0], visits[1], packaged, Thresholds())


def test_a_real_patient_who_came_twice_is_aligned_to_0_6_mm(
    real_data: RealData, patient: Comparison
) -> None:
    folder = real_data("longitudinal") / "ms01"
    affines = json.loads((folder / "affine_ras_mm.json").read_text())
    truth = np.array(affines["study1_flair_to_study2_flair"])
    mask, grid = read_mask(folder / "study1_brain_flair.nii.gz", "brain")
    points = carried(np.argwhere(mask)[::50], grid.affine)
    ours = patient.alignment.to_before.inverse.apply(points)
    assert np.linalg.norm(ours - carried(points, truth), axis=1).mean() <= 0.6
    assert np.linalg.norm(points - carried(points, truth), axis=1).mean() > 8


def test_a_real_patients_marked_change_is_new_at_its_millimetres(
    real_data: RealData, patient: Comparison
) -> None:
    path = real_data("longitudinal") / "ms01" / "study2_changed_flair.nii.gz"
    mask, grid = read_mask(path, "mask")
    (structure,) = patient.structures
    assert structure.volume.status is Status.NEW
    assert structure.volume.after == pytest.approx(mask.sum() * grid.voxel_ml, abs=1e-3)
    assert {one.status for one in structure.lesions} == {Status.NEW}
    for lesion in structure.lesions:
        index = np.rint(carried(np.array(lesion.centroid_mm), grid.inverse)).astype(int)
        near = mask[tuple(slice(max(i - 8, 0), i + 9) for i in index)]
        assert near.any(), f"nothing is marked at {lesion.centroid_mm}"
    left = next(one for one in structure.lesions if one.number == 1)
    assert left.side == "left" and left.volume.after == pytest.approx(2.42, abs=0.01)
