"""Figures of contrast agent are those of the agent, not of how a series was scaled or given."""

from __future__ import annotations

import numpy as np
import pytest

from brainmvp_models.modality import Modality
from brainmvp_models.training_distribution import AGENT_ALONE, AGENT_BETWEEN
from brainmvp_server.inference.agent_figures import AgentFigures, Array, agent_figures
from drawn_brains import VOXEL_MM, drawn_study

T1, T1C = Modality.T1, Modality.T1C


def found(t1: Array, t1c: Array, voxel_mm: float = VOXEL_MM) -> AgentFigures:
    images = {T1: t1, T1C: t1c}
    masks = {modality: image > 0.02 for modality, image in images.items()}
    return agent_figures(images, masks, (voxel_mm, voxel_mm, voxel_mm))


def test_exchanged_series_have_the_same_figures_with_the_other_sign() -> None:
    images = drawn_study(0)
    right, wrong = found(images[T1], images[T1C]), found(images[T1C], images[T1])
    assert right.between is not None and wrong.between is not None
    assert right.between.shape == (AGENT_BETWEEN,) and np.any(right.between)
    assert right.between == pytest.approx(-wrong.between, abs=0.02)
    assert right.alone[T1].shape == (AGENT_ALONE,)
    assert np.array_equal(right.alone[T1], wrong.alone[T1C])


def test_scaling_of_a_series_changes_no_figure() -> None:
    images = drawn_study(0)
    scaled = np.where(images[T1C] > 0, 0.5 * images[T1C] + 0.1, 0).astype(np.float32)
    one, other = found(images[T1], images[T1C]), found(images[T1], scaled)
    assert one.between == pytest.approx(other.between, abs=0.06)
    assert one.alone[T1C] == pytest.approx(other.alone[T1C], abs=0.06)


def test_finer_voxels_give_the_figures_of_coarser_ones() -> None:
    images = drawn_study(0)
    fine = [images[m].repeat(2, 0).repeat(2, 1).repeat(2, 2) for m in (T1, T1C)]
    coarse, same = found(images[T1], images[T1C], 2), found(*fine, 1)
    assert coarse.between is not None and same.between is not None
    assert np.array_equal(coarse.between, same.between)


def test_a_speck_has_no_figures() -> None:
    speck = np.zeros((20, 20, 20), np.float32)
    speck[5:9, 5:9, 5:9] = 1
    assert found(speck, speck).alone == {} and found(speck, speck).between is None
