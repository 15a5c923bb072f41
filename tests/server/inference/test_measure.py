"""Volumes, components, boxes and centroids of shapes whose measures are known."""

from __future__ import annotations

import numpy as np
import pytest

from brainmvp_models.task import Label, Region, RegionOutputs
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.inference.measure import measure

OUTPUTS = RegionOutputs(
    regions=(Region(name="lesion", labels=(1,)),), labels=(Label(value=1, name="lesion"),)
)


def test_two_boxes_on_a_turned_anisotropic_grid() -> None:
    affine = np.array([[0, -2.0, 0, 10], [0.5, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
    grid = Grid((20, 20, 20), affine)
    mask = np.zeros(grid.shape, bool)
    mask[2:6, 3:5, 1:2] = True
    mask[6, 5, 2] = True  # touches by a corner: still one part
    mask[15:17, 15:17, 15:17] = True
    (found,) = measure((mask,), OUTPUTS, grid)
    assert found.voxels == 8 + 1 + 8
    assert found.volume_ml == pytest.approx(17 * 3 / 1000)
    assert found.components == 2
    low, high = found.bounding_box_mm or ((0, 0, 0), (0, 0, 0))
    assert low == pytest.approx((10 - 2 * 16.5, -20 + 0.5 * 1.5, 5 + 3 * 0.5))
    assert high == pytest.approx((10 - 2 * 2.5, -20 + 0.5 * 16.5, 5 + 3 * 16.5))
    centre = affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
    assert found.centroid_mm == pytest.approx(centre, abs=1e-3)


def test_nothing_found_is_said_plainly() -> None:
    (found,) = measure((np.zeros((4, 4, 4), bool),), OUTPUTS, Grid((4, 4, 4), np.eye(4)))
    assert (found.voxels, found.volume_ml, found.components) == (0, 0.0, 0)
    assert found.bounding_box_mm is None and found.centroid_mm is None
