"""Brains on one grid that lie wrongly there: what breaks here answers them without a word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_models.task import load_task
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.study import read_volumes
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.preparation.look import look_at
from brainmvp_server.preparation.placement import off_frame, placement_warnings

RealData = Callable[[str], Path]
STUDY = Path(__file__).parents[3] / "examples" / "glioma_study"


@pytest.fixture(scope="module")
def study() -> dict[str, Volume]:
    """T1, T1c and T2 of one brain, on one grid."""
    names = ("t1", "t1c", "t2")
    return {n: read_nifti(STUDY / f"{n}.nii.gz", Modality(n)) for n in names}


@pytest.fixture(scope="module")
def other(real_data: RealData) -> list[Volume]:
    """T1 and FLAIR of a real patient, brains on the MNI152's grid."""
    folder = real_data("brains") / "ms07"
    return list(read_volumes({Modality(n): folder / f"{n}.nii.gz" for n in ("t1", "flair")}))


def _moved(volume: Volume, mm: float, world: int) -> Volume:
    axis = volume.grid.orientation.axes[world]
    voxels = round(mm / volume.grid.spacing[axis])
    return replace(volume, stored=np.roll(volume.stored, voxels, axis))


def _upside_down(volume: Volume) -> Volume:
    """Turned by 180° about the left-right axis."""
    axes = [volume.grid.orientation.axes[world] for world in (1, 2)]
    return replace(volume, stored=np.flip(volume.stored, axes))


def _kinds(volumes: list[Volume], space: Space = Space.STUDY) -> list[str]:
    return [one.kind for one in placement_warnings(volumes, space)]


def test_proper_brains_are_not_warned_of(study: dict[str, Volume], other: list[Volume]) -> None:
    assert _kinds(list(study.values())) == []
    assert _kinds(other, Space.MNI152) == []
    assert not off_frame(other, Space.MNI152)


def test_axes_stored_in_another_order_are_not_taken_for_another_place(
    study: dict[str, Volume],
) -> None:
    t1, t2 = study["t1"], study["t2"]
    i, j, k = t2.grid.shape
    back = np.array([[0.0, -1, 0, i - 1], [0, 0, -1, j - 1], [-1, 0, 0, k - 1], [0, 0, 0, 1]])
    stored = t2.stored[::-1, ::-1, ::-1].transpose(2, 0, 1)
    turned = replace(t2, stored=stored, grid=Grid(stored.shape, t2.grid.affine @ back))
    assert _kinds([t1, turned]) == []


@pytest.mark.parametrize(
    "wrong",
    [lambda t2: _moved(t2, 10, 0), lambda t2: _moved(t2, 20, 2), _upside_down],
    ids=["10 mm to the side", "20 mm up", "upside down"],
)
def test_the_one_series_that_does_not_lie_on_the_others_is_named_with_its_figure(
    study: dict[str, Volume], wrong: Callable[[Volume], Volume]
) -> None:
    (warning,) = placement_warnings([wrong(study["t2"]), study["t1"], study["t1c"]])
    assert warning.kind == "series-apart"
    assert warning.text.startswith("t2: not the brain") and "t1c and t1, which fit" in warning.text
    assert "% of the match is lost 4 mm away, where 30% are needed" in warning.text


def test_of_two_series_that_disagree_neither_is_blamed_alone(study: dict[str, Volume]) -> None:
    (warning,) = placement_warnings([study["t1"], _moved(study["t2"], 20, 1)])
    assert warning.text.startswith("t1 and t2: these do not show one brain in one place")


def test_another_patients_series_in_the_same_frame_is_told(
    other: list[Volume], real_data: RealData
) -> None:
    t1 = other[0]
    t2 = read_nifti(real_data("brains") / "ms26" / "t2.nii.gz", Modality.T2)
    assert _kinds([t1, t2]) == ["series-apart"]


def test_a_study_that_is_upside_down_as_a_whole_is_told(study: dict[str, Volume]) -> None:
    (warning,) = placement_warnings([_upside_down(volume) for volume in study.values()])
    assert warning.kind == "upside-down" and warning.text.startswith("t1c: the brain fits")


def test_brains_that_nobody_brought_to_the_task_s_frame_are_told_by_the_look(
    study: dict[str, Volume],
) -> None:
    volumes = list(study.values())
    looked = look_at(volumes, space=load_task("brats-ped").preprocessing.space)
    assert [one.kind for one in looked.warnings] == ["off-atlas"]  # type: ignore[union-attr]
    assert "brainmvp prepare --space sri24" in looked.warnings[0].text  # type: ignore[union-attr]
    assert off_frame(volumes, Space.SRI24) and not off_frame(volumes, Space.STUDY)


@pytest.mark.parametrize(("bone", "told"), [(10, True), (200, False)])
def test_a_small_head_in_air_of_one_value_is_told_by_the_bone_below_its_skin(
    study: dict[str, Volume], bone: int, told: bool
) -> None:
    x, y, z = np.ogrid[-90:91:2, -90:91:2, -90:91:2]
    away = np.sqrt(x * x + y * y + z * z)
    noise = np.random.default_rng(0).integers(150, 250, away.shape)
    head = np.select([away < 62, away < 70, away < 74], [noise, bone, 300], 0).astype(np.int16)
    affine = np.diag([2.0, 2, 2, 1])
    t1 = replace(study["t1"], stored=head, grid=Grid(head.shape, affine))
    looked = look_at([t1])
    warned = [one for one in looked.warnings if one.kind == "skull-on"]  # type: ignore[union-attr]
    assert bool(warned) is told
    assert all(one.text.startswith("t1: ") and "dark, as bone is" in one.text for one in warned)


def test_a_phantom_of_less_than_a_brain_is_left_alone() -> None:
    t1 = read_nifti(STUDY / "t1.nii.gz", Modality.T1)
    small = replace(t1, stored=np.where(np.indices(t1.grid.shape)[0] < 40, t1.stored, 0))
    assert _kinds([small, replace(small, modality=Modality.T2)]) == []
