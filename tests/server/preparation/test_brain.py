"""Finding the brain: what is believed, and that the packaged networks find real ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import ImplausibleBrain, InvalidBundle, NoBrain
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.volume import SpatialHeader, Volume
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.worker import Worker
from brainmvp_server.preparation.brain import (
    BrainMask,
    agreement_of,
    border_shares,
    brain_of,
    extract_brain,
)
from brainmvp_server.preparation.brain_network import (
    BrainBundles,
    BrainNetworks,
    Found,
    Mask,
    as_it_is,
    dice,
    one_without_holes,
)

RealData = Callable[[str], Path]


class DrawnBrains(BrainNetworks):
    """Networks that find what was drawn, so that the rules can be tried in milliseconds."""

    def __init__(self, drawn: dict[Modality, Mask | None]) -> None:
        self.drawn = drawn

    def find(
        self, volume: Volume, looks: object = (as_it_is,), cancel: object = None
    ) -> Found | None:
        mask = self.drawn[volume.modality]
        return None if mask is None else Found(mask, 0.97)


def _volume(modality: Modality, affine: np.ndarray | None = None, shape: int = 40) -> Volume:
    stored = np.random.default_rng(0).integers(1, 99, (shape,) * 3).astype(np.int16)
    grid = Grid((shape,) * 3, np.diag([5.0, 5, 5, 1]) if affine is None else affine)
    return Volume(modality, stored, 1, 0, grid, SpatialHeader({}), "sha256:0")


def _ball(radius: float, shape: int = 40, middle: tuple[float, float, float] | None = None) -> Mask:
    at = np.indices((shape,) * 3) - np.array(middle or (shape / 2,) * 3)[:, None, None, None]
    return (at**2).sum(axis=0) < radius**2


@pytest.fixture(scope="module")
def networks() -> Iterator[BrainNetworks]:
    worker = Worker(NetworkCache())
    yield BrainNetworks(worker)
    worker.close()


def _reference(path: Path) -> Mask:
    return np.asarray(nib.load(path).dataobj) > 0


def test_t1_is_trusted_before_others_and_the_next_one_tells_the_agreement() -> None:
    drawn = DrawnBrains({m: _ball(13) for m in (Modality.T2, Modality.FLAIR, Modality.T1)})
    found = extract_brain([_volume(m) for m in drawn.drawn], drawn)
    assert found.series == (Modality.T1, Modality.FLAIR)
    assert found.agreement == 1
    assert found.ml == pytest.approx(np.count_nonzero(_ball(13)) / 8)
    assert found.warnings == ()


def test_a_series_without_a_brain_is_passed_over_and_said() -> None:
    drawn = DrawnBrains({Modality.T1: None, Modality.T2: _ball(13)})
    found = extract_brain([_volume(m) for m in drawn.drawn], drawn)
    assert (found.series, found.agreement) == ((Modality.T2,), None)
    assert found.warnings[0].text.startswith("not used to find the brain: t1: shows no brain")


def test_brains_that_disagree_are_said() -> None:
    drawn = DrawnBrains({Modality.T1: _ball(13), Modality.T2: _ball(13, middle=(24, 20, 20))})
    found = extract_brain([_volume(m) for m in drawn.drawn], drawn)
    assert found.agreement is not None and found.agreement < 0.9
    assert "t1 and t2 agree to a Dice of" in found.warnings[0].text


def test_agreement_is_measured_in_the_world_the_series_share() -> None:
    moved = np.eye(4)
    moved[:3, 3] = 20, 0, 0  # mm: four voxels
    drawn = DrawnBrains({Modality.T1: _ball(13), Modality.T2: _ball(13, middle=(24, 20, 20))})
    volumes = [_volume(m) for m in drawn.drawn]
    to_common = {Modality.T2: np.linalg.inv(moved)}
    assert extract_brain(volumes, drawn, to_common=to_common).agreement == pytest.approx(
        1, abs=0.01
    )


def test_agreement_holds_between_grids_that_are_turned_and_finer() -> None:
    fine = np.array([[0, -2.5, 0, 197.5], [2.5, 0, 0, 0], [0, 0, 2.5, 0], [0, 0, 0, 1]], float)
    one = BrainMask(_ball(13), _volume(Modality.T1).grid, 0, (Modality.T1,))
    two = BrainMask(_ball(26, 80), Grid((80,) * 3, fine), 0, (Modality.T2,))
    assert agreement_of(one, two, {}) > 0.97


@pytest.mark.parametrize("radius", [8, 18])
def test_a_brain_too_small_or_too_large_is_refused_with_its_figure(radius: float) -> None:
    drawn = DrawnBrains({Modality.T1: _ball(radius)})
    ml = np.count_nonzero(_ball(radius)) / 8
    with pytest.raises(ImplausibleBrain, match=f"t1: the brain has {ml:.0f} mL"):
        extract_brain([_volume(Modality.T1)], drawn)


def test_half_a_head_is_refused_and_names_the_side() -> None:
    drawn = DrawnBrains({Modality.T1: _ball(15, middle=(20, 20, 2))})
    with pytest.raises(ImplausibleBrain, match="ends inside the brain: at its bottom side"):
        extract_brain([_volume(Modality.T1)], drawn)


def test_half_a_head_is_seen_where_the_rest_was_blanked() -> None:
    volume = _volume(Modality.T1)
    volume.stored[:18] = 0
    shares = border_shares(_ball(13) & (np.arange(40) >= 18)[:, None, None], volume)
    assert shares["left"] > 0.9 and shares["right"] == 0


def test_sides_are_the_heads_whatever_way_the_voxels_run() -> None:
    left_to_right_last = np.array([[0, 0, -5.0, 0], [5, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 1]])
    shares = border_shares(_ball(13, middle=(20, 20, 2)), _volume(Modality.T1, left_to_right_last))
    assert shares["right"] > 0.9 and sum(share > 0 for share in shares.values()) == 1


def test_a_brain_at_the_border_is_a_warning() -> None:
    drawn = DrawnBrains({Modality.T1: _ball(13, middle=(20, 20, 11))})
    found = extract_brain([_volume(Modality.T1)], drawn)
    assert found.at_edge == ("bottom",)
    assert "reaches the image's bottom side" in found.warnings[0].text


def test_a_study_without_a_series_to_look_at_is_refused() -> None:
    with pytest.raises(NoBrain, match="no series to find the brain in"):
        extract_brain([_volume(Modality.ADC)], DrawnBrains({}))


def test_a_mask_is_one_part_without_holes() -> None:
    mask = _ball(13) & ~_ball(5)
    mask[0, 0, 0] = True
    assert np.array_equal(one_without_holes(mask), _ball(13))


def test_packaged_networks_are_small_and_carry_their_licence() -> None:
    bundles = BrainBundles.packaged()
    assert bundles.box.network_bytes + bundles.extraction.network_bytes < 20e6
    for bundle in (bundles.box, bundles.extraction):
        assert "MIT License" in (bundle.root / "LICENSE").read_text("utf-8")
        assert {parity.engine for parity in bundle.manifest.parity} == {"openvino", "onnxruntime"}


def test_networks_that_find_brains_predict_nothing() -> None:
    with pytest.raises(InvalidBundle, match="it finds brains and predicts nothing"):
        Predictor.load(BrainBundles.packaged().extraction)


def test_a_folder_whose_bundles_are_of_another_kind_is_refused(tmp_path: Path) -> None:
    packaged = BrainBundles.packaged()
    shutil.copytree(packaged.box.root, tmp_path / "brain-box" / "1")
    shutil.copytree(packaged.box.root, tmp_path / "brain-extraction" / "1")
    with pytest.raises(InvalidBundle, match="is of kind 'brain-box', not 'brain-extraction'"):
        BrainBundles.open(tmp_path)


def test_an_image_of_one_value_shows_no_brain(networks: BrainNetworks) -> None:
    volume = _volume(Modality.T1)
    volume.stored[:] = 7
    with pytest.raises(NoBrain, match="t1: shows no brain"):
        brain_of(volume, networks)


@pytest.mark.parametrize("edge", [40, 128])
def test_noise_is_not_taken_for_a_brain(networks: BrainNetworks, edge: int) -> None:
    spacing = np.diag([200 / edge, 200 / edge, 200 / edge, 1])
    with pytest.raises(NoBrain, match=r"agrees to a Dice of 0\."):
        brain_of(_volume(Modality.T1, spacing, edge), networks)


def test_a_limb_is_not_taken_for_a_head(networks: BrainNetworks) -> None:
    across, along, up = np.indices((128,) * 3) - 64.0
    limb, bone = np.hypot(across, along) < 36, np.hypot(across, along - 4) < 14
    stored = 400 * limb + 500 * bone - 600 * (bone & (np.abs(up) < 3))
    stored = stored + np.random.default_rng(0).integers(0, 30, stored.shape)
    volume = _volume(Modality.T1, np.diag([1.5, 1.5, 1.5, 1]), 128)
    with pytest.raises(NoBrain, match="t1: shows no brain"):
        brain_of(replace(volume, stored=stored.astype(np.int16)), networks)


@pytest.mark.parametrize(
    "part",
    [
        pytest.param((slice(None), slice(None), slice(13)), id="lower", marks=pytest.mark.slow),
        pytest.param((slice(None), slice(None), slice(13, None)), id="upper"),
        pytest.param((slice(128), slice(None), slice(None)), id="side", marks=pytest.mark.slow),
    ],
)
def test_half_a_real_head_is_refused(
    networks: BrainNetworks, real_data: RealData, part: tuple[slice, slice, slice]
) -> None:
    head = read_nifti(real_data("clinical") / "fg6692" / "raw" / "t1.nii.gz", Modality.T1)
    shape = head.stored[part].shape
    affine = head.grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [cut.start or 0 for cut in part]
    half = replace(
        head, stored=head.stored[part], grid=Grid((shape[0], shape[1], shape[2]), affine)
    )
    blanked = np.zeros_like(head.stored)
    blanked[part] = head.stored[part]
    for wrong in (half, replace(head, stored=blanked)):
        with pytest.raises((NoBrain, ImplausibleBrain)):
            brain_of(wrong, networks)


@pytest.mark.parametrize(("series", "least"), [("t1", 0.975), ("t2", 0.94)])
def test_brain_of_a_real_head_is_the_peers(
    networks: BrainNetworks, real_data: RealData, series: str, least: float
) -> None:
    folder = real_data("clinical") / "fg6692"
    found = brain_of(read_nifti(folder / "raw" / f"{series}.nii.gz", Modality(series)), networks)
    reference = _reference(folder / "reference" / f"brain_{series}.nii.gz")
    assert dice(found.mask, reference) >= least


def test_brain_does_not_depend_on_the_order_of_axes(
    networks: BrainNetworks, real_data: RealData
) -> None:
    head = read_nifti(real_data("clinical") / "fg6692" / "raw" / "t1.nii.gz", Modality.T1)
    turned = replace(
        head,
        stored=head.stored.transpose(2, 0, 1),
        grid=Grid(
            (head.grid.shape[2], *head.grid.shape[:2]),
            head.grid.affine[:, [2, 0, 1, 3]],
        ),
    )
    one, two = brain_of(head, networks), brain_of(turned, networks)
    assert np.array_equal(one.mask.transpose(2, 0, 1), two.mask)


def test_real_series_agree_only_where_they_are_registered(
    networks: BrainNetworks, real_data: RealData
) -> None:
    folder = real_data("clinical") / "fg6692"
    matrices = json.loads((folder / "reference" / "rigid_ras_mm.json").read_text("utf-8"))
    masks = {m: _reference(folder / "reference" / f"brain_{m}.nii.gz") for m in ("t1", "t1c")}
    brains = [
        BrainMask(
            mask, read_nifti(folder / "raw" / f"{m}.nii.gz", Modality(m)).grid, 0, (Modality(m),)
        )
        for m, mask in masks.items()
    ]
    to_common = {Modality.T1C: np.linalg.inv(np.array(matrices["t1_to_t1c"]))}
    assert agreement_of(brains[0], brains[1], to_common) > 0.95
    assert agreement_of(brains[0], brains[1], {}) < 0.95
