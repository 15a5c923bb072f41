"""Losses: known values, and that they move a network the right way."""

from __future__ import annotations

import math

import pytest
import torch

from brainmvp_models.task import load_task
from brainmvp_training.losses import SegmentationLoss, contrastive_loss, one_hot


def test_contrast_of_equal_orthogonal_views_is_the_known_value() -> None:
    views = torch.eye(4, 8)
    expected = -math.log(math.e / (math.e + 3))
    assert contrastive_loss(views, views).item() == pytest.approx(expected, abs=1e-6)


def test_contrast_falls_when_a_study_agrees_with_itself_and_rises_when_with_another() -> None:
    torch.manual_seed(0)
    one = torch.randn(4, 16, 2, 2, 2)
    assert contrastive_loss(one, one) < contrastive_loss(one, torch.randn_like(one))
    assert contrastive_loss(one, one.roll(1, 0)) > contrastive_loss(one, torch.randn_like(one))


def test_contrast_is_symmetric_ignores_length_and_is_zero_for_one_study() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(3, 8), torch.randn(3, 8)
    assert contrastive_loss(one, other).item() == pytest.approx(contrastive_loss(other, one).item())
    assert contrastive_loss(5 * one, other).item() == pytest.approx(
        contrastive_loss(one, other).item(), rel=1e-5
    )
    assert contrastive_loss(one[:1], other[:1]).item() == 0


def test_regions_are_unions_of_labels_and_classes_are_exclusive() -> None:
    label = torch.tensor([0, 1, 2, 4]).reshape(1, 4, 1, 1)
    regions = one_hot(label, load_task("upenn-gbm").outputs)[0].reshape(3, 4)  # type: ignore[arg-type]
    assert regions.tolist() == [[0, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 1]]
    classes = one_hot(label.clamp(max=3), load_task("mrbrains13").outputs)  # type: ignore[arg-type]
    assert classes[:, :4].sum(1).eq(1).all()


@pytest.mark.parametrize("preset", ["upenn-gbm", "mrbrains13"])
def test_the_true_segmentation_costs_least_at_every_resolution(preset: str) -> None:
    outputs = load_task(preset).outputs
    loss = SegmentationLoss(outputs)  # type: ignore[arg-type]
    label = torch.zeros(1, 16, 16, 16, dtype=torch.long)
    label[:, :8] = 1
    truth = 20 * (one_hot(label, outputs) - 0.5)  # type: ignore[arg-type]
    coarse = torch.nn.functional.avg_pool3d(truth, 2)
    right = loss((coarse, truth), label)
    assert right < 0.25
    assert right < loss((coarse, -truth), label)
    assert right < loss((-coarse, truth), label)


@pytest.mark.parametrize("preset", ["upenn-gbm", "mrbrains13"])
def test_a_lesion_found_where_there_is_none_costs_and_pushes_back(preset: str) -> None:
    outputs = load_task(preset).outputs
    loss = SegmentationLoss(outputs)  # type: ignore[arg-type]
    healthy = torch.zeros(1, 16, 16, 16, dtype=torch.long)
    found = torch.full((1, outputs.count, 16, 16, 16), 3.0, requires_grad=True)
    with torch.no_grad():
        found[:, 0] = 0 if preset == "mrbrains13" else 3
    cost = loss((found,), healthy)
    cost.backward()
    assert cost > 1
    assert found.grad is not None and (found.grad[:, -1] > 1e-6).all()
