"""What a study is told to be before anything is done to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.errors import ImplausibleBrain
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import read_nifti, spatial_header
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.preparation.inspect import inspect, inspect_series
from brainmvp_server.preparation.look import look_at

RealData = Callable[[str], Path]
SERIES = ("t1", "t1c", "t2", "flair")


def _study(folder: Path, names: tuple[str, ...] = SERIES, start: str = "") -> list[Volume]:
    return [read_nifti(folder / f"{start}{name}.nii.gz", Modality(name)) for name in names]


def _volume(image: np.ndarray, mm: float = 2.0, frame: str = "") -> Volume:
    affine = np.diag([mm, mm, mm, 1])
    grid = Grid(image.shape, affine)  # type: ignore[arg-type]
    header = spatial_header(affine)
    return Volume(
        Modality.T1,
        image.astype(np.float32),
        1.0,
        0.0,
        grid,
        header,
        "sha256:0",
        frame_of_reference=frame,
    )


def _ball(radius_mm: float, mm: float = 2.0, shape: int = 100) -> np.ndarray:
    at = (np.indices((shape,) * 3) - (shape - 1) / 2) * mm
    noise = np.random.default_rng(0).uniform(50, 90, (shape,) * 3)
    return np.where((at**2).sum(axis=0) < radius_mm**2, noise, 0)


def test_a_raw_clinical_study_is_whole_heads_on_grids_of_their_own(real_data: RealData) -> None:
    found = inspect(_study(real_data("clinical") / "fg6692" / "raw"))
    assert not found.one_grid and not found.one_world and not found.extracted and not found.ready
    assert [each.modality for each in found.series] == [Modality(name) for name in SERIES]
    assert not any(each.partial for each in found.series)
    assert len(found.warnings) == 4 and "t1: slices of 5.5 mm" in found.warnings[0].text


def test_heads_with_flat_air_are_not_taken_for_brains(real_data: RealData) -> None:
    names = ("t1", "t2", "flair")
    found = inspect(_study(real_data("longitudinal") / "ms01", names, "study1_"))
    assert not any(each.extracted for each in found.series)


def test_heads_that_are_small_or_cut_are_not_passed_on_with_their_skulls(
    real_data: RealData,
) -> None:
    (t1,) = _study(real_data("longitudinal") / "ms01", ("t1",), "study1_")
    (flair,) = _study(real_data("clinical") / "fg6692" / "raw", ("flair",))
    cut = _slices(t1, 2)
    child = replace(
        flair, grid=Grid(flair.grid.shape, np.diag([0.78] * 3 + [1]) @ flair.grid.affine)
    )
    halves = (_slices(flair, 13), _slices(flair, 0, 13))
    for volume in (cut, child, *halves):
        assert inspect([volume]).raw and inspect_series(volume).head


def test_what_is_neither_a_head_nor_plainly_a_brain_is_told() -> None:
    cropped = inspect_series(_volume(_ball(60)[20:80, 20:80, 20:80]))
    assert cropped.unclear and not cropped.head and not cropped.extracted
    assert not inspect_series(_volume(_ball(30))).unclear, "a phantom"


def _slices(volume: Volume, start: int, stop: int | None = None) -> Volume:
    """Some of a series' slices, which lie along its last axis."""
    begin = np.eye(4)
    begin[2, 3] = start
    stored = volume.stored[:, :, start:stop]
    return replace(volume, stored=stored, grid=Grid(stored.shape, volume.grid.affine @ begin))


def test_extracted_brains_on_grids_of_their_own_are_known_as_such(real_data: RealData) -> None:
    found = inspect(_study(real_data("clinical") / "du7294" / "brains", ("t1", "flair")))
    assert found.extracted and not found.one_grid and not found.ready


def test_a_prepared_study_needs_nothing(real_data: RealData) -> None:
    found = inspect(_study(real_data("brains") / "ms07"))
    assert found.ready and found.one_world and found.warnings == ()


def test_a_brain_scaled_by_mean_and_deviation_is_still_known_as_a_brain() -> None:
    image = _ball(60)
    scaled = np.where(image > 0, (image - 70) / 12, 0)
    assert inspect_series(_volume(scaled)).extracted
    np.testing.assert_allclose(inspect_series(_volume(scaled)).head_mm, 120, atol=4)


@pytest.mark.parametrize(("radius", "extracted"), [(40, False), (60, True), (90, False)])
def test_what_is_too_small_or_too_large_is_no_extracted_brain(
    radius: float, extracted: bool
) -> None:
    assert inspect_series(_volume(_ball(radius))).extracted is extracted


def test_half_a_head_is_no_extracted_brain_and_its_cut_side_is_named() -> None:
    half = _ball(75)[:, :, 50:]
    found = inspect_series(_volume(half))
    assert not found.extracted and found.cut_off == ("bottom",)
    np.testing.assert_allclose(found.head_mm, (150, 150, 75), atol=4)
    assert found.partial


def test_a_localizer_of_few_slices_shows_part_of_a_head_only() -> None:
    thick = _volume(_ball(90)[:, :, 48:52])
    assert inspect_series(thick).partial and inspect_series(thick).slab
    with pytest.raises(ImplausibleBrain, match="t1: it shows 8 mm of a head only: it is a local"):
        look_at([thick])
    assert look_at([thick], PredictOptions(prepare="none")).warnings == ()  # type: ignore[union-attr]


def test_extents_are_told_along_the_head_s_own_axes_whatever_the_order_in_the_file() -> None:
    image = _ball(75)[:, :80]
    volume = _volume(image.transpose(1, 2, 0)[::-1])
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2], affine[3, 3] = -2, 2, 2, 1
    turned = replace(volume, grid=Grid(volume.stored.shape, affine))
    assert inspect_series(turned).field_mm == pytest.approx((200, 160, 200))
    assert inspect_series(turned).cut_off == inspect_series(_volume(image)).cut_off


@pytest.mark.parametrize(
    ("frames", "one"), [(("1.2", "1.2"), True), (("1.2", "1.3"), False), (("", ""), False)]
)
def test_one_world_is_what_the_frames_of_reference_say(frames: tuple[str, str], one: bool) -> None:
    volumes = [_volume(_ball(60), frame=frames[0]), _volume(_ball(60)[:90], frame=frames[1])]
    assert inspect(volumes).one_world is one


def test_an_image_of_one_value_shows_no_head() -> None:
    found = inspect_series(_volume(np.zeros((20, 20, 20))))
    assert not found.extracted and found.partial and found.head_mm == (0, 0, 0)
