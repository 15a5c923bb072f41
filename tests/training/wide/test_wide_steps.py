"""The steps of a wide study: bending, tumours, brightness, extraction, slices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from brainmvp_models.modality import Modality
from brainmvp_training.synthetic.wide.acquisition import Acquisition, slices
from brainmvp_training.synthetic.wide.bending import Push, pushed, sampled
from brainmvp_training.synthetic.wide.brightness import Subject, paint
from brainmvp_training.synthetic.wide.extraction import extracted, signed_distance
from brainmvp_training.synthetic.wide.heads import Tissue
from brainmvp_training.synthetic.wide.other_lesions import add_infarct, add_white_matter_lesions
from brainmvp_training.synthetic.wide.tumours import LABELS, Kind, Part, Tumour, grow

SHAPE = (40, 44, 36)


def _shares() -> np.ndarray:
    """A ball of white matter with a ventricle, CSF around it, then bone."""
    axes = [np.arange(n) - (n - 1) / 2 for n in SHAPE]
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
    shares = np.zeros((len(Tissue), *SHAPE), np.float32)
    shares[Tissue.VENTRICLE] = radius < 3
    shares[Tissue.WHITE] = (radius >= 3) & (radius < 13)
    shares[Tissue.CSF] = (radius >= 13) & (radius < 15)
    shares[Tissue.DURA] = (radius >= 15) & (radius < 16)
    shares[Tissue.BONE] = radius >= 16
    return shares


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 50), st.floats(1, 6))
def test_thick_slices_keep_a_constant_and_a_single_voxel_slice_keeps_all(n: int, mm: float) -> None:
    constant = np.full((3, n, 2), 2.5, np.float32)
    np.testing.assert_allclose(slices(constant, 1, mm / 2 + 0.5), constant, rtol=1e-5)
    noise = np.random.default_rng(n).random((3, n, 2), dtype=np.float32)
    np.testing.assert_allclose(slices(noise, 1, 1.0), noise, rtol=1e-5)


def test_thick_slices_blur_across_and_not_along() -> None:
    image = np.zeros((12, 12, 12), np.float32)
    image[6] = 1
    np.testing.assert_allclose(slices(image, 1, 3), image, atol=1e-6)
    assert slices(image, 0, 3).max() == pytest.approx(1 / 3, rel=1e-4)


def test_a_series_that_is_off_by_two_voxels_moves_by_two_voxels() -> None:
    image = np.zeros(SHAPE, np.float32)
    image[20, 22, 18] = 1
    still = Acquisition(1, 0, 1, 2, (0, 0, 0), (4, 0, -2), (0, 0, 0), 0, 0, 0)
    moved = still.of(image, np.random.default_rng(0))
    assert np.unravel_index(moved.argmax(), SHAPE) == (18, 22, 19)
    assert moved.max() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_mass_moves_tissue_outwards_in_every_direction(*, mirrored: bool) -> None:
    grid = F.affine_grid(torch.eye(3, 4)[None], [1, 1, *SHAPE], align_corners=True)[0]
    if mirrored:
        grid[..., 2] *= -1
    image = np.zeros(SHAPE, np.float32)
    image[15:25, 17:27, 13:23] = 1
    before = sampled(image[None], grid)[0]
    after = sampled(image[None], pushed(grid, Push((19, 21, 17), 10.0, 0.5)))[0]
    assert after.sum() > 1.5 * before.sum()
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        wider = np.nonzero(after.max(axis=others) > 0.5)[0]
        was = np.nonzero(before.max(axis=others) > 0.5)[0]
        assert wider[0] < was[0] and wider[-1] > was[-1]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_tumour_has_its_parts(kind: Kind) -> None:
    nervous = np.ones((60, 60, 60), np.float32)
    parts = np.zeros(nervous.shape, np.uint8)
    tumour = Tumour(kind, 14, 4, 8, 0)
    grow(parts, tumour, (30, 30, 30), nervous, nervous, np.random.default_rng(2))
    found = {Part(int(p)) for p in np.unique(parts) if p}
    assert Part.OEDEMA in found
    assert (Part.ENHANCING in found) is (kind is not Kind.NOT_ENHANCING)
    assert (Part.CAVITY in found) is (kind is Kind.OPERATED)
    assert kind is not Kind.BLEEDING or Part.BLOOD in found


def test_what_is_no_tumour_has_no_label_and_lies_in_tissue() -> None:
    shares = _shares()
    white = shares[Tissue.WHITE]
    parts = np.zeros(SHAPE, np.uint8)
    near = signed_distance(shares[Tissue.VENTRICLE] > 0.5)
    rng = np.random.default_rng(0)
    add_white_matter_lesions(parts, white, near, rng)
    add_infarct(parts, white, rng)
    assert parts.any() and not parts[white == 0].any()
    assert {LABELS[Part(int(p))] for p in np.unique(parts) if p} == {0}


def test_the_agent_shows_in_the_dura_of_most_t1c_and_of_no_t1() -> None:
    shares, parts = _shares(), np.zeros(SHAPE, np.uint8)
    dura, white = shares[Tissue.DURA] > 0, shares[Tissue.WHITE] > 0
    brighter = {}
    for modality in (Modality.T1, Modality.T1C):
        images = [
            paint(Subject(shares, parts, weak=False), modality, np.random.default_rng(n))
            for n in range(24)
        ]
        brighter[modality] = np.mean([i[dura].mean() > i[white].mean() * 0.9 for i in images])
    assert brighter[Modality.T1] < 0.2 < 0.4 < brighter[Modality.T1C]


def test_a_healthy_flair_is_brighter_at_the_ventricles_rim() -> None:
    shares, parts = _shares(), np.zeros(SHAPE, np.uint8)
    distance = signed_distance(shares[Tissue.VENTRICLE] > 0.5)
    white = shares[Tissue.WHITE] > 0
    rim, far = white & (distance < 3), white & (distance > 7)
    ratios = []
    for seed in range(12):
        image = paint(
            Subject(shares, parts, weak=False), Modality.FLAIR, np.random.default_rng(seed)
        )
        ratios.append(image[rim].mean() / image[far].mean())
    assert np.mean(ratios) > 1.04


def test_extractions_are_tight_and_loose_around_the_same_brain() -> None:
    shares = _shares()
    brain = shares[[Tissue.WHITE, Tissue.VENTRICLE]].sum(axis=0) > 0.5
    masks = [extracted(shares, np.random.default_rng(n)) for n in range(30)]
    sizes = np.array([mask.sum() for mask in masks]) / brain.sum()
    assert sizes.min() < 0.95 and sizes.max() > 1.2
    kept = [(mask & brain).sum() / brain.sum() for mask in masks]
    assert np.median(kept) > 0.97
