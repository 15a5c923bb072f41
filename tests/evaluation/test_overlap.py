"""Dice, HD95 and volumes against figures computed by hand, by symmetry and by MONAI."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import compute_hausdorff_distance

from brainmvp_evaluation.overlap import compare, hausdorff95
from brainmvp_server.imaging.grid import Grid

SPACING = (1.0, 1.5, 2.0)
GRID = Grid((20, 22, 24), np.diag([*SPACING, 1.0]))


def cube(start: tuple[int, int, int], edge: int = 4) -> np.ndarray:
    mask = np.zeros(GRID.shape, bool)
    mask[tuple(slice(a, a + edge) for a in start)] = True
    return mask


def test_overlap_of_two_cubes_is_what_a_hand_computes() -> None:
    found = compare(cube((2, 2, 2)), cube((4, 2, 2)), GRID)
    assert found.dice == 2 * 32 / 128  # two of four layers of 16 overlap
    assert found.truth_ml == found.predicted_ml == pytest.approx(64 * 3 / 1000)
    # Most surface voxels of each cube are within 2 mm of the other's, the furthest layer exactly.
    assert found.hd95_mm == pytest.approx(2.0)


def test_equal_masks_overlap_wholly() -> None:
    found = compare(cube((2, 2, 2)), cube((2, 2, 2)), GRID)
    assert (found.dice, found.hd95_mm) == (1.0, 0.0)


def test_two_empty_masks_agree_and_one_empty_mask_is_as_bad_as_can_be() -> None:
    nothing, something = np.zeros(GRID.shape, bool), cube((2, 2, 2))
    both = compare(nothing, nothing, GRID)
    assert (both.dice, both.hd95_mm, both.truth_ml, both.predicted_ml) == (1, 0, 0, 0)
    diagonal = np.sqrt(20**2 + 33**2 + 48**2)
    for predicted, truth in ((nothing, something), (something, nothing)):
        one = compare(predicted, truth, GRID)
        assert (one.dice, one.hd95_mm) == (0, pytest.approx(diagonal))
        assert (one.predicted_ml, one.truth_ml) == tuple(
            pytest.approx(mask.sum() * 3 / 1000) for mask in (predicted, truth)
        )


def test_the_penalty_on_the_brats_grid_is_the_brats_penalty() -> None:
    grid = Grid((240, 240, 155), np.eye(4))
    small = np.zeros(grid.shape, bool)
    small[100, 100, 100] = True
    assert compare(small, np.zeros_like(small), grid).hd95_mm == pytest.approx(373.13, abs=0.01)


@given(st.integers(0, 2), st.integers(1, 14))
def test_hd95_of_a_shifted_cube_is_the_shift_in_mm(axis: int, shift: int) -> None:
    start = [1, 1, 1]
    start[axis] += shift
    found = compare(cube((1, 1, 1), 3), cube((start[0], start[1], start[2]), 3), GRID)
    assert found.hd95_mm == pytest.approx(shift * SPACING[axis])


@given(st.integers(0, 2**32 - 1))
def test_overlap_is_symmetric_and_bounded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = (rng.random(GRID.shape) > 0.995 for _ in range(2))
    here, there = compare(one, two, GRID), compare(two, one, GRID)
    assert 0 <= here.dice == there.dice <= 1
    assert here.hd95_mm == there.hd95_mm >= 0
    assert (here.truth_ml, here.predicted_ml) == (there.predicted_ml, there.truth_ml)


@pytest.mark.parametrize("seed", range(3))
def test_hd95_is_monais(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = cube((2, 3, 4), 9), cube((5, 3, 6), 9)
    one &= rng.random(GRID.shape) > 0.2
    two[rng.integers(0, 20), rng.integers(0, 22), :] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.6 warns of its own argument
        theirs = compute_hausdorff_distance(
            torch.from_numpy(one)[None, None], torch.from_numpy(two)[None, None],
            include_background=True, percentile=95, spacing=list(SPACING),
        )  # fmt: skip
    assert hausdorff95(one, two, SPACING) == pytest.approx(float(theirs), rel=1e-5)
